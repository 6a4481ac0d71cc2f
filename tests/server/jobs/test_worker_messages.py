"""Messages between server and worker: round trips, and refusal of invalid lines."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from dp3d_core.progress import Progress
from server.jobs.model import JobState
from server.jobs.worker_messages import (
    CancelJob,
    EndState,
    EnginesChanged,
    JobArtifact,
    JobEnded,
    JobProgress,
    RunJob,
    WorkerReady,
    parse_command,
    parse_event,
    to_line,
)

COMMANDS = [RunJob("a", "views", {"seed": 1}), CancelJob("a")]
EVENTS = [
    WorkerReady([{"name": "preview"}]),
    EnginesChanged([]),
    JobProgress("a", Progress("views", 1, 2, "View 2", 3.5, {"file": "frames/0001.png"})),
    JobArtifact("a", "frames/0001.png", "0" * 64, 7),
    JobEnded("a", "succeeded", result={"views": "0" * 64}),
    JobEnded("a", "failed", error={"code": "internal"}),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_survive_a_round_trip(command) -> None:
    line = to_line(command)
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    assert parse_command(line) == parse_command(line.encode()) == command


@pytest.mark.parametrize("event", EVENTS)
def test_events_survive_a_round_trip(event) -> None:
    assert parse_event(to_line(event)) == event


def test_values_become_json() -> None:
    progress = Progress("fit", 1, 2, values={"psnr": math.nan, "file": Path("/secret/a.png")})
    event = parse_event(to_line(JobProgress("a", progress)))
    assert event == JobProgress("a", Progress("fit", 1, 2, values={"psnr": None, "file": "a.png"}))


@pytest.mark.parametrize(
    "line",
    [
        to_line(EVENTS[2])[:-9],
        "",
        "[]",
        "null",
        "{}",
        json.dumps({"type": "run", "job": "a", "kind": "views", "params": {}}),
        json.dumps({"type": "ready"}),
        json.dumps({"type": "progress", "job": "a", "progress": {"stage": "views"}}),
        json.dumps({"type": "ended", "job": "a", "state": "running"}),
        json.dumps({"type": "ended", "job": "a", "state": "failed", "more": 1}),
    ],
)
def test_invalid_events_are_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_event(line)


def test_end_states_are_the_final_job_states() -> None:
    assert set(get_args(EndState)) == {state.value for state in JobState if state.ended}


def test_the_worker_does_not_import_the_database() -> None:
    code = "import sys, server.worker.__main__; sys.exit('sqlmodel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
