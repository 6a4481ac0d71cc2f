"""Errors of failed jobs contain no folders of this machine."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from dp3d_core.errors import Dp3dError
from server.jobs.worker_messages import RunJob
from server.worker.hidden_paths import without_folders
from server.worker.run import Worker

DATA = Path("/srv/dp3d data/x")
CODE = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Read {DATA}/work/ab/fit/train.log; then", "Read work/ab/fit/train.log; then"),
        (
            f'File "{CODE}/nerf_export/field/fit.py", line 3',
            'File "nerf_export/field/fit.py", line 3',
        ),
        (
            'File "/root/envs/nerf/lib/python3.11/site-packages/torch/x.py", line 3',
            'File "torch/x.py", line 3',
        ),
        ("Read /home/jane/nerf/train.log.", "Read train.log."),
        ("No such file: '/home/jane doe/a b.png'", "No such file: 'a b.png'"),
        (r"C:\Users\Jane\train.log is full", "train.log is full"),
        (f"x.ckpt cannot be written in {DATA}.", "x.ckpt cannot be written in x."),
        ("https://example.org/a/b and/or text/plain, 3/4", None),
        ("http://127.0.0.1:8000/api/jobs", None),
    ],
)
def test_paths_are_shortened(text: str, expected: str | None) -> None:
    error = {"code": "internal", "status": 500, "problem": text, "remedy": text, "detail": text}
    new = without_folders(error, DATA)
    assert new["problem"] == new["remedy"] == new["detail"] == (expected or text)
    assert (new["code"], new["status"]) == ("internal", 500)


@pytest.mark.parametrize("defect", [False, True])
def test_errors_of_failed_jobs_name_files_without_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: bool
) -> None:
    def fail(context, kind, params):
        text = f"{context.work}/train.log and {sys.prefix}/bin/python"
        if defect:
            raise RuntimeError(text)
        raise Dp3dError("nerf.child_failed", text, text, text)

    monkeypatch.setattr("server.worker.run.run_job", fail)
    events = io.StringIO()
    Worker(tmp_path, 10**12, events, set()).run(RunJob("ab", "fit", {}))
    error = json.loads(events.getvalue().splitlines()[-1])["error"]
    assert "work/ab/train.log and" in error["detail"]
    assert str(tmp_path) not in json.dumps(error)
    assert sys.prefix not in json.dumps(error)
