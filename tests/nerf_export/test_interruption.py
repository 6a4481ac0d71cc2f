"""Fits that are killed, or whose disk or memory ends: the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.viewset import ViewSet
from tests.limits import largest_file
from tests.nerf_export.fits import fit_tiny

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


@pytest.mark.nerf
@pytest.mark.parametrize(("stage", "step"), [("dataset", 9), ("fit", 1), ("fit", 70), ("score", 1)])
def test_a_killed_fit_goes_on(
    nerf_environment: Path, head_views: ViewSet, tmp_path: Path, stage: str, step: int
) -> None:
    process = start(head_views.root, tmp_path / "fit")
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        event = event.get("progress", event)
        if event.get("stage") == stage and event.get("step", 0) >= step:
            break
    else:
        pytest.fail(f"{stage} {step} was never reached")
    os.killpg(process.pid, signal.SIGKILL)  # the command; its child ends by itself
    process.wait()
    process.stderr.close()
    assert not (tmp_path / "fit/fit.json").exists()
    done = fit_tiny(head_views.root, tmp_path / "fit")
    assert {path.name for path in done.root.iterdir() if path.name[0] != "."} == FINISHED
    assert done.scores["foreground_psnr"] > 18
    if (stage, step) == ("fit", 70):
        assert done.meta["resumed_at"] >= 30


@pytest.mark.nerf
def test_a_disk_that_fills_up(nerf_environment: Path, head_views: ViewSet, tmp_path: Path) -> None:
    with largest_file(700_000), pytest.raises(Dp3dError) as caught:
        fit_tiny(head_views.root, tmp_path / "fit")  # its checkpoints are larger
    assert caught.value.code == "output.not_writable"
    assert ".ckpt" in caught.value.problem
    assert not list((tmp_path / "fit").rglob("*.tmp"))
    assert fit_tiny(head_views.root, tmp_path / "fit").scores["foreground_psnr"] > 18


@pytest.mark.nerf
def test_memory_that_does_not_suffice_is_told_before_the_fit(
    nerf_environment: Path, head_views: ViewSet, tmp_path: Path
) -> None:
    with pytest.raises(Dp3dError) as caught:
        fit_tiny(head_views.root, tmp_path / "fit", max_memory_gb=0.1)
    assert caught.value.code == "nerf.too_little_memory"
    assert "0.1 GiB" in caught.value.problem
    # the remedy is a smaller preset: the folder is free for it
    assert not any((tmp_path / "fit").iterdir())
    with pytest.raises(Dp3dError) as caught:
        fit_tiny(head_views.root, tmp_path / "fit", max_memory_gb=0)
    assert caught.value.code == "engine.bad_option"


@pytest.mark.nerf
def test_a_damaged_checkpoint_costs_the_steps_not_the_fit(
    nerf_environment: Path, head_views: ViewSet, tmp_path: Path
) -> None:
    reached = [0]

    def listen(event) -> None:
        if event.stage == "fit":
            reached[0] = event.step

    with pytest.raises(Dp3dError):
        fit_tiny(head_views.root, tmp_path / "fit", progress=listen, cancel=lambda: reached[0] > 40)
    (checkpoint,) = (tmp_path / "fit").rglob("*.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    done = fit_tiny(head_views.root, tmp_path / "fit")
    assert done.meta["resumed_at"] == 0
    assert done.scores["foreground_psnr"] > 18
