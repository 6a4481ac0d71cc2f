"""``dp3d serve --follow-stdin``: a server that ends with the program that started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import httpx
import pytest


def command(folder):
    return [
        *(sys.executable, "-m", "server.cli.main", "serve", "--port", "0", "--json"),
        *("--follow-stdin", "--data", str(folder / "data")),
    ]


def environment(folder):
    return os.environ | {"DP3D_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def follower(tmp_path):
    with subprocess.Popen(
        command(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    ) as process:
        process.url = json.loads(process.stdout.readline())["result"]["url"]
        yield process
        process.kill()


def say(process, word):
    process.stdin.write(word + "\n")
    process.stdin.flush()


def answers(url):
    try:
        return httpx.get(url + "/v1/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_the_server_stops_when_its_input_ends(follower):
    assert answers(follower.url)
    follower.stdin.close()
    assert follower.wait(20) == 0
    assert not answers(follower.url)


def test_the_server_stops_on_the_line_stop(follower):
    say(follower, "keep")
    say(follower, "stop")
    assert follower.wait(20) == 0


def test_the_server_outlives_its_input_after_keep(follower):
    say(follower, "follow")
    say(follower, "keep")
    follower.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        follower.wait(1.5)
    assert answers(follower.url)


def test_follow_revokes_keep(follower):
    say(follower, "keep")
    say(follower, "follow")
    follower.stdin.close()
    assert follower.wait(20) == 0


PARENT = """
import subprocess, sys, time
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(server.stdout.readline().strip(), server.pid, sep="\\n", flush=True)
time.sleep(100)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes by signal 0")
def test_the_server_ends_when_its_parent_is_killed(tmp_path):
    from tests.server.conftest import wait_until

    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *command(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
        start_new_session=True,
    ) as parent:
        url = json.loads(parent.stdout.readline())["result"]["url"]
        assert answers(url)
        parent.kill()
        parent.wait()
        wait_until(lambda: not answers(url), 15)


def test_serve_writes_which_python_runs_dp3d(follower, tmp_path):
    note = json.loads((tmp_path / "home" / "program.json").read_text("utf-8"))
    assert note == {"schema": "dp3d.program/1", "python": sys.executable}


@pytest.mark.skipif(sys.platform == "win32", reason="stops it by a signal")
def test_a_signal_stops_it_while_its_input_is_open(follower):
    follower.terminate()
    assert follower.wait(20) == 0
    assert "Fatal" not in follower.stderr.read()
