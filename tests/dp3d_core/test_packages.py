"""Packages that are missing or broken: named, in real interpreters, for every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dp3d_core.engines.registry import UnloadableEngine
from dp3d_core.errors import Dp3dError
from dp3d_core.packages import installed_version, is_absent, package_error
from dp3d_core.weights import requirements as of_diffusion

HIDE = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *more: None if name.partition(".")[0] in {names!r} else find(name, *more)
)
"""
CORE = ("cv2", "embreex", "scipy", "skimage", "threadpoolctl", "trimesh", "xatlas")
DIFFUSION = ("torch", "diffusers", "einops", "transformers", "safetensors", "accelerate")
SERVER = ("fastapi", "sqlmodel", "httpx", "uvicorn")


def error_of(folder: Path, *arguments: str) -> dict:
    """Error of a command that searches packages in ``folder`` first."""
    done = subprocess.run(
        [sys.executable, "-m", "server.cli.main", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
            "DP3D_HOME": str(folder / "home"),
        },
    )
    answer = json.loads(done.stdout)
    assert not answer["ok"], answer
    assert done.returncode == 4, done.stderr
    return answer["error"]


def hide(folder: Path, *names: str) -> Path:
    (folder / "sitecustomize.py").write_text(HIDE.format(names=names))
    return folder


@pytest.mark.parametrize(
    ("names", "command", "code", "extra"),
    [
        (CORE + DIFFUSION, "generate me.png --out views", "engine.packages_missing", "core"),
        (
            CORE + DIFFUSION,
            "generate me.png --out views --engine diffportrait360",
            "engine.packages_missing",
            "core",
        ),
        (CORE, "head me.png --out head.glb", "packages.missing", "core"),
        (CORE, "mesh fit --out head.glb", "packages.missing", "core"),
        (SERVER, "serve", "packages.missing", "server"),
        (DIFFUSION, "models import {weights}", "engine.packages_missing", "diffusion"),
        (("transformers",), "models import {weights}", "engine.packages_missing", "diffusion"),
        (("diffusers",), "bench denoise", "engine.packages_missing", "diffusion"),
    ],
)
def test_commands_without_packages(tmp_path, names, command, code, extra) -> None:
    weights = tmp_path / "x.safetensors"
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    weights.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    error = error_of(hide(tmp_path, *names), *command.format(weights=weights).split())
    assert error["code"] == code
    assert f"dp3d[{extra}]" in error["remedy"]


BROKEN = {
    "DLL": ("torch", "raise ImportError('DLL load failed while importing _C: not found')"),
    "library": ("torch", "raise OSError('libcudart.so.12: cannot open shared object file')"),
    "ABI": ("cv2", "raise ValueError('numpy.dtype size changed, may indicate incompatibility')"),
    "its own": ("scipy", "import a_package_that_scipy_needs"),
    "renamed": ("cv2", "from numpy import a_name_that_went"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_packages_that_cannot_be_loaded(tmp_path, kind) -> None:
    name, line = BROKEN[kind]
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(line)
    command = "bench denoise" if name == "torch" else "head me.png --out head.glb"
    if name == "torch":
        pytest.importorskip("diffusers")
    error = error_of(tmp_path, *command.split())
    assert error["code"] == "packages.broken"
    assert {"cv2": "opencv"}.get(name, name) in error["problem"]
    assert "--force-reinstall" in error["remedy"]


def test_engines_are_listed_without_their_packages(tmp_path) -> None:
    hide(tmp_path, *CORE, *DIFFUSION)
    done = subprocess.run(
        [sys.executable, "-m", "server.cli.main", "engines", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )
    engines = json.loads(done.stdout)["result"]["engines"]
    assert len(engines) == 3
    assert {engine["error"]["code"] for engine in engines} == {"engine.packages_missing"}


def test_a_folder_that_an_uninstall_left_is_no_package(tmp_path, monkeypatch) -> None:
    (tmp_path / "a_left_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert is_absent("a_left_folder")
    assert not is_absent("numpy")
    assert installed_version("numpy")[0] >= 2


@pytest.mark.parametrize(
    ("name", "version", "problem"),
    [
        ("diffusers", (0, 30, 1), "diffusers 0.42, and 0.30.1"),
        ("diffusers", (0, 43), "diffusers 0.42, and 0.43"),
        ("transformers", (4, 57), "transformers 5 or later, and 4.57"),
        ("transformers", (5, 0), None),
        ("torch", (2, 13, 0), None),
    ],
)
def test_other_versions_are_refused(monkeypatch, name, version, problem) -> None:
    pytest.importorskip("diffusers")
    real = of_diffusion.installed_version
    monkeypatch.setattr(
        of_diffusion, "installed_version", lambda asked: version if asked == name else real(asked)
    )
    shown = of_diffusion.packages_problem()
    if name == "transformers":
        assert shown is None, "views need none"
        shown = of_diffusion.text_encoder_problem()
    if problem is not None:
        with pytest.raises(Dp3dError) as caught:
            of_diffusion.require_import_packages()
        assert problem in caught.value.problem
    assert (shown is None) if problem is None else (problem in shown)


def test_defects_stay_defects() -> None:
    for error in (
        KeyError("x"),
        ImportError("no name"),
        ModuleNotFoundError("x", name="dp3d_core.x"),
    ):
        assert package_error(error) is None
    refusal = Dp3dError("engine.packages_missing", "a.", "b.")
    with pytest.raises(Dp3dError):
        UnloadableEngine("preview", refusal).check({})
    info = UnloadableEngine("preview", refusal).info()
    assert (info.available, info.options) == (False, [])
