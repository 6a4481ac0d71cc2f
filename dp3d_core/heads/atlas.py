"""The UV atlas of the bust: the face has most of its texels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import BustPart, BustRegion, bust
from dp3d_core.heads.charts import unwrap
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.heads.space import MM

Array = NDArray[np.float64]

_FACE_SCALE, _REST_SCALE, _CHEST_SCALE = 1.0, 0.26, 0.14
"""Texels a millimetre of the face's charts, of the others, and of those of the chest."""


@dataclass(frozen=True, eq=False)
class BustAtlas:
    """Texture coordinates of the bust.

    Attributes:
        source: (k,) vertex of the bust behind each vertex of the atlas.
        faces: (m, 3) triangles of the atlas, in the order of the bust's.
        uv: (k, 2) 0 to 1, v up.

    """

    source: NDArray[np.int64]
    faces: NDArray[np.int32]
    uv: Array

    def face_share(self) -> float:
        """Part of the atlas that shows the skin of face and forehead, 0 to 1."""
        corners = self.uv[self.faces]
        first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
        return float(area[_face_triangles()].sum())


@lru_cache(maxsize=1)
def bust_atlas() -> BustAtlas:
    """The atlas; one layout for all people."""
    shape = bust()
    region = shape.region[shape.faces[:, 0]]
    scale = np.full(len(shape.faces), _REST_SCALE)
    scale[_face_triangles()] = _FACE_SCALE
    scale[region == BustRegion.TORSO] = _CHEST_SCALE
    # lips apart, so that what lies between them has its place
    controls = prior().mean + expression_offsets({"jawOpen": 0.4})
    return BustAtlas(*unwrap(shape.vertices(controls) / MM, shape.faces, scale))


def _face_triangles() -> NDArray[np.bool_]:
    """(m,) triangles of the skin of face and forehead."""
    shape = bust()
    first = shape.faces[:, 0]
    face = np.isin(shape.region[first], (BustRegion.FACE, BustRegion.FOREHEAD))
    return np.asarray(face & (shape.part[first] == BustPart.SKIN))
