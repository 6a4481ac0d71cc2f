"""Eyeballs and lids that fit: spheres behind the lids, which no blend shape pulls through them.

Blend shapes move vertices along straight lines, lids slide over a sphere.  The eyeball is a little
smaller than the model's, and where a lid would still cut it on its way it is lifted off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from dp3d_core.arrays import Array, Indices, smoothstep
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.heads.space import MM
from dp3d_core.rigged.skinning import rigid_motion
from dp3d_core.rigged.topology import part_topology

SMALLER = 0.7
"""Radius of the model's eyeballs beyond that of ours, millimetres."""
_GAP = 0.35
"""Least distance of a lid from the eyeball while it moves, millimetres."""
_MARGIN = (-0.4, 0.3)
"""Distances of the neutral lid from the eyeball between which it begins to be lifted, mm."""
_NEAR = 14.0
"""Distance from the eyeball within which skin belongs to its lids, millimetres."""
_SAMPLES = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)
"""Weights of a blend shape at which lids are compared with the eyeball."""
_ROUNDS = 6
"""Rounds of lifting."""
_SMOOTHING = 2
"""Rounds of smoothing after each."""
FACE_ISLAND = 0
"""Number of the skin's largest piece in MakeHuman's texture: face and scalp, without sockets."""


@dataclass(frozen=True)
class Eyeball:
    """A sphere.

    Attributes:
        name: ``eye_left`` or ``eye_right``.
        centre: (3,) head units.
        radius: head units.

    """

    name: str
    centre: Array
    radius: float

    @classmethod
    def of(cls, name: str, vertices: Array) -> Eyeball:
        """The sphere nearest to a part's vertices (n, 3), head units, less :data:`SMALLER`."""
        design = np.column_stack([2 * vertices, np.ones(len(vertices))])
        solution, *_ = np.linalg.lstsq(design, (vertices**2).sum(1), rcond=None)
        centre = solution[:3]
        radius = float(np.sqrt(solution[3] + centre @ centre))
        return cls(name, centre, radius - SMALLER * MM)

    def projected(self, vertices: Array) -> Array:
        """(n, 3) vertices brought onto the sphere."""
        outward = vertices - self.centre
        length = np.linalg.norm(outward, axis=1, keepdims=True)
        return np.asarray(self.centre + outward / np.maximum(length, 1e-9) * self.radius)

    def looking(self, vertices: Array, key: str) -> Array:
        """(n, 3) offsets of vertices (n, 3) by a blend shape: a rotation about the centre.

        The angle is that by which the blend shape turns the average head's eyeball.
        """
        refine, mean = part_topology(self.name).refine, prior().mean
        offsets = np.asarray(refine @ expression_offsets({key: 1.0}))
        if not np.abs(offsets).max() > 0:
            return np.zeros_like(vertices)
        average = np.asarray(refine @ mean)
        turn, _ = rigid_motion(average, average + offsets)
        outward = vertices - self.centre
        return np.asarray(outward @ turn.T - outward)


class Lids:
    """The lids of one eye, on a person's neutral face."""

    def __init__(self, ball: Eyeball, skin: Array) -> None:
        """Find the lids of an eyeball in the neutral skin (n, 3), head units."""
        topology = part_topology("skin")
        outer = np.unique(topology.quads[topology.island == FACE_ISLAND])
        distance = (np.linalg.norm(skin[outer] - ball.centre, axis=1) - ball.radius) / MM
        near = (distance < _NEAR) & (skin[outer, 2] > ball.centre[2] - ball.radius)
        self.ball = ball
        self.vertices: Indices = outer[near]
        self.start = skin[self.vertices]
        self.gap = distance[near]
        self.touches = smoothstep(self.gap, *_MARGIN)
        self._mean = _averaging(self.vertices)

    def lifted(self, offsets: Array) -> Array:
        """(k, 3) what is added to a blend shape's offsets (k, 3) of the lids, head units."""
        lift = np.zeros(len(offsets))
        end = self.start + offsets - self.ball.centre
        outward = end / np.maximum(np.linalg.norm(end, axis=1, keepdims=True), 1e-9)
        least = np.minimum(self.gap, _GAP) * MM + self.ball.radius
        for _ in range(_ROUNDS):
            missing = np.zeros(len(offsets))
            moved = offsets + lift[:, None] * outward
            for weight in _SAMPLES:
                at = self.start + weight * moved - self.ball.centre
                short = least - np.linalg.norm(at, axis=1)
                missing = np.maximum(missing, short / weight**0.5)
            missing *= self.touches
            if missing.max() < 0.01 * MM:
                break
            lift += missing
            smooth = lift
            for _ in range(_SMOOTHING):
                smooth = np.asarray(self._mean @ smooth)
            lift = np.maximum(lift, smooth)
        return np.asarray(lift[:, None] * outward)


def _averaging(vertices: Indices) -> sparse.csr_matrix:
    """(k, k) matrix that takes the mean of each vertex and its neighbours within a set (k,)."""
    quads = part_topology("skin").quads
    number = np.full(int(quads.max()) + 1, -1)
    number[vertices] = np.arange(len(vertices))
    local = number[quads]
    edges = np.concatenate([local[:, [i, (i + 1) % 4]] for i in range(4)])
    edges = edges[(edges >= 0).all(1)]
    count = len(vertices)
    ones = np.ones(len(edges))
    links = sparse.coo_matrix((ones, (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
    links = (links + links.T + sparse.identity(count)).tocsr()
    links.data[:] = 1.0  # an edge of two quads was counted twice
    return sparse.csr_matrix(sparse.diags(1 / np.asarray(links.sum(1)).ravel()) @ links)


def lifted_lids(
    eyeballs: Mapping[str, Eyeball], skin: Array, offsets: Array, lids: Mapping[str, Lids]
) -> Array:
    """(n, 3) a blend shape's offsets (n, 3) of the skin, with lids that clear both eyeballs."""
    corrected = offsets
    for name in eyeballs:
        own = lids[name].vertices
        if np.abs(offsets[own]).max() > 0.05 * MM:
            corrected = corrected.copy()
            corrected[own] += lids[name].lifted(offsets[own])
    return corrected
