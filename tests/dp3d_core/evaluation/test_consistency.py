"""Metrics of views alone, on heads whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera, frontal_arc
from dp3d_core.evaluation.consistency import (
    block_edges,
    neighbour_differences,
    reprojection,
    seam_ratio,
)
from dp3d_core.evaluation.poses import pose_error
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits import face_models
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject


@pytest.fixture(scope="module")
def head() -> SyntheticHead:
    return SyntheticHead(random_subject(5))


@pytest.fixture(scope="module")
def arc():
    return frontal_arc(8, size=128)


@pytest.fixture(scope="module")
def frames(head, arc):
    return [head.render(camera).rgb for camera in arc]


def path(count, closed=False):
    pairs = [(i, i + 1) for i in range(count - 1)]
    return [*pairs, (count - 1, 0)] if closed else pairs


def test_even_views_have_no_seams():
    ramp, pairs = [np.full((8, 8, 3), 10 * i, np.uint8) for i in range(16)], path(16)
    assert seam_ratio(ramp, pairs, block_edges(pairs, 4)) == pytest.approx(1)
    assert neighbour_differences(ramp, pairs) == pytest.approx(np.full(15, 10 / 255))


def test_a_jump_between_windows_is_a_seam():
    views = [np.full((8, 8, 3), 5 * i + 40 * (i >= 4), np.uint8) for i in range(8)]
    pairs = path(8)
    assert seam_ratio(views, pairs, block_edges(pairs, 4)) == pytest.approx(45 / 5)
    # the jump lies inside a window then
    assert seam_ratio(views, pairs, block_edges(pairs, 3)) < 1
    around = path(8, closed=True)
    closed = seam_ratio(views, around, block_edges(around, 4))
    assert closed == pytest.approx((45 + 75) / 2 / 5)


def test_without_a_boundary_there_is_no_ratio():
    views, pairs = [np.zeros((8, 8, 3), np.uint8)] * 4, path(4)
    assert np.isnan(seam_ratio(views, pairs, block_edges(pairs, 8)))
    assert np.isnan(seam_ratio(views, pairs, block_edges(pairs, 1)))


def test_what_is_not_known_does_not_count(head, arc, frames):
    pairs = path(len(frames))
    known = [np.zeros(f.shape[:2], bool) for f in frames]
    for part in known:
        part[:, 40:90] = True
    spoilt = [
        np.where(k[..., None], f, 0).astype(np.uint8) for f, k in zip(frames, known, strict=True)
    ]
    caster = RayCaster(head.head.mesh)
    whole = reprojection(frames, arc, caster, pairs)
    assert reprojection(spoilt, arc, caster, pairs, known).psnr > whole.psnr - 2
    assert reprojection(spoilt, arc, caster, pairs).psnr < whole.psnr - 8
    assert neighbour_differences(spoilt, pairs, known) == pytest.approx(
        neighbour_differences(frames, pairs, known)
    )


def test_true_views_reproject_and_tampered_ones_do_not(head, arc, frames):
    caster = RayCaster(head.head.mesh)
    true = reprojection(frames, arc, caster, path(8))
    assert true.psnr > 26
    assert 0.5 < true.overlap < 1
    shifted = [np.roll(f, 6 * (i % 2), axis=1) for i, f in enumerate(frames)]
    assert reprojection(shifted, arc, caster, path(8)).psnr < true.psnr - 6
    elsewhere = RayCaster(head.head.mesh.with_vertices(head.head.mesh.vertices + 50))
    assert np.isnan(reprojection(frames, arc, elsewhere, path(8)).psnr)
    swapped = [frames[1], frames[0], *frames[2:]]
    assert reprojection(swapped, arc, caster, path(8)).psnr < true.psnr - 2


@pytest.mark.skipif(not face_models.installed(), reason="face models: dp3d setup models")
def test_poses_that_are_wrong_are_found(head):
    cameras = [canonical_camera(yaw, 0, 256) for yaw in (-30, 0, 30, 150)]
    frames = [head.render(camera).rgb for camera in cameras]
    right = pose_error(frames, cameras)
    assert (right.frontal, right.detected) == (3, 3)
    assert right.median_deg < 10
    turned = [canonical_camera(yaw + 25, 0, 256) for yaw in (-30, 0, 30, 150)]
    assert pose_error(frames, turned).median_deg > right.median_deg + 10
    nobody = pose_error([np.full_like(f, 200) for f in frames], cameras)
    assert nobody.detected == 0
    assert np.isnan(nobody.median_deg)
