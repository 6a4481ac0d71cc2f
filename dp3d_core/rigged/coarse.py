"""Coarser quads: strips of quads are taken out one after the other.

A strip runs through opposite edges of its quads, from border to border or around.  Taking it out
joins its two sides, and all that remains are quads with the model's edge loops (polychord collapse,
Daniels et al. 2008).  The cheapest strip goes first: one whose sides lie close together, in plane,
and move alike under the blend shapes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array, Indices, Indices32, Mask

_Edge = tuple[int, int]

_LENGTH_COST = 0.12
"""Cost of a joined edge relative to its distance out of plane."""
_LONG_MM = 6.0
"""Length from which a joined edge costs more than in proportion, millimetres."""
_MOVE_COST = 0.5
"""Cost of a difference of blend shapes along it, relative to that distance."""
_PER_ROUND = 6
"""Strips that are taken out before all are found and compared anew."""
_OVERSHOOT = 40
"""Quads that may be taken out beyond the goal."""
_MAX_COST_SHARE = 0.35
"""Share of the greatest cost along a strip in its cost, beside the mean."""


@dataclass(frozen=True, eq=False)
class Strip:
    """A strip of quads.

    Attributes:
        quads: rows of its quads.
        pairs: (left, right) vertices of its cross edges.
        uv_pairs: (left, right) texture coordinates of its quads' cross edges.

    """

    quads: list[int]
    pairs: list[_Edge]
    uv_pairs: list[_Edge]


def coarser(
    quads: Indices32,
    quad_uv: Indices32,
    places: Array,
    normals: Array,
    moves: Array,
    importance: Array,
    kept_apart: Mask,
    share: float,
) -> tuple[Indices32, Indices32]:
    """Quads and texture coordinates with fewer quads; vertices stay where they are.

    Args:
        quads: (m, 4) vertices.
        quad_uv: (m, 4) texture coordinates.
        places: (n, 3) positions of the vertices, millimetres.
        normals: (n, 3) unit normals.
        moves: (n, k) offsets of vertices by some blend shapes, millimetres.
        importance: (n,) factor of the costs at a vertex.
        kept_apart: (n,) vertices that stay, as those of a rim.
        share: part of the quads to keep, about.

    """
    quads, quad_uv = quads.copy(), quad_uv.copy()
    goal = round(len(quads) * share)
    refused: set[frozenset[_Edge]] = set()
    while len(quads) > goal:
        strips = _strips(quads, quad_uv)
        strips.sort(key=lambda strip: _cost(strip, places, normals, moves, importance))
        number = np.arange(len(quads))  # row of each quad of this round; -1 once it is out
        touched: set[int] = set()
        taken = 0
        for strip in strips:
            vertices = {vertex for pair in strip.pairs for vertex in pair}
            # the last strip should not take far more than is wanted
            if len(quads) - len(strip.quads) < goal - _OVERSHOOT or vertices & touched:
                continue
            if frozenset(strip.pairs) in refused:
                continue
            rows = number[strip.quads]
            joined = _without(strip, rows, quads, quad_uv, kept_apart)
            if joined is None:
                refused.add(frozenset(strip.pairs))
                continue
            rest = np.ones(len(quads), bool)
            rest[rows] = False
            number = np.where(number >= 0, np.where(rest, np.cumsum(rest) - 1, -1)[number], -1)
            quads, quad_uv = joined
            touched |= vertices
            taken += 1
            if taken == _PER_ROUND or len(quads) <= goal:
                break
        if not taken:
            break
    return quads, quad_uv


def _strips(quads: Indices32, quad_uv: Indices32) -> list[Strip]:
    """All strips; those that cross themselves are left out."""
    corners, uv = quads.tolist(), quad_uv.tolist()
    at_edge: dict[_Edge, list[tuple[int, int]]] = defaultdict(list)
    for row, quad in enumerate(corners):
        for side in range(4):
            a, b = quad[side], quad[(side + 1) % 4]
            at_edge[(a, b) if a < b else (b, a)].append((row, side))
    seen: set[tuple[int, int]] = set()
    strips = []
    for row in range(len(corners)):
        for direction in (0, 1):
            if (row, direction) in seen:
                continue
            strip = _walk(row, direction, corners, uv, at_edge, seen)
            if strip is not None:
                strips.append(strip)
    return strips


def _walk(
    row: int,
    direction: int,
    corners: list[list[int]],
    uv: list[list[int]],
    at_edge: dict[_Edge, list[tuple[int, int]]],
    seen: set[tuple[int, int]],
) -> Strip | None:
    """The strip through a quad's sides ``direction`` and ``direction + 2``."""
    quads: list[int] = [row]
    pairs: list[_Edge] = []
    uv_pairs: list[_Edge] = []
    seen.add((row, direction))
    passed = {row}
    whole = True

    def cross(at: int, side: int, forward: bool) -> None:
        """Note the edge ``side`` of a quad, left and right as seen along the strip."""
        first, second = side, (side + 1) % 4
        # along the way out of a quad its edge runs from right to left
        left, right = (second, first) if forward else (first, second)
        pairs.append((corners[at][left], corners[at][right]))
        uv_pairs.append((uv[at][left], uv[at][right]))

    for start in (direction + 2, direction):
        at, side = row, start
        forward = start == direction + 2
        while True:
            cross(at, side, forward)
            a, b = corners[at][side], corners[at][(side + 1) % 4]
            others = [e for e in at_edge[(a, b) if a < b else (b, a)] if e[0] != at]
            if len(others) != 1:
                break
            at, entry = others[0]
            side = (entry + 2) % 4
            # the edge by which the next quad is entered, for its texture coordinates
            first, second = entry, (entry + 1) % 4
            left, right = (first, second) if forward else (second, first)
            uv_pairs.append((uv[at][left], uv[at][right]))
            if at == row and side % 2 == direction % 2:  # around
                return Strip(quads, list(dict.fromkeys(pairs)), uv_pairs) if whole else None
            if at in passed:
                whole = False
            passed.add(at)
            if (at, side % 2) in seen:
                return None
            seen.add((at, side % 2))
            quads.append(at)
    return Strip(quads, list(dict.fromkeys(pairs)), uv_pairs) if whole else None


