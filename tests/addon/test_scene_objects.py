# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of a run: named after it, reused when it comes again, gone without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.addon.test_scene_mesh import head_like
from tests.addon.test_scene_sequence import numbered_views

pytestmark = pytest.mark.bpy

OBJECTS = ["Head", "Playback Plane", "Player", "View 000", "View 001", "View 002"]


def test_runs_come_again_and_go(blender, tmp_path: Path) -> None:
    folder, glb = tmp_path / "views", tmp_path / "head.glb"
    numbered_views(folder, 3)
    head = head_like(None)
    head.export(glb)
    result = blender("run_objects", folder=folder, glb=glb)
    anna = [f"Anna · {what}" for what in OBJECTS]
    first = result["first"]
    assert first["objects"] == sorted([*anna, "anchor", "own"])
    assert first["meshes"] == ["Anna · Head", "Anna · Playback Plane"]
    assert first["materials"] == ["Anna · Head", "Anna · Playback Plane"]
    assert first["actions"][0] == "Anna · Playback Plane"
    assert all(name.startswith("Anna · Pl") for name in first["actions"])
    assert first["images"] == [
        "Anna · Head Texture",
        "Anna · Playback",
        "Anna · Playback Plane",
        *anna[2:],
    ]
    assert first["collections"] == ["Anna", "Head Views"]
    assert result["selected"] == ["own", "own"]  # the user's selection stays
    assert result["statistics"] == [len(head.vertices), len(head.faces)]

    assert result["hat"]
    again = {
        kind: [n for n in names if "Berta" not in n] for kind, names in result["again"].items()
    }
    again["objects"].remove("hat")
    assert again == first

    edited = result["edited"]
    assert not [name for name in edited["names"]["objects"] if ".0" in name]
    assert {"my favourite", "my head", "Anna Again · View 002"} <= set(edited["names"]["objects"])
    assert "Anna Again" in edited["names"]["collections"]
    assert edited["head_x"] == 0.7  # moved by the user: stays
    assert edited["view_moved_by"] < 1e-6  # a view's pose belongs to its picture
    assert edited["material"]
    assert edited["texture"] == ["Anna Again · Head Texture", True, [8, 8]]
    assert edited["modifiers"] == ["my smooth"]
    assert edited["kept"] == ["Anna Again · Head"]
    assert result["gold"] == ["gold"]
    # The hat came; the gold came for the edited material, which went with its texture.
    grown = {k: n - result["two"][k] for k, n in result["after_gold"].items()}
    assert grown == {**dict.fromkeys(grown, 0), "objects": 1, "images": -1}

    deleted = result["deleted"]
    left = {kind: [n for n in names if "Anna" in n] for kind, names in deleted["names"].items()}
    assert left["cameras"] == left["actions"] == left["collections"] == left["objects"] == []
    assert len(deleted["in_scene"]) == 3
    assert deleted["twin_marks"] == []
    assert deleted["hat_moved"] < 1e-6
    assert deleted["backgrounds"] == ["Berta · Playback", "0000.png"]
    assert result["berta"] == [f"Berta · {what}" for what in OBJECTS]
    end = {kind: [n for n in names if "·" in n] for kind, names in result["end"].items()}
    # Only what belongs to the user's copy of the head may be left, without users.
    assert end["objects"] == end["cameras"] == end["actions"] == []
    assert end["collections"] == result["end"]["collections"] == []
    assert all(len(name.encode()) <= 63 for name in result["long"])
    assert {name.split(" · ")[1] for name in result["long"]} == set(OBJECTS)
