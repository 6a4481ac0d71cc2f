"""Usage, version, streams and defects of the command line."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.server.cli.conftest import result


def test_help_names_every_command_of_the_page(dp3d):
    first_block = (REPOSITORY / "docs/cli.md").read_text("utf-8").split("```")[1]
    documented = set(re.findall(r"^dp3d ([a-z-]+)", first_block, re.M))
    shown = re.search(r"\{([a-z,-]+)\}", dp3d("--help").stdout)
    assert set(shown[1].split(",")) == documented


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("generate",),
        ("generate", "a.png"),
        ("generate", "a.png", "--out", "x", "--views", "many"),
        ("generate", "a.png", "--out", "x", "--preset", "spiral"),
        ("setup", "everything"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_so_on_stderr(dp3d, arguments):
    run = dp3d(*arguments)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr


@pytest.mark.parametrize("command", ["head", "doctor", "bench status"])
def test_an_unknown_flag_points_to_the_help_of_its_command(dp3d, command):
    required = ("me.png",) if command == "head" else ()
    run = dp3d(*command.split(), *required, "--nope")
    assert run.returncode == 2
    assert "--nope" in run.stderr
    assert f"dp3d {command.split()[0]}" in run.stderr
    assert "dp3d --help" not in run.stderr


def test_version(dp3d):
    assert re.fullmatch(r"dp3d \d+\.\d+\.\d+\n", dp3d("--version").stdout)


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
def test_a_closed_pipe_is_no_error(home):
    command = f"{sys.executable} -m server.cli.main engines; echo $? >&2"
    run = subprocess.run(
        ["bash", "-c", f"({command}) | true"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DP3D_HOME": str(home)},
    )
    assert run.stderr.strip() == "0"


BROKEN = """
import dp3d_core.engines.registry
def broken(*arguments):
    raise RuntimeError("broken on purpose")
dp3d_core.engines.registry.cameras_for = broken
"""


def test_a_defect_leaves_a_log_and_no_traceback(dp3d, home, photo, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(BROKEN)
    arguments = ("generate", photo, "--out", tmp_path / "v", "--json")
    run = dp3d(*arguments, PYTHONPATH=str(broken))
    assert run.returncode == 1
    error = result(run)["error"]
    assert error["code"] == "internal"
    assert "Traceback" not in run.stderr
    (log,) = (home / "logs").iterdir()
    assert str(log) in error["remedy"]
    assert "broken on purpose" in log.read_text()
    assert "broken on purpose" in dp3d(*arguments, "--debug", PYTHONPATH=str(broken)).stderr
