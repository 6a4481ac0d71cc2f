"""The photo as a texture: what it shows of a point of the head, and how far that is believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.mesh import unit
from dp3d_core.portraits.crop import CROP_SIZE, Crop, cut
from dp3d_core.portraits.landmarks import FACE_OVAL
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.panorama import Panorama, remap
from dp3d_core.preview.parsing import Kind, Parsing
from dp3d_core.preview.parts import Part
from dp3d_core.preview.strands import strand_noise
from dp3d_core.preview.tones import apart, lab, main_colour
from dp3d_core.raycast import RayCaster
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]

_GRAZING = (0.08, 0.28)
"""Cosine between the view ray and the normal: below the first the photo is not used, above
the second it is used alone."""
_GRAZING_HAIR = (0.08, 0.38)
"""Cosines between which the photo's hair takes the place of its continuation, strand by strand."""
_GRAZING_SKIN = (0.20, 0.48)
"""The same on cheek, jaw and neck: their sides are smooth, and whatever the photo shows there
(an ear, the hair behind it) belongs to another place wherever the template is not the person."""
_GRAZING_FRONT = (0.02, 0.20)
_FRONT = (0.15, 0.19)
_MIDDLE = (0.08, 0.12)
"""The same around eyes, nose and mouth: what lies before the second z and within the first x,
head units."""
_CLASS = (0.35, 0.75)
"""Chance of a surface's own class below which a pixel is not used, and above which it is."""
_HAIRLINE_ABOVE, _HAIRLINE_FACING = (0.06, 0.10), (0.15, 0.4)
_HAIRLINE_BEFORE = (0.0, 0.06)
"""Height, head units, cosine and depth above which hair and skin may stand for each other: beside
the ear its rim would become hair."""
_BEARD_BELOW = (0.035, -0.01)
"""Heights, head units, between which hair on the face begins to be a beard."""
_OVAL_FACING = (0.5, 0.75)
"""Cosine above which what lies within the oval is the face's, whatever its colour."""
_OVAL_EDGE = (2.0, 14.0)
"""Pixels of the crop inside the oval of the face, where brows, beard and glasses belong to it."""
_LIGHT, _STRANGE = 0.15, (18.0, 32.0)
"""Weight of lightness in the distance to the tone of skin; below the first distance a hue is skin,
above the second it is not."""
_RIM = (2.0, 6.0)
"""Pixels within the matte: nearer to its edge head and background mix."""
_HAIR_RIM = (4.0, 12.0)
"""Pixels within the matte between which hair begins to be believed: the background shows through
its rim."""
_BESIDE, _NEAR_WALL, _WALL, _APART = 16.0, 0.02, (0.35, 0.6), 18.0
"""Pixels within which a background is looked for, share of it from which on it is near, its share
in a colour between which hair is no more believed, and Lab distance from hair that it must have.
"""
_FRAYED, _FRAY = Panorama(192, 384), 0.3
"""Strands by which the photo's hair goes over into the one that is continued: cosine by which they
reach further or end before."""
_FAR = np.float32(1e3)
"""Head units, where there is no head."""
_CHEST_ROWS, _LAST_ROWS = 160, 6
"""Rows of the photo below the crop that a bust may show, and rows of the crop above them that say
where the person is."""
_SAME_VIEW = (4.0, 14.0)
"""Degrees between a ray and that of the photo: up to the first the photo is shown wherever it
sees the head, beyond the second only where it sees it well."""


