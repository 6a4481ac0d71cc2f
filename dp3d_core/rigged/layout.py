"""Texture layout of the skin: MakeHuman's pieces, repacked and warped so that the face is large.

The largest piece holds face and scalp.  It is laid upright and stretched along each axis where the
face lies; a stretch that grows along one axis keeps triangles apart that were apart before.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dp3d_core.arrays import Array, Mask
from dp3d_core.rigged.topology import PartTopology, part_topology

FACE, TORSO, MOUTH, FIRST_SOCKET, SECOND_SOCKET = range(5)
"""Pieces of the skin in MakeHuman's texture, by size."""
_GAP = 0.004
"""Distance between pieces, texture sides."""
_STRIP = 0.16
"""Height of the lower strip that holds all pieces but the face, texture sides."""
_BOXES = {
    FACE: (0.0, _STRIP, 1.0, 1.0),
    TORSO: (0.0, 0.0, 0.52, _STRIP),
    MOUTH: (0.52, 0.0, 0.84, _STRIP),
    FIRST_SOCKET: (0.84, 0.0, 1.0, _STRIP / 2),
    SECOND_SOCKET: (0.84, _STRIP / 2, 1.0, _STRIP),
}
"""Lower left and upper right corner of each piece, texture sides, v up."""
_CLOTH_BOXES = {FACE: (0.0, 0.0, 1.0, 0.3), TORSO: (0.0, 0.3, 1.0, 1.0)}
"""Corners of the pieces that clothes may cover, in a texture of their own."""
_STRETCH_ACROSS = (0.5, 0.21, 12.0)
"""Centre, half width and gain of the stretch across the face, in parts of its piece."""
_STRETCH_UP = (0.33, 0.29, 12.0)
"""Centre, half width and gain of the stretch along the face, in parts of its piece from below."""


@lru_cache(maxsize=1)
def skin_layout() -> Array:
    """(k, 2) texture coordinates of the skin, which replace ``PartTopology.uv``."""
    return _packed(part_topology("skin"), _BOXES, warped=True)


@lru_cache(maxsize=1)
def cloth_layout() -> Array:
    """(k, 2) texture coordinates of the skin's vertices in the texture of clothes."""
    return _packed(part_topology("skin"), _CLOTH_BOXES, warped=False)


def _packed(
    topology: PartTopology, boxes: dict[int, tuple[float, float, float, float]], warped: bool
) -> Array:
    """Texture coordinates with each piece in its box; pieces without a box stay where they are."""
    packed = topology.uv.copy()
    for piece, (left, low, right, high) in boxes.items():
        used = _of_piece(topology, piece)
        places = topology.uv[used]
        if piece == FACE:  # lies on its side, the crown to the left
            places = np.stack([places[:, 1], -places[:, 0]], -1)
        places = places - places.min(0)
        size = places.max(0)
        if piece == FACE and warped:
            places = np.stack(
                [
                    _stretched(places[:, 0] / size[0], *_STRETCH_ACROSS),
                    _stretched(places[:, 1] / size[1], *_STRETCH_UP),
                ],
                -1,
            )
            size = np.ones(2)
        room = np.array([right - left, high - low]) - 2 * _GAP
        scale = room / size
        if not (piece == FACE and warped):
            scale = np.full(2, scale.min())
        packed[used] = np.array([left, low]) + _GAP + places * scale
    return packed


def _of_piece(topology: PartTopology, piece: int) -> Mask:
    """(k,) texture coordinates that belong to a piece."""
    used = np.zeros(len(topology.uv), bool)
    used[topology.quad_uv[topology.island == piece]] = True
    return used


def _stretched(x: Array, centre: float, half_width: float, gain: float) -> Array:
    """Growing map of 0 to 1 onto 0 to 1 that is steeper by a gain around a centre."""

    def primitive(t: Array) -> Array:
        # of 1 + gain / (1 + ((t - centre) / half_width)^4), tabulated
        return np.asarray(np.interp(t, grid, table))

    grid = np.linspace(0, 1, 2001)
    density = 1 + gain / (1 + ((grid - centre) / half_width) ** 4)
    table = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    table /= table[-1]
    return primitive(x)


@lru_cache(maxsize=2)
def eye_layout(name: str) -> Array:
    """(n, 2) texture coordinates of an eyeball's vertices: the iris in the middle.

    The distance from the middle grows with the angle to the axis of the eye, faster in front.
    """
    topology = part_topology(name)
    from dp3d_core.heads.people import prior

    vertices = np.asarray(topology.refine @ prior().mean)
    outward = vertices - (vertices.max(0) + vertices.min(0)) / 2
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    radius = eye_radius(np.arccos(np.clip(outward[:, 2], -1, 1)))
    across = np.hypot(outward[:, 0], outward[:, 1])
    direction = outward[:, :2] / np.maximum(across, 1e-9)[:, None]
    return np.asarray(0.5 + direction * radius[:, None])


_EYE_POWER = 0.62
"""Exponent of the distance from the middle of an eye's texture."""
_EYE_RADIUS = 0.495
"""Distance of the back of the eye from the middle of its texture."""


def eye_radius(angle: Array) -> Array:
    """Distances in the texture, of angles to the axis of the eye, radians."""
    return np.asarray(_EYE_RADIUS * (angle / np.pi) ** _EYE_POWER)


def eye_angle(radius: Array) -> Array:
    """Angles to the axis of the eye, radians, of distances in the texture."""
    return np.asarray(np.pi * np.clip(radius / _EYE_RADIUS, 0, 1) ** (1 / _EYE_POWER))
