# SPDX-License-Identifier: GPL-3.0-or-later
"""Further photos of the person travel from the panel's fields to the views of the real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dp3d_core.storage.files import hash_file
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet
from tests.addon.support import TOKEN

pytestmark = pytest.mark.bpy


def meta_of(folder: str) -> ViewMeta:
    return ViewSet.open(Path(folder)).meta


def recipe_of(folder: str) -> dict[str, Any]:
    return json.loads((Path(folder) / "run.json").read_text())


def test_further_photos(blender, server, portrait: Path, tmp_path: Path) -> None:
    left, back = tmp_path / "left.png", tmp_path / "back.png"
    for path, colour in ((left, (90, 70, 50)), (back, (50, 70, 90))):
        Image.new("RGB", (96, 96), colour).save(path)  # nobody is in them: fitted at once
    answers = blender(
        "further_photos",
        url=server.url,
        token=TOKEN,
        portrait=portrait,
        left=left,
        back=back,
        folder=tmp_path / "results",
    )
    assert answers["before_check"] is False, "the fields show once the server has named its engines"
    assert answers["after_check"] is True
    assert answers["generated"] == ["", "succeeded"]

    meta = meta_of(answers["run"])
    sides = {record["sha256"]: record["side"] for record in meta.parameters["references"]}
    assert sides == {hash_file(left): "left", hash_file(back): "back"}
    assert {photo["name"] for photo in meta.photos} == {"Photo 2 (left)", "Photo 3 (back)"}
    for name in ("Photo 2 (left)", "Photo 3 (back)"):
        assert f"{name} is left out: no person was found in it." in answers["warnings"]
    assert recipe_of(answers["run"])["further"] == {"left": str(left), "back": str(back)}

    again = meta_of(answers["again"])
    assert again.seed != meta.seed
    assert again.parameters["references"] == meta.parameters["references"]

    assert answers["missing"] == "portrait.not_found"
    assert answers["one_photo"] == [False, ""]
    assert "references" not in meta_of(answers["alone"]).parameters
