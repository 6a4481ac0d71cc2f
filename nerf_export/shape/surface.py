"""Distance grid of a field -> one closed, smooth, light surface in head space.

The grid's zero level is the surface.  What the fit never looked at, the inside, is filled;
whatever floats apart from the head is dropped; nothing sticks out of the silhouettes.
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
"""Blur of the distances, cells: below what the views resolve, above the grid's noise."""
_TAUBIN_ROUNDS = 10
_NUDGE = 0.02
"""How far a new point lies off the edge that it takes apart, parts of its triangles."""
_HASTE = (4, 3, 2, 1)
"""Aggressiveness of the decimation, tried in this order."""


@dataclass(frozen=True)
class DistanceGrid:
    """A field's distances: (nx, ny, nz), negative inside; world N, head units."""

    distance: Float[Array32, "nx ny nz"]
    low: Float[Array, " 3"]
    cell: float
    blur: float = LEAST_BLUR
    """Standard deviation, cells, of the blur that takes its noise away."""

    @cached_property
    def smoothed(self) -> Float[Array, "nx ny nz"]:
        """Distances without the noise of single corners.

        What is thinner than the blur, as rims of glasses are, stays where the views agree; where
        they do not, and the blur is wider, it is noise.
        """
        raw = self.distance.astype(np.float64)
        smooth: Array = ndimage.gaussian_filter(raw, self.blur)
        if self.blur > LEAST_BLUR:
            return smooth
        lost = ndimage.binary_dilation((raw < 0) & (smooth > 0), np.ones((3, 3, 3), bool))
        return np.where(lost, np.minimum(smooth, raw), smooth)

    def normals_at(self, points: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
        """(n, 3) unit normals, head space, outwards, at (n, 3) points near the surface."""
        places = (points @ Z_UP_FROM_HEAD[:3, :3].T - self.low) / self.cell
        slope = np.stack(
            [
                ndimage.map_coordinates(np.asarray(part), places.T, order=1, mode="nearest")
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
    """Closed surface of the largest body in a grid.

    Args:
        grid: distances of the field.
        faces: triangles wanted, about.
        hull: (nx, ny, nz) distances of the visual hull on the same corners, or None.

    Returns:
        Watertight mesh in head space, head units, without texture.

    Raises:
        Dp3dError: ``mesh.empty``.

    """
    distance = grid.smoothed
    if hull is not None:
        distance = np.maximum(distance, hull)
    solid = _one_solid(distance < 0)
    # Keep the exact distances near the surface, and only signs elsewhere.
    least = 0.01 * grid.cell
    distance = np.where(solid, np.minimum(distance, -least), np.maximum(distance, least))
    distance = np.pad(distance / grid.cell, 1, constant_values=1.0)
    vertices, triangles, _, _ = marching_cubes(np.clip(distance, -4, 4), 0.0)
    points = grid.low + grid.cell * (vertices - 1)
    mesh = trimesh.Trimesh(points @ HEAD_FROM_Z_UP[:3, :3].T, triangles, process=True)
    mesh = _largest_piece(mesh)
    trimesh.smoothing.filter_taubin(mesh, lamb=0.5, nu=0.53, iterations=_TAUBIN_ROUNDS)  # type: ignore[no-untyped-call]
    if len(mesh.faces) > faces:
        mesh = _lighter(mesh, faces)
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def _one_solid(inside: Bool[Mask, "nx ny nz"]) -> Bool[Mask, "nx ny nz"]:
    """The largest connected body, without cavities."""
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


def _lighter(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """The mesh with about ``faces`` triangles, still closed.

    Fast collapsing can pinch two sheets together at an edge, which is mended; where it cannot be, a
    more patient pass pinches less, but may end with more triangles than asked.
    """
    lighter = mesh
    for haste in _HASTE:
        v, f = fast_simplification.simplify(
            mesh.vertices.astype(np.float32),
            mesh.faces.astype(np.int32),
            target_count=int(faces),
            agg=haste,
        )
        lighter = _largest_piece(trimesh.Trimesh(v.astype(np.float64), f, process=True))
        if not lighter.is_watertight:
            lighter = _unpinched(lighter)
        if lighter.is_watertight:
            break
    return lighter


def _unpinched(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh with edges of four triangles and more taken apart: each two sheets get their own.

    One sheet keeps the edge, every other one is bent around a point of its own beside its middle.
    """
    vertices, faces = [*np.asarray(mesh.vertices)], [tuple(face) for face in mesh.faces.tolist()]
    at: dict[tuple[int, int], list[int]] = {}

    def place(index: int) -> None:
        for edge in _edges(faces[index]):
            at.setdefault(edge, []).append(index)

    for index in range(len(faces)):
        place(index)
    for edge in [edge for edge, around in at.items() if len(around) > 2]:
        for pair in _sheets(edge, [faces[i] for i in at[edge]], vertices)[1:]:
            tips = [sum(face) - sum(edge) for face in pair]
            middle = (vertices[edge[0]] + vertices[edge[1]]) / 2
            inwards = (vertices[tips[0]] + vertices[tips[1]]) / 2 - middle
            vertices.append(middle + _NUDGE * inwards)
            fresh = len(vertices) - 1
            for face in pair:
                index = next(i for i in at[edge] if faces[i] == face)
                for other in _edges(face):
                    at[other].remove(index)
                faces[index] = tuple(fresh if v == edge[0] else v for v in face)
                place(index)
                faces.append(tuple(fresh if v == edge[1] else v for v in face))
                place(len(faces) - 1)
    return trimesh.Trimesh(np.array(vertices), np.array(faces), process=False)


def _edges(face: tuple[int, ...]) -> list[tuple[int, int]]:
    a, b, c = face
    return [(min(p, q), max(p, q)) for p, q in ((a, b), (b, c), (c, a))]


def _sheets(
    edge: tuple[int, int], faces: list[tuple[int, ...]], vertices: list[Array]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The pairs of triangles around an edge between which the solid lies."""
    a, b = edge
    along = vertices[b] - vertices[a]
    along = along / max(float(np.linalg.norm(along)), 1e-12)
    aside = np.cross(along, np.eye(3)[np.abs(along).argmin()])
    across = np.cross(along, aside)
    angle = {}
    for face in faces:
        to_tip = vertices[sum(face) - a - b] - vertices[a]
        angle[face] = float(np.arctan2(to_tip @ across, to_tip @ aside))
    # Seen along the edge, a triangle that runs with it has the solid clockwise of itself.
    with_edge = [face for face in faces if face[(face.index(a) + 1) % 3] == b]
    against = [face for face in faces if face not in with_edge]
    pairs = []
    for face in with_edge:
        if not against:
            break
        before = min(against, key=lambda other: (angle[face] - angle[other]) % (2 * np.pi))
        against.remove(before)
        pairs.append((face, before))
    return pairs
