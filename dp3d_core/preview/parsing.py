"""What is what in a photo: background, skin, hair and cloth, each pixel with its probability.

No learned parser under a free licence travels in a package, so the fitted head says where what
may be, colour and texture say what it is: Gaussian mixtures of each class are fitted in turn with
the pixels' classes (EM, Dempster et al. 1977), and the classes' probabilities are smoothed along
the edges of the photo by a guided filter (cost-volume filtering, Hosni et al. 2013).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.panorama import remap
from dp3d_core.raycast import Hits, RayCaster
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

PARSING_SIDE = 320
"""Pixels along a side of the label map."""
_ROUNDS = 4
_SHARPNESS = 0.6
"""Power of the colour likelihood: neighbouring pixels are no independent witnesses."""
_BALD = (0.58, 0.84)
"""Likeness of the scalp to nose, cheeks and forehead from which on a head is bald: as such, and
over that of the forehead, which counts the light."""
_HAIRY = 0.45
"""Likeness of all that is seen of the scalp and above it, below which a head is not bald."""
_BALD_GREY = 0.75
"""The first of them in a photo without colours, where grey hair may look like skin."""
_BARE = (0.28, 0.14)
"""Likeness of the torso above which, and part of it that is utterly unlike skin below which
shoulders are bare."""
_GREY = 4.0
"""Chroma, Lab, of skin in a photo without colours."""
_OUTLIER = 0.012
"""Likelihood floor: what no class explains is left to the place."""


class Kind(IntEnum):
    """Classes of pixels.  Headwear counts as hair: both are what covers the skull."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    CLOTH = 3


_EXPECTED = {
    # background is judged by the matte; these are chances among skin, hair and cloth
    Region.FACE: (0.92, 0.06, 0.02),
    Region.FOREHEAD: (0.60, 0.38, 0.02),
    Region.SCALP: (0.22, 0.76, 0.02),
    Region.EAR: (0.55, 0.43, 0.02),
    Region.NECK: (0.62, 0.18, 0.20),
    Region.TORSO: (0.12, 0.13, 0.75),
}
_FACE_EDGE = (0.62, 0.26, 0.12)
_ABOVE_CHIN, _BESIDE_NECK, _BELOW = (0.05, 0.90, 0.05), (0.06, 0.54, 0.40), (0.05, 0.12, 0.83)
"""The same along the edge of the face, and beside the bare head: above the chin, beside the neck,
lower down."""
_CHIN_Y, _SHOULDER_Y = -108.0, -150.0
"""Heights between these, millimetres."""


@dataclass(frozen=True, eq=False)
class Parsing:
    """Classes of the pixels of a head crop.

    Attributes:
        chances: (PARSING_SIDE, PARSING_SIDE, 4) float32, sums to 1; :class:`Kind` last.
        region: (PARSING_SIDE, PARSING_SIDE) int8, :class:`Region` of the bare head, -1 beside it.
        known: (PARSING_SIDE, PARSING_SIDE) bool, pixels that come from the photo.
        scalp_hair: mean chance of hair over the scalp that is seen, 0 to 1; None if none is.

    """

    chances: NDArray[np.float32]
    region: NDArray[np.int8]
    known: Mask
    scalp_hair: float | None

    def at(self, uv: Array, size: int) -> Array:
        """(n, 4) chances at places (n, 2) of a crop of ``size`` pixels."""
        x, y = (uv * (PARSING_SIDE / size) - 0.5).astype(np.float32).T
        return remap(self.chances, x, y, cv2.INTER_LINEAR)


