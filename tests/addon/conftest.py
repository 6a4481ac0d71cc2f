# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the add-on's tests: its bpy-free modules here, Blender in a child process."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dp3d_core.portraits.photo_file import default_photo
from tests.addon.build import build, find_blender_ext, find_bpy_python
from tests.addon.support import ADDON, RESULT, SCRIPTS, ServerProcess, clean_environment
from tests.conftest import share_heads


@pytest.fixture(scope="session")
def addon() -> Callable[[str], Any]:
    """Importer of the add-on's modules that need no Blender (its ``__init__`` imports bpy)."""
    package = types.ModuleType("dp3d_addon")
    package.__path__ = [str(ADDON)]
    sys.modules["dp3d_addon"] = package
    return lambda name: importlib.import_module(f"dp3d_addon.{name}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment for servers and commands of this test alone."""
    for name in [n for n in os.environ if n.startswith("DP3D_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.fixture(scope="session")
def bpy_python() -> Path:
    """Interpreter with the bpy wheel; skips where there is none, fails in CI."""
    if interpreter := find_bpy_python():
        return interpreter
    message = "no Blender test environment: 'make env-bpy', or set DP3D_BPY_PYTHON"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def blender(bpy_python: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs a script of ``blender/`` in bpy and returns what it reports.

    The script gets its parameters as a JSON file and answers with one marked JSON line; it
    leaves by ``os._exit`` because bpy may hang at a normal exit.
    """

    def run(script: str, timeout: float = 240, env: dict[str, str] | None = None, **params: Any):
        request = tmp_path / f"{script}.request.json"
        request.write_text(json.dumps(params, default=str))
        completed = subprocess.run(
            [str(bpy_python), str(SCRIPTS / f"{script}.py"), str(request)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=tmp_path,
            env={**clean_environment(tmp_path), **(env or {})},
        )
        assert "does not support blend relative" not in completed.stderr, completed.stderr
        for line in completed.stdout.splitlines():
            if line.startswith(RESULT):
                return json.loads(line.removeprefix(RESULT))
        pytest.fail(
            f"{script}: no result (exit {completed.returncode})\n"
            f"{completed.stdout}\n{completed.stderr}"
        )

    return run


@pytest.fixture(scope="session")
def server(heads_of_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that do not kill it."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    share_heads(process.dp3d_home, heads_of_run)
    yield process.start()
    process.stop()


@pytest.fixture(scope="session")
def nerf_server(
    nerf_environment: Path, heads_of_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that can fit: one for all tests that need it."""
    process = ServerProcess(tmp_path_factory.mktemp("closure"))
    share_heads(process.dp3d_home, heads_of_run)
    process.extra_env["DP3D_NERF_PYTHON"] = str(nerf_environment)
    yield process.start()
    process.stop()


@pytest.fixture(scope="session")
def portrait() -> Path:
    """A real photograph: the default portrait."""
    return default_photo()


@pytest.fixture(scope="session")
def blender_ext(bpy_python: Path) -> Path:
    """Blender's own extension tool: it builds and validates without Blender."""
    if tool := find_blender_ext(bpy_python):
        return tool
    pytest.skip("this bpy has no blender_ext.py")


@pytest.fixture
def extension_zip(tmp_path: Path) -> Path:
    """The extension as users install it."""
    return build(tmp_path)
