"""``dp3d bench cancel``: seconds until a cancelled job stops in each stage, longest silence."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dp3d_core.limits import SEED, Range
from dp3d_core.progress import Progress, check_cancel
from server.cli.arguments import check_numbers, number
from server.cli.bench.own_server import OwnServer
from server.cli.console import Console, Outcome

if TYPE_CHECKING:
    from server.client import Client

_TIMES = Range(1, 1000)
"""Range of ``--times``."""
_POLL_S = 0.01
"""Seconds between two polls of a job's state."""
_MAX_DELAY_S = 1.5
"""Most seconds from the start of a stage to the cancel."""


@dataclass
class Cancel:
    """Run a job of each kind to its end, then cancel one in each of its stages."""

    times: Annotated[int, number("Cancels in each stage, at random moments", _TIMES)] = 3
    seed: Annotated[int, number("Seed of the random moments", SEED)] = 0

    def run(self, console: Console) -> Outcome:
        """Measure a new server on a temporary folder."""
        check_numbers("bench.bad_option", self)
        with tempfile.TemporaryDirectory(prefix="dp3d-bench-", ignore_cleanup_errors=True) as name:
            server = OwnServer(Path(name)).start()
            try:
                with server.client() as client:
                    data = self._measure(client, console)
            finally:
                server.stop()
        lines = [
            f"{kind}: silent for {silence:.2f} s at most"
            for kind, silence in data["longest_silence_s"].items()
        ]
        lines += [
            f"{stage}: cancelled within {max(seconds):.2f} s (of {len(seconds)})"
            for stage, seconds in data["cancelled_after_s"].items()
        ]
        return Outcome(data, lines)

    def _measure(self, client: Client, console: Console) -> dict[str, Any]:
        generator, jobs = random.Random(self.seed), _Jobs(client)
        silences: dict[str, float] = {}
        cancelled: dict[str, list[float]] = {}
        for done, kind in enumerate(jobs.kinds, 1):
            stages, silences[kind] = _stages_and_silence(client, jobs.start(kind))
            jobs.remember(kind)
            for stage in stages:
                seconds = []
                for _ in range(self.times):
                    check_cancel(console.cancel, "The measurement")
                    took = _cancel_in_stage(
                        client, jobs.start(kind), stage, generator.uniform(0, _MAX_DELAY_S)
                    )
                    if took is not None:
                        seconds.append(round(took, 3))
                if seconds:
                    cancelled[f"{kind}, {stage}"] = seconds
            console.progress(Progress("cancel", done, len(jobs.kinds), kind))
        return {"longest_silence_s": silences, "cancelled_after_s": cancelled}


class _Jobs:
    """Creates jobs of every kind, each with unique parameters."""

    kinds = ("views", "head", "fit", "render", "mesh")
    """Order in which later kinds can use results of earlier ones."""

    def __init__(self, client: Client) -> None:
        from dp3d_core.portraits.photo_file import default_photo

        self._client, self._count = client, 0
        self._portrait = client.put_file(default_photo())
        self._latest_id, self._views, self._fit = "", "", ""

    def start(self, kind: str) -> str:
        """Queue a job; returns its id."""
        self._count += 1
        cameras = {"preset": "orbit", "views": 24, "size": 256}
        params: dict[str, dict[str, Any]] = {
            "views": {"portrait": self._portrait, "cameras": cameras, "seed": self._count},
            "head": {"portrait": self._portrait, "seed": self._count},
            "fit": {"views": self._views, "preset": "tiny", "steps": 400 + self._count},
            "render": {"fit": self._fit, "cameras": cameras},
            "mesh": {"fit": self._fit, "faces": 20_000 + self._count},
        }
        self._latest_id = str(self._client.create_job(kind, fresh=True, **params[kind])["id"])
        return self._latest_id

    def remember(self, kind: str) -> None:
        """Use the result of the latest job as input of later kinds."""
        result = self._client.job(self._latest_id)["result"]
        if kind == "views":
            self._views = result["views"]
        elif kind == "fit":
            self._fit = result["fit"]


def _stages_and_silence(client: Client, job_id: str) -> tuple[list[str], float]:
    """Stages of a job in order, and the longest time between two events while it ran, seconds."""
    stages: list[str] = []
    longest, last_event_at = 0.0, None
    for event in client.events(job_id):
        now = time.monotonic()
        if last_event_at is not None:
            longest = max(longest, now - last_event_at)
        if event.event == "progress" and event.data["stage"] not in stages:
            stages.append(event.data["stage"])
        if event.event != "state" or event.data["state"] == "running":
            last_event_at = now
    client.wait(job_id)
    return stages, round(longest, 2)


def _cancel_in_stage(client: Client, job_id: str, stage: str, after_s: float) -> float | None:
    """Cancel a job ``after_s`` seconds into a stage.

    Returns:
        seconds until the state is ``cancelled``; None when the job ended before.

    """
    for event in client.events(job_id):
        if event.event == "progress" and event.data["stage"] == stage:
            break
    time.sleep(after_s)
    cancelled_at = time.monotonic()
    client.cancel(job_id)
    for state in _states(client, job_id):
        if state == "cancelled":
            return time.monotonic() - cancelled_at
        if state in ("succeeded", "failed"):
            return None
    return None


def _states(client: Client, job_id: str) -> Iterator[str]:
    """Poll the state of a job."""
    while True:
        yield str(client.job(job_id)["state"])
        time.sleep(_POLL_S)
