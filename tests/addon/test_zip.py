# SPDX-License-Identifier: GPL-3.0-or-later
"""The zip of the extension: the same bytes every time, the content of Blender's own tool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.addon import build as addon_zip
from tests.addon.support import ADDON, REPOSITORY

MANIFEST = (ADDON / addon_zip.MANIFEST).read_text("utf-8")


def content(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as package:
        return {name: package.read(name) for name in package.namelist()}


def test_it_is_built_without_blender_and_twice_the_same(tmp_path):
    first, second = addon_zip.build(tmp_path / "a"), addon_zip.build(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as package:
        assert not any(entry.is_dir() for entry in package.infolist())
        assert any("/" in name for name in package.namelist())
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert first.name == f"dp3d_head_views-{version}.zip"


def test_the_command_needs_no_package_and_no_blender(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DP3D_", "PYTHON"))}
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PLAIN, REPOSITORY, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env=env | {"PATH": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr
    assert content(Path(run.stdout.splitlines()[0])) == content(addon_zip.build(tmp_path / "x"))
    assert "no Blender" in run.stderr


PLAIN = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.addon import build as addon_zip
addon_zip.find_bpy_python = lambda: None
sys.argv[1:] = sys.argv[2:]
sys.exit(addon_zip.main())
"""


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (MANIFEST.replace("id = ", "ident = "), "id is missing"),
        (MANIFEST.replace('"SPDX:', '"'), "SPDX"),
        (MANIFEST.replace("\nversion = ", "\nversion = 'x' #"), "form 1.2.3"),
        (MANIFEST.replace("network =", "internet ="), "internet is unknown"),
        (MANIFEST.replace('portrait"\n', 'portrait."\n', 1), "tagline ends in punctuation"),
        (MANIFEST.replace("Talk", "Talk" + "x" * 60), "longer than 64"),
        (MANIFEST + '\npaths = ["x"]\n', "paths is not supported"),
        ("not toml", "cannot be read"),
    ],
)
def test_a_manifest_that_blender_refuses_is_refused(tmp_path, wrong, fault):
    assert wrong != MANIFEST
    (tmp_path / addon_zip.MANIFEST).write_text(wrong)
    (tmp_path / "__init__.py").touch()
    with pytest.raises(addon_zip.BadManifestError, match=fault):
        addon_zip.build(tmp_path / "out", tmp_path)


@pytest.mark.bpy
def test_blenders_own_tool_makes_a_zip_with_the_same_content(bpy_python, blender_ext, tmp_path):
    ours = addon_zip.build(tmp_path / "ours")
    tool = [str(bpy_python), str(blender_ext)]
    (tmp_path / "theirs").mkdir()
    addon_zip.run_tool(tool, "build", "--source-dir", ADDON, "--output-dir", tmp_path / "theirs")
    (theirs,) = (tmp_path / "theirs").iterdir()
    assert ours.name == theirs.name
    assert content(ours) == content(theirs)
    addon_zip.run_tool(tool, "validate", ours)


PATTERNS = [
    *("*.zip", "/*.zip", "__pycache__/", "/.git/", ".*", "a/b", "/a/b", "a/**/c.py", "**/c.py"),
    *("b/", "*.p?", "[ab]", "[!a].py", "a/*", "/a/", "a/**", "x.y"),
]
PATHS = [
    *("a.zip", "a/b.zip", "__pycache__/x", "a/__pycache__/x", "__pycache__", ".git/x", "a/.git/x"),
    *(
        "a/b",
        "a/b/x",
        "z/a/b",
        "a/b/c.py",
        "c.py",
        "a/c.py",
        "b/x",
        "b",
        "a",
        "a/x",
        "z/b/x",
        "xzy",
    ),
    *("a.py", "b.py", "a.pyc", ".hidden", "a/.hidden", "x.y"),
]


def steps(path: str) -> list[str]:
    """The folders of a path, each with its slash, and the path."""
    return [path[: i + 1] for i, letter in enumerate(path) if letter == "/"] + [path]


STEPS = sorted({step for path in PATHS for step in steps(path)})


@pytest.mark.bpy
def test_patterns_mean_what_they_mean_to_blender(bpy_python, blender_ext):
    ask = (
        "import importlib.util, json, sys; "
        "spec = importlib.util.spec_from_file_location('tool', sys.argv[1]); "
        "tool = importlib.util.module_from_spec(spec); sys.modules['tool'] = tool; "
        "spec.loader.exec_module(tool); patterns, paths = json.loads(sys.argv[2]); "
        "print(json.dumps([[tool.PathPatternMatch(p).test_path(x) for x in paths] for p in patterns]))"
    )
    sets = [[pattern] for pattern in PATTERNS] + [["*.py", "!a.py"], ["!a.py", "*.py"]]
    run = subprocess.run(
        [bpy_python, "-c", ask, blender_ext, json.dumps([sets, STEPS])],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = {
        (str(patterns), path): answer
        for patterns, answers in zip(sets, json.loads(run.stdout), strict=True)
        for path, answer in zip(STEPS, answers, strict=True)
    }
    for patterns in sets:
        for path in PATHS:  # a file is left out with any folder it lies in
            ours = any(addon_zip.excluded(step, tuple(patterns)) for step in steps(path))
            assert ours == any(theirs[str(patterns), step] for step in steps(path)), (
                patterns,
                path,
            )
