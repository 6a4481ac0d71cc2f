"""The photo as a texture: what it shows of a point of the head, and how far that is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.heads.fields import ramp
from dp3d_core.landmarks import FACE_OVAL
from dp3d_core.mesh import unit
from dp3d_core.portrait import Portrait
from dp3d_core.preview.parts import Part
from dp3d_core.preview.skin import SkinTones
from dp3d_core.raycast import RayCaster

Array = NDArray[np.float64]

_GRAZING = (0.08, 0.28)
"""Cosine between the view ray and the normal: below the first the photo is not used, above
the second it is used alone."""
_GRAZING_SKIN = (0.20, 0.45)
"""The same on cheek, jaw and neck: their sides are smooth, and whatever the photo shows there
(an ear, the hair behind it) belongs to another place wherever the template is not the person."""
_GRAZING_FRONT = (0.02, 0.20)
_FRONT = (0.15, 0.19)
_MIDDLE = (0.08, 0.12)
"""The same around eyes, nose and mouth: what lies before the second z and within the first x,
head units."""
SIDE_OF_FACE = (0.70, 0.90)
"""The same cosine: below the first a point of the face is on its side, above the second not."""
_JAW = (0.0, 0.06)
"""Height, head units: below the first lie jaw and neck, above the second temples."""
_BEFORE_EAR, _ABOVE_CHIN = (0.0, 0.03), (-0.20, -0.16)
"""z and y, head units, of the cheeks."""
_OVAL_EDGE = (4.0, 20.0)
"""Pixels of the crop inside the oval of the face: what cheeks are believed."""
_FAR = np.float32(1e3)
"""Head units, where there is no head."""
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
    solid: NDArray[np.float32]
    """(h, w), 1 inside the matte, 0 outside and where head and background mix."""
    depth: NDArray[np.float32]
    """(h, w) depth of the head seen from the camera, far away beside it."""
    oval: NDArray[np.float32] | None
    """(h, w), 1 inside the outline of the face's landmarks; None without."""

    @classmethod
    def of(cls, portrait: Portrait, caster: RayCaster) -> Projection:
        """Prepare a portrait whose head is in ``caster``."""
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
        outside = cv2.distanceTransform(portrait.inside.astype(np.uint8), cv2.DIST_L2, 5)
        trusted = np.clip(np.minimum(distance / 4, outside / 12), 0, 1) * core
        return cls(
            portrait.camera,
            colours,
            trusted.astype(np.float32),
            core.astype(np.float32),
            np.minimum(caster.depth(portrait.camera), _FAR),
            _face_oval(portrait),
        )

    def sample(
        self, points: Array, normals: Array, skin: SkinTones | None = None, parts: Any = None
    ) -> tuple[Array, Array]:
        """Colours (n, 3) and trust (n,), 0 to 1, of points with their normals.

        With skin tones, what the photo shows on the side of the jaw or neck (``parts``, (n,))
        is believed only where it has the colour of the face: wherever the template is wider
        than the person, it would be collar, hair or the wall.
        """
        cosine = self.cosine(points, normals)
        facing = np.flatnonzero(cosine > _GRAZING_FRONT[0])
        colours, trust = np.zeros_like(points), np.zeros(len(points))
        colours[facing], trust[facing] = self._sample_facing(
            points[facing], cosine[facing], skin, None if parts is None else parts[facing]
        )
        return colours, trust

    def colours_at(self, points: Array) -> Array:
        """(n, 3) what the photo shows in the direction of points, whatever hides them."""
        x, y, _ = self._place(points)
        return np.clip(remap(self.colours, x, y, cv2.INTER_CUBIC), 0, 1)

    def _sample_facing(
        self, points: Array, cosine: Array, skin: SkinTones | None, parts: Any
    ) -> tuple[Array, Array]:
        x, y, depth = self._place(points)
        colours = remap(self.colours, x, y, cv2.INTER_CUBIC)
        trust = remap(self.trusted, x, y, cv2.INTER_LINEAR)[:, 0]
        facing = ramp(cosine, *_GRAZING)
        # the folds of the face are small, and nothing is known better than the photo's pixel
        front = ramp(points[:, 2], *_FRONT) * (1 - ramp(np.abs(points[:, 0]), *_MIDDLE))
        if skin is not None:
            # above the eyes hair frames the face, and what the photo shows is right
            lower = (parts == Part.SKIN) * (1 - ramp(points[:, 1], *_JAW))
            facing += (ramp(cosine, *_GRAZING_SKIN) - facing) * lower
        facing = np.maximum(facing, front * ramp(cosine, *_GRAZING_FRONT))
        if skin is not None:
            side = lower * (1 - ramp(cosine, *SIDE_OF_FACE)) * (1 - front)
            asked = side > 0
            trust[asked] *= 1 - side[asked] * (1 - skin.likeness(colours[asked]))
            if self.oval is not None:
                # what lies beside the oval is no cheek but an ear or hair further back
                cheek = lower * ramp(points[:, 2], *_BEFORE_EAR)
                cheek *= ramp(points[:, 1], *_ABOVE_CHIN)
                trust *= 1 - cheek * (1 - remap(self.oval, x, y, cv2.INTER_LINEAR)[:, 0])
        return np.clip(colours, 0, 1), trust * facing * self._unhidden(x, y, depth)

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
        x, y = uv.T.astype(np.float32) - np.float32(0.5)
        return x, y, depth

    def _unhidden(self, x: NDArray[np.float32], y: NDArray[np.float32], depth: Array) -> Array:
        """(n,) 0 behind another part of the head (nose before cheek, chin before neck)."""
        first = remap(self.depth, x, y, cv2.INTER_NEAREST)[:, 0]
        return 1 - ramp(depth - first, 0.012, 0.03)

    def cosine(self, points: Array, normals: Array) -> Array:
        """(n,) cosine between the normals and the rays back to the camera."""
        towards = self.camera.position - points
        return np.asarray(np.einsum("ni,ni->n", unit(towards), normals))


def _face_oval(portrait: Portrait) -> NDArray[np.float32] | None:
    face = portrait.report.chosen
    if face is None or face.points is None:
        return None
    outline = portrait.report.crop.from_photo(face.points[list(FACE_OVAL)])
    inside = np.zeros(portrait.matte.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(outline).astype(np.int32)], 1)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, 5).astype(np.float64)
    return np.asarray(ramp(within, *_OVAL_EDGE), np.float32)


def remap(image: NDArray[np.float32], x: NDArray[Any], y: NDArray[Any], how: int) -> Array:
    """(n, c) values of an image (h, w[, c]) at n places; OpenCV takes at most 32767 in a row."""
    n, row = x.size, 4096
    rows = max(1, -(-n // row))
    maps = []
    for values in (x, y):
        padded = np.zeros(rows * row, np.float32)
        padded[:n] = values
        maps.append(padded.reshape(rows, row))
    sampled = cv2.remap(image, maps[0], maps[1], how, borderMode=cv2.BORDER_REPLICATE)
    return sampled.reshape(rows * row, -1)[:n].astype(np.float64)