@dataclass(frozen=True)
class Projection:
    """The photo as a texture seen from its own camera."""

    camera: Camera
    colours: NDArray[np.float32]
    """(h, w, 3), 0 to 1; pixels outside the matte repeat the nearest one inside."""
    trusted: NDArray[np.float32]
    """(h, w), 1 well inside the matte, 0 outside."""
    within: NDArray[np.float32]
    """(h, w) pixels from the matte's edge, inside; 0 where hair lets the background through."""
    solid: NDArray[np.float32]
    """(h, w), 1 inside the matte, 0 outside and where head and background mix."""
    depth: NDArray[np.float32]
    """(h, w) depth of the head seen from the camera, far away beside it."""
    oval: NDArray[np.float32] | None
    """(h, w), 1 inside the outline of the face's landmarks; None without."""
    parsing: Parsing | None
    """What is what; None where nothing is known of it."""
    bearded: bool = False
    """Whether hair on cheeks and jaw is the face's own."""
    tone: NDArray[np.float64] | None = None
    """(3,) sRGB of the person's skin, once it is known: other hues beside the face are no skin."""
    foreign: NDArray[np.float32] | None = None
    """(h, w), 1 where something else lies on skin or headwear (``foreign``), once it is known."""

    @classmethod
    def of(
        cls, portrait: Portrait, caster: RayCaster, parsing: Parsing | None = None
    ) -> Projection:
        """Prepare a portrait whose head is in ``caster``."""
        hair_clear = None if parsing is None else _unveiled(portrait, parsing)
        oval = _face_oval(portrait)
        portrait, below = _with_chest(portrait)
        solid = ((portrait.matte > 200) & portrait.inside).astype(np.uint8)
        if solid.sum() < 100:
            solid[:] = 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        padded = cv2.copyMakeBorder(solid, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
        core = cv2.erode(padded, kernel)[2:-2, 2:-2]
        core[~portrait.inside] = 0
        # nearest known pixel for every pixel outside
        _, labels = cv2.distanceTransformWithLabels(
            1 - core, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        rows, columns = np.nonzero(core)
        nearest = np.zeros(labels.max() + 1, np.int64)
        nearest[labels[rows, columns]] = rows * core.shape[1] + columns
        colours = portrait.image.reshape(-1, 3)[nearest[labels]].astype(np.float32) / 255
        distance = cv2.distanceTransform(
            cv2.copyMakeBorder(core, 1, 1, 1, 1, cv2.BORDER_REPLICATE), cv2.DIST_L2, 5
        )[1:-1, 1:-1]
        # beyond the crop nothing is known: its last row would run down a chest in stripes
        framed = cv2.copyMakeBorder(
            portrait.inside.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=[0]
        )
        outside = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1] - 1
        core[[0, -1]] = core[:, [0, -1]] = 0
        hair_rim = distance
        if hair_clear is not None:
            hair_rim = distance * np.pad(hair_clear, ((0, below), (0, 0)), constant_values=1)
        trusted = (
            np.minimum(ramp(distance.astype(np.float64), *_RIM), np.clip(outside / 12, 0, 1)) * core
        )
        return cls(
            portrait.camera,
            colours,
            trusted.astype(np.float32),
            np.asarray(hair_rim, np.float32),
            core.astype(np.float32),
            np.minimum(caster.depth(portrait.camera), _FAR),
            None if oval is None else np.pad(oval, ((0, below), (0, 0))),
            parsing,
        )

    def sample(
        self, points: Array, normals: Array, parts: NDArray[np.uint8]
    ) -> tuple[Array, Array]:
        """Colours (n, 3) and trust (n,), 0 to 1, of points with their normals.

        What the photo shows is believed only where it is of the surface's own class (``parts``,
        (n,)): wherever the head is wider than the person, it would be collar, hair or the wall.
        """
        cosine = self.cosine(points, normals)
        facing = np.flatnonzero(cosine > _GRAZING_FRONT[0])
        colours, trust = np.zeros_like(points), np.zeros(len(points))
        colours[facing], trust[facing] = self._sample_facing(
            points[facing], cosine[facing], parts[facing]
        )
        return colours, trust

    def colours_at(self, points: Array) -> Array:
        """(n, 3) what the photo shows in the direction of points, whatever hides them."""
        x, y, _ = self._place(points)
        return np.clip(remap(self.colours, x, y, cv2.INTER_CUBIC), 0, 1)

    def chance(self, points: Array, parts: NDArray[np.uint8]) -> Array:
        """(n,) chance that the photo shows a surface of ``parts`` (n,) in the points' direction."""
        return _own_class(self._kinds(self.camera.project(points)[0]), parts)

    def _kinds(self, uv: Array) -> Array | None:
        """(n, 4) chances of the classes at pixels (n, 2), None where nothing is known of them."""
        return None if self.parsing is None else self.parsing.at(uv, self.camera.width)

    def _sample_facing(
        self, points: Array, cosine: Array, parts: NDArray[np.uint8]
    ) -> tuple[Array, Array]:
        uv, depth = self.camera.project(points)
        x, y = _texels(uv)
        colours = remap(self.colours, x, y, cv2.INTER_CUBIC)
        trust = remap(self.trusted, x, y, cv2.INTER_LINEAR)[:, 0]
        rim = ramp(remap(self.within, x, y, cv2.INTER_LINEAR)[:, 0], *_HAIR_RIM)
        trust = np.where(parts == Part.HAIR, np.minimum(trust, rim), trust)
        hair = np.flatnonzero(parts == Part.HAIR)
        slanted = cosine.copy()
        slanted[hair] += _FRAY * _FRAYED.look_up(_fray(), points[hair])[:, 0]
        facing = ramp(slanted, *_GRAZING)
        facing[hair] = ramp(slanted[hair], *_GRAZING_HAIR)
        # the folds of the face are small, and nothing is known better than the photo's pixel
        front = ramp(points[:, 2], *_FRONT) * (1 - ramp(np.abs(points[:, 0]), *_MIDDLE))
        skin = parts == Part.SKIN
        facing += (ramp(cosine, *_GRAZING_SKIN) - facing) * skin
        facing = np.maximum(facing, front * ramp(cosine, *_GRAZING_FRONT))
        kinds = self._kinds(uv)
        own = _own_class(kinds, parts) + _hairline(kinds, points, cosine, parts)
        if self.bearded and kinds is not None:
            own += kinds[:, Kind.HAIR] * skin * ramp(points[:, 1], *_BEARD_BELOW)
        own = ramp(own, *_CLASS)
        if self.oval is not None:
            within = skin * remap(self.oval, x, y, cv2.INTER_LINEAR)[:, 0]
            within *= ramp(cosine, *_OVAL_FACING)
            own = np.maximum(own, within)
        else:
            within = np.zeros(len(points))
        if self.tone is not None:
            strange = ramp(apart(colours, self.tone, _LIGHT), *_STRANGE)
            own = own * (1 - strange * skin * (1 - within))
        if self.foreign is not None:
            compared = skin | (parts == Part.HAT)
            own = own * (1 - compared * remap(self.foreign, x, y, cv2.INTER_LINEAR)[:, 0])
        return np.clip(colours, 0, 1), trust * facing * own * self._unhidden(x, y, depth)

    def as_seen(self, points: Array, directions: Array) -> tuple[NDArray[np.int64], Array, Array]:
        """What the photo shows of points that are looked at from nearly its own place.

        Args:
            points: (n, 3).
            directions: (n, 3) of the rays that look at them, unit length.

        Returns:
            The numbers (k,) of those that it shows, their colours (k, 3) and trust (k,).

        """
        towards = points - self.camera.position
        along = np.einsum("ni,ni->n", unit(towards), directions)
        angle = np.degrees(np.arccos(np.clip(along, -1, 1)))
        near = np.flatnonzero(angle < _SAME_VIEW[1])
        x, y, depth = self._place(points[near])
        colours = remap(self.colours, x, y, cv2.INTER_CUBIC)
        trust = remap(self.solid, x, y, cv2.INTER_LINEAR)[:, 0] * self._unhidden(x, y, depth)
        return near, np.clip(colours, 0, 1), trust * (1 - ramp(angle[near], *_SAME_VIEW))

    def _place(self, points: Array) -> tuple[NDArray[np.float32], NDArray[np.float32], Array]:
        """Column and row, as :func:`remap` counts them, and depth of points in the photo."""
        uv, depth = self.camera.project(points)
        return *_texels(uv), depth

    def _unhidden(self, x: NDArray[np.float32], y: NDArray[np.float32], depth: Array) -> Array:
        """(n,) 0 behind another part of the head (nose before cheek, chin before neck)."""
        first = remap(self.depth, x, y, cv2.INTER_NEAREST)[:, 0]
        return 1 - ramp(depth - first, 0.012, 0.03)

    def cosine(self, points: Array, normals: Array) -> Array:
        """(n,) cosine between the normals and the rays back to the camera."""
        towards = self.camera.position - points
        return np.asarray(np.einsum("ni,ni->n", unit(towards), normals))


def _with_chest(portrait: Portrait) -> tuple[Portrait, int]:
    """A portrait with the rows of the photo below its crop, and how many they are.

    A bust reaches a little farther down than a crop: whoever stands in its last row goes on below.
    """
    crop, side = portrait.report.crop, portrait.camera.width
    if side != CROP_SIZE or not portrait.opaque or crop.y + crop.side >= portrait.report.height:
        return portrait, 0
    image, inside = cut(portrait.photo, Crop(crop.x, crop.y + crop.side, crop.side))
    rows = min(_CHEST_ROWS, int(inside.any(1).sum()))
    if not rows:
        return portrait, 0
    own = portrait.matte[-_LAST_ROWS:].min(0)
    camera = Camera(portrait.camera.c2w, portrait.camera.K, side, side + rows)
    taller = replace(
        portrait,
        image=np.concatenate([portrait.image, image[:rows]]),
        matte=np.concatenate([portrait.matte, np.repeat(own[None], rows, 0)]),
        inside=np.concatenate([portrait.inside, inside[:rows] & portrait.inside[-1]]),
        camera=camera,
    )
    return taller, rows


def _unveiled(portrait: Portrait, parsing: Parsing) -> NDArray[np.float64]:
    """(h, w) 0 where a pixel among hair is rather like the background beside it, else 1."""
    size = portrait.matte.shape[::-1]
    chances = cv2.resize(parsing.chances, size, interpolation=cv2.INTER_LINEAR)
    outside = ((portrait.matte < 20) & portrait.inside).astype(np.float32)
    colours = portrait.image.astype(np.float32) / np.float32(255)
    hair = (chances[..., Kind.HAIR] > 0.8) & (portrait.matte > 200)
    if hair.sum() < 200 or outside.sum() < 200:
        return np.ones(portrait.matte.shape)
    weighted = np.dstack([colours * outside[..., None], outside])
    soft = cv2.GaussianBlur(weighted, (0, 0), _BESIDE)
    behind = soft[..., :3] / np.maximum(soft[..., 3:], 1e-6)
    main = main_colour(colours[hair], colours[hair].mean(0))
    soft_colours = np.asarray(cv2.GaussianBlur(colours, (0, 0), 1.0), np.float32)
    places = lab(soft_colours.reshape(-1, 3))
    # the share of the background in a mix of both
    hair_place = lab(main[None])
    across = lab(behind.reshape(-1, 3)) - hair_place
    length = (across**2).sum(1)
    mixed = ((places - hair_place) * across).sum(1) / np.maximum(length, 1e-6)
    veil = ramp(mixed, *_WALL) * (length > _APART**2)
    near = soft[..., 3] > _NEAR_WALL
    veil = veil.reshape(near.shape) * near * (chances[..., Kind.HAIR] > 0.3)
    return np.asarray(1 - cv2.GaussianBlur(veil, (0, 0), 1.5), np.float64)


@lru_cache(maxsize=1)
def _fray() -> NDArray[np.float32]:
    """(rows, columns) noise of unit variance, long along strands."""
    rng = np.random.default_rng(9)
    shape = _FRAYED.rows, _FRAYED.columns
    fine, broad = (strand_noise(shape, sigma, rng) for sigma in ((0.8, 9.0), (3.0, 16.0)))
    return np.asarray((fine + broad) / np.sqrt(2), np.float32)


def _face_oval(portrait: Portrait) -> NDArray[np.float32] | None:
    face = portrait.report.chosen
    if face is None or face.points is None:
        return None
    outline = portrait.report.crop.from_photo(face.points[list(FACE_OVAL)])
    inside = np.zeros(portrait.matte.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(outline).astype(np.int32)], 1)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, 5).astype(np.float64)
    return np.asarray(ramp(within, *_OVAL_EDGE), np.float32)


