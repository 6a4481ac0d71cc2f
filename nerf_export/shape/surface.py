"""Distance grid of a field -> one closed, smooth, decimated surface in head space.

The surface is the grid's zero level.  Cavities, which no view constrains, are filled, components
apart from the head are dropped, and the visual hull limits the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import fast_simplification
import numpy as np
import trimesh
from scipy import ndimage
from skimage.measure import marching_cubes

from dp3d_core.arrays import Array, Array32, Bool, Float, Mask
from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Z_UP_FROM_HEAD
from dp3d_core.errors import Dp3dError

LEAST_BLUR = 0.7
"""Least standard deviation, cells, of the blur of the distances: below the resolution of the
views, above the noise of the grid."""
_TAUBIN_ROUNDS = 10
"""Iterations of Taubin smoothing."""
_SPLIT_OFFSET = 0.02
"""Distance of a new vertex from the pinched edge that it splits, in parts of the triangles'
height."""
_AGGRESSIVENESS = (4, 3, 2, 1)
"""Aggressiveness of the decimation, tried in this order until the mesh is closed."""


@dataclass(frozen=True)
class DistanceGrid:
    """A field's distances on a regular grid of corners in world N.

    Attributes:
        distance: (nx, ny, nz) float32, negative inside, head units.
        low: (3,) position of the first corner, head units.
        cell: distance between corners, head units.
        blur: standard deviation, cells, of the blur that removes noise.

    """

    distance: Float[Array32, "nx ny nz"]
    low: Float[Array, " 3"]
    cell: float
    blur: float = LEAST_BLUR

    @cached_property
    def smoothed(self) -> Float[Array, "nx ny nz"]:
        """(nx, ny, nz) blurred distances.

        At the least blur, parts thinner than it, such as rims of glasses, are kept.  A wider blur
        stands for inconsistent views, where such parts are noise.
        """
        raw = self.distance.astype(np.float64)
        smooth: Array = ndimage.gaussian_filter(raw, self.blur)
        if self.blur > LEAST_BLUR:
            return smooth
        lost = ndimage.binary_dilation((raw < 0) & (smooth > 0), np.ones((3, 3, 3), bool))
        return np.where(lost, np.minimum(smooth, raw), smooth)

    def normals_at(self, points: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
        """(n, 3) outward unit normals at (n, 3) points near the surface, both in head space."""
        grid_positions = (points @ Z_UP_FROM_HEAD[:3, :3].T - self.low) / self.cell
        slope = np.stack(
            [
                ndimage.map_coordinates(np.asarray(part), grid_positions.T, order=1, mode="nearest")
                for part in np.gradient(self.smoothed)
            ],
            -1,
        )
        slope /= np.linalg.norm(slope, axis=1, keepdims=True).clip(1e-12)
        outward: Array = slope @ HEAD_FROM_Z_UP[:3, :3].T
        return outward


def extract_surface(
    grid: DistanceGrid, faces: int, hull: Float[Array32, "nx ny nz"] | None = None
) -> trimesh.Trimesh:
    """Closed surface of the largest component of a grid.

    Args:
        grid: distances of the field.
        faces: approximate number of triangles.
        hull: (nx, ny, nz) distances of the visual hull on the same corners, or None.

    Returns:
        Watertight mesh in head space, head units, without texture.

    Raises:
        Dp3dError: ``mesh.empty``.

    """
    distance = grid.smoothed
    if hull is not None:
        distance = np.maximum(distance, hull)
    solid = _largest_body(distance < 0)
    # Where the solid's sign differs from the distance's, the distance becomes a small one.
    least = 0.01 * grid.cell
    distance = np.where(solid, np.minimum(distance, -least), np.maximum(distance, least))
    distance = np.pad(distance / grid.cell, 1, constant_values=1.0)
    vertices, triangles, _, _ = marching_cubes(np.clip(distance, -4, 4), 0.0)
    points = grid.low + grid.cell * (vertices - 1)
    mesh = trimesh.Trimesh(points @ HEAD_FROM_Z_UP[:3, :3].T, triangles, process=True)
    mesh = _largest_piece(mesh)
    trimesh.smoothing.filter_taubin(mesh, lamb=0.5, nu=0.53, iterations=_TAUBIN_ROUNDS)  # type: ignore[no-untyped-call]
    if len(mesh.faces) > faces:
        mesh = _decimated(mesh, faces)
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def _largest_body(inside: Bool[Mask, "nx ny nz"]) -> Bool[Mask, "nx ny nz"]:
    """Largest connected component, cavities filled; raises ``mesh.empty``."""
    labels, count = ndimage.label(inside)
    if not count:
        raise Dp3dError(
            "mesh.empty",
            "The fitted field has no surface.",
            "Fit again with more steps, and check that the views have masks.",
        )
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body: Mask = ndimage.binary_fill_holes(labels == sizes.argmax())
    return body


def _largest_piece(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    pieces = mesh.split(only_watertight=False)
    return max(pieces, key=lambda piece: len(piece.faces)) if len(pieces) > 1 else mesh


def _decimated(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """The mesh decimated to about ``faces`` triangles, still closed.

    Aggressive decimation can pinch two sheets together at an edge.  Such edges are split; where
    that does not close the mesh, a less aggressive pass is tried, which may keep more triangles.
    """
    decimated = mesh
    for aggressiveness in _AGGRESSIVENESS:
        v, f = fast_simplification.simplify(
            mesh.vertices.astype(np.float32),
            mesh.faces.astype(np.int32),
            target_count=int(faces),
            agg=aggressiveness,
        )
        decimated = _largest_piece(trimesh.Trimesh(v.astype(np.float64), f, process=True))
        if not decimated.is_watertight:
            decimated = _without_pinched_edges(decimated)
        if decimated.is_watertight:
            break
    return decimated


def _without_pinched_edges(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh with every edge of four or more triangles split, so that each has two.

    One pair of triangles keeps the edge; each other pair gets a vertex beside the edge's middle.
    """
    vertices, faces = [*np.asarray(mesh.vertices)], [tuple(face) for face in mesh.faces.tolist()]
    faces_at: dict[tuple[int, int], list[int]] = {}

    def add_edges(index: int) -> None:
        for edge in _edges(faces[index]):
            faces_at.setdefault(edge, []).append(index)

    for index in range(len(faces)):
        add_edges(index)
    for edge in [edge for edge, neighbours in faces_at.items() if len(neighbours) > 2]:
        for pair in _sheets(edge, [faces[i] for i in faces_at[edge]], vertices)[1:]:
            tips = [sum(face) - sum(edge) for face in pair]
            middle = (vertices[edge[0]] + vertices[edge[1]]) / 2
            inwards = (vertices[tips[0]] + vertices[tips[1]]) / 2 - middle
            vertices.append(middle + _SPLIT_OFFSET * inwards)
            new_vertex = len(vertices) - 1
            for face in pair:
                index = next(i for i in faces_at[edge] if faces[i] == face)
                for other in _edges(face):
                    faces_at[other].remove(index)
                faces[index] = tuple(new_vertex if v == edge[0] else v for v in face)
                add_edges(index)
                faces.append(tuple(new_vertex if v == edge[1] else v for v in face))
                add_edges(len(faces) - 1)
    return trimesh.Trimesh(np.array(vertices), np.array(faces), process=False)


def _edges(face: tuple[int, ...]) -> list[tuple[int, int]]:
    a, b, c = face
    return [(min(p, q), max(p, q)) for p, q in ((a, b), (b, c), (c, a))]


def _sheets(
    edge: tuple[int, int], faces: list[tuple[int, ...]], vertices: list[Array]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs of an edge's triangles that enclose the solid between them."""
    a, b = edge
    along = vertices[b] - vertices[a]
    along = along / max(float(np.linalg.norm(along)), 1e-12)
    reference = np.cross(along, np.eye(3)[np.abs(along).argmin()])
    quadrature = np.cross(along, reference)
    angle = {}
    for face in faces:
        to_tip = vertices[sum(face) - a - b] - vertices[a]
        angle[face] = float(np.arctan2(to_tip @ quadrature, to_tip @ reference))
    # Seen along the edge, the solid lies clockwise of a triangle with the edge's direction.
    with_edge = [face for face in faces if face[(face.index(a) + 1) % 3] == b]
    against = [face for face in faces if face not in with_edge]
    pairs = []
    for face in with_edge:
        if not against:
            break
        partner = min(against, key=lambda other: (angle[face] - angle[other]) % (2 * np.pi))
        against.remove(partner)
        pairs.append((face, partner))
    return pairs
