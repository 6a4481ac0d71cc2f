"""``dp3d doctor``: findings, exit codes, and commands for missing parts."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib

import pytest

from server.cli import doctor
from server.cli.main import parse
from tests.conftest import REPOSITORY
from tests.server.cli.conftest import result


def test_doctor(dp3d):
    run = dp3d("doctor", "--json", DP3D_NERF_PYTHON="/nope")
    findings = {f["name"]: f for f in result(run)["result"]["findings"]}
    assert run.returncode == 0, findings
    assert findings["python"]["status"] == "ok"
    assert findings["NeRF environment"]["status"] == "warn"
    assert findings["NeRF environment"]["remedy"]
    assert findings["home"]["status"] == "ok"


def test_doctor_exits_with_4_when_a_required_part_is_missing(dp3d, tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = dp3d("doctor", DP3D_HOME=str(tmp_path / "file"))
    assert run.returncode == 4
    assert "FAIL  home" in run.stdout


def test_doctor_names_the_packages_of_its_extras():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    findings = {finding.name: finding for finding in doctor.check_packages()}
    for extra in ("core", "nerf", "server"):
        finding = findings.pop(f"packages ({extra})")
        wanted = [
            re.split(r"[^A-Za-z0-9_-]", requirement)[0]
            for requirement in project["optional-dependencies"][extra]
        ]
        text = finding.text.removeprefix("missing: ")
        assert [part.split()[0] for part in text.split(", ")] == sorted(wanted)
    assert findings == {}


def test_a_port_that_no_server_can_have_is_refused(dp3d):
    run = dp3d("doctor", "--port", 0, "--json")
    assert (run.returncode, result(run)["error"]["code"]) == (3, "server.bad_option")


@pytest.mark.parametrize("option", ["--source", "--head-source"])
def test_setup_nerf_refuses_the_packages_of_models(dp3d, tmp_path, option):
    run = dp3d("setup", "nerf", option, tmp_path / "some.whl", "--json")
    error = result(run)["error"]
    assert (run.returncode, error["code"]) == (3, "setup.bad_option")
    assert option in error["problem"]


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """Findings of a machine without models, weights and NeRF environment."""
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    monkeypatch.setenv("DP3D_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("DP3D_NERF_PYTHON", raising=False)
    checks = (doctor.check_models, doctor.check_nerf, doctor.check_weights)
    return {finding.name: finding for check in checks for finding in check()}


def test_missing_parts_name_the_command_that_installs_them(bare):
    commands = {name: finding.command for name, finding in bare.items()}
    assert commands == {
        "models": ("setup", "models"),
        "NeRF environment": ("setup", "nerf"),
        "weights diffportrait3d": None,  # its host offers no interface
        "weights diffportrait360": ("models", "install", "diffportrait360"),
        "weights diffportrait360-back": ("models", "install", "diffportrait360-back"),
    }


def test_every_named_command_parses(bare):
    for finding in bare.values():
        if finding.command is not None:
            parse(finding.command)


@pytest.mark.skipif(sys.platform == "win32", reason="quotes as a POSIX shell does")
def test_every_line_for_a_terminal_runs_this_python(bare):
    for finding in bare.values():
        assert shlex.split(finding.terminal)[:3] == [sys.executable, "-m", "server.cli.main"]
    assert "model_state-540000-001.th" in bare["weights diffportrait3d"].terminal


def test_lines_for_powershell_are_quoted(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "executable", r"C:\Users\Mia K\dp3d\python.exe")
    finding = doctor.Finding("models", "warn", "missing", "Run it.", ("setup", "models"))
    assert finding.terminal == (
        r'& "C:\Users\Mia K\dp3d\python.exe" "-m" "server.cli.main" setup models'
    )


def test_a_chosen_python_has_no_install_command(bare, monkeypatch):
    monkeypatch.setenv("DP3D_NERF_PYTHON", "/nope")
    (finding,) = doctor.check_nerf()
    assert (finding.status, finding.command, finding.terminal) == ("warn", None, "")
