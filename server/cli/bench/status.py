"""``dp3d bench status``: how fast a busy server answers."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Progress, check_cancel
from server.cli.session import Outcome, Session

if TYPE_CHECKING:
    from server.client import Client

_TOKEN = "token-of-the-measurement"
_PAUSE_S = 0.02
"""Between requests while the job runs, so that they fall on all of its phases."""


@dataclass
class Status:
    """How long GET /v1/jobs/{id} takes while a views job runs, beside an idle server."""

    requests: int = 200
    """Requests on the idle server, and the least while the job runs."""

    def run(self, session: Session) -> Outcome:
        """In a server of its own, on a folder that is removed afterwards."""
        from server.client import Client

        with tempfile.TemporaryDirectory(prefix="dp3d-bench-") as folder:
            process = _start_server(Path(folder))
            try:
                with Client(_url(process), _TOKEN) as client:
                    while client.health()["worker"] != "idle":
                        time.sleep(0.1)
                    idle, busy = self._measure(client, session)
            finally:
                process.terminate()
                process.communicate(timeout=30)
        data = {"idle_ms": _quantiles(idle), "busy_ms": _quantiles(busy)}
        data["busy_over_idle"] = {
            name: round(data["busy_ms"][name] / data["idle_ms"][name], 2) for name in ("p50", "p99")
        }
        lines = [
            f"{name}: median {data[key]['p50']} ms, p99 {data[key]['p99']} ms of {len(times)}"
            for name, key, times in (("idle", "idle_ms", idle), ("busy", "busy_ms", busy))
        ]
        return Outcome(data, lines)

    def _measure(self, client: Client, session: Session) -> tuple[list[float], list[float]]:
        from dp3d_core.portraits.photo_file import default_photo

        portrait = client.put_file(default_photo())

        def job(views: int) -> str:
            cameras = {"preset": "orbit", "views": views, "size": 512}
            job = client.create_job("views", fresh=True, portrait=portrait, cameras=cameras)
            return str(job["id"])

        small = job(1)
        client.wait(small)
        idle = [_timed(partial(client.job, small)) for _ in range(self.requests)]
        running = ""
        busy: list[float] = []
        while len(busy) < self.requests:
            check_cancel(session.cancel, "The measurement")
            if not running or client.job(running)["state"] not in {"queued", "running"}:
                running = job(60)
            time.sleep(_PAUSE_S)
            if client.job(running)["state"] == "running":
                busy.append(_timed(partial(client.job, running)))
                session.progress(Progress("status", len(busy), self.requests))
        client.cancel(running)
        return idle, busy


def _start_server(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "server.cli.main", "serve", "--port", "0", "--json"),
            *("--data", str(folder / "data")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"DP3D_HOME": str(folder / "home"), "DP3D_TOKEN": _TOKEN},
    )


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise Dp3dError(
            "server.unreachable",
            "The server of the measurement did not start.",
            "Try 'dp3d serve' to see why.",
        )
    return str(json.loads(line)["result"]["url"])


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _quantiles(times: list[float]) -> dict[str, float]:
    return {
        "p50": round(statistics.median(times), 2),
        "p99": round(sorted(times)[int(len(times) * 0.99)], 2),
    }
