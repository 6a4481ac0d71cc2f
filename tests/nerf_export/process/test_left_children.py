"""Folders and processes that killed commands leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dp3d_core.errors import Cancelled
from nerf_export.process.left_children import end_left_child, working_folder

pytest.importorskip("resource", reason="signals of POSIX")

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")

PARENT = """
import subprocess, sys, time
from pathlib import Path
from nerf_export.process.left_children import record_child, working_folder
def begin(work):
    program = "import sys, time\\nprint(1, flush=True)\\nsys.stdin.read()\\n" + sys.argv[2]
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(work)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )
    child.stdout.readline()
    record_child(work, child.pid)
    print(child.pid, work, flush=True)
    time.sleep(60)
if sys.argv[1] == "-":
    with working_folder() as work:
        begin(work)
else:
    begin(Path(sys.argv[1]))
"""


def left_child(work: str, at_the_end: str = "") -> tuple[int, Path]:
    """A stopped process whose parent was killed, and its working folder."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, work, at_the_end], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child, folder = parent.stdout.readline().split()
    os.kill(int(child), signal.SIGSTOP)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    return int(child), Path(folder)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not lives(pid)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def nothing() -> None:
    pass


@linux_only
def test_a_stopped_orphan_is_continued_and_ends(tmp_path: Path) -> None:
    child, _ = left_child(str(tmp_path))
    wait_times: list[float] = []
    end_left_child(tmp_path, 20.0, lambda: wait_times.append(time.monotonic()))
    assert gone(child)
    assert len(wait_times) < 40, "it had to be killed"


@linux_only
def test_an_orphan_that_does_not_end_is_killed(tmp_path: Path) -> None:
    child, _ = left_child(str(tmp_path), "time.sleep(60)")
    end_left_child(tmp_path, 0.5, nothing)
    assert gone(child)


@linux_only
def test_waiting_can_be_cancelled(tmp_path: Path) -> None:
    child, _ = left_child(str(tmp_path), "time.sleep(60)")

    def cancelled() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        end_left_child(tmp_path, 20.0, cancelled)
    assert lives(child)
    end_left_child(tmp_path, 0.0, nothing)
    assert gone(child)


@linux_only
def test_the_child_of_a_living_parent_is_not_touched(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), ""], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline().split()[0])
    end_left_child(tmp_path, 0.0, nothing)
    assert lives(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(child)  # its input is closed


@linux_only
def test_a_record_of_another_process_kills_nothing(tmp_path: Path) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    began = Path(f"/proc/{victim.pid}/stat").read_text().rpartition(")")[2].split()[19]
    for pid, start in ((victim.pid, began), (victim.pid, "1"), ("x", None), (None, None)):
        record = f'{{"child": "{pid}", "parent": 4194304, "began": {{"child": "{start}"}}}}'
        (tmp_path / "child.json").write_text(record.replace("}}", ', "parent": "1"}}'))
        end_left_child(tmp_path, 0.0, nothing)
    assert victim.poll() is None
    victim.kill()
    victim.wait()


def test_a_working_folder_is_deleted_when_the_command_fails(temporary: Path) -> None:
    with pytest.raises(NotADirectoryError), working_folder() as work:
        (work / "render.log" / "x").write_text(str((work / "render.log").write_text("x")))
    assert not list(temporary.iterdir())


@linux_only
def test_only_folders_of_killed_commands_are_deleted(temporary: Path) -> None:
    child, left = left_child("-")
    assert left.parent == temporary
    fresh = temporary / "dp3d-nerf-fresh"  # another command is about to lock it
    fresh.mkdir()
    with working_folder() as first, working_folder() as second:
        assert {first, second, fresh} == set(temporary.iterdir())
    assert gone(child)
    os.utime(fresh, (0, 0))
    with working_folder():
        pass
    assert not list(temporary.iterdir())
