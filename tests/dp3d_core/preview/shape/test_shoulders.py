"""Shoulders: they lean as the photo's do, and stand out on both sides or on none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.heads.space import MM
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.load import load_portrait
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.shape.shoulders import limit_asymmetry, neck_and_shoulders
from dp3d_core.synthetic.sample_photos import sample_photos


@pytest.fixture(scope="module")
def bare() -> BareHead:
    return BareHead.of(np.zeros(0), {})


def test_shoulders_beside_the_head_are_followed(bare: BareHead) -> None:
    camera = canonical_camera(size=640, focal=2.16)
    goal = bare.mesh.vertices.copy()
    low = np.clip((-goal[:, 1] / MM - 70) / 90, 0, 1)
    goal[:, 0] += 20 * MM * low
    moved = bare.moved(goal)
    matte = np.isfinite(RayCaster(moved.mesh).depth(camera)).astype(np.uint8) * 255
    portrait = replace(
        load_portrait(sample_photos()["profile"]()),
        matte=matte,
        inside=np.ones((640, 640), bool),
        camera=camera,
    )
    fitted = neck_and_shoulders(portrait, bare.mesh.vertices)
    torso = bare.mesh.vertices[:, 1] < -165 * MM
    aside = (fitted - bare.mesh.vertices)[torso, 0].mean() / MM
    assert aside == pytest.approx(20, abs=6)


def test_a_bulge_on_one_side_of_the_neck_is_taken_back(bare: BareHead) -> None:
    before = bare.mesh.vertices
    beside = (before[:, 0] > 30 * MM) & (before[:, 1] < -100 * MM) & (before[:, 1] > -140 * MM)
    beside &= before[:, 0] < 70 * MM
    after = before.copy()
    after[beside, 0] += 25 * MM
    even = limit_asymmetry(before, after)
    move = (even - before)[:, 0] / MM
    assert move[beside].mean() < 20
    np.testing.assert_array_equal(even[before[:, 1] > -80 * MM], after[before[:, 1] > -80 * MM])


def test_what_both_sides_do_stays(bare: BareHead) -> None:
    before = bare.mesh.vertices
    after = before.copy()
    wide = before[:, 1] < -110 * MM
    after[wide, 0] *= 1.2
    np.testing.assert_allclose(limit_asymmetry(before, after), after, atol=1.5 * MM)
