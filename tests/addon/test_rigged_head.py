# SPDX-License-Identifier: GPL-3.0-or-later
"""A photo to a rigged head in Blender, through the real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp3d_core.rigged.rig import BONES, METRES, PHOTO_EXPRESSION, arkit_names
from tests.addon.support import ADDON, TOKEN

pytestmark = [pytest.mark.bpy, pytest.mark.slow, pytest.mark.every_blender]


def test_a_photo_becomes_a_rigged_head(blender, server, portrait: Path, tmp_path: Path) -> None:
    report = blender(
        "rigged_head",
        url=server.url,
        token=TOKEN,
        portrait=portrait,
        folder=tmp_path / "results",
        timeout=500,
    )
    assert report["no_portrait"] == "portrait.not_found"
    assert report["no_anchor"] == "addon.anchor_missing"
    assert report["run"][:3] == ["succeeded", "", "head"]
    assert report["results"] == [[portrait.stem, "head.glb", "generated"]]
    assert report["armature"] == ["ARMATURE", "anchor", sorted(BONES)]

    parts = {mesh["part"]: mesh for mesh in report["meshes"]}
    assert {"skin", "eye_left", "eye_right", "upper_teeth", "lower_teeth", "tongue"} <= set(parts)
    keys = {name for mesh in report["meshes"] for name in mesh["keys"]}
    assert keys == {*arkit_names(), PHOTO_EXPRESSION}
    for mesh in report["meshes"]:
        assert mesh["sides"] == [4], mesh["part"]
        assert mesh["collection"] == [portrait.stem]
        assert mesh["name"].startswith(f"{portrait.stem} · ")
    assert report["meshes"][0]["part"] == "skin"
    assert parts["skin"]["polygons"] > 18_000

    # else Solid views show the strips of the lashes, and the hair's edge, without holes
    assert {name.split()[0] for name in report["alpha"]} >= {"lashes", "hair"}
    assert set(report["alpha"].values()) == {"STRAIGHT"}

    # head space: the face looks along Z, the crown is up, the shoulders are below
    low, high = report["box"]
    assert low[1] < -0.4 < 0.2 < high[1] < 0.4
    assert 0.2 < high[2] < 0.5
    assert report["expression"] == [1.0] * len(report["expression"])
    assert len(report["jaw"]) > 3
    assert report["jaw"] == pytest.approx([0.75] * len(report["jaw"]))

    photographed, lit, mine = report["looks"]
    assert (photographed.endswith("skin as photographed"), lit.endswith("· skin")) == (True, True)
    assert mine == "mine", "a material of the user is left alone"
    assert report["look_of_hair"].endswith("· teeth")

    assert report["renewed"] == ["succeeded", True, 1, True]
    assert report["kept_place"] < 1e-6
    assert report["kept_action"] is True
    assert report["again"] == ["succeeded", True, 2, True]
    assert report["hidden"] is True, "one head stands at the anchor"
    assert report["missing"] == "addon.head_missing"
    assert report["left_ours"] == []
    assert {kind: count for kind, count in report["left"].items() if count} == {"objects": 1}


def test_the_unit_is_that_of_the_files() -> None:
    text = (ADDON / "scene" / "rigged_head.py").read_text("utf-8")
    assert "METRES = 1e-3 / 0.00228\n" in text
    assert pytest.approx(METRES) == 1e-3 / 0.00228
