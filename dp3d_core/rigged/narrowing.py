"""How far a photo's lids are closed beyond those of the fit, which often leaves eyes wide open."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dp3d_core.arrays import Array, Indices
from dp3d_core.heads.face_mesh import LIDS
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.heads.space import MM
from dp3d_core.preview.photo.projection import Projection
from dp3d_core.rigged.layout import FACE, FIRST_SOCKET, SECOND_SOCKET
from dp3d_core.rigged.topology import part_topology

SIDES = ("Left", "Right")
"""Sides of the person, as in the names of blend shapes."""
CLOSING = ("eyeBlink", "eyeLookDown", "eyeSquint")
"""Blend shapes that close an eye, and have less to close where it is narrower."""
_MOST_TURNED_DEG = 25.0
"""Yaw from which landmarks of the lids are not trusted."""
_UPPER_MM = 1.5
"""Move downwards by a blink from which a vertex belongs to the upper lid, millimetres."""
_MIDDLE = (0.25, 0.75)
"""Part of an eye's width in which its lids are compared."""
_MOST = 0.3
"""Greatest share of a blink that is added."""
_TRUST = 0.8
"""Share of the difference between fit and landmarks that is believed: landmarks of the upper lid
lie on its lashes."""
_LEAST_PIXELS = 6.0
"""Least opening of the fitted eye for which landmarks are exact enough, pixels."""


def narrowing(skin: Array, photo: Projection) -> dict[str, float]:
    """Share of a blink, 0 to 0.3, that narrows each eye of fitted skin to the photo's.

    Args:
        skin: (n, 3) fitted skin, head units.
        photo: the photo.

    Returns:
        By :data:`SIDES`; 0 without landmarks, or where the photo shows an eye as wide.

    """
    shares = dict.fromkeys(SIDES, 0.0)
    if photo.landmarks is None or abs(photo.camera.yaw_pitch_deg[0]) > _MOST_TURNED_DEG:
        return shares
    for side in SIDES:
        edges = [photo.landmarks[list(lid)] for lid in LIDS[side]]
        low, high = edges[0][:, 0].min(), edges[0][:, 0].max()
        columns = low + (high - low) * np.linspace(*_MIDDLE, 9)
        fitted = [photo.camera.project(skin[lid])[0] for lid in lid_rims()[side]]
        openings = []
        for upper, lower in (edges, fitted):
            openings.append(float((_heights(lower, columns) - _heights(upper, columns)).mean()))
        if openings[1] > _LEAST_PIXELS:
            shares[side] = float(np.clip(_TRUST * (1 - openings[0] / openings[1]), 0, _MOST))
    return shares


def _heights(curve: Array, columns: Array) -> Array:
    """Rows of a curve (k, 2) at columns (c,)."""
    ordered = curve[np.argsort(curve[:, 0])]
    return np.asarray(np.interp(columns, ordered[:, 0], ordered[:, 1]))


@lru_cache(maxsize=1)
def eye_rims() -> Indices:
    """Skin vertices at the edges of the lids of both eyes, where face and sockets meet."""
    topology = part_topology("skin")
    sockets = np.unique(topology.quads[np.isin(topology.island, (FIRST_SOCKET, SECOND_SOCKET))])
    return np.intersect1d(sockets, np.unique(topology.quads[topology.island == FACE]))


@lru_cache(maxsize=1)
def lid_rims() -> dict[str, tuple[Indices, Indices]]:
    """Skin vertices at the edges of the upper and of the lower lid, by side."""
    topology, rims = part_topology("skin"), eye_rims()
    x = (topology.refine @ prior().mean)[rims, 0]
    by_side = {}
    for side in SIDES:
        own = rims[x * (1 if side == "Left" else -1) > 0]
        blink = np.asarray(topology.refine @ expression_offsets({f"eyeBlink{side}": 1.0}))
        upper = blink[own, 1] < -_UPPER_MM * MM
        by_side[side] = own[upper], own[~upper]
    return by_side
