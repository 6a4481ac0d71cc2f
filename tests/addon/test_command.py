# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of dp3d as the add-on runs them once: real processes."""

from __future__ import annotations

import sys
import time

import pytest

from tests.addon.support import free_port, program_of, until


@pytest.fixture
def commands(addon):
    return addon("link.command")


def run(module, *arguments: str, chosen: str = sys.executable):
    command = module.Command(arguments)
    command.start(chosen)
    return command


def test_the_doctor_says_what_is_missing_and_how_it_is_mended(commands, home):
    command = run(commands, "doctor", "--port", str(free_port()))
    command.wait(60)
    assert (command.state, command.code) == ("succeeded", "")
    assert command.program.version == "0.1.0"
    findings = {finding["name"]: finding for finding in command.result["findings"]}
    assert findings["models"]["command"] == ["setup", "models"]
    assert findings["python"]["command"] is None


def test_a_failure_is_the_one_of_dp3d(commands, home):
    command = run(commands, "setup", "models", "--source", str(home / "none.whl"))
    command.wait(60)
    assert (command.state, command.code) == ("failed", "portrait.model_missing")
    assert command.problem
    assert command.remedy


def test_a_wrong_command_shows_its_last_lines(commands, home):
    command = run(commands, "dance")
    command.wait(60)
    assert (command.state, command.code) == ("failed", "addon.command_failed")
    assert command.lines


STAGES = """
import json, signal, time
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
print("a line", file=sys.stderr)
for step in range(1000):
    event = {"stage": "setup", "step": step, "of": 1000, "message": f"part {step // 3}"}
    print(json.dumps(event), file=sys.stderr, flush=True)
    time.sleep(0.02)
    if stopped and POLITE:
        print(json.dumps({"ok": False, "error": {"code": "job.cancelled", "problem": "p"}}))
        sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script")
@pytest.mark.parametrize("polite", [True, False])
def test_progress_is_shown_and_cancel_ends_it(commands, home, polite):
    chosen = program_of(home, STAGES.replace("POLITE", str(polite)))
    command = commands.Command(("setup", "nerf"))
    command.grace_s = 1.0
    command.start(chosen)
    until(lambda: command.step > 5)
    assert 0 < command.fraction < 1
    assert command.message.startswith("part ")
    assert command.lines[0] == "a line"
    began = time.monotonic()
    command.cancel()
    assert command.state == "cancelling"
    command.wait(10)
    assert time.monotonic() - began < 8
    assert (command.state, command.code) == ("cancelled", "")
