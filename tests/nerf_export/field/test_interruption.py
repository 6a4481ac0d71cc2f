"""Fits that are killed, or run out of disk or memory, resume with the next command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.viewsets.viewset import ViewSet
from tests.support.fits import fit_tiny
from tests.support.limits import largest_file

pytest.importorskip("resource", reason="limits and signals of POSIX")
FINISHED = {"fit.json", "job.json", "field.safetensors", "dataset"}


def start(views: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "server.cli.main", "fit", str(views), "--out", str(out)),
            *("--preset", "tiny", "--no-report", "--json"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_step(process: subprocess.Popen[str], stage: str, step: int) -> None:
    """Read the progress of a command until it has reached a step."""
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        event = event.get("progress", event)
        if event.get("stage") == stage and event.get("step", 0) >= step:
            return
    pytest.fail(f"{stage} {step} was never reached")


@pytest.mark.nerf
@pytest.mark.parametrize(("stage", "step"), [("dataset", 9), ("fit", 1), ("fit", 70), ("score", 1)])
def test_a_killed_fit_resumes(
    nerf_environment: Path, head_views: ViewSet, tmp_path: Path, stage: str, step: int
) -> None:
    process = start(head_views.root, tmp_path / "fit")
    wait_for_step(process, stage, step)
    os.killpg(process.pid, signal.SIGKILL)  # the command; its child ends by itself
    process.wait()
    process.stderr.close()
    assert not (tmp_path / "fit/fit.json").exists()
    resumed = fit_tiny(head_views.root, tmp_path / "fit")
    assert {path.name for path in resumed.root.iterdir() if path.name[0] != "."} == FINISHED
    assert resumed.scores["foreground_psnr"] > 18
    if (stage, step) == ("fit", 70):
        assert resumed.meta.resumed_at >= 30


@pytest.mark.nerf
def test_a_checkpoint_that_cannot_be_written_ends_the_fit_with_a_code(
    nerf_environment: Path, head_views: ViewSet, tmp_path: Path
) -> None:
    with largest_file(700_000), pytest.raises(Dp3dError) as caught:
        fit_tiny(head_views.root, tmp_path / "fit")  # its checkpoints are larger
    assert caught.value.code == "output.not_writable"
    assert ".ckpt" in caught.value.problem
    assert not list((tmp_path / "fit").rglob("*.tmp"))
    assert fit_tiny(head_views.root, tmp_path / "fit").scores["foreground_psnr"] > 18


@pytest.mark.nerf
def test_too_little_memory_is_refused_before_the_fit(
    nerf_environment: Path, head_views: ViewSet, tmp_path: Path
) -> None:
    with pytest.raises(Dp3dError) as caught:
        fit_tiny(head_views.root, tmp_path / "fit", max_memory_gb=0.1)
    assert caught.value.code == "nerf.too_little_memory"
    assert "0.1 GiB" in caught.value.problem
    # the remedy is a smaller preset, for which the folder must be empty
    assert not any((tmp_path / "fit").iterdir())
    with pytest.raises(Dp3dError) as caught:
        fit_tiny(head_views.root, tmp_path / "fit", max_memory_gb=0)
    assert caught.value.code == "fit.bad_option"


@pytest.fixture(scope="module")
def cancelled(
    nerf_environment: Path, head_views: ViewSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int]:
    """Folder of a fit that was cancelled after its step 40, and the last step it reported."""
    folder, reached = tmp_path_factory.mktemp("cancelled") / "fit", [0]

    def listen(event) -> None:
        if event.stage == "fit":
            reached[0] = event.step

    with pytest.raises(Cancelled):
        fit_tiny(head_views.root, folder, progress=listen, cancel=lambda: reached[0] > 40)
    return folder, reached[0]


@pytest.fixture
def unfinished(cancelled: tuple[Path, int], tmp_path: Path) -> Path:
    """A copy of the cancelled fit that a test may change."""
    return shutil.copytree(cancelled[0], tmp_path / "fit")


@pytest.mark.nerf
def test_a_damaged_checkpoint_restarts_the_fit(head_views: ViewSet, unfinished: Path) -> None:
    (checkpoint,) = unfinished.rglob("*.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    restarted = fit_tiny(head_views.root, unfinished)
    assert restarted.meta.resumed_at == 0
    assert restarted.scores["foreground_psnr"] > 18


def child_at_work(fit: Path) -> int:
    return int(json.loads((fit / "work/child.json").read_text())["child"])


@pytest.mark.nerf
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_stopped_orphan_does_not_block_the_next_fit(
    nerf_environment: Path, head_views: ViewSet, tmp_path: Path
) -> None:
    process = start(head_views.root, tmp_path / "fit")
    wait_for_step(process, "fit", 40)
    child = child_at_work(tmp_path / "fit")
    os.kill(child, signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    messages = []
    resumed = fit_tiny(
        head_views.root, tmp_path / "fit", progress=lambda event: messages.append(event.message)
    )
    assert not Path(f"/proc/{child}").exists()
    waited = sum("earlier run" in message for message in messages)
    assert 0 < waited < 4 * 25, "four times a second, within the grace time"
    assert resumed.meta.resumed_at >= 40, "woken, it wrote its checkpoint"


@pytest.mark.slow
@pytest.mark.nerf
def test_a_fit_progresses_though_its_child_is_killed_every_few_seconds(
    nerf_environment: Path, head_views: ViewSet, tmp_path: Path
) -> None:
    """Checkpoints are written by time, long before nerfstudio's own interval of 500 steps."""
    began_at = []
    for _ in range(4):
        first = []

        def listen(event, first=first) -> None:
            if event.stage != "fit" or event.step < 1:
                return
            first.append((event.step, time.monotonic()))
            if time.monotonic() - first[0][1] > 3.5:
                os.kill(child_at_work(tmp_path / "fit"), signal.SIGKILL)

        with pytest.raises(Dp3dError) as caught:
            fit_tiny(head_views.root, tmp_path / "fit", steps=4000, progress=listen)
        assert caught.value.code == "nerf.child_killed"
        began_at.append(first[0][0])
    assert sorted(set(began_at)) == began_at, "each run begins further on"


@pytest.mark.nerf
def test_a_cancelled_fit_resumes_and_trains_every_step_once(
    nerf_environment: Path, head_views: ViewSet, cancelled: tuple[Path, int], unfinished: Path
) -> None:
    assert not (unfinished / "fit.json").exists()
    (checkpoint,) = unfinished.rglob("*.ckpt")
    program = (
        "import sys, torch; state = torch.load(sys.argv[1], weights_only=True); "
        "moments = state['optimizers']['distance']['state'][0]; "
        "print(state['step'] + 1, int(moments['step']))"
    )
    answer = subprocess.run(
        [str(nerf_environment), "-c", program, str(checkpoint)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    named, trained = answer.stdout.split()
    assert named == trained
    reached, steps = cancelled[1], []

    def listen(event) -> None:
        if event.stage == "fit":
            steps.append(event.step)

    resumed = fit_tiny(head_views.root, unfinished, progress=listen)
    assert resumed.meta.resumed_at == int(trained) >= reached
    assert steps[0] > reached
    assert steps[-1] == 120
