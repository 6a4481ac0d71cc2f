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

REPOSITORY = Path(__file__).resolve().parents[2]
ADDON = REPOSITORY / "addon"
SCRIPTS = Path(__file__).parent / "blender"
RESULT = "@@RESULT@@"


@pytest.fixture(scope="session")
def addon() -> Callable[[str], Any]:
    """Importer of the add-on's modules that need no Blender (its ``__init__`` imports bpy)."""
    package = types.ModuleType("dp3d_addon")
    package.__path__ = [str(ADDON)]
    sys.modules["dp3d_addon"] = package
    return lambda name: importlib.import_module(f"dp3d_addon.{name}")


@pytest.fixture(scope="session")
def bpy_python() -> Path:
    """Interpreter with the bpy wheel; skips where there is none, fails in CI."""
    places = [os.environ.get("DP3D_BPY_PYTHON"), REPOSITORY / ".venv-bpy/bin/python"]
    places.append(REPOSITORY / ".venv-bpy/Scripts/python.exe")
    for place in places:
        if place and Path(place).is_file():
            return Path(place)
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
        done = subprocess.run(
            [str(bpy_python), str(SCRIPTS / f"{script}.py"), str(request)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=tmp_path,
            env={**clean_environment(tmp_path), **(env or {})},
        )
        for line in done.stdout.splitlines():
            if line.startswith(RESULT):
                return json.loads(line.removeprefix(RESULT))
        pytest.fail(f"{script}: no result (exit {done.returncode})\n{done.stdout}\n{done.stderr}")

    return run


def clean_environment(home: Path) -> dict[str, str]:
    """Environment without our settings, and with Blender's own files in a private folder."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DP3D_", "PYTHON", "BLENDER_"))}
    env["DP3D_HOME"] = str(home / "dp3d-home")
    env["BLENDER_USER_RESOURCES"] = str(home / "blender")
    return env


TOKEN = "token-of-the-tests"


class ServerProcess:
    """A real ``dp3d serve`` on a free port, with its data in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.url, self.port = home, "", 0
        self.extra_env: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> ServerProcess:
        self.home.mkdir(parents=True, exist_ok=True)
        env = {**clean_environment(self.home), **self.extra_env}
        command = [sys.executable, "-m", "server.cli.main", "serve", "--json"]
        command += ["--port", str(self.port), "--token", TOKEN, "--data", str(self.home / "data")]
        with (self.home / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY, env=env
            )
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        assert line, (self.home / "server.log").read_text()
        self.url = json.loads(line)["result"]["url"]
        self.port = int(self.url.rpartition(":")[2])
        return self

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that do not kill it."""
    process = ServerProcess(tmp_path_factory.mktemp("server")).start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def portrait() -> Path:
    """A real photograph that comes with matplotlib."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="session")
def blender_ext(bpy_python: Path) -> Path:
    """Blender's own extension tool: it builds and validates without Blender."""
    base = bpy_python.parent.parent
    found = sorted(base.glob("**/bl_pkg/cli/blender_ext.py"))
    if not found:
        pytest.skip("this bpy has no blender_ext.py")
    return found[0]


@pytest.fixture
def extension_zip(blender_ext: Path, bpy_python: Path, tmp_path: Path) -> Path:
    """The extension as users install it."""
    subprocess.run(
        [bpy_python, blender_ext, "build", "--source-dir", ADDON, "--output-dir", tmp_path],
        check=True,
        capture_output=True,
    )
    (package,) = tmp_path.glob("dp3d_head_views-*.zip")
    return package
