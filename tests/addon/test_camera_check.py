# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras that cannot serve are named before the start, with their frames."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.files import cameras_from_blender_path

pytestmark = pytest.mark.bpy


def test_cameras_are_checked_and_named(blender) -> None:
    result = blender("camera_faults")
    assert result["no_anchor"][0] == "addon.anchor_missing"
    assert result["none"] == ["The scene has no camera at frames 1 to 3."]
    assert result["good"] == []
    assert result["same_as_plain"]
    assert result["frame_kept"] == 7

    inside, looking_away = result["flight"]
    assert inside.startswith("The camera 'Flight' stands inside the head at frame")
    assert "does not see the head" in looking_away
    assert "5" in inside
    assert looking_away.endswith("at frames 6 to 10.")
    code, problem = result["flight_raised"]
    assert code == "addon.camera_in_head"
    assert problem.endswith("(1 more such problem).")

    assert result["markers"] == [
        "The camera 'Flat' is orthographic at frame 4.",
        "The scene's camera 'Gone' was taken out of the scene at frame 6.",
    ]
    assert result["markers_raised"][0] == "camera.not_perspective"
    assert result["camera_kept"] == "Flight"  # no marker's, though frames were set
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


def test_what_is_hidden_moves_like_what_is_shown(blender) -> None:
    result = blender("hidden")
    shown = result["poses"].pop("none, all")
    path, by_markers, names = shown
    assert names == ["camera"] * 3 + ["second", "camera", "camera"]
    anchor_x = [frame["anchor_world"][0][3] for frame in path]
    np.testing.assert_allclose(anchor_x, [0.02, 0.1, 0.2], atol=1e-6)  # 0.01 n + 0.5 x 0.02 n
    camera_x = [frame["camera_world"][0][3] for frame in path]
    np.testing.assert_allclose(camera_x, [0.07, 0.35, 0.7], atol=1e-6)
    marked_x = [frame["camera_world"][0][3] for frame in by_markers]
    np.testing.assert_allclose(marked_x, [0.05, 0.35, 0.7], atol=1e-6)
    lenses = [frame["projection"][0][0] * 18 for frame in path]
    np.testing.assert_allclose(lenses[::2], [41, 50], atol=1e-4)
    assert len(result["poses"]) == 8
    for method, hidden in result["poses"].items():
        assert hidden == shown, method
    # No helper stays behind, nor another frame.
    assert result["left"] == [[0, 4]] * 9
    np.testing.assert_allclose(result["selected"], [0.2, 0.5], atol=1e-6)
