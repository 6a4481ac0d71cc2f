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
    told = blender(
        "headless", url=server.url, token=TOKEN, portrait=portrait, folder=tmp_path / "results"
    )
    assert told["run"].pop("views")
    assert told["run"] == {"state": "succeeded", "pending": "", "job_id": "", "error_code": ""}
    views = ViewSet.open(Path(told["folder"]))
    assert len(views) == 5
    assert views.frame(2).std() > 20
    assert views.meta.parameters["crop"] == [-20, 10, 500]
    assert views.meta.parameters["yaw_deg"] == pytest.approx(-10, abs=1e-4)
    assert views.meta.parameters["pitch_deg"] == pytest.approx(4, abs=1e-4)
    wanted = frontal_arc(5, size=96)
    for got, camera in zip(told["cameras"], wanted, strict=True):
        world = blender_pose_from_head(camera.c2w, told["anchor"])
        found = np.array(got["world"])
        found[:3, :3] /= np.linalg.norm(found[:3, :3], axis=0)
        np.testing.assert_allclose(found, world, atol=1e-5)
        assert got["lens"] == pytest.approx(4.2647 * 36, rel=1e-5)
        assert got["parent"] == "Head Anchor"
    assert told["again"] == 5
    assert told["render"] == [96, 96, f"{portrait.stem} · Player"]
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
    assert "no result" in told["no_result"][1]
    for name, code in expected.items():
        assert told[name][0] == code, (name, told[name])
        assert told[name][1].endswith(".")
        assert told[name][2].endswith(".")
