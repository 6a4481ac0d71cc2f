"""Progress in logs and as JSON lines."""

from __future__ import annotations

import json
import time

import pytest

from dp3d_core.progress import Progress
from server.cli import console as console_module
from server.cli.console import Console


@pytest.fixture
def short_silence(monkeypatch):
    """A silence of 0.1 s counts as long."""
    monkeypatch.setattr(console_module, "_SILENCE_S", 0.1)


def lines_of(console, capsys):
    console.progress(Progress("fit", 3, 9, "Step 3 of 9", 12.0, {"loss": 0.5}))
    time.sleep(1.0)
    console.close()
    lines = capsys.readouterr().err.splitlines()
    time.sleep(0.3)
    assert capsys.readouterr().err == ""
    return lines


def test_json_output_repeats_progress_of_a_long_step(short_silence, capsys):
    events = [json.loads(line) for line in lines_of(Console(as_json=True, debug=False), capsys)]
    assert len(events) > 3
    assert {(event["stage"], event["step"], event["of"]) for event in events} == {("fit", 3, 9)}
    assert events[0]["eta_s"] == 12.0
    elapsed = [event["values"]["elapsed_s"] for event in events[1:]]
    assert elapsed == sorted(elapsed)
    assert all(event["eta_s"] is None for event in events[1:])


def test_a_log_shows_the_latest_event_after_a_silence(short_silence, capsys):
    console = Console(as_json=False, debug=False)
    for step in (3, 4):
        console.progress(Progress("fit", step, 9))
    time.sleep(0.5)
    console.close()
    assert capsys.readouterr().err.splitlines()[:2] == ["fit 3/9", "fit 4/9"]


def test_a_log_says_that_a_long_step_goes_on(short_silence, capsys):
    lines = lines_of(Console(as_json=False, debug=False), capsys)
    assert lines[0] == "fit 3/9, 12 s left Step 3 of 9"
    assert len(lines) > 3
    assert all(line.startswith("fit 3/9 goes on, ") for line in lines[1:])
