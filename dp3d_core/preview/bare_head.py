"""The fitted head without hair, on which parsing, hair, clothing and colours are based."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dp3d_core.arrays import Array, Regions
from dp3d_core.heads.bust import bust
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import Hits, RayCaster
from dp3d_core.preview.parts import Part


@dataclass(frozen=True, eq=False)
class BareHead:
    """A head without hair.

    Attributes:
        mesh: the head, head units; ``parts`` are :class:`~dp3d_core.preview.parts.Part`.
        region: (n,) :class:`~dp3d_core.heads.bust.BustRegion` of each vertex.

    """

    mesh: Mesh
    region: Regions

    @cached_property
    def caster(self) -> RayCaster:
        """Ray caster of the mesh, built on first use."""
        return RayCaster(self.mesh)

    @classmethod
    def of(cls, components: Array, expression: Mapping[str, float]) -> BareHead:
        """Build a head.

        Args:
            components: (c,) coefficients of ``heads.people.prior``, standard deviations.
            expression: blend shape to weight, 0 to 1.

        """
        topology = bust()
        controls = prior().vertices(components) + expression_offsets(expression)
        vertices = topology.vertices(controls)
        parts = np.full(len(vertices), int(Part.SKIN), np.uint8)
        mesh = Mesh.of(vertices, topology.faces, parts)
        return cls(mesh, topology.region)

    def moved(self, vertices: Array) -> BareHead:
        """The head with other vertices (n, 3)."""
        return BareHead(self.mesh.with_vertices(vertices), self.region)

    def region_of(self, hits: Hits) -> Regions:
        """(k,) :class:`~dp3d_core.heads.bust.BustRegion` of k ray hits."""
        corner = self.mesh.faces[hits.face, hits.weights.argmax(1)]
        return np.asarray(self.region[corner])
