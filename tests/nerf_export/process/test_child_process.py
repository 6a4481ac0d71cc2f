"""What crosses the line to the NeRF process, with the real one at the other end."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.progress import never_cancel, no_progress
from nerf_export.child.compat import usable_cores
from nerf_export.child.launch import _STOPPED as STOPPED
from nerf_export.process import child_process
from nerf_export.process.child_process import run_child

pytestmark = pytest.mark.nerf
LAUNCHER = Path(__file__).resolve().parents[3] / "nerf_export/child/launch.py"


def test_a_command_returns_its_result(nerf_environment: Path, tmp_path: Path) -> None:
    answer = run_child("check", {}, tmp_path, progress=no_progress, cancel=never_cancel)
    assert answer["versions"]["nerfstudio"] == "1.1.5"


def test_threads_follow_omp_num_threads_within_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    allowed = usable_cores()
    assert allowed >= 1
    for setting, expected in (("1", 1), ("100000", allowed), ("0", allowed), ("many", allowed)):
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
        assert usable_cores() == expected


def test_the_error_of_a_crash_has_the_end_of_the_log(
    nerf_environment: Path, tmp_path: Path
) -> None:
    with pytest.raises(Dp3dError) as caught:
        run_child(
            "train",
            {"work": str(tmp_path), "seed": 0},
            tmp_path,
            progress=no_progress,
            cancel=never_cancel,
        )
    assert caught.value.code == "nerf.child_failed"
    assert "KeyError: 'preset'" in caught.value.detail
    assert "train.log" in caught.value.remedy


def test_cancel_works_while_the_child_imports(
    nerf_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start = child_process._start
    monkeypatch.setattr(
        child_process, "_start", lambda *args: started.append(start(*args)) or started[-1]
    )
    began = time.monotonic()
    with pytest.raises(Cancelled):
        run_child(
            "train",
            {"seed": 0},
            tmp_path,
            progress=no_progress,
            cancel=lambda: time.monotonic() - began > 0.5,
        )
    assert started[0].returncode == STOPPED, "it had to be killed"


def test_a_checkpoint_cannot_run_code(nerf_environment: Path, tmp_path: Path) -> None:
    """torch refuses a pickle with code, even with ``weights_only=False``."""
    program = (
        "import os, runpy, sys, torch\n"
        f"compat = runpy.run_path({str(LAUNCHER.parent / 'compat.py')!r})\n"
        "compat['apply']()\n"
        "class Evil:\n"
        "    def __reduce__(self): return os.mkdir, ('owned',)\n"
        "torch.save({'step': Evil()}, 'evil.ckpt')\n"
        "torch.load('evil.ckpt', weights_only=False)\n"
    )
    completed = subprocess.run(
        [str(nerf_environment), "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert completed.returncode != 0
    assert "Weights only load failed" in completed.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"evil.ckpt"}


def test_the_child_imports_no_package_of_the_host(nerf_environment: Path) -> None:
    """Only our two packages are borrowed; site-packages of the host stay out of sight."""
    program = (
        "import runpy, sys; sys.argv = ['launch.py', 'check']\n"
        f"try: runpy.run_path({str(LAUNCHER)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "import nerf_export, dp3d_core\n"
        "print([p for p in sys.path if p and not p.startswith((sys.prefix, sys.base_prefix))])"
    )
    completed = subprocess.run(
        [str(nerf_environment), "-c", program],
        stdin=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    # The launcher sends stdout to the log, which is stderr.
    assert completed.stderr.strip().splitlines()[-1] == "[]"
