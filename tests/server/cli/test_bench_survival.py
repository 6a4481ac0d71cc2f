"""``dp3d bench survival`` with a few kills."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.nerf
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")
def test_kills_lose_no_job(nerf_environment):
    command = [sys.executable, "-m", "server.cli.main", "bench", "survival", "--kills", "8"]
    done = subprocess.run(
        [*command, "--seed", "3", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    data = json.loads(done.stdout.splitlines()[-1])["result"]
    assert sum(data["kills"].values()) >= 4
    assert data["jobs"] >= 4
    faults = {name: data[name] for name in ("lost", "duplicated", "corrupt", "failed")}
    assert faults == dict.fromkeys(faults, 0), data["faults"]
