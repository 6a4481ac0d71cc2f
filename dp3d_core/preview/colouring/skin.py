"""Skin of a head in the photo: samples of visible skin, and the tones of face and neck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array, Array32, Indices, Mask, Regions
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.preview.colouring.head_light import HeadLight
from dp3d_core.preview.parts import Part
from dp3d_core.preview.photo.projection import Projection
from dp3d_core.preview.texture.tones import skin_tone

_DEFAULT_SKIN = np.array([0.72, 0.56, 0.47])
"""sRGB of skin that the photo does not show."""
_BRIGHTEST_SKIN = 0.93
"""Greatest channel of a skin tone, sRGB."""
_MIN_SKIN = 120
"""Least number of visible skin vertices from which brightness is measured."""
_DEFAULT_NECK = 0.9
"""Brightness of an unseen neck relative to the face."""
_NECK_SHADE = (0.7, 1.05)
"""Range of the brightness of a visible neck relative to the face."""


@dataclass(frozen=True, eq=False)
class VisibleSkin:
    """Skin of a head where the photo shows it.

    Attributes:
        mesh: the head.
        region: (n,) :class:`Region` of the bare head's vertices, the first of ``mesh``.
        projection: the photo as a texture.

    """

    mesh: Mesh
    region: Regions
    projection: Projection

    def sample(
        self, vertices: Indices, min_confidence: float, min_probability: float
    ) -> tuple[Array, Mask]:
        """Sample the photo at vertices (k,) of the mesh.

        Args:
            vertices: (k,) indices.
            min_confidence: confidence of the projection that a sample must exceed.
            min_probability: probability of skin that a sample must exceed.

        Returns:
            Colours (k, 3) with the photo's light, and whether (k,) the photo shows skin there.

        """
        points, normals = self.mesh.vertices[vertices], self.mesh.normals[vertices]
        parts = np.full(len(vertices), Part.SKIN, np.uint8)
        colours, confidence = self.projection.sample(points, normals, parts)
        is_skin = self.projection.class_probability(points, parts) > min_probability
        return colours, (confidence > min_confidence) & is_skin

    def face_tone(self, light: HeadLight) -> Array32:
        """(3,) sRGB of the skin of cheeks and forehead without light."""
        face = np.flatnonzero(np.isin(self.region, (Region.FACE, Region.FOREHEAD)))
        x, y, z = (self.mesh.vertices[face] / MM).T
        x = np.abs(x)
        cheek = (x > 18) & (x < 50) & (y < 4) & (y > -28)
        forehead = (x < 34) & (y > 50) & (y < 68)
        tones = []
        # cheeks blush: the forehead counts twice
        for zone in (forehead, forehead, cheek):
            vertices = face[zone & (z > 35)]
            colours, reliable = self.sample(vertices, 0.8, 0.8)
            tones.append(skin_tone(colours[reliable] / light.applied[vertices[reliable]]))
        known = [tone for tone in tones if tone is not None]
        if not known:
            return np.asarray(_DEFAULT_SKIN, np.float32)
        # in strong light and shade, unseen skin is as dark as the face on average
        colours, reliable = self._unlit(face, light)
        tone = np.mean(known, axis=0)
        if reliable.sum() > _MIN_SKIN:
            tone = (tone + np.median(colours[reliable], axis=0)) / 2
        tone = tone * min(1.0, _BRIGHTEST_SKIN / max(float(tone.max()), 1e-3))
        return np.asarray(tone, np.float32)

    def neck_tone(self, light: HeadLight, face_tone: Array32) -> Array32:
        """(3,) sRGB of the skin below the chin without light, near ``face_tone`` (3,)."""
        lower = np.flatnonzero(np.isin(self.region, (Region.NECK, Region.TORSO)))
        colours, reliable = self._unlit(lower, light)
        if reliable.sum() < _MIN_SKIN:
            return np.asarray(face_tone * _DEFAULT_NECK, np.float32)
        tone = (np.median(colours[reliable], axis=0) + face_tone) / 2
        # a neck looks darker than it is in the shadow of the chin
        ratio = float(tone.mean() / max(float(face_tone.mean()), 1e-3))
        return np.asarray(tone * np.clip(ratio, *_NECK_SHADE) / max(ratio, 1e-3), np.float32)

    def _unlit(self, vertices: Indices, light: HeadLight) -> tuple[Array, Mask]:
        """Colours (k, 3) without light of vertices (k,), and whether (k,) the photo shows skin."""
        colours, reliable = self.sample(vertices, 0.7, 0.8)
        return colours / light.removed[vertices], reliable