def parse_photo(
    portrait: Portrait, caster: RayCaster, region_of: Callable[[Hits], NDArray[np.int8]]
) -> Parsing:
    """Classify the pixels of a portrait.

    Args:
        portrait: with a pose.
        caster: the bare head (no hair) where the photo has it.
        region_of: (k,) :class:`Region` of ray hits on it.

    """
    side = PARSING_SIDE
    camera = portrait.camera.resized(side, side)
    rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
    hits = caster.cast(camera.position, rays)
    flat = np.full(side * side, -1, np.int8)
    flat[hits.ray] = region_of(hits)
    region = np.asarray(flat.reshape(side, side))
    rgb = np.asarray(
        cv2.resize(portrait.image, (side, side), interpolation=cv2.INTER_AREA), np.uint8
    )
    matte = cv2.resize(portrait.matte, (side, side), interpolation=cv2.INTER_AREA) / 255
    known = cv2.resize(portrait.inside.astype(np.uint8), (side, side)) > 0
    known = np.asarray(cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    matte = np.where(known, matte, 0.5)

    facing = np.zeros(side * side)
    facing[hits.ray] = -np.einsum("ni,ni->n", hits.normals, hits.directions)
    places = _expected(region, facing.reshape(side, side), camera.position, rays, matte)
    features = _features(rgb)
    chances = _mixtures(features, places, _core(hits, region), region, known, matte)
    chances = _guided(rgb, chances, 4, 5e-4) ** 2
    chances /= chances.sum(-1, keepdims=True)
    chances = _rooted(chances, region)
    return Parsing(chances.astype(np.float32), region, known, _scalp_hair(chances, region, known))


def _above_ears(region: NDArray[np.int8]) -> Mask:
    """(h, w) the rows of a picture that show the scalp."""
    rows = np.flatnonzero((region == Region.SCALP).any(1))
    upper = np.zeros(region.shape, bool)
    if rows.size:
        upper[: int(rows.max()) + 1] = True
    return upper


def _scalp_hair(chances: Array, region: NDArray[np.int8], known: Mask) -> float | None:
    """Mean chance of hair over the scalp and around it, None where nothing of it is seen.

    What stands off the skull above the ears is hair, even where its front looks like skin (grey
    hair in a photo without colours).
    """
    hair = chances[..., Kind.HAIR]
    shown = known & (chances[..., Kind.BACKGROUND] < 0.5)
    scalp = (region == Region.SCALP) & shown
    if scalp.sum() <= 40:
        return None
    around = (region < 0) & shown & (hair > 0.5) & _above_ears(region)
    return float((hair[scalp].sum() + hair[around].sum()) / (scalp.sum() + around.sum()))


def _rooted(chances: Array, region: NDArray[np.int8]) -> Array:
    """Chances without hair that hangs together with none on the scalp or above the chin."""
    hair = (chances.argmax(-1) == Kind.HAIR).astype(np.uint8)
    hair = cv2.morphologyEx(hair, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, pieces = cv2.connectedComponents(hair, connectivity=4)
    rows = np.flatnonzero((region == Region.SCALP).any(1))
    if not rows.size:
        return chances
    above = pieces[: int(rows.max()) + 1]
    sizes = np.bincount(pieces.ravel(), minlength=count)
    tops = np.bincount(above.ravel(), minlength=count)
    rooted = tops > np.maximum(0.25 * sizes, 30)
    rooted[0] = True
    allowed = rooted[pieces] & ((pieces > 0) | (chances[..., Kind.HAIR] < 0.5))
    lower = np.zeros(region.shape, bool)
    lower[int(rows.max()) + 1 :] = True
    strange = lower & ~allowed & (region != Region.FACE)
    chances = chances.copy()
    chances[strange, Kind.HAIR] *= 0.1
    return np.asarray(chances / chances.sum(-1, keepdims=True))


def _expected(
    region: NDArray[np.int8], facing: Array, eye: Array, rays: Array, matte: Array
) -> Array:
    """(h, w, 4) chances of the classes by place alone.

    Args:
        region: (h, w) of the bare head.
        facing: (h, w) cosine between its normals and the rays.
        eye: (3,) of the camera.
        rays: (h * w, 3) of the pixels.
        matte: (h, w) 0 to 1.

    """
    expected = np.zeros((*region.shape, 4))
    for kind, chances in _EXPECTED.items():
        expected[region == kind, 1:] = chances
    # the head's own edge is where the fit is least sure
    face = region == Region.FACE
    sure = ramp(facing, 0.3, 0.65)[face][:, None]
    expected[face, 1:] = np.array(_FACE_EDGE) * (1 - sure) + expected[face, 1:] * sure
    # beside the head: height where the ray passes the head's axis
    reach = -(rays @ eye)
    y = (eye + rays * reach[:, None])[:, 1].reshape(region.shape) / MM
    low = ramp(y, _CHIN_Y + 12, _CHIN_Y - 12)[..., None]
    lower = ramp(y, _SHOULDER_Y + 15, _SHOULDER_Y - 15)[..., None]
    beside = np.array(_ABOVE_CHIN) * (1 - low) + np.array(_BESIDE_NECK) * low * (1 - lower)
    beside = beside + np.array(_BELOW) * low * lower
    free = region < 0
    expected[free, 1:] = beside[free]
    on_head = np.isin(region, (Region.FACE, Region.FOREHEAD))
    ground = np.clip(1 - matte, 0.003, 0.997)
    ground[on_head] = np.minimum(ground[on_head], 0.05)
    expected[..., 0] = ground
    expected[..., 1:] *= (1 - ground)[..., None]
    return np.asarray(cv2.GaussianBlur(expected, (0, 0), 1.5))


def _core(hits: Hits, region: NDArray[np.int8]) -> Mask:
    """(h, w) where nothing but skin is expected: nose, cheeks and lower forehead.

    Millimetres of head space; the fit puts these within a centimetre.
    """
    x, y, z = (hits.points / MM).T
    x = np.abs(x)
    facing = -(hits.normals * hits.directions).sum(1) > 0.55
    nose = (x < 8) & (y < 24) & (y > -12)
    cheek = (x > 20) & (x < 48) & (y < 2) & (y > -28)
    brow = (x < 26) & (y > 50) & (y < 64)
    core = np.zeros(region.size, bool)
    core[hits.ray[(nose | cheek | brow) & facing & (z > 40)]] = True
    return core.reshape(region.shape)


def _features(rgb: NDArray[np.uint8]) -> Array:
    """(h, w, 4) Lab and roughness: log of the fine variation of lightness."""
    colours = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float64)
    light = colours[..., 0]
    fine = light - cv2.GaussianBlur(light, (0, 0), 1.5)
    rough = np.log(0.7 + np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 2.5)))
    smooth = cv2.bilateralFilter(colours.astype(np.float32), 5, 12, 3).astype(np.float64)
    return np.dstack([smooth, 8.0 * rough])


