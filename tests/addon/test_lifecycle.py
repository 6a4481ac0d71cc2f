# SPDX-License-Identifier: GPL-3.0-or-later
"""A job and a scene that changes under it: nothing is found by name, nothing raises."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.addon.support import TOKEN

pytestmark = pytest.mark.bpy


def test_whatever_happens_to_the_scene(blender, server, portrait: Path, tmp_path: Path) -> None:
    report = blender(
        "lifecycle",
        url=server.url,
        token=TOKEN,
        portrait=portrait,
        folder=tmp_path / "results",
        blend=tmp_path / "scene.blend",
    )
    assert report == {
        "server_away": ["failed", "server.unreachable", True, "succeeded", "", 40],
        "busy_and_renames": [True, "succeeded", 6],
        "undo": [True, "succeeded", 6],
        "anchor_deleted": ["addon.anchor_missing", 0, "", 6],
        "scene_deleted": [True, True],
        "cancelled": ["cancelled", "", "Cancelled", "", True],
        "reopened": [True, "running", True, "succeeded", 40],
        "disabled": [True, "running"],
    }
