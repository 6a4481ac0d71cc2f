"""The UV atlas: the same for every shape, nothing mirrored, nothing over something else."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads.people import Person
from dp3d_core.synthetic.head import HeadMesh, HeadSpec, build_head
from dp3d_core.synthetic.uv import head_uv

SIDE = 1024
SPECS = (
    HeadSpec(hair="bob", glasses="round"),
    HeadSpec(hair="afro", beard=12.0, clothes="turtleneck"),
)


@pytest.fixture(scope="module", params=range(len(SPECS)))
def head(request: pytest.FixtureRequest) -> HeadMesh:
    return build_head(SPECS[request.param])


def test_the_atlas_is_the_same_mesh(head: HeadMesh) -> None:
    source, faces, uv = head_uv(head)
    assert (source[faces] == head.mesh.faces).all()
    assert len(source) < 1.2 * len(head.rest)
    assert 0 <= uv.min() <= uv.max() <= 1


def test_shape_does_not_change_it(head: HeadMesh) -> None:
    spec = HeadSpec(
        Person(sex=1.0, age=0.9, expression={"jawOpen": 0.5}),
        head.spec.hair,
        head.spec.beard,
        head.spec.glasses,
        None,
        head.spec.clothes,
    )
    other = build_head(spec)
    assert (head_uv(other)[2] == head_uv(head)[2]).all()


def test_charts_neither_overlap_nor_lie_mirrored(head: HeadMesh) -> None:
    _, faces, uv = head_uv(head)
    a, b, c = (uv[faces[:, i]] * SIDE for i in range(3))
    area = ((b - a) * (c - a)[:, ::-1] * [1, -1]).sum(1) / 2
    assert (area > 0).all()
    assert 0.5 < area.sum() / SIDE**2 < 1.0
    # how many triangles hold each texel centre
    covered = np.zeros((SIDE, SIDE), np.int32)
    first = np.floor(np.min([a, b, c], axis=0) - 0.5).astype(int)
    span = np.floor(np.max([a, b, c], axis=0) + 0.5).astype(int) - first + 1
    count = span.prod(1)
    face = np.repeat(np.arange(len(faces)), count)
    offset = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    place = first[face] + np.stack([offset % span[face, 0], offset // span[face, 0]], -1)
    p = place + 0.5

    def left_of(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        d, e = end[face] - start[face], p - start[face]
        return d[:, 0] * e[:, 1] - d[:, 1] * e[:, 0] > 1e-9

    inside = left_of(a, b) & left_of(b, c) & left_of(c, a)
    inside &= ((place >= 0) & (place < SIDE)).all(1)
    np.add.at(covered, (place[inside, 1], place[inside, 0]), 1)
    assert (covered > 0).mean() > 0.5
    assert (covered > 1).sum() < 1e-3 * (covered > 0).sum()
