"""Soft light from above: what a head without a photo would look like under an open sky.

Colours that continue a photo are evened out by it and lit again in their new place, so that a
jaw stands out before the neck and an ear before the hair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp3d_core.raycast import RayCaster
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]

_RAYS = 64
_FLOOR = 0.35
"""Light from straight below; from straight above comes 1."""
_LIFT = 0.004
"""Head units above the surface where rays begin."""
_LEAST, _MOST = 0.45, 1.04
"""Of the light, against that of a face."""
_STRENGTH, _USUAL_STRENGTH = (0.2, 0.8), 0.35
"""Power of the light in sRGB values, its limits and what it is without a face."""
_BINS = 8
_SOFT_ROUNDS = 4


def sky_light(caster: RayCaster) -> Array:
    """(n,) light at the vertices of a mesh, about 1 on the front of a face.

    The cosine-weighted mean over the sky that a vertex sees past the rest of the head (ambient
    occlusion, Landis 2002), brighter from above.
    """
    mesh = caster.mesh
    # even directions: a Fibonacci sphere
    i = np.arange(_RAYS) + 0.5
    y = 1 - 2 * i / _RAYS
    turn = np.pi * (1 + np.sqrt(5)) * i
    level = np.sqrt(1 - y * y)
    directions = np.stack([level * np.cos(turn), y, level * np.sin(turn)], -1)
    radiance = _FLOOR + (1 - _FLOOR) * ramp(y, -0.8, 0.8)
    origins = mesh.vertices + _LIFT * mesh.normals
    light, full = np.zeros(len(origins)), np.zeros(len(origins))
    for direction, sky in zip(directions, radiance, strict=True):
        cosine = mesh.normals @ direction
        facing = np.flatnonzero(cosine > 0.05)
        full[facing] += cosine[facing]
        free = ~caster.blocked(origins[facing], np.broadcast_to(direction, (len(facing), 3)).copy())
        light[facing] += cosine[facing] * sky * free
    light = _soft(light / np.maximum(full, 1e-6), mesh.faces)
    face = (mesh.vertices[:, 2] > 0.12) & (mesh.normals[:, 2] > 0.7)
    usual = float(np.median(light[face])) if face.any() else float(np.median(light))
    return np.clip(light / max(usual, 1e-6), _LEAST, _MOST)


def _soft(values: Array, faces: NDArray[np.int32]) -> Array:
    """(n,) values at vertices without the steps that few rays leave."""
    corners = faces[:, [0, 1, 2, 0]]
    edges = [
        edge
        for a, b in zip(corners[:, :3].T, corners[:, 1:].T, strict=True)
        for edge in ((a, b), (b, a))
    ]
    count = 1 + sum(np.bincount(one, minlength=len(values)) for one, _ in edges)
    for _ in range(_SOFT_ROUNDS):
        total = values.copy()
        for one, other in edges:
            total += np.bincount(one, values[other], len(values))
        values = total / count
    return values


def strength(light: Array, colours: Array) -> Array:
    """(3,) power with which the light shows in a photo's sRGB channels.

    A flash flattens a face, the sun does not, and shade is warm or blue: fitted to the medians
    of skin that lies in more or less light.

    Args:
        light: (n,) at places of bare skin.
        colours: (n, 3) that a photo shows there, 0 to 1.

    """
    if len(light) < 50 * _BINS:
        return np.full(3, _USUAL_STRENGTH)
    x, y = np.log(light), np.log(np.maximum(colours, 0.02))
    order = np.array_split(np.argsort(x), _BINS)
    middle = np.array([np.median(x[part]) for part in order])
    medians = np.array([np.median(y[part], axis=0) for part in order])
    if np.ptp(middle) < 0.15:
        return np.full(3, _USUAL_STRENGTH)
    return np.asarray(np.clip(np.polyfit(middle, medians, 1)[0], *_STRENGTH))
