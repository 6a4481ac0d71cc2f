"""Triangle meshes in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array, Float, Indices, Indices32, Int, Labels, UInt8


@dataclass(frozen=True)
class Mesh:
    """Triangles with smooth normals.

    Attributes:
        vertices: (n, 3) float64.
        faces: (m, 3) int32, counter-clockwise seen from outside.
        normals: (n, 3) float64 unit vectors, outwards.
        parts: (n,) uint8 label of each vertex; the maker of the mesh defines the labels.

    """

    vertices: Float[Array, "n 3"]
    faces: Int[Indices32, "m 3"]
    normals: Float[Array, "n 3"]
    parts: UInt8[Labels, " n"]

    @classmethod
    def of(
        cls, vertices: Float[Array, "n 3"], faces: Int[Indices32, "m 3"], parts: UInt8[Labels, " n"]
    ) -> Mesh:
        """A mesh with normals of :func:`vertex_normals`."""
        return cls(vertices, faces, vertex_normals(vertices, faces), parts)

    def with_vertices(self, vertices: Float[Array, "n 3"]) -> Mesh:
        """The mesh with other vertex positions and recomputed normals."""
        return Mesh.of(vertices, self.faces, self.parts)


def vertex_normals(
    vertices: Float[Array, "n 3"], faces: Int[Indices32, "m 3"]
) -> Float[Array, "n 3"]:
    """(n, 3) unit normals: area-weighted mean of the face normals around each vertex."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.stack(
        [
            np.bincount(faces.ravel(), np.repeat(face_normals[:, axis], 3), minlength=len(vertices))
            for axis in range(3)
        ],
        -1,
    )
    return unit(np.asarray(sums, np.float64))


def unit(vectors: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
    """(n, 3) vectors scaled to length 1; zero vectors stay 0."""
    # einsum: several times faster than a norm over an axis of three
    length = np.sqrt(np.einsum("ni,ni->n", vectors, vectors))
    return np.asarray(vectors / np.maximum(length, 1e-12)[:, None])


def neighbours(
    faces: Int[Indices32, "m 3"],
) -> tuple[Int[Indices, " k"], Int[Indices, " k"]]:
    """Indices (k,), (k,) of pairs of triangles with a common edge."""
    sides = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    order = np.lexsort(sides.T)
    is_shared = (sides[order][1:] == sides[order][:-1]).all(1)
    return order[:-1][is_shared] // 3, order[1:][is_shared] // 3