def _texels(uv: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns and rows, as :func:`remap` counts them, of pixels (n, 2)."""
    x, y = uv.T.astype(np.float32) - np.float32(0.5)
    return x, y


def _own_class(kinds: Array | None, parts: NDArray[np.uint8]) -> Array:
    """(n,) chance of the class of ``parts`` (n,) among chances (n, 4)."""
    if kinds is None:
        return np.ones(len(parts))
    kind = np.array([Kind.SKIN, Kind.HAIR, Kind.CLOTH, Kind.HAIR])[parts]
    return np.asarray(kinds[np.arange(len(parts)), kind])


def _hairline(kinds: Array | None, points: Array, cosine: Array, parts: NDArray[np.uint8]) -> Array:
    """(n,) how far skin and hair may stand for each other.

    Along the hairline of the face the photo's pixel is right whatever the geometry says.
    """
    if kinds is None:
        return np.zeros(len(points))
    high = ramp(points[:, 1], *_HAIRLINE_ABOVE) * ramp(cosine, *_HAIRLINE_FACING)
    high *= ramp(points[:, 2], *_HAIRLINE_BEFORE)
    other = np.where(parts == Part.SKIN, kinds[:, Kind.HAIR], kinds[:, Kind.SKIN])
    return np.asarray(other * high * ((parts == Part.SKIN) | (parts == Part.HAIR)))
