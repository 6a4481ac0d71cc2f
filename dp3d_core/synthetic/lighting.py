"""Lighting of a synthetic head: sky and lamps, baked as irradiance of the vertices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster


@dataclass(frozen=True)
class Lamp:
    """A distant light."""

    direction: tuple[float, float, float]
    """Unit vector towards the lamp, head space."""
    colour: tuple[float, float, float]
    """Linear irradiance of a surface that faces the lamp."""
    spread_deg: float = 6.0
    """Half the lamp's angular size, degrees; 0 casts hard shadows."""


@dataclass(frozen=True)
class Lighting:
    """A sky and lamps."""

    sky: tuple[float, float, float] = (0.55, 0.57, 0.62)
    """Linear radiance from straight above."""
    ground: tuple[float, float, float] = (0.34, 0.31, 0.28)
    """Linear radiance from straight below."""
    lamps: tuple[Lamp, ...] = field(
        default_factory=lambda: (
            Lamp((0.45, 0.55, 0.70), (0.55, 0.52, 0.48)),
            Lamp((-0.80, 0.10, 0.55), (0.16, 0.17, 0.20), 20.0),
        )
    )

    def to_dict(self) -> dict[str, Any]:
        """The lighting as JSON-ready values."""
        return {
            "sky": list(self.sky),
            "ground": list(self.ground),
            "lamps": [
                {
                    "direction": list(lamp.direction),
                    "colour": list(lamp.colour),
                    "spread_deg": lamp.spread_deg,
                }
                for lamp in self.lamps
            ],
        }


NEUTRAL_LIGHT = Lighting(
    (0.62, 0.62, 0.62), (0.45, 0.45, 0.45), (Lamp((0.0, 0.35, 0.94), (0.42, 0.42, 0.42), 30.0),)
)
"""Soft frontal light, for condition images."""


def bake_irradiance(mesh: Mesh, lighting: Lighting, caster: RayCaster, rays: int = 24) -> Array:
    """(n, 3) linear irradiance of the vertices: occluded sky, and lamps with soft shadows.

    Args:
        mesh: the head.
        lighting: sky and lamps.
        caster: ray caster of the mesh.
        rays: half the number of directions in which the sky is sampled.

    """
    normals = mesh.normals
    # rays start off the surface, or it would shadow itself
    origins = mesh.vertices + normals * 0.003
    rng = np.random.default_rng(5)
    irradiance = np.zeros((len(normals), 3))
    weight = np.zeros((len(normals), 1))
    sky, ground = np.asarray(lighting.sky), np.asarray(lighting.ground)
    # one Fibonacci sphere of directions for all vertices, which avoids noise between neighbours
    k = np.arange(2 * rays) + 0.5
    y = 1 - k / rays
    longitude = np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - y * y)
    for direction in np.stack([ring * np.cos(longitude), y, ring * np.sin(longitude)], -1):
        cosine = np.clip(normals @ direction, 0, None)[:, None]
        facing = cosine[:, 0] > 0
        visibility = np.zeros((len(normals), 1))
        visibility[facing, 0] = ~caster.blocked(
            origins[facing], np.tile(direction, (int(facing.sum()), 1))
        )
        tint = ground + (sky - ground) * (0.5 + 0.5 * direction[1])
        # occluded directions return part of the light from neighbouring skin
        irradiance += cosine * (visibility + 0.25 * (1 - visibility)) * tint
        weight += cosine
    irradiance /= np.maximum(weight, 1e-6)
    for lamp in lighting.lamps:
        to_lamp = np.asarray(lamp.direction) / np.linalg.norm(lamp.direction)
        count = 6 if lamp.spread_deg else 1
        for _ in range(count):
            jitter = rng.normal(size=3) * np.radians(lamp.spread_deg) * 0.6
            direction = to_lamp + jitter * (count > 1)
            direction /= np.linalg.norm(direction)
            cosine = normals @ direction
            facing = np.flatnonzero(cosine > 0)
            visible = ~caster.blocked(origins[facing], np.tile(direction, (len(facing), 1)))
            irradiance[facing] += (
                (cosine[facing] * visible)[:, None] * np.asarray(lamp.colour) / count
            )
    return irradiance
