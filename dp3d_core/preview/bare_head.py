"""The fitted head without hair: what hair, parsing and colours are placed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import bust
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.mesh import Mesh
from dp3d_core.preview.parts import Part
from dp3d_core.raycast import Hits, RayCaster

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BareHead:
    """A head without hair.

    Attributes:
        mesh: head space; ``parts`` are :class:`~dp3d_core.preview.parts.Part`.
        region: (n,) :class:`~dp3d_core.heads.bust.BustRegion` of each vertex.

    """

    mesh: Mesh
    region: NDArray[np.int8]

    @cached_property
    def caster(self) -> RayCaster:
        """Of the mesh, built when rays are first cast."""
        return RayCaster(self.mesh)

    @classmethod
    def of(cls, components: Array, expression: Mapping[str, float]) -> BareHead:
        """The head of shape components (``heads.people.prior``) with an expression."""
        shape = bust()
        controls = prior().vertices(components) + expression_offsets(expression)
        vertices = shape.vertices(controls)
        parts = np.full(len(vertices), int(Part.SKIN), np.uint8)
        mesh = Mesh.of(vertices, shape.faces, parts)
        return cls(mesh, shape.region)

    def moved(self, vertices: Array) -> BareHead:
        """The head with its vertices at other places."""
        return BareHead(self.mesh.with_vertices(vertices), self.region)

    def region_of(self, hits: Hits) -> NDArray[np.int8]:
        """(k,) :class:`~dp3d_core.heads.bust.BustRegion` of ray hits."""
        corner = self.mesh.faces[hits.face, hits.weights.argmax(1)]
        return np.asarray(self.region[corner])
