from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.progress import no_progress
from nerf_export.process.environment import environment_folder, nerf_python, setup_environment


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    monkeypatch.delenv("DP3D_NERF_PYTHON", raising=False)
    return tmp_path


def missing() -> Dp3dError:
    with pytest.raises(Dp3dError) as caught:
        nerf_python()
    assert caught.value.code == "nerf.environment_missing"
    return caught.value


def test_an_absent_environment_names_the_setup_command() -> None:
    assert "dp3d setup nerf" in missing().remedy


def test_dp3d_nerf_python_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP3D_NERF_PYTHON", sys.executable)
    assert nerf_python() == Path(sys.executable)
    monkeypatch.setenv("DP3D_NERF_PYTHON", "/nowhere/python")
    assert "/nowhere/python" in missing().problem


def test_an_incomplete_environment_counts_as_missing(home: Path) -> None:
    """An interpreter without the stamp that is written last."""
    for python in ("bin/python", "Scripts/python.exe"):
        path = home / "envs/nerf" / python
        path.parent.mkdir(parents=True)
        path.touch()
    missing()
    (environment_folder() / "dp3d-lock.sha256").write_text("any\n")
    assert nerf_python().is_file()


def test_a_cancelled_setup_leaves_no_finished_environment(home: Path) -> None:
    polls = iter([False, False, True])
    with pytest.raises(Cancelled):
        setup_environment(no_progress, lambda: next(polls, True))
    missing()


def test_every_package_of_the_locks_has_one_exact_version() -> None:
    folder = Path(__file__).resolve().parents[3] / "nerf_export/locks"
    for name in ("nerf.txt", "nerf-nodeps.txt"):
        for line in (folder / name).read_text().splitlines():
            assert line.startswith("#") or line.count("==") >= 1, line
            assert "://" not in line
            assert "+" not in line  # no build of one machine
