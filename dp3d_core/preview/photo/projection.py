"""Projective texture: the photo's colour at points of the head, and its confidence.

A pixel is used where it lies well inside the matte, the surface faces the camera and is not
occluded, and the photo parses as the surface's own class: wherever the head is wider than the
person, it would otherwise take on collar, hair or the wall.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Indices, Labels, smoothstep
from dp3d_core.cameras.camera import Camera
from dp3d_core.heads.face_mesh import FACE_OVAL
from dp3d_core.meshes.mesh import unit
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.crop import CROP_SIZE, Crop, cut
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.parts import Part
from dp3d_core.preview.photo.parsing import Kind, Parsing
from dp3d_core.preview.texture.panorama import Panorama, remap
from dp3d_core.preview.texture.strands import strand_noise
from dp3d_core.preview.texture.tones import lab, lab_distance, main_colour

_GRAZING = (0.08, 0.28)
"""View-normal cosines between which the photo replaces the completion, on clothes and headwear."""
_GRAZING_HAIR = (0.08, 0.38)
"""View-normal cosines between which the photo replaces the completion on hair, by strands."""
_GRAZING_SKIN = (0.20, 0.48)
"""View-normal cosines between which the photo replaces the completion on cheek, jaw and neck.  They
are larger than elsewhere: where the template is not the person, the photo shows an ear or the hair
behind it on these smooth sides."""
_GRAZING_FRONT = (0.02, 0.20)
"""View-normal cosines between which the photo replaces the completion on eyes, nose and mouth."""
_FRONT = (0.15, 0.19)
"""Depths between which eyes, nose and mouth begin, head units."""
_MIDDLE = (0.08, 0.12)
"""Distances from the plane of symmetry between which eyes, nose and mouth end, head units."""
_CLASS = (0.35, 0.75)
"""Probabilities of the surface's own class between which a pixel comes into use."""
_HAIRLINE_ABOVE = (0.06, 0.10)
"""Heights above which skin may show hair and hair may show skin, head units."""
_HAIRLINE_FACING = (0.15, 0.4)
"""View-normal cosines above which skin may show hair and hair may show skin."""
_HAIRLINE_BEFORE = (0.0, 0.06)
"""Depths in front of which skin may show hair and hair may show skin, head units: further back the
rim of an ear would become hair."""
_BEARD_BELOW = (0.035, -0.01)
"""Heights between which hair on the face begins to be a beard, head units."""
_OVAL_FACING = (0.5, 0.75)
"""View-normal cosines above which pixels inside the face oval are used whatever their class."""
_OVAL_EDGE = (2.0, 14.0)
"""Pixels inside the outline between which the face oval, with brows, beard and glasses, begins."""
_TONE_LIGHTNESS = 0.15
"""Weight of lightness in the distance from the skin tone."""
_OTHER_TONE = (18.0, 32.0)
"""Distances from the skin tone, Lab, between which a colour ceases to be skin."""
_RIM = (2.0, 6.0)
"""Pixels inside the matte between which head and background cease to mix."""
_HAIR_RIM = (4.0, 12.0)
"""Pixels inside the matte between which hair ceases to let the background through."""
_BACKGROUND_SIGMA = 16.0
"""Blur by which the background's colour is continued into the hair, pixels."""
_MIN_BACKGROUND = 0.02
"""Least share of background nearby for hair to be compared with it."""
_VEIL = (0.35, 0.6)
"""Shares of background in a pixel's colour between which it ceases to be hair."""
_MIN_CONTRAST = 18.0
"""Least Lab distance of background and hair for the two to be separated."""
_FRAY_GRID = Panorama(192, 384)
"""Grid of the noise that frays the edge of the photo's hair into strands."""
_FRAY = 0.3
"""View-normal cosine by which strands of the photo's hair extend or end early."""
_FAR = np.float32(1e3)
"""Depth beside the head, head units."""
_CHEST_ROWS = 160
"""Greatest number of rows of the photo below the crop that are added for the bust."""
_MATTE_ROWS = 6
"""Last rows of the crop whose matte is continued into the added rows."""
_SAME_VIEW = (4.0, 14.0)
"""Angles between a ray and the photo's own ray, degrees: below the first the photo is repeated
as it is, above the second it is not."""


