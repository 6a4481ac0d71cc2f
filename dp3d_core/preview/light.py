"""Light of a photo: how bright a place of the head is beside its own colour.

A soft sky gives the shade under jaw and hair, and the photo's own light comes from a side: both
are fitted to the skin that the photo shows.  Colours that continue a photo are evened out by
them and lit again in their new place, so that a jaw stands out before the neck, and an ear on the
dark side of a face is as dark as its cheek.
"""

from __future__ import annotations

from dataclasses import dataclass

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
_LEAST_SKIN, _CELLS, _LEAST_OF_CELL, _LEAST_CELLS = 400, 10, 12, 8
"""Places of skin of which fewer say nothing of the light; cells of normals across and down, places
of one of which fewer say nothing, and cells without which no direction is told."""
_DARKEST = 0.02
"""sRGB, and light, below which nothing is told apart."""
_DOUBT_OF_SKY, _DOUBT_OF_AIM, _DOUBT_OF_TINT = 0.12, 0.02, 4.0
"""Weights of the usual sky and of light without direction beside one cell, and of channels that are
alike beside those."""
_MOST_AIM, _AIMED, _BEHIND = 0.7, (0.6, 1.2), 0.25
"""Greatest difference of the logarithm by direction, limits of the factor, and cosine over which
the light of the side goes on behind."""
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


@dataclass(frozen=True, eq=False)
class Light:
    """Light of one photo.

    Attributes:
        strength: (3,) power with which the sky shows in its sRGB channels: a flash flattens a face,
            the sun does not, and shade is warm or blue.
        aim: (3, 3) per channel, first-order spherical harmonics of the logarithm of the colours
            over the normal (x, y, z).  First order, for a face shows normals of one half of the
            sphere alone (Ramamoorthi and Hanrahan 2001 need it whole for the second).

    """

    strength: Array
    aim: Array

    @classmethod
    def of(cls, sky: Array, normals: Array, colours: Array) -> Light:
        """The light that agrees best with bare skin in a photo; a usual one without.

        Args:
            sky: (n,) of :func:`sky_light` there.
            normals: (n, 3) unit.
            colours: (n, 3) sRGB that the photo shows, 0 to 1.

        """
        usual = cls(np.full(3, _USUAL_STRENGTH), np.zeros((3, 3)))
        if len(sky) < _LEAST_SKIN:
            return usual
        # every direction counts once, by its median: lips, brows and highlights are few of each
        column = np.floor((normals[:, :2] + 1) / 2 * _CELLS).clip(0, _CELLS - 1).astype(int)
        cell = column[:, 0] * _CELLS + column[:, 1]
        values = np.log(np.maximum(np.column_stack([sky, colours]), _DARKEST))
        cells = [cell == number for number in np.flatnonzero(np.bincount(cell) >= _LEAST_OF_CELL)]
        if len(cells) < _LEAST_CELLS:
            return usual
        medians = np.array([np.median(values[here], axis=0) for here in cells])
        directions = np.array([normals[here].mean(0) for here in cells])
        design = np.column_stack([medians[:, 0], directions, np.ones(len(cells))])
        ridge = np.array([_DOUBT_OF_SKY, *[_DOUBT_OF_AIM] * 3, 0.0]) * len(cells)
        expected = np.array([_USUAL_STRENGTH, 0, 0, 0, 0])
        inverse = np.linalg.inv(design.T @ design + np.diag(ridge))
        grey = inverse @ (design.T @ medians[:, 1:].mean(1) + ridge * expected)
        # channels differ less than light and shade do
        tinted = np.linalg.inv(design.T @ design + np.diag(_DOUBT_OF_TINT * ridge))
        apart = medians[:, 1:] - (design @ grey)[:, None]
        each = grey[:, None] + tinted @ (design.T @ apart)
        aim = each[1:4].T
        # cheeks brighter than the nose are lit from both sides, which says nothing of the back
        aim[:, 2] = np.maximum(aim[:, 2], 0)
        most = np.maximum(np.linalg.norm(aim, axis=1, keepdims=True) / _MOST_AIM, 1)
        return cls(np.clip(each[0], *_STRENGTH), aim / most)

    def under_sky(self, sky: Array) -> Array:
        """(n, 3) factors of the shade at places with the sky's light (n,)."""
        return np.asarray(sky[:, None] ** self.strength)

    def aimed(self, normals: Array) -> Array:
        """(n, 3) factors of the light's direction at unit normals (n, 3), 1 in front.

        Past the silhouette nothing is known of it: behind, it is as bright as at the side.
        """
        seen = normals * [1, 1, 0]
        seen[:, 2] = _BEHIND * np.logaddexp(0, normals[:, 2] / _BEHIND)
        return np.asarray(np.clip(np.exp((seen - [0, 0, 1]) @ self.aim.T), *_AIMED))
