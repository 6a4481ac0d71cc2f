"""Metrics of views alone, on heads whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core import face_models
from dp3d_core.evaluation.consistency import (
    block_edges,
    neighbour_differences,
    reprojection,
    seam_ratio,
)
from dp3d_core.evaluation.poses import pose_error
from dp3d_core.heads.synth import SyntheticHead, random_subject
from dp3d_core.raycast import RayCaster
from dp3d_core.trajectories import canonical_camera, frontal_arc


@pytest.fixture(scope="module")
def head() -> SyntheticHead:
    return SyntheticHead(random_subject(5))


@pytest.fixture(scope="module")
def arc():
    return frontal_arc(8, size=128)


@pytest.fixture(scope="module")
def frames(head, arc):
    return [head.render(camera).rgb for camera in arc]


def test_even_views_have_no_seams():
    ramp = [np.full((8, 8, 3), 10 * i, np.uint8) for i in range(16)]
    assert seam_ratio(ramp, block_edges(16, 4)) == pytest.approx(1)
    assert neighbour_differences(ramp) == pytest.approx(np.full(15, 10 / 255))


def test_a_jump_between_windows_is_a_seam():
    views = [np.full((8, 8, 3), 5 * i + 40 * (i >= 4), np.uint8) for i in range(8)]
    assert seam_ratio(views, block_edges(8, 4)) == pytest.approx(45 / 5)
    assert seam_ratio(views, block_edges(8, 3)) < 1  # the jump lies inside a window then
    closed = seam_ratio(views, block_edges(8, 4, closed=True), closed=True)
    assert closed == pytest.approx((45 + 75) / 2 / 5)


def test_without_a_boundary_there_is_no_ratio():
    views = [np.zeros((8, 8, 3), np.uint8)] * 4
    assert np.isnan(seam_ratio(views, block_edges(4, 8)))
    assert np.isnan(seam_ratio(views, block_edges(4, 1)))


def test_true_views_reproject_and_tampered_ones_do_not(head, arc, frames):
    caster = RayCaster(head.head.mesh)
    true = reprojection(frames, arc, caster)
    assert true.psnr > 26
    assert 0.5 < true.seen < 1
    shifted = [np.roll(f, 6 * (i % 2), axis=1) for i, f in enumerate(frames)]
    assert reprojection(shifted, arc, caster).psnr < true.psnr - 6
    elsewhere = RayCaster(head.head.mesh.with_vertices(head.head.mesh.vertices + 50))
    assert np.isnan(reprojection(frames, arc, elsewhere).psnr)
    swapped = [frames[1], frames[0], *frames[2:]]
    assert reprojection(swapped, arc, caster).psnr < true.psnr - 2


@pytest.mark.skipif(not face_models.installed(), reason="face models: dp3d setup models")
def test_poses_that_are_wrong_are_found(head):
    cameras = [canonical_camera(yaw, 0, 256) for yaw in (-30, 0, 30, 150)]
    frames = [head.render(camera).rgb for camera in cameras]
    right = pose_error(frames, cameras)
    assert (right.asked, right.found) == (3, 3)
    assert right.median_deg < 10
    turned = [canonical_camera(yaw + 25, 0, 256) for yaw in (-30, 0, 30, 150)]
    assert pose_error(frames, turned).median_deg > right.median_deg + 10
    nobody = pose_error([np.full_like(f, 200) for f in frames], cameras)
    assert nobody.found == 0
    assert np.isnan(nobody.median_deg)
