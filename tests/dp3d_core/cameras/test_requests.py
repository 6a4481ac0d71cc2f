"""Cameras of job requests and command lines."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.files import cameras_to_dict
from dp3d_core.cameras.trajectories import cameras_from_request, full_orbit
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import CAMERA_PRESETS
from tests.support.blender_cameras import default_anchor, projection_from_intrinsics


@pytest.mark.parametrize("preset", CAMERA_PRESETS)
@pytest.mark.parametrize("views", [1, 2, 33])
def test_a_preset_gives_the_requested_number_of_views(preset, views):
    cameras = cameras_from_request({"preset": preset, "views": views, "size": 64})
    assert len(cameras) == views
    assert {(c.width, c.height) for c in cameras} == {(64, 64)}
    poses = {tuple(np.round(c.c2w.ravel(), 9)) for c in cameras}
    assert len(poses) == views


def test_defaults_are_those_of_the_api_page():
    cameras = cameras_from_request({"preset": "orbit"})
    assert (len(cameras), cameras[0].width) == (32, 512)
    assert cameras[0].yaw_pitch_deg == pytest.approx((0, 0))


def test_pitch_tilts_the_orbit():
    cameras = cameras_from_request({"preset": "orbit", "views": 4, "pitch_deg": 20})
    assert [c.yaw_pitch_deg[1] for c in cameras] == pytest.approx([20] * 4)


def test_documents_pass_through():
    orbit = full_orbit(3, size=32)
    back = cameras_from_request(cameras_to_dict(orbit))
    assert all(np.array_equal(a.c2w, b.c2w) for a, b in zip(orbit, back, strict=True))


def blender_path(width=64, height=64):
    camera = full_orbit(1, size=64)[0]
    return {
        "schema": "dp3d.blender-path/1",
        "width": width,
        "height": height,
        "frames": [
            {
                "camera_world": np.eye(4).tolist(),
                "anchor_world": default_anchor().tolist(),
                "projection": projection_from_intrinsics(camera.K, 64, 64).tolist(),
            }
        ],
    }


def test_blender_path_is_read():
    assert len(cameras_from_request(blender_path())) == 1


@pytest.mark.parametrize(
    ("request_data", "code"),
    [
        ({"preset": "spiral"}, "camera.invalid"),
        ({"preset": ["orbit"]}, "camera.invalid"),
        ({"preset": "orbit", "views": 0}, "camera.invalid"),
        ({"preset": "orbit", "views": 361}, "camera.invalid"),
        ({"preset": "orbit", "views": True}, "camera.invalid"),
        ({"preset": "orbit", "views": 2.5}, "camera.invalid"),
        ({"preset": "orbit", "size": 15}, "camera.invalid"),
        ({"preset": "orbit", "size": 2049}, "camera.invalid"),
        ({"preset": "orbit", "pitch_deg": float("nan")}, "camera.invalid"),
        ({"preset": "orbit", "pitch_deg": "20"}, "camera.invalid"),
        ({"preset": "orbit", "fov": 30}, "camera.invalid"),
        (blender_path(5000, 64), "camera.invalid"),
        (blender_path(float("inf"), 64), "camera.file_invalid"),
        ({"schema": "dp3d.cameras/2"}, "camera.file_invalid"),
        ({"schema": "dp3d.cameras/1", "cameras": []}, "camera.file_invalid"),
        (None, "camera.file_invalid"),
        ([], "camera.file_invalid"),
    ],
)
def test_bad_requests_are_refused_with_a_code(request_data, code):
    with pytest.raises(Dp3dError) as caught:
        cameras_from_request(request_data)
    assert caught.value.code == code
