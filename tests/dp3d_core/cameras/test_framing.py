"""The networks' framing, and resampling of pictures between cameras at one position."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.camera import Camera, camera_from_eg3d, canonical_intrinsics
from dp3d_core.cameras.framing import network_camera, reframe, shown_by
from dp3d_core.cameras.trajectories import (
    canonical_camera,
    diffportrait3d_ellipse,
    look_at,
    orbit_pose,
)
from dp3d_core.synthetic.rendering import condition_image


@pytest.mark.parametrize("yaw", [0, 40, 180])
def test_the_canonical_camera_is_the_networks_own(yaw):
    camera = canonical_camera(yaw, 10, 512)
    network = network_camera(camera)
    assert np.allclose(network.c2w, camera.c2w)
    assert np.allclose(network.K, camera.K)


def test_published_cameras_are_diffportrait3ds_own():
    for published in diffportrait3d_ellipse(16):
        ours = camera_from_eg3d(published)
        network = network_camera(ours, eg3d=True)
        assert np.allclose(network.c2w, ours.c2w, atol=1e-9)
        assert np.allclose(network.K, ours.K)


def test_a_head_is_as_large_from_any_distance():
    chin, crown = [0, -0.2, 0], [0, 0.25, 0]
    heights = []
    for radius in (1.5, 2.7, 6.0):
        camera = Camera(orbit_pose(30, 0, radius), canonical_intrinsics(300, 200), 300, 200)
        uv = network_camera(camera).project([chin, crown])[0]
        heights.append(uv[0, 1] - uv[1, 1])
    assert max(heights) / min(heights) < 1.01


def test_a_reframed_picture_is_what_the_other_camera_sees():
    """The other camera has lens shift, another aspect ratio, roll and direction."""
    source = canonical_camera(25, 5, 640)
    roll = np.radians(10)
    pose = look_at(source.position, (0.05, -0.03, 0.0))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    matrix = np.array([[1400.0, 0, 180], [0, 1350.0, 90], [0, 0, 1]])
    wanted = Camera(pose @ turn, matrix, 320, 220)
    reframed = reframe(condition_image(source), source, wanted)
    truth = condition_image(wanted)
    inside = shown_by(source, wanted)
    assert inside.mean() > 0.9
    error = np.abs(reframed.astype(float) - truth)[inside].mean()
    mirrored = np.abs(reframed[:, ::-1].astype(float) - truth)[inside].mean()
    assert error < 2.5
    assert mirrored > 5 * error


def test_the_valid_mask_excludes_pixels_outside_the_picture():
    source = canonical_camera(0, 0, 128)
    wide = Camera(
        source.c2w, canonical_intrinsics(128) * [[0.5, 1, 1], [1, 0.5, 1], [1, 1, 1]], 128, 128
    )
    shown = shown_by(source, wide)
    assert shown[64, 64]
    assert not shown[0, 0]
    assert shown.mean() == pytest.approx(0.25, abs=0.02)
    behind = Camera(look_at(source.position, source.position * 2), source.K, 128, 128)
    assert not shown_by(source, behind).any()
