"""A synthetic person: the template head with painted features, lit and rendered.

Its geometry and camera are known exactly, and no one's rights are in it.
"""

from __future__ import annotations

import numpy as np

from dp3d_core.cameras import Camera
from dp3d_core.preview.geometry import (
    EYE_HEIGHT,
    EYE_SPREAD,
    HEAD_SCALE,
    MOUTH_HEIGHT,
    Mesh,
    Part,
    template_head,
)
from dp3d_core.raycast import Hits, RayCaster, Render, render

SKIN, HAIR, SHIRT = np.array([[0.80, 0.58, 0.46], [0.23, 0.14, 0.08], [0.16, 0.29, 0.52]])
LIPS, IRIS, WHITE, BROW = np.array(
    [[0.66, 0.27, 0.26], [0.20, 0.33, 0.45], [0.93, 0.92, 0.90], [0.20, 0.12, 0.07]]
)
LIGHT = np.array([0.35, 0.45, 0.82])


def head_mesh() -> Mesh:
    """The template in head space."""
    template = template_head()
    return template.with_vertices(template.vertices * HEAD_SCALE)


class PaintedHead:
    """Renders the painted template from any camera."""

    def __init__(self) -> None:
        self.mesh = head_mesh()
        self.caster = RayCaster(self.mesh)

    def render(self, camera: Camera) -> Render:
        return render(self.caster, camera, self.shade)

    def shade(self, hits: Hits) -> np.ndarray:
        corner = hits.weights.argmax(1)
        part = self.mesh.parts[self.mesh.faces[hits.face, corner]]
        colour = np.stack([SKIN, HAIR, SHIRT])[part]
        p = hits.points / HEAD_SCALE
        x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
        face = (part == Part.SKIN) & (z > 0.1)

        def paint(where: np.ndarray, tone: np.ndarray) -> None:
            colour[where & face] = tone

        paint(np.hypot(x / 0.046, (y - MOUTH_HEIGHT) / 0.022) < 1, LIPS)
        eye = (x - EYE_SPREAD, y - EYE_HEIGHT)
        paint(np.hypot(eye[0] / 0.034, eye[1] / 0.016) < 1, WHITE)
        paint(np.hypot(*eye) < 0.014, IRIS)
        paint(np.hypot(*eye) < 0.006, np.zeros(3))
        paint(np.hypot((x - EYE_SPREAD) / 0.045, (y - EYE_HEIGHT - 0.045) / 0.008) < 1, BROW)
        paint(np.hypot((x - 0.014) / 0.008, (y + 0.038) / 0.005) < 1, SKIN * 0.4)  # nostrils
        strands = 1 + 0.25 * np.sin(hits.points[:, 0] * 300) * (part == Part.HAIR)
        light = 0.45 + 0.55 * np.clip(hits.normals @ LIGHT, 0, 1)
        return np.clip(colour * light[:, None] * strands[:, None], 0, 1)
