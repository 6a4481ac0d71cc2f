"""A test that uses the NeRF environment or Blender fails without the mark that says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.marks import MARKS, pytest_runtest_setup

MODULE = """
import pytest

@pytest.fixture
def {fixture}():
    pytest.skip("no such environment")

@pytest.fixture
def through_another({fixture}):
    pass

def test_unmarked_direct({fixture}):
    pass

def test_unmarked_through_another(through_another):
    pass

@pytest.mark.usefixtures("through_another")
def test_unmarked_by_name():
    pass

@pytest.mark.{mark}
class TestMarked:
    def test_marked(self, through_another):
        pass

def test_without_the_fixture():
    pass
"""


@pytest.mark.parametrize(("fixture", "mark"), MARKS.items())
def test_a_missing_mark_is_a_failure(tmp_path: Path, fixture: str, mark: str) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers = {mark}\n", "utf-8")
    module = MODULE.replace("{fixture}", fixture).replace("{mark}", mark)
    (tmp_path / "test_module.py").write_text(module, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "tests.support.marks"]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    for name in ("direct", "through_another", "by_name"):
        assert f"test_unmarked_{name} lacks the mark {mark}" in run.stdout
    assert "1 passed, 1 skipped, 3 errors" in run.stdout


def test_the_hook_is_in_force(request: pytest.FixtureRequest) -> None:
    hooks = request.config.pluginmanager.hook.pytest_runtest_setup.get_hookimpls()
    assert pytest_runtest_setup in [hook.function for hook in hooks]
