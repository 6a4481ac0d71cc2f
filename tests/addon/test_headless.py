# SPDX-License-Identifier: GPL-3.0-or-later
"""The buttons from a script, against a real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import frontal_arc
from dp3d_core.viewsets.viewset import ViewSet
from tests.addon.support import TOKEN
from tests.support.blender_cameras import blender_pose_from_head

pytestmark = pytest.mark.bpy


def test_generate_from_a_script(blender, server, portrait: Path, tmp_path: Path) -> None:
    report = blender(
        "headless", url=server.url, token=TOKEN, portrait=portrait, folder=tmp_path / "results"
    )
    assert report["run"].pop("views")
    assert report["run"] == {"state": "succeeded", "pending": "", "job_id": "", "error_code": ""}
    views = ViewSet.open(Path(report["folder"]))
    assert len(views) == 5
    assert views.frame(2).std() > 20
    assert views.meta.parameters["crop"] == [-20, 10, 500]
    assert views.meta.parameters["yaw_deg"] == pytest.approx(-10, abs=1e-4)
    assert views.meta.parameters["pitch_deg"] == pytest.approx(4, abs=1e-4)
    cameras = frontal_arc(5, size=96)
    for camera_report, camera in zip(report["cameras"], cameras, strict=True):
        expected_pose = blender_pose_from_head(camera.c2w, report["anchor"])
        blender_pose = np.array(camera_report["world"])
        blender_pose[:3, :3] /= np.linalg.norm(blender_pose[:3, :3], axis=0)
        np.testing.assert_allclose(blender_pose, expected_pose, atol=1e-5)
        assert camera_report["lens"] == pytest.approx(4.2647 * 36, rel=1e-5)
        assert camera_report["parent"] == "Head Anchor"
    assert report["again"] == 5
    assert report["render"] == [96, 96, f"{portrait.stem} · Player"]
    expected = {
        "no_portrait": "portrait.not_found",
        "no_anchor": "addon.anchor_missing",
        "bad_anchor": "camera.anchor_not_uniform",
        "no_views": "addon.no_views",
        "no_result": "addon.no_recipe",
        "anchor_gone": "addon.anchor_missing",
        "anchor_gone_load": "addon.anchor_missing",
        "no_camera": "addon.camera_missing",
        "ortho": "camera.not_perspective",
        "empty_range": "addon.bad_range",
        "engine": "engine.unknown",
    }
    assert "no result" in report["no_result"][1]
    for name, code in expected.items():
        assert report[name][0] == code, (name, report[name])
        assert report[name][1].endswith(".")
        assert report[name][2].endswith(".")
