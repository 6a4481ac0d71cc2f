# SPDX-License-Identifier: GPL-3.0-or-later
"""The package: manifest, zip, licence headers, and who imports what."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.addon.support import ADDON

MODULES = sorted(ADDON.rglob("*.py"))
THREAD_ROOM = "link"
OF_BLENDER = {"bpy", "mathutils"}
_DRAWING = {"gpu", "gpu_extras"}
MORE_OF_BLENDER = {
    "scene/ghost": _DRAWING,
    "scene/nearest_view": _DRAWING,
    "scene/quads": {"bmesh"},
    "ui/presets": {"bl_operators", "bl_ui"},
}
"""Blender's other modules are no public interface to rely on: here alone."""


def imports(path: Path) -> set[tuple[int, str]]:
    """(level, top name) of every import of a file."""
    names: set[tuple[int, str]] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {(0, a.name.split(".")[0]) for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.level, (node.module or "").split(".")[0]))
            if node.level and not node.module:
                names |= {(node.level, a.name) for a in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_blender_and_the_standard_library_only(path: Path) -> None:
    allowed = set(sys.stdlib_module_names) | OF_BLENDER
    allowed |= MORE_OF_BLENDER.get(f"{path.parent.name}/{path.stem}", set())
    outside = {name for level, name in imports(path) if level == 0 and name not in allowed}
    assert not outside


@pytest.mark.parametrize(
    "path", sorted((ADDON / THREAD_ROOM).glob("*.py")), ids=lambda path: path.stem
)
def test_what_threads_run_reaches_no_bpy(path: Path) -> None:
    """The room of the server's side imports itself and the standard library alone."""
    outside = {n for level, n in imports(path) if level == 0} & {"bpy", "mathutils"}
    assert not outside
    assert not {n for level, n in imports(path) if level > 1}


@pytest.mark.parametrize(
    "path",
    [*MODULES, *sorted(Path(__file__).parent.rglob("*.py"))],
    ids=lambda p: f"{p.parent.name}/{p.stem}",
)
def test_licence_header(path: Path) -> None:
    assert path.read_text("utf-8").startswith("# SPDX-License-Identifier: GPL-3.0-or-later\n")


@pytest.mark.bpy
def test_manifest_is_valid(blender_ext: Path, bpy_python: Path) -> None:
    completed = subprocess.run(
        [bpy_python, blender_ext, "validate", ADDON], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    name = next(
        line
        for line in (ADDON / "blender_manifest.toml").read_text("utf-8").splitlines()
        if line.startswith("name")
    )
    assert "blender" not in name.lower()


def test_zip_holds_the_add_on_and_nothing_else(extension_zip: Path) -> None:
    with zipfile.ZipFile(extension_zip) as package:
        names = set(package.namelist())
    assert {"blender_manifest.toml", "LICENSE", "__init__.py"} <= names
    sources = (p for p in ADDON.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    assert names == {p.relative_to(ADDON).as_posix() for p in sources}


@pytest.mark.bpy
def test_installs_and_can_be_switched_off_and_on(blender, extension_zip: Path) -> None:
    report = blender("install", zip=extension_zip)
    assert report["url"] == "http://127.0.0.1:8765"
    assert report["anchor"] == report["anchor_again"] == "Head Anchor"
    assert report["panel"]
    assert not report["panel_after"]
    assert not report["scene_after"]
    assert "dp3d_head_views" in report["folder"]
