"""Lips that meet on the neutral face.

A fit leaves the lips of some people a millimetre or two apart: a film closes the mouth of the
fitted bust, and the teeth behind it are not there to be seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Indices, smoothstep
from dp3d_core.heads.bust import bust
from dp3d_core.heads.people import expression_offsets
from dp3d_core.heads.space import MM
from dp3d_core.rigged.topology import part_topology, skin_twins

_REACH_MM = 11.0
"""Distance from the line between the lips up to which skin moves with it, millimetres."""
_LEAST_GAP_MM = -0.3
"""Distance of the lips on the closed mouth, millimetres; negative: they are pressed together."""
_NEIGHBOURS = 5
"""Lip vertices from which a vertex takes its move."""


def closing(skin: Array) -> Array:
    """(n, 3) offsets that close the lips of a neutral face with skin (n, 3), head units."""
    upper, lower = _lips()
    offsets = np.zeros_like(skin)
    for own, other, sign in ((upper, lower, 1.0), (lower, upper, -1.0)):
        order = np.argsort(skin[other, 0])
        facing = np.interp(skin[own, 0], skin[other, 0][order], skin[other, 1][order])
        apart = np.maximum(sign * (skin[own, 1] - facing) - _LEAST_GAP_MM * MM, 0)
        offsets[own, 1] = -sign * apart / 2
    lift = offsets[:, 1].copy()
    jaw = _follows_jaw()
    for own, members in ((upper, jaw <= 0.5), (lower, jaw > 0.5)):
        tree = cKDTree(skin[own])
        near = np.flatnonzero(members)
        distance, nearest = tree.query(skin[near], k=_NEIGHBOURS)
        distance, nearest = np.asarray(distance), np.asarray(nearest)
        weights = 1 / np.maximum(distance, 0.5 * MM) ** 2
        taken = (weights * lift[own][nearest]).sum(1) / weights.sum(1)
        offsets[near, 1] = taken * smoothstep(distance[:, 0] / MM, _REACH_MM, 0.0)
    return offsets


@lru_cache(maxsize=1)
def _follows_jaw() -> Array:
    """(n,) how far ``jawOpen`` moves skin vertices down, relative to the lower lip."""
    moves = -np.asarray(part_topology("skin").refine @ expression_offsets({"jawOpen": 1.0}))[:, 1]
    return np.asarray(moves / np.quantile(moves, 0.995))


@lru_cache(maxsize=1)
def _lips() -> tuple[Indices, Indices]:
    """Skin vertices of the upper and of the lower lip, where they meet."""
    rim = np.flatnonzero(np.isin(skin_twins(), bust().lips))
    jaw = _follows_jaw()[rim]
    return rim[jaw <= 0.5], rim[jaw > 0.5]
