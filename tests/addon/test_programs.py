# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding dp3d: folders, interpreters and programs, on Windows as well; clean environments."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.addon.support import REPOSITORY, clean_environment

OURS = Path(sys.prefix)
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="paths and scripts of POSIX")


@pytest.fixture
def programs(addon):
    return addon("link.programs")


@pytest.fixture
def environment(programs, tmp_path):
    return programs.clean_environment(clean_environment(tmp_path) | {"PATH": str(tmp_path)})


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def commands(tried) -> list[tuple[str, ...]]:
    return [program.command for program in tried]


@pytest.mark.parametrize(
    ("windows", "place", "program", "python"),
    [
        (False, "bin", "dp3d", "python"),
        (True, "Scripts", "dp3d.exe", "python.exe"),
    ],
)
@pytest.mark.parametrize("inside", ["", ".venv", "venv"])
def test_a_folder_means_the_environment_in_it(
    programs, tmp_path, windows, place, program, python, inside
):
    script = touch(tmp_path / inside / place / program)
    interpreter = touch(tmp_path / inside / place / python)
    tried = commands(programs.candidates(str(tmp_path), windows))
    assert tried == [(str(script),), (str(interpreter), "-P", "-m", "server.cli.main")]


def test_the_other_platforms_layout_is_not_taken(programs, tmp_path):
    touch(tmp_path / ".venv" / "bin" / "dp3d")
    assert not commands(programs.candidates(str(tmp_path), windows=True))


@pytest.mark.parametrize("name", ["python", "python3.12", "python.exe", "PYTHONW.EXE"])
def test_an_interpreter_runs_the_module(programs, tmp_path, name):
    path = touch(tmp_path / name)
    assert commands(programs.candidates(str(path))) == [(str(path), "-P", "-m", "server.cli.main")]


def test_a_program_is_run_as_it_is_and_quotes_are_taken_off(programs, tmp_path):
    path = touch(tmp_path / "My Tools" / "dp3d.exe")
    assert commands(programs.candidates(f' "{path}" ')) == [(str(path),)]


def test_the_path_of_windows_counts_only_absolute_folders(programs, tmp_path, monkeypatch):
    program = touch(tmp_path / "tools" / "dp3d.exe")
    touch(tmp_path / "dp3d.exe")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "none"))
    path = {"PATH": f";.;{tmp_path / 'tools'}"}
    tried = commands(programs.usual_places(path, tmp_path / "home", windows=True))
    assert tried[:1] == [(str(program),)]
    assert str(tmp_path / "dp3d.exe") not in {command[0] for command in tried}


def test_the_note_that_dp3d_leaves_is_followed(programs, tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    python = touch(tmp_path / "somewhere" / "python")
    (tmp_path / "program.json").write_text(json.dumps({"python": str(python)}))
    tried = commands(programs.usual_places({}, tmp_path / "home"))
    assert tried[0] == (str(python), "-P", "-m", "server.cli.main")
    for damage in ("{}", "[]", '{"python": 3}', '{"python": "relative"}', "{", '{"python": "/no"}'):
        (tmp_path / "program.json").write_text(damage)
        assert tried[0] not in commands(programs.usual_places({}, tmp_path / "home"))


@pytest.mark.parametrize("chosen", [OURS, Path(sys.executable), REPOSITORY])
def test_the_real_program_is_found_and_names_its_version(programs, environment, chosen):
    if chosen == REPOSITORY and OURS.parent != REPOSITORY:
        pytest.skip("the environment is not in the clone")
    program = programs.find(str(chosen), environment)
    assert program.version == "0.1.0"


@POSIX
def test_a_moved_environment_is_run_by_its_python(programs, environment, tmp_path):
    script = touch(tmp_path / "bin" / "dp3d")
    script.write_text("#!/no/such/python\n")
    script.chmod(0o755)
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    program = programs.find(str(tmp_path), environment)
    assert program.command[1:] == ("-P", "-m", "server.cli.main")


@POSIX
@pytest.mark.parametrize(
    ("make", "code", "word"),
    [
        (lambda folder: folder / "nothing", "addon.program_missing", "nothing"),
        (lambda folder: folder, "addon.program_missing", "no dp3d"),
        (lambda _folder: shutil.which("true"), "addon.program_broken", "/true"),
        (lambda folder: touch(folder / "dp3d"), "addon.program_broken", "ermission"),
    ],
)
def test_a_wrong_path_is_named(programs, addon, environment, tmp_path, make, code, word):
    with pytest.raises(addon("link.errors").AddonError) as caught:
        programs.find(str(make(tmp_path)), environment)
    assert caught.value.code == code
    assert word in caught.value.problem


def test_a_python_without_dp3d_says_which_module_is_missing(programs, addon, environment, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    with pytest.raises(addon("link.errors").AddonError) as caught:
        programs.find(str(tmp_path / "v"), environment)
    assert caught.value.code == "addon.program_broken"
    assert "server" in caught.value.problem


@POSIX
def test_what_is_blenders_own_does_not_reach_dp3d(programs):
    separator = os.pathsep
    cleaned = programs.clean_environment(
        {
            "PYTHONHOME": "/opt/blender/4.5/python",
            "PYTHONPATH": "/opt/blender/4.5/scripts",
            "PYTHONUSERBASE": "/x",
            "LD_LIBRARY_PATH": separator.join(("/opt/blender/lib", "/usr/lib/cuda", "")),
            "DYLD_LIBRARY_PATH": "/opt/blender/lib/mesa",
            "PATH": "/usr/bin",
            "DP3D_HOME": "/data",
        },
        host=("/opt/blender", "/usr"),
    )
    assert cleaned == {
        "LD_LIBRARY_PATH": "/usr/lib/cuda",
        "PATH": "/usr/bin",
        "DP3D_HOME": "/data",
    }
    assert programs.clean_environment({}, token="secret") == {"DP3D_TOKEN": "secret"}


def test_processes_have_a_group_of_their_own_and_no_window(programs):
    windows = programs.process_options({}, windows=True)
    assert windows["creationflags"] == 0x08000000 | 0x00000200
    assert "shell" not in windows
    assert "start_new_session" not in windows
    assert programs.process_options({}, windows=False)["start_new_session"]


def test_no_module_is_taken_from_the_folder_blender_works_in(
    programs, environment, tmp_path, monkeypatch
):
    trap = touch(tmp_path / "server" / "__init__.py")
    trap.write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))  # whose data folder is called server, too
    assert programs.find(sys.executable, environment).version
    assert Path(programs.process_options(environment)["cwd"]) == tmp_path / "blender"
