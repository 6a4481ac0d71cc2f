"""Light of a photo, fitted to its visible skin: ambient sky plus a direction.

Shading is the product of an occluded sky (shade under jaw and hair) and first-order spherical
harmonics of the normal.  ``colouring.head_light`` divides the photo by it and multiplies the
completed colours by it, so that a jaw stands out from the neck, and an ear on the dark side of a
face is as dark as its cheek.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array, Indices32, smoothstep
from dp3d_core.meshes.raycast import RayCaster

_RAYS = 64
"""Directions in which the sky is sampled."""
_GROUND = 0.35
"""Radiance from straight below, relative to that from straight above."""
_LIFT = 0.004
"""Offset of ray origins from the surface, head units."""
_SKY_LIMITS = (0.45, 1.04)
"""Range of the sky's light, relative to that on the front of a face."""
_POWER_LIMITS = (0.2, 0.8)
"""Range of the exponent that turns the sky's light into sRGB factors."""
_DEFAULT_POWER = 0.35
"""Exponent of the sky's light without visible skin; the mean of its prior otherwise."""
_MIN_SKIN = 400
"""Least number of skin points from which light is fitted."""
_CELLS = 10
"""Cells of normals along x and along y."""
_MIN_CELL_POINTS = 12
"""Least number of points in a cell that is used."""
_MIN_CELLS = 8
"""Least number of used cells from which light is fitted."""
_DARKEST = 0.02
"""Floor of sRGB values and light before their logarithm is taken."""
_SKY_PRIOR = 0.12
"""Weight per cell of the prior on the sky's exponent."""
_DIRECTION_PRIOR = 0.02
"""Weight per cell of the prior on light without direction."""
_TINT_PRIOR = 4.0
"""Weight of the prior that all channels are alike, relative to the other priors."""
_MAX_DIRECTION = 0.7
"""Greatest norm of the directional coefficients of a channel."""
_DIRECTION_LIMITS = (0.6, 1.2)
"""Range of the directional factor."""
_TERMINATOR = 0.25
"""Width in cosine over which the light at the side continues behind the head."""
_SMOOTHING = 4
"""Rounds of smoothing over the mesh: few rays leave steps."""


def sky_light(caster: RayCaster) -> Array:
    """(n,) sky light at the vertices of a mesh, about 1 on the front of a face.

    Ambient occlusion (Landis 2002): cosine-weighted mean of the radiance of the unoccluded sky,
    brighter from above.
    """
    mesh = caster.mesh
    # directions of a Fibonacci sphere
    i = np.arange(_RAYS) + 0.5
    y = 1 - 2 * i / _RAYS
    longitude = np.pi * (1 + np.sqrt(5)) * i
    ring = np.sqrt(1 - y * y)
    directions = np.stack([ring * np.cos(longitude), y, ring * np.sin(longitude)], -1)
    radiance = _GROUND + (1 - _GROUND) * smoothstep(y, -0.8, 0.8)
    origins = mesh.vertices + _LIFT * mesh.normals
    light, unoccluded = np.zeros(len(origins)), np.zeros(len(origins))
    for direction, sky in zip(directions, radiance, strict=True):
        cosine = mesh.normals @ direction
        facing = np.flatnonzero(cosine > 0.05)
        unoccluded[facing] += cosine[facing]
        visible = ~caster.blocked(
            origins[facing], np.broadcast_to(direction, (len(facing), 3)).copy()
        )
        light[facing] += cosine[facing] * sky * visible
    light = _smoothed(light / np.maximum(unoccluded, 1e-6), mesh.faces)
    face = (mesh.vertices[:, 2] > 0.12) & (mesh.normals[:, 2] > 0.7)
    frontal = float(np.median(light[face])) if face.any() else float(np.median(light))
    return np.clip(light / max(frontal, 1e-6), *_SKY_LIMITS)


