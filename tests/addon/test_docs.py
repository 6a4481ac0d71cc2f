# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/blender.md tells the truth: its script runs, its codes are all there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dp3d_core.errors import CATALOGUE
from tests.addon.support import ADDON, REPOSITORY, TOKEN

PAGE = (REPOSITORY / "docs" / "blender.md").read_text("utf-8")


def test_every_code_is_documented() -> None:
    source = "\n".join(p.read_text("utf-8") for p in ADDON.rglob("*.py"))
    raised = set(re.findall(r'"([a-z]+\.[a-z_]+)",\n', source)) | set(
        re.findall(r'AddonError\(\s*"([a-z]+(?:\.[a-z_]+)?)"', source)
    )
    raised |= set(re.findall(r'Problem\(\s*"([a-z]+\.[a-z_]+)"', source))
    ours = {code for code in raised if code.startswith("addon.")}
    assert ours == set(re.findall(r"^\| `(addon\.[a-z_]+)`", PAGE, re.MULTILINE))
    assert raised - ours <= set(CATALOGUE)


@pytest.mark.bpy
@pytest.mark.nerf
def test_the_script_runs(blender, nerf_server, portrait, extension_zip, tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for written, here in (
        ("http://127.0.0.1:8765", nerf_server.url),
        ("dp3d.views = 32", "dp3d.views, scene.dp3d.size = 12, 64"),
        ('"DRAFT"', '"TINY"; scene.dp3d.faces, scene.dp3d.texture_size = 3000, 128'),
    ):
        assert written in script
        script = script.replace(written, here)
    folder = tmp_path / "out"
    folder.mkdir()
    report = blender(
        "documented",
        timeout=500,
        env={"DP3D_TOKEN": TOKEN},
        zip=extension_zip,
        text=script,
        photo=portrait,
        folder=folder,
    )
    assert report["state"] == "succeeded"
    assert report["roles"].count("view") == 12
    assert report["roles"].count("mesh") >= 1
    assert Path(report["blend"]) == folder / "head.blend"
