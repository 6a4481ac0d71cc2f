"""UV atlas of the bust, laid out by ``charts``: face and forehead have most of the texels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dp3d_core.arrays import Array, Indices, Indices32, Mask
from dp3d_core.heads.bust import BustPart, BustRegion, bust
from dp3d_core.heads.charts import unwrap
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.heads.space import MM

_FACE_SCALE = 1.0
"""Relative texel density, texels per millimetre, of charts of face and forehead."""
_REST_SCALE = 0.26
"""Relative texel density of all charts but those of face and chest."""
_CHEST_SCALE = 0.14
"""Relative texel density of charts of the chest."""


@dataclass(frozen=True, eq=False)
class BustAtlas:
    """Texture coordinates of the bust.

    Attributes:
        source: (k,) bust vertex that each atlas vertex is a copy of.
        faces: (m, 3) triangles of atlas vertices, ordered like the bust's triangles.
        uv: (k, 2) texture coordinates, 0 to 1, v up.

    """

    source: Indices
    faces: Indices32
    uv: Array


@lru_cache(maxsize=1)
def bust_atlas() -> BustAtlas:
    """The atlas of the bust; its layout does not depend on the person."""
    topology = bust()
    region = topology.region[topology.faces[:, 0]]
    scale = np.full(len(topology.faces), _REST_SCALE)
    scale[_face_triangles()] = _FACE_SCALE
    scale[region == BustRegion.TORSO] = _CHEST_SCALE
    # lips apart: between closed lips the mouth would have no area in the atlas
    controls = prior().mean + expression_offsets({"jawOpen": 0.4})
    return BustAtlas(*unwrap(topology.vertices(controls) / MM, topology.faces, scale))


def _face_triangles() -> Mask:
    """(m,) whether a triangle is skin of face or forehead."""
    topology = bust()
    first = topology.faces[:, 0]
    face = np.isin(topology.region[first], (BustRegion.FACE, BustRegion.FOREHEAD))
    return np.asarray(face & (topology.part[first] == BustPart.SKIN))