def _smoothed(values: Array, faces: Indices32) -> Array:
    """(n,) values at vertices, smoothed along the edges of triangles (m, 3)."""
    corners = faces[:, [0, 1, 2, 0]]
    edges = [
        edge
        for a, b in zip(corners[:, :3].T, corners[:, 1:].T, strict=True)
        for edge in ((a, b), (b, a))
    ]
    count = 1 + sum(np.bincount(tail, minlength=len(values)) for tail, _ in edges)
    for _ in range(_SMOOTHING):
        sums = values.copy()
        for tail, head in edges:
            sums += np.bincount(tail, values[head], len(values))
        values = sums / count
    return values


@dataclass(frozen=True, eq=False)
class Light:
    """Light of one photo.

    Attributes:
        sky_power: (3,) exponent of the sky's light in each sRGB channel: small under a flash,
            larger in the sun; channels differ where shade is warm or blue.
        direction: (3, 3) per channel, first-order spherical harmonics over the normal (x, y, z) of
            the log colour.  Second order (Ramamoorthi and Hanrahan 2001) would need normals of
            the whole sphere; a face has those of one half.

    """

    sky_power: Array
    direction: Array

    @classmethod
    def of(cls, sky: Array, normals: Array, colours: Array) -> Light:
        """Fit the light to points of bare skin; the default light if they are too few.

        Args:
            sky: (n,) :func:`sky_light` at the points.
            normals: (n, 3) unit normals.
            colours: (n, 3) sRGB of the photo, 0 to 1.

        """
        default = cls(np.full(3, _DEFAULT_POWER), np.zeros((3, 3)))
        if len(sky) < _MIN_SKIN:
            return default
        # one median per direction: lips, brows and highlights are a minority in each
        column = np.floor((normals[:, :2] + 1) / 2 * _CELLS).clip(0, _CELLS - 1).astype(int)
        cell = column[:, 0] * _CELLS + column[:, 1]
        values = np.log(np.maximum(np.column_stack([sky, colours]), _DARKEST))
        cells = [cell == number for number in np.flatnonzero(np.bincount(cell) >= _MIN_CELL_POINTS)]
        if len(cells) < _MIN_CELLS:
            return default
        medians = np.array([np.median(values[members], axis=0) for members in cells])
        directions = np.array([normals[members].mean(0) for members in cells])
        design = np.column_stack([medians[:, 0], directions, np.ones(len(cells))])
        ridge = np.array([_SKY_PRIOR, *[_DIRECTION_PRIOR] * 3, 0.0]) * len(cells)
        expected = np.array([_DEFAULT_POWER, 0, 0, 0, 0])
        inverse = np.linalg.inv(design.T @ design + np.diag(ridge))
        grey = inverse @ (design.T @ medians[:, 1:].mean(1) + ridge * expected)
        # channels differ from each other less than light differs from shade
        tinted = np.linalg.inv(design.T @ design + np.diag(_TINT_PRIOR * ridge))
        residual = medians[:, 1:] - (design @ grey)[:, None]
        channels = grey[:, None] + tinted @ (design.T @ residual)
        direction = channels[1:4].T
        # cheeks brighter than the nose are lit from both sides; the back need not be brighter
        direction[:, 2] = np.maximum(direction[:, 2], 0)
        excess = np.maximum(np.linalg.norm(direction, axis=1, keepdims=True) / _MAX_DIRECTION, 1)
        return cls(np.clip(channels[0], *_POWER_LIMITS), direction / excess)

    def under_sky(self, sky: Array) -> Array:
        """(n, 3) shading factors of the sky, from its light (n,)."""
        return np.asarray(sky[:, None] ** self.sky_power)

    def directional(self, normals: Array) -> Array:
        """(n, 3) directional factors at unit normals (n, 3), 1 for the frontal normal.

        The photo says nothing about normals behind the silhouette; they are lit like the sides.
        """
        folded = normals * [1, 1, 0]
        folded[:, 2] = _TERMINATOR * np.logaddexp(0, normals[:, 2] / _TERMINATOR)
        return np.asarray(
            np.clip(np.exp((folded - [0, 0, 1]) @ self.direction.T), *_DIRECTION_LIMITS)
        )
