"""Light on a synthetic head: a sky, lamps, and what of them reaches each vertex."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.mesh import Mesh
from dp3d_core.raycast import RayCaster

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lamp:
    """A distant light."""

    direction: tuple[float, float, float]
    """Unit vector towards it, head space."""
    colour: tuple[float, float, float]
    """Linear irradiance of a surface that faces it."""
    spread_deg: float = 6.0
    """Half its angle as seen from the head: 0 throws hard shadows."""


@dataclass(frozen=True)
class Lighting:
    """A sky and some lamps."""

    sky: tuple[float, float, float] = (0.55, 0.57, 0.62)
    ground: tuple[float, float, float] = (0.34, 0.31, 0.28)
    lamps: tuple[Lamp, ...] = field(
        default_factory=lambda: (
            Lamp((0.45, 0.55, 0.70), (0.55, 0.52, 0.48)),
            Lamp((-0.80, 0.10, 0.55), (0.16, 0.17, 0.20), 20.0),
        )
    )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
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
"""Soft light from the front, for condition images."""


def bake_irradiance(mesh: Mesh, lighting: Lighting, caster: RayCaster, rays: int = 24) -> Array:
    """(n, 3) linear light on every vertex: occluded sky and lamps with soft shadows."""
    normals = mesh.normals
    # off the surface, so that it does not shadow itself
    origins = mesh.vertices + normals * 0.003
    rng = np.random.default_rng(5)
    total = np.zeros((len(normals), 3))
    weight = np.zeros((len(normals), 1))
    sky, ground = np.asarray(lighting.sky), np.asarray(lighting.ground)
    # directions of a Fibonacci sphere, the same for all vertices: no noise between neighbours
    k = np.arange(2 * rays) + 0.5
    y = 1 - k / rays
    around = np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - y * y)
    for direction in np.stack([ring * np.cos(around), y, ring * np.sin(around)], -1):
        cosine = np.clip(normals @ direction, 0, None)[:, None]
        lit = cosine[:, 0] > 0
        free = np.zeros((len(normals), 1))
        free[lit, 0] = ~caster.blocked(origins[lit], np.tile(direction, (int(lit.sum()), 1)))
        tint = ground + (sky - ground) * (0.5 + 0.5 * direction[1])
        # light that comes back from the neighbouring skin instead
        total += cosine * (free + 0.25 * (1 - free)) * tint
        weight += cosine
    total /= np.maximum(weight, 1e-6)
    for lamp in lighting.lamps:
        towards = np.asarray(lamp.direction) / np.linalg.norm(lamp.direction)
        count = 6 if lamp.spread_deg else 1
        for _ in range(count):
            jitter = rng.normal(size=3) * np.radians(lamp.spread_deg) * 0.6
            direction = towards + jitter * (count > 1)
            direction /= np.linalg.norm(direction)
            cosine = normals @ direction
            lit = np.flatnonzero(cosine > 0)
            reached = ~caster.blocked(origins[lit], np.tile(direction, (len(lit), 1)))
            total[lit] += (cosine[lit] * reached)[:, None] * np.asarray(lamp.colour) / count
    return total
