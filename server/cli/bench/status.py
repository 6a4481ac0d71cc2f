"""``dp3d bench status``: response times of a busy server."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import Range
from dp3d_core.progress import Progress, check_cancel
from server.cli.arguments import check_numbers, number
from server.cli.bench.own_server import TOKEN, OwnServer
from server.cli.console import Console, Outcome
from server.settings import Limits

if TYPE_CHECKING:
    from server.client import Client

_REQUESTS = Range(1, 1_000_000)
"""Range of ``--requests``."""
_QUEUED = Range(0, Limits.queued_jobs - 1)
"""Range of ``--queued``: one job more runs, and the measured server has the default limits."""
_LISTENERS = Range(0, Limits.streams)
"""Range of ``--listeners``: the measured server has the default limits."""
_PAUSE_S = 0.02
"""Seconds between two requests while the job runs, so that they cover all of its stages."""


@dataclass
class Status:
    """Response time of GET /v1/jobs/{id}: idle, while a views job runs, with a queue of jobs, and
    with a queue and listeners.
    """

    requests: Annotated[int, number("Requests for each of the four figures", _REQUESTS)] = 200
    queued: Annotated[
        int, number("Queued jobs for the last two figures (0 leaves these out)", _QUEUED)
    ] = 300
    listeners: Annotated[
        int,
        number(
            "Open event streams for the last figure (half of them follow the running job)",
            _LISTENERS,
        ),
    ] = 100

    def run(self, console: Console) -> Outcome:
        """Measure a new server on a temporary folder."""
        check_numbers("bench.bad_option", self)
        with tempfile.TemporaryDirectory(prefix="dp3d-bench-") as name:
            folder = Path(name)
            server = OwnServer(folder, DP3D_HOME=str(folder / "home")).start()
            try:
                with server.client() as client:
                    while client.health()["worker"] != "idle":
                        time.sleep(0.1)
                    idle, busy = self._measure(client, console)
                    queued, listened, heard = self._measure_with_queue(client, console)
            finally:
                server.stop()
        idle_ms, busy_ms = _quantiles(idle), _quantiles(busy)
        ratios = {name: round(busy_ms[name] / idle_ms[name], 2) for name in ("p50", "p99")}
        data: dict[str, Any] = {"idle_ms": idle_ms, "busy_ms": busy_ms, "busy_over_idle": ratios}
        lines = [_line("idle", idle), _line("busy", busy)]
        if queued:
            queued_ms, listened_ms = _quantiles(queued), _quantiles(listened)
            ratio = round(listened_ms["p99"] / queued_ms["p99"], 2)
            data |= {"queued_ms": queued_ms, "listened_ms": listened_ms}
            data |= {"listened_over_queued": ratio, "heard": heard}
            lines += [
                _line(f"{self.queued} queued", queued),
                _line(f"and {self.listeners} listeners", listened),
                f"p99 with listeners over without: {ratio}; "
                f"{heard['events']} events heard, {heard['faulty']} listeners with a fault",
            ]
        return Outcome(data, lines)

    def _measure(self, client: Client, console: Console) -> tuple[list[float], list[float]]:
        """Response times of the idle server, and while a job runs, milliseconds."""
        from dp3d_core.portraits.photo_file import default_photo

        portrait = client.put_file(default_photo())

        def job(views: int) -> str:
            return _views_job(client, portrait, views)

        ended = job(1)
        client.wait(ended)
        idle = [_timed(partial(client.job, ended)) for _ in range(self.requests)]
        running = ""
        busy: list[float] = []
        while len(busy) < self.requests:
            check_cancel(console.cancel, "The measurement")
            if not running or client.job(running)["state"] not in {"queued", "running"}:
                running = job(60)
            time.sleep(_PAUSE_S)
            if client.job(running)["state"] == "running":
                busy.append(_timed(partial(client.job, running)))
                console.progress(Progress("status", len(busy), self.requests))
        client.cancel(running)
        return idle, busy

    def _measure_with_queue(
        self, client: Client, console: Console
    ) -> tuple[list[float], list[float], dict[str, int]]:
        """Response times with a queue, and with listeners as well, milliseconds.

        The third value is the summary of the listeners.
        """
        from dp3d_core.portraits.photo_file import default_photo

        if not self.queued or not self.listeners:
            return [], [], {}
        portrait = client.put_file(default_photo())
        jobs = [_views_job(client, portrait, 360) for _ in range(self.queued + 1)]
        while client.job(jobs[0])["state"] == "queued":
            time.sleep(0.1)

        def measure(done: int) -> list[float]:
            times: list[float] = []
            while len(times) < self.requests:
                check_cancel(console.cancel, "The measurement")
                time.sleep(_PAUSE_S)
                times.append(_timed(partial(client.job, jobs[len(times) % len(jobs)])))
                console.progress(Progress("crowd", done + len(times), 2 * self.requests))
            return times

        queued = measure(0)
        listened, heard = self._with_listeners(
            client, [jobs[0], *jobs[1 : self.listeners // 2 + 1]], lambda: measure(self.requests)
        )
        for job in reversed(jobs):
            client.cancel(job)
        return queued, listened, heard

    def _with_listeners(
        self, client: Client, jobs: list[str], measure: Callable[[], list[float]]
    ) -> tuple[list[float], dict[str, int]]:
        """Measure with listeners: half follow the first job, the others one of the rest each."""
        followed = [jobs[0] if i % 2 else jobs[1 + i // 2] for i in range(2 * (len(jobs) - 1))]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "server.cli.bench.listeners", client.url, TOKEN),
                *(",".join(followed), str(self.listeners)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise Dp3dError(
                    "server.unreachable",
                    "The listeners of the measurement could not follow their jobs.",
                    "Ask for fewer with --listeners.",
                )
            times = measure()
            output, _ = process.communicate("", timeout=30)
            heard: dict[str, int] = json.loads(output)
            return times, heard
        finally:
            process.kill()
            process.wait()


def _views_job(client: Client, portrait: str, views: int) -> str:
    cameras = {"preset": "orbit", "views": views, "size": 512}
    job = client.create_job("views", fresh=True, portrait=portrait, cameras=cameras)
    return str(job["id"])


def _line(name: str, times: list[float]) -> str:
    quantiles = _quantiles(times)
    return f"{name}: median {quantiles['p50']} ms, p99 {quantiles['p99']} ms of {len(times)}"


def _timed(call: Callable[[], object]) -> float:
    """Duration of a call, milliseconds."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def _quantiles(times: list[float]) -> dict[str, float]:
    return {
        "p50": round(statistics.median(times), 2),
        "p99": round(sorted(times)[int(len(times) * 0.99)], 2),
    }