_SPREAD = np.array([6.0, 3.0, 3.0, 3.0])
"""Least standard deviations of a component."""
_COMPONENTS = {Kind.BACKGROUND: 5, Kind.SKIN: 3, Kind.HAIR: 3, Kind.CLOTH: 4}


@dataclass(frozen=True)
class _Mixture:
    """Axis-parallel Gaussians."""

    weights: Array
    means: Array
    spreads: Array

    @classmethod
    def of(cls, features: Array, weights: Array, count: int, rounds: int = 6) -> _Mixture | None:
        """Fit to weighted features (n, d); None of less than 20 pixels' worth."""
        if weights.sum() < 20:
            return None
        rng = np.random.default_rng(0)
        chance = weights / weights.sum()
        means = features[rng.choice(len(features), count, p=chance)]
        for _ in range(3):  # k-means++ like: spread the start over what is far from it
            apart = ((features[:, None] - means) / _SPREAD) ** 2
            nearest = apart.sum(2).min(1)
            pull = chance * np.minimum(nearest, 50)
            if pull.sum() <= 0:
                break
            worst = int(np.argmin(np.linalg.norm(means[:, None] - means, axis=2).sum(1)))
            means[worst] = features[rng.choice(len(features), p=pull / pull.sum())]
        shares = np.full(count, 1 / count)
        spreads = np.repeat(2 * _SPREAD[None], count, 0)
        for _ in range(rounds):
            parts = cls(shares, means, spreads)._parts(features)
            parts /= np.maximum(parts.sum(1, keepdims=True), 1e-300)
            parts *= weights[:, None]
            mass = parts.sum(0) + 1e-9
            means = (parts.T @ features) / mass[:, None]
            square = (parts.T @ features**2) / mass[:, None] - means**2
            spreads = np.maximum(np.sqrt(np.maximum(square, 0)), _SPREAD)
            shares = mass / mass.sum()
        return cls(shares, means, spreads)

    def _parts(self, features: Array) -> Array:
        # the square multiplied out: two matrix products instead of n x k x d numbers
        sharp = 1 / self.spreads**2
        apart = features**2 @ sharp.T - 2 * features @ (self.means * sharp).T
        density = np.exp(-0.5 * np.maximum(apart + (self.means**2 * sharp).sum(1), 0))
        return np.asarray(density * self.weights / np.prod(self.spreads / _SPREAD, axis=1))

    def likelihood(self, features: Array) -> Array:
        """(n,) density, about 1 at the peak of the main, narrowest Gaussian.

        A colour that covers little of a class is hardly less typical of it (a strip of cloth, a
        lock in the light): shares count by their square root.
        """
        shares = np.sqrt(self.weights / self.weights.max())
        return np.asarray(_Mixture(shares, self.means, self.spreads)._parts(features).max(1))


