"""Parsing of the photo: probabilities of background, skin, hair and cloth for each pixel.

No learned parser under a free licence is available as a package.  The fitted head gives a spatial
prior; Gaussian mixtures of colour and texture give the likelihood of each class, fitted in turn
with the classes of the pixels (EM, Dempster et al. 1977).  A guided filter smooths the
probabilities along image edges (cost-volume filtering, Hosni et al. 2013).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Mask, Pixels, Regions, smoothstep
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.meshes.raycast import Hits, RayCaster
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.photo.mixtures import Mixture, Palette, features_of
from dp3d_core.preview.texture.panorama import remap

PARSING_SIDE = 320
"""Side of the parsed image, pixels."""
_ROUNDS = 4
"""Rounds of EM over classes and mixtures."""
_SHARPNESS = 0.6
"""Exponent of the likelihood: neighbouring pixels are not independent."""
_BALD = 0.58
"""Likeness of the scalp to facial skin above which a head is bald."""
_BALD_GREY = 0.75
"""Likeness above which a head is bald in a photo without colours: grey hair resembles skin."""
_BALD_TO_FOREHEAD = 0.84
"""Least likeness of a bald scalp relative to that of the forehead in the photo's light."""
_HAIRY = 0.45
"""Likeness of scalp and everything above it below which a head is not bald."""
_BARE = 0.28
"""Likeness of the torso to facial skin above which shoulders may be bare."""
_MAX_UNLIKE = 0.14
"""Greatest fraction of a bare torso that is clearly unlike skin."""
_GREY = 4.0
"""Greatest chroma, Lab, of skin in a photo without colours."""
_STRICT_LIGHT = 1.8
"""Factor on the spread of lightness of facial skin for the likeness of pixels to it."""
_SHADED_LIGHT = 2.4
"""Factor on the spread of lightness of facial skin for a likeness that tolerates shade."""
_OUTLIER = 0.012
"""Floor of the likelihood: pixels that no mixture explains follow the prior."""
_UNLIKE = 0.01
"""Floor of the likelihood of another photo's colours."""
MIN_SCALP_HAIR = 0.33
"""Mean probability of hair on the visible scalp below which a head is bald."""


class Kind(IntEnum):
    """Classes of pixels.  Headwear is classified as hair: both cover the skull."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    CLOTH = 3


_PRIOR = {
    Region.FACE: (0.92, 0.06, 0.02),
    Region.FOREHEAD: (0.60, 0.38, 0.02),
    Region.SCALP: (0.22, 0.76, 0.02),
    Region.EAR: (0.55, 0.43, 0.02),
    Region.NECK: (0.62, 0.18, 0.20),
    Region.TORSO: (0.12, 0.13, 0.75),
}
"""Prior of skin, hair and cloth, given foreground, on each region of the bare head."""
_BARE_TORSO = (0.70, 0.20)
"""Prior of skin and cloth on bare shoulders, before normalisation."""
_FACE_EDGE = (0.62, 0.26, 0.12)
"""Prior of skin, hair and cloth at the edge of the face."""
_ABOVE_CHIN = (0.05, 0.90, 0.05)
"""Prior of skin, hair and cloth beside the bare head, above the chin."""
_BESIDE_NECK = (0.06, 0.54, 0.40)
"""Prior of skin, hair and cloth beside the neck."""
_BELOW = (0.05, 0.12, 0.83)
"""Prior of skin, hair and cloth beside the bust, below the neck."""
_CHIN_Y = -108.0
"""Height at which the prior changes from above the chin to beside the neck, millimetres."""
_SHOULDER_Y = -150.0
"""Height at which the prior changes from beside the neck to below it, millimetres."""


@dataclass(frozen=True, eq=False)
class Parsing:
    """Class probabilities of the pixels of a head crop.

    Attributes:
        probabilities: (PARSING_SIDE, PARSING_SIDE, 4) float32, indexed by :class:`Kind`; sum to 1.
        region: (PARSING_SIDE, PARSING_SIDE) int8, :class:`Region` of the bare head, -1 beside it.
        valid: (PARSING_SIDE, PARSING_SIDE) bool, pixels of the photo itself.
        scalp_hair: mean probability of hair on the visible scalp, 0 to 1; None if none is visible.

    """

    probabilities: Array32
    region: Regions
    valid: Mask
    scalp_hair: float | None

    def at(self, uv: Array, size: int) -> Array:
        """(n, 4) probabilities at positions (n, 2) of a crop ``size`` pixels wide."""
        x, y = (uv * (PARSING_SIDE / size) - 0.5).astype(np.float32).T
        return remap(self.probabilities, x, y, cv2.INTER_LINEAR)


def palette_of(portrait: Portrait, parsing: Parsing) -> Palette | None:
    """Colours of the surfaces in a parsed photo; None if it hardly shows hair on the scalp."""
    if parsing.scalp_hair is None or parsing.scalp_hair < MIN_SCALP_HAIR:
        return None
    flat = parsing.probabilities.reshape(-1, 4)[::5].astype(np.float64)
    certain = np.clip(flat - 0.5, 0, None) * parsing.valid.reshape(-1, 1)[::5]
    features = features_of(_small(portrait)).reshape(-1, 4)[::5]
    palette = Palette.of(
        features, certain[:, Kind.SKIN], certain[:, Kind.HAIR], certain[:, Kind.CLOTH]
    )
    # else hair would be unlikely everywhere
    return None if palette.hair is None else palette


def _small(portrait: Portrait) -> Pixels:
    """(PARSING_SIDE, PARSING_SIDE, 3) the photo's pixels."""
    size = (PARSING_SIDE, PARSING_SIDE)
    return np.asarray(cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA), np.uint8)