def _cost(strip: Strip, places: Array, normals: Array, moves: Array, importance: Array) -> float:
    """Cost of taking a strip out, millimetres."""
    left, right = np.array(strip.pairs).T
    step = places[right] - places[left]
    out_of_plane = (
        np.abs(np.einsum("ni,ni->n", step, normals[left]))
        + np.abs(np.einsum("ni,ni->n", step, normals[right]))
    ) / 2
    moved = np.abs(moves[right] - moves[left]).max(1)
    length = np.linalg.norm(step, axis=1)
    cost = out_of_plane + _LENGTH_COST * length * (1 + length / _LONG_MM) + _MOVE_COST * moved
    cost = cost * np.maximum(importance[left], importance[right])
    return float(cost.mean() * (1 - _MAX_COST_SHARE) + cost.max() * _MAX_COST_SHARE)


def _without(
    strip: Strip, rows: Indices, quads: Indices32, quad_uv: Indices32, kept_apart: Mask
) -> tuple[Indices32, Indices32] | None:
    """The quads without a strip at some rows, its sides joined; None if that is impossible."""
    vertices = np.array(strip.pairs)
    if len(np.unique(vertices)) != vertices.size:
        return None
    rest = np.ones(len(quads), bool)
    rest[rows] = False
    left_uv = dict(strip.uv_pairs)
    right_uv = {right: left for left, right in strip.uv_pairs}
    kept, kept_uv = quads[rest], quad_uv[rest]
    uses: dict[int, set[int]] = defaultdict(set)
    near = np.isin(kept, vertices).any(1)
    for quad, at in zip(kept[near].tolist(), kept_uv[near].tolist(), strict=True):
        for vertex, coordinate in zip(quad, at, strict=True):
            uses[vertex].add(coordinate)
    vertex_map, uv_map = np.arange(int(quads.max()) + 1), np.arange(int(quad_uv.max()) + 1)
    for left, right in strip.pairs:
        for lost, stays, table in ((right, left, right_uv), (left, right, left_uv)):
            # a coordinate across a seam has no partner in the strip
            if not kept_apart[lost] and all(use in table for use in uses[lost]):
                vertex_map[lost] = stays
                for use in uses[lost]:
                    uv_map[use] = table[use]
                break
        else:
            return None
    joined = vertex_map[kept].astype(np.int32)
    if (np.diff(np.sort(joined, axis=1), axis=1) == 0).any():
        return None
    edges = np.sort(np.stack([joined, np.roll(joined, -1, 1)], -1).reshape(-1, 2), axis=1)
    _, counts = np.unique(edges[:, 0].astype(np.int64) << 32 | edges[:, 1], return_counts=True)
    if counts.max() > 2:
        return None
    return joined, uv_map[kept_uv].astype(np.int32)
