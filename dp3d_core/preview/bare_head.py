"""The fitted head without hair: what hair, parsing and colours are placed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.hair import HairStyle, hairline
from dp3d_core.heads.labels import Label, vertex_labels
from dp3d_core.heads.model import HeadSpec, Surface, build_head
from dp3d_core.mesh import Mesh
from dp3d_core.preview.parsing import Region
from dp3d_core.preview.parts import as_parts
from dp3d_core.raycast import Hits, RayCaster

_FOREHEAD_MM = 60.0
"""Height from which on a forehead may lie under hair."""


@dataclass(frozen=True, eq=False)
class BareHead:
    """A head without hair, dressed.

    Attributes:
        mesh: head space; ``parts`` are :class:`~dp3d_core.preview.parts.Part`.
        region: (n,) :class:`~dp3d_core.preview.parsing.Region` of each vertex.
        caster: of the mesh.

    """

    mesh: Mesh
    region: NDArray[np.int8]
    caster: RayCaster

    @classmethod
    def of(cls, shape: Mapping[str, float]) -> BareHead:
        """The head of a shape (``heads.shape``)."""
        spec = HeadSpec(shape, None)
        mesh = as_parts(spec)
        head = build_head(spec)
        labels = vertex_labels(head)
        region = np.full(len(mesh.vertices), Region.FACE, np.int8)
        part = region[: len(labels)]
        part[labels == Label.EARS] = Region.EAR
        part[labels == Label.NECK] = Region.NECK
        part[labels == Label.SHOULDERS] = Region.TORSO
        scalp = head.rest[:, 1] > hairline(head.rest, HairStyle())
        skin = head.mesh.parts == Surface.SKIN
        face = (part == Region.FACE) & skin
        part[face & ~scalp & (head.rest[:, 1] > _FOREHEAD_MM)] = Region.FOREHEAD
        part[face & scalp] = Region.SCALP
        part[(part == Region.NECK) & scalp] = Region.SCALP
        return cls(mesh, region, RayCaster(mesh))

    def moved(self, mesh: Mesh) -> BareHead:
        """The head with its vertices at other places."""
        return BareHead(mesh, self.region, RayCaster(mesh))

    def region_of(self, hits: Hits) -> NDArray[np.int8]:
        """(k,) :class:`~dp3d_core.preview.parsing.Region` of ray hits."""
        corner = self.mesh.faces[hits.face, hits.weights.argmax(1)]
        return np.asarray(self.region[corner])
