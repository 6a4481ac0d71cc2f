"""A synthetic person with known geometry and camera, free of rights of others."""

from __future__ import annotations

from dp3d_core.cameras.camera import Camera
from dp3d_core.meshes.raycast import Render, render
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import neutral_subject


class PaintedHead:
    """Renders the neutral subject from any camera."""

    def __init__(self) -> None:
        self.head = SyntheticHead(neutral_subject())
        self.mesh = self.head.head.mesh
        self.caster = self.head.caster

    def render(self, camera: Camera) -> Render:
        return render(self.caster, camera, self.head.shader)
