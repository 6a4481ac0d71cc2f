# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the quads of a rigged head together again, which glTF stores as triangles.

dp3d writes the quads (a, b, c, d) of a mesh as all triangles (a, b, c), then all (a, c, d), and
leaves out triangles without area, at the poles of an eye.
"""

from __future__ import annotations

import bmesh
import bpy


def restore(mesh: bpy.types.Mesh) -> int:
    """Join the triangles of a mesh that were one quad; its shape keys are kept.

    Returns:
        Number of quads.

    """
    pairs = _halves(mesh)
    edited = bmesh.new()
    try:
        edited.from_mesh(mesh)
        edited.faces.ensure_lookup_table()
        diagonals = []
        for first, second in pairs:
            around = set(edited.faces[second].edges)
            diagonals += [edge for edge in edited.faces[first].edges if edge in around][:1]
        bmesh.ops.dissolve_edges(edited, edges=diagonals, use_verts=False)
        edited.to_mesh(mesh)
    finally:
        edited.free()
    return len(diagonals)


def _halves(mesh: bpy.types.Mesh) -> list[tuple[int, int]]:
    """Polygons (a, b, c) and (a, c, d) of one quad; each polygon in at most one pair."""
    corners = [tuple(polygon.vertices) for polygon in mesh.polygons]
    by_start = {(face[0], face[1]): i for i, face in enumerate(corners) if len(face) == 3}
    paired: set[int] = set()
    pairs = []
    candidates = [
        (by_start.get((face[0], face[2]), -1), first) for first, face in enumerate(corners)
    ]
    # A second half lies behind all first halves: the last candidates are the safest.
    for second, first in sorted(candidates, reverse=True):
        if second > first and not {first, second} & paired:
            paired |= {first, second}
            pairs.append((first, second))
    return pairs
