"""UV atlas of a synthetic head: one layout for every person with the same hair and wear."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.charts import unwrap
from dp3d_core.heads.people import Person
from dp3d_core.synthetic.head import HeadMesh, HeadSpec, build_head

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def head_uv(head: HeadMesh) -> tuple[Indices, NDArray[np.int32], Array]:
    """The atlas of a head.

    Returns:
        The vertex (n,) of the head behind each vertex of the atlas, triangles (m, 3) in the
        head's order, and uv (n, 2), 0 to 1, v up.

    """
    spec = head.spec
    return _unwrap(spec.hair, spec.beard, spec.glasses, spec.hat, spec.clothes)


@lru_cache(maxsize=16)
def _unwrap(
    hair: str | None, beard: float, glasses: str | None, hat: str | None, clothes: str | None
) -> tuple[Indices, NDArray[np.int32], Array]:
    head = build_head(HeadSpec(Person(), hair, beard, glasses, hat, clothes))
    return unwrap(head.rest, head.mesh.faces)