@dataclass(frozen=True)
class Projection:
    """The photo as a texture, projected from its own camera."""

    camera: Camera
    """Camera of the head crop, with the rows added for the bust."""
    colours: Array32
    """(h, w, 3), 0 to 1; pixels outside the matte repeat the nearest one inside."""
    confidence: Array32
    """(h, w), 1 well inside the matte, 0 outside."""
    hair_margin: Array32
    """(h, w) distance inside the matte's edge, pixels; 0 where hair lets the background through."""
    core: Array32
    """(h, w), 1 inside the matte, 0 outside and where head and background mix."""
    depth: Array32
    """(h, w) depth of the head from the camera, head units; large beside it."""
    oval: Array32 | None
    """(h, w), 1 inside the face oval; None without landmarks."""
    parsing: Parsing | None
    """Class probabilities; None if the photo was not parsed."""
    bearded: bool = False
    """Whether hair on cheeks and jaw is a beard."""
    skin_tone: Array | None = None
    """(3,) sRGB of the skin, once measured: pixels of other hues beside the face are not skin."""
    occlusion: Array32 | None = None
    """(h, w) occlusion of skin and headwear, 0 to 1, once measured (``occlusions``)."""
    landmarks: Array | None = None
    """(468, 2) landmarks (``heads.face_mesh``), pixels of the camera; None without them."""

    @classmethod
    def of(
        cls, portrait: Portrait, caster: RayCaster, parsing: Parsing | None = None
    ) -> Projection:
        """Prepare a portrait; ``caster`` holds its fitted head."""
        hair_opacity = None if parsing is None else _hair_opacity(portrait, parsing)
        landmarks = _landmarks(portrait)
        oval = None if landmarks is None else _face_oval(landmarks, portrait.matte.shape)
        portrait, added_rows = _with_chest(portrait)
        inside_matte = ((portrait.matte > 200) & portrait.inside).astype(np.uint8)
        if inside_matte.sum() < 100:
            inside_matte[:] = 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        padded = cv2.copyMakeBorder(inside_matte, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
        core = cv2.erode(padded, kernel)[2:-2, 2:-2]
        core[~portrait.inside] = 0
        # pixels outside the matte repeat the nearest one inside
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
        # no confidence at the crop's border: its last row would run down a chest in stripes
        bordered = cv2.copyMakeBorder(
            portrait.inside.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=[0]
        )
        to_border = cv2.distanceTransform(bordered, cv2.DIST_L2, 5)[1:-1, 1:-1] - 1
        core[[0, -1]] = core[:, [0, -1]] = 0
        hair_margin = distance
        if hair_opacity is not None:
            hair_margin = distance * np.pad(
                hair_opacity, ((0, added_rows), (0, 0)), constant_values=1
            )
        confidence = (
            np.minimum(
                smoothstep(distance.astype(np.float64), *_RIM), np.clip(to_border / 12, 0, 1)
            )
            * core
        )
        return cls(
            portrait.camera,
            colours,
            confidence.astype(np.float32),
            np.asarray(hair_margin, np.float32),
            core.astype(np.float32),
            np.minimum(caster.depth(portrait.camera), _FAR),
            None if oval is None else np.pad(oval, ((0, added_rows), (0, 0))),
            parsing,
            landmarks=landmarks,
        )

    def sample(self, points: Array, normals: Array, parts: Labels) -> tuple[Array, Array]:
        """Colours (n, 3) and confidence (n,), 0 to 1, of surface points.

        Args:
            points: (n, 3), head units.
            normals: (n, 3) unit normals.
            parts: (n,) :class:`Part`; the photo is used where it parses as the same class.

        """
        cosine = self.cosine(points, normals)
        facing = np.flatnonzero(cosine > _GRAZING_FRONT[0])
        colours, confidence = np.zeros_like(points), np.zeros(len(points))
        colours[facing], confidence[facing] = self._sample_facing(
            points[facing], cosine[facing], parts[facing]
        )
        return colours, confidence

    def colours_at(self, points: Array) -> Array:
        """(n, 3) colours of the pixels onto which points (n, 3) project, ignoring visibility."""
        x, y, _ = self._place(points)
        return np.clip(remap(self.colours, x, y, cv2.INTER_CUBIC), 0, 1)

    def class_probability(self, points: Array, parts: Labels) -> Array:
        """(n,) probability of the class of ``parts`` (n,) at the pixels of points (n, 3)."""
        return _own_class(self._probabilities_at(self.camera.project(points)[0]), parts)

    def _probabilities_at(self, uv: Array) -> Array | None:
        """(n, 4) class probabilities at pixels (n, 2); None if the photo was not parsed."""
        return None if self.parsing is None else self.parsing.at(uv, self.camera.width)

    def _sample_facing(self, points: Array, cosine: Array, parts: Labels) -> tuple[Array, Array]:
        """Sample points that face the camera; ``cosine`` (n,) is that of :meth:`cosine`."""
        uv, depth = self.camera.project(points)
        x, y = _texels(uv)
        colours = remap(self.colours, x, y, cv2.INTER_CUBIC)
        confidence = remap(self.confidence, x, y, cv2.INTER_LINEAR)[:, 0]
        rim = smoothstep(remap(self.hair_margin, x, y, cv2.INTER_LINEAR)[:, 0], *_HAIR_RIM)
        confidence = np.where(parts == Part.HAIR, np.minimum(confidence, rim), confidence)
        hair = np.flatnonzero(parts == Part.HAIR)
        frayed_cosine = cosine.copy()
        frayed_cosine[hair] += _FRAY * _FRAY_GRID.look_up(_fray(), points[hair])[:, 0]
        weight = smoothstep(frayed_cosine, *_GRAZING)
        weight[hair] = smoothstep(frayed_cosine[hair], *_GRAZING_HAIR)
        # features of the face are small: even a grazing pixel is better than a completed one
        front = smoothstep(points[:, 2], *_FRONT) * (1 - smoothstep(np.abs(points[:, 0]), *_MIDDLE))
        skin = parts == Part.SKIN
        weight += (smoothstep(cosine, *_GRAZING_SKIN) - weight) * skin
        weight = np.maximum(weight, front * smoothstep(cosine, *_GRAZING_FRONT))
        probabilities = self._probabilities_at(uv)
        own_class = _own_class(probabilities, parts) + _hairline(
            probabilities, points, cosine, parts
        )
        if self.bearded and probabilities is not None:
            own_class += (
                probabilities[:, Kind.HAIR] * skin * smoothstep(points[:, 1], *_BEARD_BELOW)
            )
        own_class = smoothstep(own_class, *_CLASS)
        if self.oval is not None:
            in_oval = skin * remap(self.oval, x, y, cv2.INTER_LINEAR)[:, 0]
            in_oval *= smoothstep(cosine, *_OVAL_FACING)
            own_class = np.maximum(own_class, in_oval)
        else:
            in_oval = np.zeros(len(points))
        if self.skin_tone is not None:
            other_tone = smoothstep(
                lab_distance(colours, self.skin_tone, _TONE_LIGHTNESS), *_OTHER_TONE
            )
            own_class = own_class * (1 - other_tone * skin * (1 - in_oval))
        if self.occlusion is not None:
            occludable = skin | (parts == Part.HAT)
            own_class = own_class * (
                1 - occludable * remap(self.occlusion, x, y, cv2.INTER_LINEAR)[:, 0]
            )
        return np.clip(colours, 0, 1), confidence * weight * own_class * self._visibility(
            x, y, depth
        )

    def repeat(self, points: Array, directions: Array) -> tuple[Indices, Array, Array]:
        """Repeat the photo for rays that nearly coincide with its own.

        Args:
            points: (n, 3) hit by the rays, head units.
            directions: (n, 3) unit directions of the rays.

        Returns:
            Indices (k,) of the rays concerned, their colours (k, 3) and confidence (k,).

        """
        from_camera = points - self.camera.position
        alignment = np.einsum("ni,ni->n", unit(from_camera), directions)
        angle = np.degrees(np.arccos(np.clip(alignment, -1, 1)))
        near = np.flatnonzero(angle < _SAME_VIEW[1])
        x, y, depth = self._place(points[near])
        colours = remap(self.colours, x, y, cv2.INTER_CUBIC)
        confidence = remap(self.core, x, y, cv2.INTER_LINEAR)[:, 0] * self._visibility(x, y, depth)
        return near, np.clip(colours, 0, 1), confidence * (1 - smoothstep(angle[near], *_SAME_VIEW))

    def _place(self, points: Array) -> tuple[Array32, Array32, Array]:
        """Columns, rows (as in :func:`remap`) and depths of points (n, 3) in the photo."""
        uv, depth = self.camera.project(points)
        return *_texels(uv), depth

    def _visibility(self, x: Array32, y: Array32, depth: Array) -> Array:
        """(n,) visibility, 0 behind another part of the head (nose over cheek, chin over neck)."""
        visible_depth = remap(self.depth, x, y, cv2.INTER_NEAREST)[:, 0]
        return 1 - smoothstep(depth - visible_depth, 0.012, 0.03)

    def cosine(self, points: Array, normals: Array) -> Array:
        """(n,) cosine between normals (n, 3) and the directions of points (n, 3) to the camera."""
        to_camera = self.camera.position - points
        return np.asarray(np.einsum("ni,ni->n", unit(to_camera), normals))


def _with_chest(portrait: Portrait) -> tuple[Portrait, int]:
    """The portrait with rows of the photo below its crop, and their number.

    A bust extends a little below the crop; the matte of the crop's last rows is continued.
    """
    crop, side = portrait.report.crop, portrait.camera.width
    if side != CROP_SIZE or not portrait.opaque or crop.y + crop.side >= portrait.report.height:
        return portrait, 0
    image, inside = cut(portrait.photo, Crop(crop.x, crop.y + crop.side, crop.side))
    rows = min(_CHEST_ROWS, int(inside.any(1).sum()))
    if not rows:
        return portrait, 0
    last_matte = portrait.matte[-_MATTE_ROWS:].min(0)
    camera = Camera(portrait.camera.c2w, portrait.camera.K, side, side + rows)
    taller = replace(
        portrait,
        image=np.concatenate([portrait.image, image[:rows]]),
        matte=np.concatenate([portrait.matte, np.repeat(last_matte[None], rows, 0)]),
        inside=np.concatenate([portrait.inside, inside[:rows] & portrait.inside[-1]]),
        camera=camera,
    )
    return taller, rows


def _hair_opacity(portrait: Portrait, parsing: Parsing) -> Array:
    """(h, w) 0 where a pixel in the hair has the colour of the background beside it, else 1."""
    size = portrait.matte.shape[::-1]
    probabilities = cv2.resize(parsing.probabilities, size, interpolation=cv2.INTER_LINEAR)
    outside = ((portrait.matte < 20) & portrait.inside).astype(np.float32)
    colours = portrait.image.astype(np.float32) / np.float32(255)
    hair = (probabilities[..., Kind.HAIR] > 0.8) & (portrait.matte > 200)
    if hair.sum() < 200 or outside.sum() < 200:
        return np.ones(portrait.matte.shape)
    weighted = np.dstack([colours * outside[..., None], outside])
    soft = cv2.GaussianBlur(weighted, (0, 0), _BACKGROUND_SIGMA)
    behind = soft[..., :3] / np.maximum(soft[..., 3:], 1e-6)
    hair_colour = main_colour(colours[hair], colours[hair].mean(0))
    soft_colours = np.asarray(cv2.GaussianBlur(colours, (0, 0), 1.0), np.float32)
    pixels_lab = lab(soft_colours.reshape(-1, 3))
    # share of the background in a mixture with the hair's main colour
    hair_lab = lab(hair_colour[None])
    axis = lab(behind.reshape(-1, 3)) - hair_lab
    length = (axis**2).sum(1)
    background_share = ((pixels_lab - hair_lab) * axis).sum(1) / np.maximum(length, 1e-6)
    veil = smoothstep(background_share, *_VEIL) * (length > _MIN_CONTRAST**2)
    near = soft[..., 3] > _MIN_BACKGROUND
    veil = veil.reshape(near.shape) * near * (probabilities[..., Kind.HAIR] > 0.3)
    return np.asarray(1 - cv2.GaussianBlur(veil, (0, 0), 1.5), np.float64)


@lru_cache(maxsize=1)
def _fray() -> Array32:
    """(rows, columns) noise of unit variance, elongated along strands."""
    rng = np.random.default_rng(9)
    shape = _FRAY_GRID.rows, _FRAY_GRID.columns
    fine, broad = (strand_noise(shape, sigma, rng) for sigma in ((0.8, 9.0), (3.0, 16.0)))
    return np.asarray((fine + broad) / np.sqrt(2), np.float32)


def _landmarks(portrait: Portrait) -> Array | None:
    """(468, 2) landmarks in pixels of the crop; None without them."""
    face = portrait.report.chosen
    if face is None or face.points is None:
        return None
    return np.asarray(portrait.report.crop.from_photo(face.points))


def _face_oval(landmarks: Array, shape: tuple[int, ...]) -> Array32:
    """(h, w) 1 inside the outline of the face's landmarks (468, 2), 0 outside."""
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(landmarks[list(FACE_OVAL)]).astype(np.int32)], 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5).astype(np.float64)
    return np.asarray(smoothstep(distance, *_OVAL_EDGE), np.float32)


