"""What a rigged head is: parts of quads with blend shapes and weights, bones, and materials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from dp3d_core.arrays import Array, Array32, Indices, Indices32, Pixels
from dp3d_core.heads.people import head_data
from dp3d_core.heads.space import MM
from dp3d_core.limits import HEAD_DETAILS, HeadDetail

Detail = HeadDetail
"""Levels of detail, by the number of quads along an edge of the model."""
DETAILS = HEAD_DETAILS
METRES = 1e-3 / MM
"""Metres per head unit, in files."""
PHOTO_EXPRESSION = "photoExpression"
"""Name of the key that puts the photo's expression onto the neutral face; on by default."""
BONES: dict[str, str | None] = {
    "root": None,
    "neck": "root",
    "head": "neck",
    "jaw": "head",
    "eye.L": "head",
    "eye.R": "head",
}
"""Bones and their parents."""


def arkit_names() -> tuple[str, ...]:
    """The 52 names of ARKit's blend shapes, sorted."""
    prefix = "expression/"
    return tuple(sorted(n.removeprefix(prefix) for n in head_data().names if n.startswith(prefix)))


@dataclass(frozen=True, eq=False)
class Key:
    """A blend shape of one part, of the vertices that it moves alone.

    Attributes:
        moved: (k,) vertices, ascending.
        offsets: (k, 3) float32, head units at weight 1.

    """

    moved: Indices
    offsets: Array32

    @classmethod
    def of(cls, offsets: Array, least: float) -> Key:
        """A key of the offsets (n, 3) that are longer than ``least``, head units."""
        moved = np.flatnonzero(np.einsum("ni,ni->n", offsets, offsets) > least * least)
        return cls(moved, offsets[moved].astype(np.float32))

    def added(self, vertices: Array, weight: float) -> None:
        """Move vertices (n, 3), in place."""
        vertices[self.moved] += weight * self.offsets


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces of one level of detail.

    Attributes:
        quads: (m, 4) vertices, counter-clockwise seen from outside; a triangle repeats its last.
        quad_uv: (m, 4) texture coordinates of the corners.

    """

    quads: Indices32
    quad_uv: Indices32

    def counts(self) -> dict[str, int]:
        """Numbers of ``quads`` and of ``triangles``."""
        triangles = int((self.quads[:, 2] == self.quads[:, 3]).sum())
        return {"quads": len(self.quads) - triangles, "triangles": triangles}

    def triangles(self) -> tuple[Indices32, Indices32]:
        """Corners (t, 3) of the triangles, and their texture coordinates (t, 3)."""
        both = [
            np.concatenate([of[:, [0, 1, 2]], of[:, [0, 2, 3]]])
            for of in (self.quads, self.quad_uv)
        ]
        corners = both[0]
        solid = (
            (corners[:, 0] != corners[:, 1])
            & (corners[:, 1] != corners[:, 2])
            & (corners[:, 2] != corners[:, 0])
        )
        return corners[solid].astype(np.int32), both[1][solid].astype(np.int32)


class Levels(Mapping[Detail, Faces]):
    """Faces by level of detail, made when they are first asked for."""

    def __init__(self, make: Callable[[Detail], Faces]) -> None:
        """Take a function from a level of detail to its faces."""
        self._make = make
        self._made: dict[Detail, Faces] = {}

    def __getitem__(self, detail: Detail) -> Faces:
        """The faces of a level of detail."""
        if detail not in self._made:
            self._made[detail] = self._make(detail)
        return self._made[detail]

    def __iter__(self) -> Iterator[Detail]:
        """Iterate over the levels."""
        return iter(DETAILS)

    def __len__(self) -> int:
        """Count the levels."""
        return len(DETAILS)


@dataclass(frozen=True, eq=False)
class RiggedPart:
    """A mesh of the rigged head.

    Attributes:
        name: a word such as ``skin`` or ``lower_teeth``.
        material: name of its material.
        vertices: (n, 3) neutral, head units.
        uv: (k, 2) texture coordinates, 0 to 1, v up.
        faces: level of detail to faces.
        keys: blend shapes by name, :func:`arkit_names` and :data:`PHOTO_EXPRESSION`; those that
            move nothing of the part are left out.
        weights: (n, bones) skinning weights, rows sum to 1.
        normals: (n, 3) unit normals of the neutral mesh; None takes those of its faces.

    """

    name: str
    material: str
    vertices: Array
    uv: Array
    faces: Mapping[Detail, Faces]
    keys: Mapping[str, Key]
    weights: Array
    normals: Array | None = None

    def posed(self, weights: Mapping[str, float]) -> Array:
        """(n, 3) vertices with keys at weights, 0 to 1; keys that the part lacks move nothing."""
        vertices = self.vertices.copy()
        for name, weight in weights.items():
            if name in self.keys:
                self.keys[name].added(vertices, weight)
        return vertices


@dataclass(frozen=True, eq=False)
class Material:
    """A material, as photographed and under the light of a scene.

    Attributes:
        photographed: (s, s, 3 or 4) uint8 sRGB with the photo's light; 4 channels with alpha.
        delit: (s, s, 3 or 4) uint8 sRGB under even light.
        roughness: 0 to 1, mean of ``roughness_map`` if there is one.
        roughness_map: (s, s) uint8, 255 is rough.
        normal_map: (s, s, 3) uint8 in glTF's tangent space.
        alpha: whether alpha below one half is cut out.
        double_sided: whether the back is visible.

    """

    photographed: Pixels
    delit: Pixels
    roughness: float = 0.6
    roughness_map: Pixels | None = None
    normal_map: Pixels | None = None
    alpha: bool = False
    double_sided: bool = False


@dataclass(frozen=True, eq=False)
class RiggedHead:
    """A head as an asset.

    Attributes:
        parts: its meshes.
        bones: (6, 3) heads of :data:`BONES`, head units.
        materials: by name.
        expression: the photo's expression, blend shape to weight.
        provenance: what it was made from, JSON-ready.

    """

    parts: tuple[RiggedPart, ...]
    bones: Array
    materials: Mapping[str, Material] = field(default_factory=dict)
    expression: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)

    def part(self, name: str) -> RiggedPart:
        """The part of a name."""
        return next(part for part in self.parts if part.name == name)
