# SPDX-License-Identifier: GPL-3.0-or-later
"""Look Through Views takes nothing for good; frames come along with a .blend."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.addon.test_scene_sequence import numbered_views

pytestmark = pytest.mark.bpy

FRAMES = [3, 6, 9]


def test_what_the_scene_had_comes_back(blender, tmp_path: Path) -> None:
    folder = tmp_path / "views"
    numbered_views(folder, 3)
    result = blender("looking", folder=folder, frames=FRAMES)
    before = ["own", 1920, 1080, 40, 1, 1.25, 1, 20, 30, 11, 99]
    looking = ["Anna · Player", 64, 48, 100, 1, 1, 1, 3, 9, 11, 99]
    assert result["before"] == result["after_missing"] == before
    assert result["nothing"] is False
    assert result["missing"] == "addon.player_missing"
    assert result["timeline"] == [1, 3, 9, 11, 99]
    assert result["looking"] == [True, *looking]
    assert result["own"] == "own"
    assert result["inside"] == before[:6]
    assert result["after_inside"] == looking
    assert result["restored"] == [True, *before]
    assert result["again"] == [False, False]
    assert result["reopened"] == ["renamed", *before[1:]]
    assert result["own_deleted"] is None
    assert result["camera_inside"] is None  # a path along no camera is refused, not taken
    assert result["camera_deleted"] == ""
    assert result["own_chosen"] == "third"
    assert result["chosen"] == ["third", 1, 3, 77]
    assert result["own_unlinked"] is None
    assert result["unlinked"] == ""
    assert result["player_deleted"] == [
        [name, [name, 1920, 1080], True, [name, 1920, 1080]] for name in ("other", "")
    ]
    sized = ["other", 3840, 48, 40, 1, 1.25]  # width and height are one choice
    assert result["sized_inside"] == result["sized"] == sized
    assert result["sized_after"] == ["Anna · Player", 3840, 48, 100, 1, 1]
    assert result["looked_again"] == ["Anna · Player", 64, 48, 100]
    assert result["sized_again"] == ["fourth", 3840, 48, 25, 1, 1.25]
    assert result["sized_early"] == ["fourth", 1920, 1080, 25, 1, 1.25]
    assert result["player_chosen"] == "Anna · Player"
    assert result["undone"] == [True, False, "other", False]

    assert result["away"] == [["run"], []]
    relative, images, mesh, elsewhere = result["along"]
    assert relative == "head_views/views"
    assert images == sorted(
        [
            "//head_views/views/rgba/0000.png",
            *(f"//head_views/views/rgba/{index:04d}.png" for index in range(3)),
        ]
    )
    assert mesh == str(tmp_path / "project" / "head_views" / "views" / "head.glb")
    assert elsewhere == "/elsewhere/x.glb"
    assert result["again_along"]
    assert result["moved"] == [[], 4, [64, 48]]
    assert result["packed"] == [3, ["Anna · Player"], [], 3]
    assert result["unpacked"] == 0
    assert result["blocked"] == "output.not_writable"