def parse_photo(
    portrait: Portrait,
    caster: RayCaster,
    region_of: Callable[[Hits], Regions],
    palette: Palette | None = None,
) -> Parsing:
    """Classify the pixels of a portrait.

    Args:
        portrait: the photo, with its pose.
        caster: the bare head (without hair) in the photo's pose.
        region_of: maps k ray hits on the bare head to their :class:`Region` (k,).
        palette: colours of the person's surfaces in another photo, which shows hair; None if no
            other photo tells them.

    """
    side = PARSING_SIDE
    camera = portrait.camera.resized(side, side)
    rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
    hits = caster.cast(camera.position, rays)
    flat = np.full(side * side, -1, np.int8)
    flat[hits.ray] = region_of(hits)
    region = np.asarray(flat.reshape(side, side))
    rgb = _small(portrait)
    matte = cv2.resize(portrait.matte, (side, side), interpolation=cv2.INTER_AREA) / 255
    valid = cv2.resize(portrait.inside.astype(np.uint8), (side, side)) > 0
    valid = np.asarray(cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    matte = np.where(valid, matte, 0.5)

    facing = np.zeros(side * side)
    facing[hits.ray] = -np.einsum("ni,ni->n", hits.normals, hits.directions)
    prior = _prior(region, facing.reshape(side, side), camera.position, rays, matte)
    features = features_of(rgb)
    probabilities = _mixtures(features, prior, _core(hits, region), region, valid, matte, palette)
    probabilities = _guided(rgb, probabilities, 4, 5e-4) ** 2
    probabilities /= probabilities.sum(-1, keepdims=True)
    probabilities = _rooted(probabilities, region)
    return Parsing(
        probabilities.astype(np.float32), region, valid, _scalp_hair(probabilities, region, valid)
    )


def _above_ears(region: Regions) -> Mask:
    """(h, w) rows down to the lowest one that shows the scalp."""
    rows = np.flatnonzero((region == Region.SCALP).any(1))
    upper = np.zeros(region.shape, bool)
    if rows.size:
        upper[: int(rows.max()) + 1] = True
    return upper


def _scalp_hair(probabilities: Array, region: Regions, valid: Mask) -> float | None:
    """Mean probability of hair over the scalp and around it; None if no scalp is visible.

    Hair that stands off the skull above the ears counts, because its front may look like skin
    (grey hair in a photo without colours).
    """
    hair = probabilities[..., Kind.HAIR]
    visible = valid & (probabilities[..., Kind.BACKGROUND] < 0.5)
    scalp = (region == Region.SCALP) & visible
    if scalp.sum() <= 40:
        return None
    around = (region < 0) & visible & (hair > 0.5) & _above_ears(region)
    return float((hair[scalp].sum() + hair[around].sum()) / (scalp.sum() + around.sum()))


def _rooted(probabilities: Array, region: Regions) -> Array:
    """Probabilities without components of hair that do not reach the rows of the scalp."""
    hair = (probabilities.argmax(-1) == Kind.HAIR).astype(np.uint8)
    hair = cv2.morphologyEx(hair, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, components = cv2.connectedComponents(hair, connectivity=4)
    rows = np.flatnonzero((region == Region.SCALP).any(1))
    if not rows.size:
        return probabilities
    upper = components[: int(rows.max()) + 1]
    sizes = np.bincount(components.ravel(), minlength=count)
    upper_sizes = np.bincount(upper.ravel(), minlength=count)
    rooted = upper_sizes > np.maximum(0.25 * sizes, 30)
    rooted[0] = True
    allowed = rooted[components] & ((components > 0) | (probabilities[..., Kind.HAIR] < 0.5))
    lower = np.zeros(region.shape, bool)
    lower[int(rows.max()) + 1 :] = True
    uprooted = lower & ~allowed & (region != Region.FACE)
    probabilities = probabilities.copy()
    probabilities[uprooted, Kind.HAIR] *= 0.1
    return np.asarray(probabilities / probabilities.sum(-1, keepdims=True))


def _prior(region: Regions, facing: Array, eye: Array, rays: Array, matte: Array) -> Array:
    """(h, w, 4) prior of the classes, by position on or beside the fitted head.

    Args:
        region: (h, w) :class:`Region` of the bare head, -1 beside it.
        facing: (h, w) cosine between the head's normals and the rays.
        eye: (3,) position of the camera.
        rays: (h * w, 3) unit directions of the pixels.
        matte: (h, w) foreground alpha, 0 to 1.

    """
    prior = np.zeros((*region.shape, 4))
    for kind, values in _PRIOR.items():
        prior[region == kind, 1:] = values
    # the fit is least certain at the edge of the face
    face = region == Region.FACE
    weight = smoothstep(facing, 0.3, 0.65)[face][:, None]
    prior[face, 1:] = np.array(_FACE_EDGE) * (1 - weight) + prior[face, 1:] * weight
    # height of pixels beside the head: where their ray passes nearest to the origin
    nearest = -(rays @ eye)
    y = (eye + rays * nearest[:, None])[:, 1].reshape(region.shape) / MM
    low = smoothstep(y, _CHIN_Y + 12, _CHIN_Y - 12)[..., None]
    lower = smoothstep(y, _SHOULDER_Y + 15, _SHOULDER_Y - 15)[..., None]
    beside = np.array(_ABOVE_CHIN) * (1 - low) + np.array(_BESIDE_NECK) * low * (1 - lower)
    beside = beside + np.array(_BELOW) * low * lower
    free = region < 0
    prior[free, 1:] = beside[free]
    on_head = np.isin(region, (Region.FACE, Region.FOREHEAD))
    ground = np.clip(1 - matte, 0.003, 0.997)
    ground[on_head] = np.minimum(ground[on_head], 0.05)
    prior[..., 0] = ground
    prior[..., 1:] *= (1 - ground)[..., None]
    return np.asarray(cv2.GaussianBlur(prior, (0, 0), 1.5))


def _core(hits: Hits, region: Regions) -> Mask:
    """(h, w) mask of areas that are always skin: nose, cheeks and lower forehead.

    The fit places them within a centimetre.
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


_COMPONENTS = {Kind.BACKGROUND: 5, Kind.SKIN: 3, Kind.HAIR: 3, Kind.CLOTH: 4}
"""Number of Gaussians of each class."""


def _mixtures(
    features: Array,
    prior: Array,
    core: Mask,
    region: Regions,
    valid: Mask,
    matte: Array,
    palette: Palette | None,
) -> Array:
    """(h, w, 4) posterior of the classes after EM over their mixtures."""
    shape = region.shape
    flat = features.reshape(-1, features.shape[-1])
    flat_prior = prior.reshape(-1, 4)
    usable = valid.ravel()
    sample = np.flatnonzero(usable)[::5]
    skin = None
    if palette is None:
        skin = Mixture.of(flat[sample], core.ravel()[sample].astype(float), 3)
    posterior = flat_prior.copy()
    may_be_skin = np.ones(len(flat))
    agreement = np.ones((len(flat), 4))
    if palette is not None:
        visible = valid & (matte > 0.5)
        scalp, torso = ((region == kind) & visible for kind in (Region.SCALP, Region.TORSO))
        own = palette.in_light_of(flat, (core & visible).ravel(), scalp.ravel(), torso.ravel())
        if palette.skin is not None and own.skin is not None:
            shifted = palette.skin.moved(own.skin.mean - palette.skin.mean, np.ones(4))
            flat_prior = _bare_shoulders_prior(flat_prior, shifted, flat, region, visible)
        posterior, agreement = _by_palette(own, flat, flat_prior)
        may_be_skin = agreement[:, Kind.SKIN]
    elif skin is not None:
        # initialisation: pixels with the colour of nose, cheeks and forehead are skin
        may_be_skin = _likeness(skin, flat, _SHADED_LIGHT)
        for kind in (Kind.HAIR, Kind.CLOTH):
            posterior[:, kind] *= 1 - 0.95 * may_be_skin
        posterior[:, Kind.SKIN] *= 0.05 + may_be_skin
        # a neck lies in the shadow of the chin: the mixture of cloth starts from lower down
        posterior[region.ravel() == Region.NECK, Kind.CLOTH] *= 0.3
        visible = valid & (matte > 0.5)
        strict = _likeness(skin, flat, _STRICT_LIGHT).reshape(shape)
        flat_prior = _bare_prior(
            flat_prior, strict, may_be_skin.reshape(shape), region, visible, _is_colourful(skin)
        )
    posterior[~usable] = prior.reshape(-1, 4)[~usable]
    posterior /= posterior.sum(1, keepdims=True)
    for _ in range(_ROUNDS):
        smooth = cv2.GaussianBlur(posterior.reshape(*shape, 4), (0, 0), 1.0).reshape(-1, 4)
        likelihood = np.full_like(posterior, _OUTLIER)
        for kind, count in _COMPONENTS.items():
            weight = np.clip(smooth[:, kind] - 0.35, 0, 1) * usable * agreement[:, kind]
            if kind is Kind.SKIN:  # the core keeps the mixture at facial skin
                weight = 0.4 * weight * np.sqrt(may_be_skin) + core.ravel() * usable
            if kind is Kind.CLOTH:
                weight = weight * (1 - 0.9 * may_be_skin)
            model = Mixture.of(flat[sample], weight[sample], count)
            if model is not None:
                likelihood[:, kind] += model.likelihood(flat)
        likelihood[~usable] = 1.0  # beyond the photo only the prior counts
        posterior = flat_prior * likelihood**_SHARPNESS
        posterior /= posterior.sum(1, keepdims=True)
    return np.asarray(posterior.reshape(*shape, 4))


def _by_palette(palette: Palette, features: Array, prior: Array) -> tuple[Array, Array]:
    """Posterior (n, 4) by the colours of another photo, and agreement (n, 4) with them, 0 to 1.

    Args:
        palette: colours in the other photo, in the light of this one.
        features: (n, 4) features of the pixels.
        prior: (n, 4) prior of the classes.

    """
    likelihoods = palette.likelihoods(features) + _UNLIKE
    posterior = prior.copy()
    person = np.sqrt(prior[:, 1:]) * likelihoods  # colours say more than the place
    posterior[:, 1:] = person * (prior[:, 1:].sum(1) / person.sum(1))[:, None]
    agreement = np.ones_like(prior)
    agreement[:, 1:] = likelihoods / likelihoods.sum(1, keepdims=True)
    return posterior, agreement


def _likeness(skin: Mixture, features: Array, light: float) -> Array:
    """(n,) likeness of pixels to the skin of nose, cheeks and forehead, 0 to 1.

    Args:
        skin: mixture of that skin.
        features: (n, 4) features of the pixels.
        light: factor on the mixture's spread of lightness.

    """
    wide = skin.moved(np.zeros(4), np.array([light, 1.5, 1.5, 1.5]))
    density = wide.likelihood(features)
    return np.asarray(density / (density + 0.03))


def _bare_prior(
    prior: Array,
    like: Array,
    shaded: Array,
    region: Regions,
    visible: Mask,
    colourful: bool,
) -> Array:
    """(n, 4) prior, adapted where scalp or shoulders are bare.

    Args:
        prior: (n, 4) prior for a head with hair and clothes.
        like: (h, w) likeness to the skin of nose, cheeks and forehead.
        shaded: (h, w) likeness that tolerates shade.
        region: (h, w) :class:`Region` of the bare head, -1 beside it.
        visible: (h, w) bool, foreground pixels of the photo.
        colourful: whether skin has a hue; without one a grey coat resembles it.

    """
    likeness = {}
    for kind in (Region.SCALP, Region.FOREHEAD):
        likeness[kind] = _mean_likeness(like, (region == kind) & visible)
    prior = prior.copy()
    flat = region.ravel()
    scalp = likeness[Region.SCALP]
    # hair behind a high forehead shows where it stands off the skull
    upper = ((region == Region.SCALP) | (region < 0)) & _above_ears(region) & visible
    stands_off = bool(upper.any()) and float(like[upper].mean()) < _HAIRY
    if (
        not stands_off
        and scalp > (_BALD if colourful else _BALD_GREY)
        and scalp > _BALD_TO_FOREHEAD * likeness[Region.FOREHEAD]
    ):
        prior[flat == Region.SCALP, Kind.SKIN] *= 4.0
        prior[flat == Region.SCALP, Kind.HAIR] *= 0.2
        around = (flat < 0) & (prior[:, Kind.HAIR] > prior[:, Kind.CLOTH])
        prior[around, Kind.SKIN] *= 12.0
        prior[around, Kind.HAIR] *= 0.2
    if colourful and _are_shoulders_bare(like, shaded, region, visible):
        _bare_torso(prior, region)
    return np.asarray(prior / prior.sum(1, keepdims=True))


def _bare_shoulders_prior(
    prior: Array, skin: Mixture, features: Array, region: Regions, visible: Mask
) -> Array:
    """(n, 4) prior, adapted where shoulders are bare; the scalp bears hair.

    Args:
        prior: (n, 4) prior for a head with hair and clothes.
        skin: mixture of the person's skin in the light of the photo.
        features: (n, 4) features of the pixels.
        region: (h, w) :class:`Region` of the bare head, -1 beside it.
        visible: (h, w) bool, foreground pixels of the photo.

    """
    like, shaded = (
        _likeness(skin, features, light).reshape(region.shape)
        for light in (_STRICT_LIGHT, _SHADED_LIGHT)
    )
    if not (_is_colourful(skin) and _are_shoulders_bare(like, shaded, region, visible)):
        return prior
    prior = prior.copy()
    _bare_torso(prior, region)
    return np.asarray(prior / prior.sum(1, keepdims=True))


def _bare_torso(prior: Array, region: Regions) -> None:
    """Set the prior (n, 4) of skin and cloth on the torso to that of bare shoulders, in place."""
    torso = region.ravel() == Region.TORSO
    prior[torso, Kind.SKIN], prior[torso, Kind.CLOTH] = _BARE_TORSO


def _is_colourful(skin: Mixture) -> bool:
    """Whether skin has a hue; without one a grey coat resembles it."""
    return float(np.linalg.norm(skin.mean[1:3])) > _GREY


def _are_shoulders_bare(like: Array, shaded: Array, region: Regions, visible: Mask) -> bool:
    """Whether the torso resembles facial skin; arguments as those of :func:`_bare_prior`."""
    torso = (region == Region.TORSO) & visible
    likeness = _mean_likeness(like, torso)
    unlike = float((shaded[torso] < 0.03).mean()) if likeness else 1.0
    return likeness > _BARE and unlike < _MAX_UNLIKE


def _mean_likeness(like: Array, covered: Mask) -> float:
    """Mean likeness (h, w) of covered pixels to facial skin; 0 with too few of them."""
    return float(like[covered].mean()) if covered.sum() > 60 else 0.0


def _guided(rgb: Pixels, probabilities: Array, radius: int, eps: float) -> Array:
    """Smooth probabilities (h, w, 4) along image edges (guided filter, He et al. 2013)."""
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(image: Array) -> Array:
        return np.asarray(cv2.boxFilter(image, -1, size, borderType=cv2.BORDER_REFLECT))

    middle = mean(guide)
    variance = mean(guide * guide) - middle * middle
    average = mean(probabilities)
    slope = (mean(guide[..., None] * probabilities) - middle[..., None] * average) / (
        variance + eps
    )[..., None]
    offset = average - slope * middle[..., None]
    smooth = np.clip(mean(slope) * guide[..., None] + mean(offset), 1e-4, 1)
    return np.asarray(smooth / smooth.sum(-1, keepdims=True))
