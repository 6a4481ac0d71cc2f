"""``dp3d serve``: token and address."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from server.client import Client
from tests.server.cli.conftest import result


def start(home, data, *options, **environment):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "server.cli.main", "serve", "--port", "0", "--json"),
            *("--data", str(data), *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"DP3D_HOME": str(home)} | environment,
    )
    answer = json.loads(process.stdout.readline())["result"]
    return process, answer


def stop(process):
    process.terminate()
    process.communicate(timeout=20)
    return process.returncode


def test_a_token_is_made_once_and_kept_private(home, tmp_path):
    tokens = []
    for _ in range(2):
        process, answer = start(home, tmp_path / "data")
        path = home / "token"
        assert answer["token_file"] == str(path)
        assert path.stat().st_mode & 0o777 == 0o600
        tokens.append(path.read_text().strip())
        with Client(answer["url"], tokens[-1]) as client:
            assert client.jobs() == []
        assert stop(process) == 0
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) >= 40


def test_a_token_from_the_variable_is_not_written(home, tmp_path):
    process, answer = start(home, tmp_path / "data", DP3D_TOKEN="a-token-from-the-variable")
    assert answer["token_file"] is None
    assert not (home / "token").exists()
    with Client(answer["url"], "a-token-from-the-variable") as client:
        assert client.jobs() == []
    assert stop(process) == 0


def test_a_token_that_a_header_cannot_carry_is_refused(dp3d):
    run = dp3d("serve", "--token", "two words", "--json")
    assert (run.returncode, result(run)["error"]["code"]) == (3, "server.bad_request")


@pytest.mark.parametrize(
    ("option", "value"),
    [("port", 65536), ("quota-gib", 0.0), ("max-queued", 0), ("keep-jobs", 10_000_001)],
)
def test_a_number_out_of_range_is_refused(dp3d, option, value):
    run = dp3d("serve", f"--{option}", value, "--json")
    error = result(run)["error"]
    assert (run.returncode, error["code"]) == (3, "server.bad_option")
    assert error["problem"] == f"--{option} {value} is out of range."


def test_it_listens_on_loopback_only(home, tmp_path):
    process, answer = start(home, tmp_path / "data", "--token", 24 * "t")
    assert answer["url"].startswith("http://127.0.0.1:")
    assert stop(process) == 0
