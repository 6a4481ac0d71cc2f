"""Colours of the photo on the bare head: whether its scalp is bare."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.heads.bust import BustRegion
from dp3d_core.heads.space import MM
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.photo.face_colours import FaceColours, bare_scalp
from dp3d_core.preview.photo.parsing import PARSING_SIDE

SKIN, HAIR = np.array([62.0, 22.0, 26.0]), np.array([45.0, 1.0, 2.0])


@pytest.fixture(scope="module")
def face() -> FaceColours:
    """A bare head seen from the front, all of it skin in more or less light."""
    bare = BareHead.of(np.zeros(0), {})
    camera = canonical_camera(0.0, 0.0, PARSING_SIDE, focal=3.0)
    hits = bare.caster.seen(camera)
    light = np.random.default_rng(0).uniform(0.85, 1.0, (len(hits.ray), 1))
    known = np.ones(len(hits.ray), bool)
    return FaceColours(bare, hits, SKIN * light, known, known, SKIN)


def painted(face: FaceColours, from_mm: float, to_mm: float) -> FaceColours:
    """The head with hair on its scalp between two heights."""
    scalp = face.bare.region_of(face.hits) == BustRegion.SCALP
    height = face.hits.points[:, 1] / MM
    haired = scalp & (height > from_mm) & (height < to_mm)
    assert haired.sum() > 300
    return dataclasses.replace(face, colours=np.where(haired[:, None], HAIR, face.colours))


def test_a_bare_scalp_is_bare(face: FaceColours) -> None:
    assert bare_scalp(face)


def test_hair_around_a_bare_top_leaves_it_bare(face: FaceColours) -> None:
    assert bare_scalp(painted(face, -50, 90))


def test_hair_on_top_is_hair(face: FaceColours) -> None:
    assert not bare_scalp(painted(face, -50, 200))
    assert not bare_scalp(painted(face, 60, 200))
