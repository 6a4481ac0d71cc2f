"""The command line in a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import share_heads


@pytest.fixture
def home(tmp_path, heads_of_run):
    return share_heads(tmp_path / "home", heads_of_run)


@pytest.fixture
def dp3d(home):
    def run(*arguments, timeout_s=300, **environment):
        return subprocess.run(
            [sys.executable, "-m", "server.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=os.environ | {"DP3D_HOME": str(home), "COLUMNS": "100"} | environment,
        )

    return run


def result(run):
    """The one JSON object on standard output."""
    assert len(run.stdout.splitlines()) == 1, run.stdout + run.stderr
    return json.loads(run.stdout)
