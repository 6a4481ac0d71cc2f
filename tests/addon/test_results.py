# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of results, which undo does not touch, and the engines' options."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp3d_core.viewsets.viewset import ViewSet
from tests.addon.support import TOKEN

pytestmark = pytest.mark.bpy


def test_results_survive_undo_and_are_named_apart(
    blender, server, portrait: Path, tmp_path: Path
) -> None:
    (tmp_path / "saved").mkdir()
    answers = blender(
        "results",
        url=server.url,
        token=TOKEN,
        portrait=portrait,
        folder=tmp_path / "results",
        blend=tmp_path / "results.blend",
        saved=tmp_path / "saved" / "head.blend",
        renamed=tmp_path / "renamed",
        sending=tmp_path / "sending.blend",
    )
    undo = answers["undo_and_redo"]
    assert undo["before"][1:] == ["succeeded", 1]
    assert all(undo["same"]), undo
    assert undo["again"] == 4

    runs = answers["runs"]
    stem = portrait.stem
    titles = [entry[0] for entry in runs["listed"]]
    assert titles == [stem, f"{stem} 2", f"{stem} 3"]
    (_, seed, views, source), (_, seed2, views2, _), (_, seed3, views3, _) = runs["listed"]
    assert (seed, seed2, source) == (5, 5, "generated")
    assert views == views2, "the finished job of these parameters is answered"
    assert seed3 != 5
    assert views3 != views
    flat = [name for names in runs["names"] for name in names]
    assert len(flat) == 12
    assert not [name for name in [*flat, *runs["collections"]] if ".0" in name]
    assert set(titles) <= set(runs["collections"])
    assert runs["visible"] == [1, 5], "the player is never hidden"
    assert runs["chosen"]
    assert runs["deleted"] == [True, 0, 4]
    assert runs["reopened"]
    assert runs["run"]

    assert answers["chosen"] == {"agree": True, "gone": [1, 0], "back": [2, 4]}
    assert answers["unexpected"] == ["internal", True, 1, "succeeded"]
    assert answers["reopened_while_sending"] == ["", True]

    assert answers["resumed_playback"] == [[3, 6, 9], True, ["render"]]

    saved = answers["saved"]
    assert Path(saved["before"]).is_relative_to(tmp_path / "saved" / "config" / "runs")
    assert Path(saved["after"]).is_relative_to(tmp_path / "saved" / "head_views")
    assert saved["kept"].startswith("//head_views/")
    assert saved["images"]
    assert all(name.startswith("//head_views/") for name in saved["images"]), saved["images"]

    locked, drawn, shown = answers["seeds"]
    assert locked == 7
    assert drawn == shown != 7

    engines = answers["engines"]
    assert engines["undescribed"] == []
    assert engines["values"] == {
        "repeat_photo": False,
        "background": "#00ff00",
        "hair": "long",
    }
    meta = ViewSet.open(Path(engines["folder"])).meta
    assert meta.parameters["repeat_photo"] is False
    assert meta.choices["hair"] == {"choice": "long", "confidence": 1.0, "by_user": True}
    assert meta.background == (0, 255, 0)
    assert engines["refusal"] == "addon.engine_unavailable"
    assert engines["cleared"] == "", "choosing another engine takes the failure away"

    assert answers["tooltips"] == []
    port = int(server.url.rpartition(":")[2])
    assert {(host, at) for host, at, _ in answers["connections"]} == {("127.0.0.1", port)}
    assert not any(on_main for *_, on_main in answers["connections"]), "the window never waits"
