# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on sends is what Blender renders: pixels of known points, both ways."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.files import cameras_from_blender_path

pytestmark = pytest.mark.bpy


def test_points_land_on_the_pixel_blender_sees(blender) -> None:
    result = blender("camera_matrix")
    points = np.array(result["points"], float)
    assert len(result["cases"]) == 5 * 3 * 3 * 3 * 2 * 3
    worst, where = 0.0, None
    for case in result["cases"]:
        cameras = cameras_from_blender_path(case["path"])
        assert len(cameras) == len(case["seen"]) == 2
        for camera, seen in zip(cameras, np.array(case["seen"]), strict=True):
            uv, depth = camera.project(points)
            assert (depth > 0).all()
            error = np.abs(uv - seen[:, :2]).max()
            if error > worst:
                worst, where = error, case["label"]
    print(f"worst pixel error {worst:.2e} over {len(result['cases'])} cases, at {where}")
    assert worst < 0.01, where


def test_a_really_rendered_ball_is_where_the_camera_says(blender, tmp_path) -> None:
    result = blender("rendered", folder=tmp_path)
    errors = []
    for case in result["cases"]:
        (camera,) = cameras_from_blender_path(case["path"])
        assert [camera.width, camera.height] == case["size"], case["label"]
        uv, _ = camera.project(np.array([result["ball"]], float))
        errors.append(float(np.abs(uv[0] - case["centroid"]).max()))
    print("centre of light off by", [f"{e:.3f}" for e in errors], "px")
    assert max(errors) < 0.15
