"""Engines whose packages or weights are missing: refused by their codes, before any work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dp3d_core.errors import Dp3dError
from tests.conftest import REPOSITORY
from tests.server.cli.conftest import result
from tests.server.conftest import ServerProcess, small_views, wait_until

PACKAGES = ("torch", "diffusers", "transformers")
HIDE = f"""
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *more: None if name in {PACKAGES!r} else find(name, *more)
)
"""


@pytest.fixture
def without_packages(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH that hides the packages from every interpreter."""
    folder = tmp_path / "hidden"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE)
    return folder


def generate(photo: Path, out: Path, engine: str, **variables: str) -> tuple[dict, int, float]:
    """JSON answer, exit code and user time in seconds of ``dp3d generate --json``."""
    before = os.times()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "server.cli.main", "generate", str(photo), "--out", str(out)),
            *("--engine", engine, "--views", "2", "--size", "64", "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | variables,
    )
    assert "portrait" not in done.stderr, "the photo was read first"
    after = os.times()
    return json.loads(done.stdout), done.returncode, after.children_user - before.children_user


def test_a_file_without_weights_is_refused_without_packages(dp3d, photo, without_packages):
    done = dp3d("models", "import", photo, PYTHONPATH=str(without_packages))
    assert "weights.other_format" in done.stderr, done.stderr
    assert done.returncode == 3


def test_the_tests_are_collected_without_packages(without_packages):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/dp3d_core", "tests/addon", "--collect-only", "-q"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(without_packages)},
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "test_multi_view.py" in done.stdout
    assert "the extra 'diffusion' is not installed" in done.stdout


@pytest.mark.parametrize("engine", ["diffportrait3d", "diffportrait360"])
def test_the_command_line_without_packages(photo, tmp_path, without_packages, engine):
    answer, code, seconds = generate(
        photo, tmp_path / "views", engine, PYTHONPATH=str(without_packages)
    )
    assert (answer["error"]["code"], code) == ("engine.packages_missing", 4)
    assert all(name in answer["error"]["problem"] for name in ("torch", "diffusers"))
    assert "transformers" not in answer["error"]["problem"], "generating views does not need it"
    assert seconds < 2, "the command computed something first"
    assert not (tmp_path / "views").exists()


def test_the_command_line_without_weights(photo, tmp_path):
    pytest.importorskip("diffusers")
    answer, code, seconds = generate(
        photo, tmp_path / "views", "diffportrait360", DP3D_HOME=str(tmp_path / "home")
    )
    assert (answer["error"]["code"], code) == ("weights.missing", 4)
    assert "dp3d models install diffportrait360" in answer["error"]["remedy"]
    assert seconds < 2
    assert not (tmp_path / "views").exists()


def test_a_bad_option_is_refused_before_the_photo_is_read(dp3d, photo, tmp_path):
    done = dp3d(
        *("generate", photo, "--out", tmp_path / "views"), *("--option", "guides=perhaps", "--json")
    )
    assert result(done)["error"]["code"] == "engine.bad_option"
    assert "portrait" not in done.stderr


def test_the_server_without_packages(photo, tmp_path, without_packages, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(without_packages))
    server = ServerProcess(tmp_path).start()
    with server.client() as client:
        params = small_views(client.put_file(photo), engine="diffportrait3d")
        assert client.health()["worker"] == "starting"
        with pytest.raises(Dp3dError) as caught:  # the job is taken, and fails
            client.wait(client.create_job("views", **params)["id"])
        assert caught.value.code == "engine.packages_missing"
        assert not next(e for e in client.engines() if e["name"] == "diffportrait3d")["available"]
        with pytest.raises(Dp3dError) as caught:
            client.create_job("views", fresh=True, **params)
        assert caught.value.code == "engine.packages_missing"
        assert len(client.jobs()) == 1
    server.stop()


def test_weights_installed_while_the_server_runs_are_noticed(tmp_path, photo):
    pytest.importorskip("diffusers")
    server = ServerProcess(tmp_path)
    server.home = tmp_path / "home"
    server.start()
    folder = server.home / "weights" / "diffportrait3d"
    with server.client() as client:

        def code():
            engines = {engine["name"]: engine for engine in client.engines()}
            return engines["diffportrait3d"]["error"]["code"]

        assert code() == "weights.missing"
        folder.mkdir(parents=True)
        (folder / "weights.json").write_text("{}")
        wait_until(lambda: code() == "weights.damaged", 60)
    server.stop()
