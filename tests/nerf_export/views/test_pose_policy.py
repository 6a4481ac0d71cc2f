"""Cameras that a fit has settled on are kept, and read as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.viewsets.viewset import ViewSet
from nerf_export.views.pose_policy import SettledPoses, settled_poses

CALLS = {"progress": no_progress, "cancel": never_cancel}


def settle(views: ViewSet, path: Path) -> SettledPoses:
    return settled_poses(views, path, "auto", None, CALLS)


def test_settled_poses_are_stored_and_read_back(head_views: ViewSet, tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    first = settle(head_views, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": ["Kept."]}))
    second = settle(head_views, path)
    assert (first.warnings, second.warnings) == ([], ["Kept."])
    for before, after in zip(first.cameras, second.cameras, strict=True):
        np.testing.assert_array_equal(before.c2w, after.c2w)
        np.testing.assert_array_equal(before.K, after.K)


def test_points_of_a_face_survive_json(head_views: ViewSet) -> None:
    face = np.random.default_rng(0).normal(size=(7, 3))
    settled = SettledPoses(head_views.cameras, {"faces": [1]}, face, ["One."])
    back = SettledPoses.from_dict(json.loads(json.dumps(settled.to_dict())))
    np.testing.assert_array_equal(back.face, face)
    assert (back.registration, back.warnings) == ({"faces": [1]}, ["One."])


@pytest.mark.parametrize(
    "damage",
    [
        {"cameras": {}},
        {"cameras": []},
        {"face": [[1, 2]]},
        {"face": [[1, 2, None]]},
        {"face": "none"},
        {"registration": [1]},
        {"warnings": [1]},
    ],
)
def test_a_damaged_file_is_ignored(
    head_views: ViewSet, tmp_path: Path, damage: dict[str, Any]
) -> None:
    path = tmp_path / "poses.json"
    whole = SettledPoses(head_views.cameras, None, None, []).to_dict()
    with pytest.raises((ValueError, Dp3dError)):
        SettledPoses.from_dict(whole | damage)
    path.write_text(json.dumps(whole | {"warnings": ["Kept."]} | damage))
    assert settle(head_views, path).warnings == []
