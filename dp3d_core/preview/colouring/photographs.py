"""The photos of a person as one texture: each point from the photo that shows it best.

Exposure, white balance and light differ between photos.  Each further photo is multiplied by a
smooth field over the head that brings it to the portrait's, measured where both show the head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Labels, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.meshes.raycast import Hits
from dp3d_core.preview.colouring.completion import PANORAMA
from dp3d_core.preview.parts import Part
from dp3d_core.preview.photo.projection import Projection
from dp3d_core.preview.texture.continuation import fade_to, pull_push
from dp3d_core.preview.texture.panorama import wrap

_EAR_SIDE_VIEW = (0.3, 0.5)
"""Sines of the yaw between which the photo begins to show an ear from the side."""
TURNED_DEG = 22.0
"""Absolute yaw from which a photo does not show the far half of a face well, degrees."""
_SEAM_MM = 5.0
"""Half the width of the seam between both halves of a face, millimetres."""
_SHARPNESS = 5.0
"""Exponent of quality in the weights of photos: a mean of two photos would blur."""
_PORTRAIT = 1.25
"""Factor on the quality of the portrait, whose face is the best aligned."""
_RATIO_LIMIT = 1.0
"""Greatest log ratio of the light of two photos."""
_RATIO_SIGMA = 14.0
"""Blur of the ratio of light, texels of the panorama."""
_OVERLAP = (0.25, 0.7)
"""Confidences of both photos between which a texel's ratio begins to count."""
_MIN_TEXELS = 150
"""Least weight of texels from which a ratio is measured."""
_KNOWN = 0.5
"""Weight from which a texel's ratio is known."""
_HALF_LIFE = 60.0
"""Distance from the overlap at which the ratio is halfway to its mean, texels."""
_DARKEST = 0.03
"""Floor of colours before their logarithm is taken, sRGB."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """One photo as a texture.

    Attributes:
        projection: the photo, projected from its camera.
        relight: (r, c, 3) log factors to the portrait's light, on the panorama; None for the
            portrait.

    """

    projection: Projection
    relight: Array32 | None = None

    @cached_property
    def far_side(self) -> float:
        """-1 or 1, side of the head that the photo is turned away from; 0 from front and back."""
        yaw = self.projection.camera.yaw_pitch_deg[0]
        return 0.0 if not TURNED_DEG <= abs(yaw) <= 180 - TURNED_DEG else -float(np.sign(yaw))

    def sample(
        self, points: Array, normals: Array, parts: Labels, ear: Array
    ) -> tuple[Array, Array, Array]:
        """Colours (k, 3) in the portrait's light, confidence (k,) and quality (k,) of points.

        Args:
            points: (k, 3), head units.
            normals: (k, 3) unit normals.
            parts: (k,) :class:`Part`.
            ear: (k,) nearness to an ear, 0 to 1.

        """
        colours, confidence = self.projection.sample(points, normals, parts)
        if self.far_side:
            far = smoothstep(points[:, 0] * self.far_side, -_SEAM_MM * MM, _SEAM_MM * MM)
            confidence = confidence * (1 - far * (parts == Part.SKIN))
        confidence = confidence * self._ear_visibility(points, ear)
        if self.relight is None:
            quality = _PORTRAIT * confidence
        else:
            colours = np.clip(colours * np.exp(PANORAMA.look_up(self.relight, points)), 0, 1)
            quality = confidence
        cosine = np.clip(self.projection.cosine(points, normals), 0.05, 1)
        return colours, confidence, quality * cosine

    def _ear_visibility(self, points: Array, ear: Array) -> Array:
        """(k,) visibility of ears, 0 if the photo shows them edge-on: those are completed."""
        eye = self.projection.camera.position
        side_view = np.sign(points[:, 0]) * eye[0] / np.linalg.norm(eye)
        return np.asarray(1 - ear * (1 - smoothstep(side_view, *_EAR_SIDE_VIEW)))


@dataclass(frozen=True, eq=False)
class Photographs:
    """All photos of a person; the first is the portrait."""

    photos: tuple[Photograph, ...]

    def sample(
        self, points: Array, normals: Array, parts: Labels, ear: Array
    ) -> tuple[Array, Array]:
        """Colours (k, 3) and confidence (k,) of points; arguments as of ``Photograph.sample``."""
        if len(self.photos) == 1:
            return self.photos[0].sample(points, normals, parts, ear)[:2]
        sums, weights = np.zeros_like(points), np.zeros(len(points))
        unseen = np.ones(len(points))
        for photo in self.photos:
            colours, confidence, quality = photo.sample(points, normals, parts, ear)
            weight = quality**_SHARPNESS
            sums += colours * weight[:, None]
            weights += weight
            unseen *= 1 - np.clip(confidence, 0, 1)
        return sums / np.maximum(weights, 1e-12)[:, None], 1 - unseen

    def with_photo(
        self, projection: Projection, hits: Hits, parts: Labels, ear: Array
    ) -> Photographs:
        """Add a photo, brought to the light of the others.

        Args:
            projection: the photo.
            hits: ray hits, at most one per texel of the panorama.
            parts: (k,) their :class:`Part`.
            ear: (k,) their nearness to an ear.

        """
        new = Photograph(projection)
        own, own_confidence = self.sample(hits.points, hits.normals, parts, ear)
        other, other_confidence, _ = new.sample(hits.points, hits.normals, parts, ear)
        relight = _light_ratio(hits, parts, own, own_confidence, other, other_confidence)
        return Photographs((*self.photos, replace(new, relight=relight)))


def _light_ratio(
    hits: Hits,
    parts: Labels,
    own: Array,
    own_confidence: Array,
    other: Array,
    other_confidence: Array,
) -> Array32:
    """(r, c, 3) log ratio of colours ``own`` to ``other`` (k, 3), smooth over the panorama.

    Where both are confident it is measured; beyond, it tends to the mean ratio of the overlap, or
    without overlap to that of the main colours of each surface.
    """
    both = smoothstep(np.minimum(own_confidence, other_confidence), *_OVERLAP)
    ratio = np.log(np.maximum(own, _DARKEST) / np.maximum(other, _DARKEST))
    ratio = ratio.clip(-_RATIO_LIMIT, _RATIO_LIMIT)
    if both.sum() > _MIN_TEXELS:
        mean = np.median(ratio[both > 0.5], axis=0) if (both > 0.5).any() else np.zeros(3)
    else:
        mean = _ratio_of_surfaces(parts, own, own_confidence, other, other_confidence)
    shape = PANORAMA.rows, PANORAMA.columns
    values, weights = np.zeros((shape[0] * shape[1], 3), np.float32), np.zeros(shape, np.float32)
    values[hits.ray], weights.ravel()[hits.ray] = ratio, both
    smooth = pull_push(values.reshape(*shape, 3), weights, np.asarray(mean, np.float32))
    smooth = fade_to(smooth, weights > _KNOWN, np.asarray(mean, np.float32), _HALF_LIFE)
    soft = cv2.GaussianBlur(wrap(smooth, 64), (0, 0), _RATIO_SIGMA)[:, 64:-64]
    return np.asarray(soft, np.float32)


def _ratio_of_surfaces(
    parts: Labels, own: Array, own_confidence: Array, other: Array, other_confidence: Array
) -> Array:
    """(3,) log ratio of the median colours of the surfaces that both photos show."""
    ratios, weights = [np.zeros(3)], [float(_MIN_TEXELS)]
    for kind in Part:
        in_own = (parts == kind) & (own_confidence > 0.7)
        in_other = (parts == kind) & (other_confidence > 0.7)
        if min(in_own.sum(), in_other.sum()) > _MIN_TEXELS:
            medians = (np.median(own[in_own], axis=0), np.median(other[in_other], axis=0))
            ratios.append(
                np.log(np.maximum(medians[0], _DARKEST) / np.maximum(medians[1], _DARKEST))
            )
            weights.append(float(min(in_own.sum(), in_other.sum())))
    mean = np.average(ratios, axis=0, weights=weights)
    return np.asarray(mean.clip(-_RATIO_LIMIT, _RATIO_LIMIT))