def _texels(uv: Array) -> tuple[Array32, Array32]:
    """Columns and rows, as in :func:`remap`, of pixels (n, 2)."""
    x, y = uv.T.astype(np.float32) - np.float32(0.5)
    return x, y


def _own_class(probabilities: Array | None, parts: Labels) -> Array:
    """(n,) probability of the class of ``parts`` (n,), from class probabilities (n, 4)."""
    if probabilities is None:
        return np.ones(len(parts))
    kind = np.array([Kind.SKIN, Kind.HAIR, Kind.CLOTH, Kind.HAIR])[parts]
    return np.asarray(probabilities[np.arange(len(parts)), kind])


def _hairline(probabilities: Array | None, points: Array, cosine: Array, parts: Labels) -> Array:
    """(n,) probability of the other class of skin and hair, where either may show the other.

    Along the hairline of the face the photo is more reliable than the geometry.
    """
    if probabilities is None:
        return np.zeros(len(points))
    allowed = smoothstep(points[:, 1], *_HAIRLINE_ABOVE) * smoothstep(cosine, *_HAIRLINE_FACING)
    allowed *= smoothstep(points[:, 2], *_HAIRLINE_BEFORE)
    other_class = np.where(
        parts == Part.SKIN, probabilities[:, Kind.HAIR], probabilities[:, Kind.SKIN]
    )
    return np.asarray(other_class * allowed * ((parts == Part.SKIN) | (parts == Part.HAIR)))
