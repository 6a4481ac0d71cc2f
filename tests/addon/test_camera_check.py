# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras that cannot serve are named before the start, with their frames."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.camera_files import cameras_from_blender_path

pytestmark = pytest.mark.bpy


def test_cameras_are_checked_and_named(blender) -> None:
    result = blender("camera_faults")
    assert result["no_anchor"][0] == "addon.anchor_missing"
    assert result["none"] == ["The scene has no camera at frames 1 to 3."]
    assert result["good"] == []
    assert result["same_as_plain"]
    assert result["frame_kept"] == 7

    inside, away = result["flight"]
    assert inside.startswith("The camera 'Flight' stands inside the head at frame")
    assert "does not see the head" in away
    assert "5" in inside
    assert away.endswith("at frames 6 to 10.")
    code, problem = result["flight_raised"]
    assert code == "addon.camera_in_head"
    assert problem.endswith("(1 more such problem).")

    assert result["markers"] == [
        "The camera 'Flat' is orthographic at frame 4.",
        "The scene's camera 'Gone' was taken out of the scene at frame 6.",
    ]
    assert result["markers_raised"][0] == "camera.not_perspective"
    assert result["large"][0] == "addon.bad_size"
    assert "8000 x" in result["large"][1]
    assert result["halved"] == []

    unseen = {name for name, problems in result["sights"].items() if problems}
    assert unseen == {"above", "behind", "shifted away", "beside"}
    assert result["centimetres"] == []
    assert "inside the head" in result["centimetres_inside"][0]

    assert result["unselected"][0] == "addon.no_camera_selected"
    assert result["order"] == ["Cam 1", "Cam 2", "Cam 10"]
    assert result["selected_fault"][0] == "camera.not_perspective"
    assert "'Cam 10' is panoramic" in result["selected_fault"][1]
    sent = [frame["camera_world"] for frame in result["document"]["frames"]]
    np.testing.assert_allclose(sent, result["expected"])
    cameras = cameras_from_blender_path(result["document"])
    x = [camera.c2w[0][3] for camera in cameras]  # head space: half a metre is a unit
    np.testing.assert_allclose(x, [0.5, 1.0, 5.0], atol=1e-6)
