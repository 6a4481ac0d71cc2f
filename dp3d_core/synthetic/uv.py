"""UV atlas of a synthetic head; its layout depends on hair and accessories, not on the person."""

from __future__ import annotations

from functools import lru_cache

from dp3d_core.arrays import Array, Indices, Indices32
from dp3d_core.heads.charts import unwrap
from dp3d_core.heads.people import Person
from dp3d_core.synthetic.head import HeadMesh, HeadSpec, build_head


def head_uv(head: HeadMesh) -> tuple[Indices, Indices32, Array]:
    """UV atlas of a head (``heads.charts.unwrap``).

    Returns:
        Head vertex (k,) that each atlas vertex is a copy of; triangles (m, 3) of atlas vertices in
        the head's order; uv (k, 2), 0 to 1, v up.

    """
    spec = head.spec
    return _unwrap(spec.hair, spec.beard, spec.glasses, spec.hat, spec.clothes)


@lru_cache(maxsize=16)
def _unwrap(
    hair: str | None, beard: float, glasses: str | None, hat: str | None, clothes: str | None
) -> tuple[Indices, Indices32, Array]:
    """Atlas of the average person with this hair and these accessories."""
    head = build_head(HeadSpec(Person(), hair, beard, glasses, hat, clothes))
    return unwrap(head.rest, head.mesh.faces)