def _mixtures(
    features: Array, places: Array, core: Mask, region: NDArray[np.int8], known: Mask, matte: Array
) -> Array:
    """(h, w, 4) chances after the classes' colours and the pixels' classes settled."""
    shape = region.shape
    flat = features.reshape(-1, features.shape[-1])
    place = places.reshape(-1, 4)
    usable = known.ravel()
    sample = np.flatnonzero(usable)[::5]
    skin = _Mixture.of(flat[sample], core.ravel()[sample].astype(float), 3)
    chances = place.copy()
    like = np.ones(len(flat))
    if skin is not None:
        # before the first round: what has the colour of nose, cheeks and forehead is skin
        like = _likeness(skin, flat, light=2.4)
        for kind in (Kind.HAIR, Kind.CLOTH):
            chances[:, kind] *= 1 - 0.95 * like
        chances[:, Kind.SKIN] *= 0.05 + like
        # a neck lies in the shadow of the chin: clothes are learned from lower down
        chances[region.ravel() == Region.NECK, Kind.CLOTH] *= 0.3
        chances[~usable] = place[~usable]
        chances /= chances.sum(1, keepdims=True)
        colourful = float(np.linalg.norm(skin.weights @ skin.means[:, 1:3])) > _GREY
        shown = known & (matte > 0.5)
        strict = _likeness(skin, flat, light=1.8).reshape(shape)
        place = _bare_places(place, strict, like.reshape(shape), region, shown, colourful)
    for _ in range(_ROUNDS):
        smooth = cv2.GaussianBlur(chances.reshape(*shape, 4), (0, 0), 1.0).reshape(-1, 4)
        likelihood = np.full_like(chances, _OUTLIER)
        for kind, count in _COMPONENTS.items():
            weight = np.clip(smooth[:, kind] - 0.35, 0, 1) * usable
            if kind is Kind.SKIN:  # never led away from what the face shows
                weight = 0.4 * weight * np.sqrt(like) + core.ravel() * usable
            if kind is Kind.CLOTH:
                weight = weight * (1 - 0.9 * like)
            model = _Mixture.of(flat[sample], weight[sample], count)
            if model is not None:
                likelihood[:, kind] += model.likelihood(flat)
        likelihood[~usable] = 1.0  # beyond the photo the place alone counts
        chances = place * likelihood**_SHARPNESS
        chances /= chances.sum(1, keepdims=True)
    return np.asarray(chances.reshape(*shape, 4))


def _likeness(skin: _Mixture, features: Array, light: float) -> Array:
    """(n,) 0 to 1 likeness of pixels to the skin of nose, cheeks and forehead.

    Args:
        skin: their colours.
        features: (n, 4).
        light: how much more lightness may vary than it does there.

    """
    wide = _Mixture(skin.weights, skin.means, skin.spreads * [light, 1.5, 1.5, 1.5])
    density = wide.likelihood(features)
    return np.asarray(density / (density + 0.03))


def _bare_places(
    place: Array,
    like: Array,
    shaded: Array,
    region: NDArray[np.int8],
    shown: Mask,
    colourful: bool,
) -> Array:
    """(n, 4) chances by place, after a look whether scalp and shoulders are bare.

    Args:
        place: (n, 4) chances where hair and clothes are expected.
        like: (h, w) likeness to nose, cheeks and forehead.
        shaded: (h, w) the same, for skin in the shade too.
        region: (h, w) of the bare head.
        shown: (h, w) pixels that count.
        colourful: whether skin has a hue: without, a grey coat may look like it.

    """
    likeness = {}
    for kind in (Region.SCALP, Region.FOREHEAD, Region.TORSO):
        at = (region == kind) & shown
        likeness[kind] = float(like[at].mean()) if at.sum() > 60 else 0.0
    place = place.copy()
    flat = region.ravel()
    scalp, torso = likeness[Region.SCALP], likeness[Region.TORSO]
    # hair over a high forehead is seen where it stands off the skull
    upper = ((region == Region.SCALP) | (region < 0)) & _above_ears(region) & shown
    stands_off = bool(upper.any()) and float(like[upper].mean()) < _HAIRY
    if (
        not stands_off
        and scalp > (_BALD[0] if colourful else _BALD_GREY)
        and scalp > _BALD[1] * likeness[Region.FOREHEAD]
    ):
        place[flat == Region.SCALP, Kind.SKIN] *= 4.0
        place[flat == Region.SCALP, Kind.HAIR] *= 0.2
        around = (flat < 0) & (place[:, Kind.HAIR] > place[:, Kind.CLOTH])
        place[around, Kind.SKIN] *= 12.0
        place[around, Kind.HAIR] *= 0.2
    unlike = float((shaded[(region == Region.TORSO) & shown] < 0.03).mean()) if torso else 1.0
    if colourful and torso > _BARE[0] and unlike < _BARE[1]:
        bare = flat == Region.TORSO
        place[bare, Kind.SKIN], place[bare, Kind.CLOTH] = 0.70, 0.20
    return np.asarray(place / place.sum(1, keepdims=True))


def _guided(rgb: NDArray[np.uint8], chances: Array, radius: int, eps: float) -> Array:
    """Chances smoothed along the edges of a picture (guided filter, He et al. 2013)."""
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(image: Array) -> Array:
        return np.asarray(cv2.boxFilter(image, -1, size, borderType=cv2.BORDER_REFLECT))

    middle = mean(guide)
    variance = mean(guide * guide) - middle * middle
    average = mean(chances)
    slope = (mean(guide[..., None] * chances) - middle[..., None] * average) / (variance + eps)[
        ..., None
    ]
    offset = average - slope * middle[..., None]
    smooth = np.clip(mean(slope) * guide[..., None] + mean(offset), 1e-4, 1)
    return np.asarray(smooth / smooth.sum(-1, keepdims=True))
