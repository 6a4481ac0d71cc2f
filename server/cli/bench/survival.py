"""``dp3d bench survival``: counts jobs that are lost when server and workers are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import SEED, Range
from dp3d_core.progress import Progress, check_cancel
from server.cli.arguments import check_numbers, number
from server.cli.bench.own_server import OwnServer
from server.cli.console import Console, Outcome

if TYPE_CHECKING:
    from server.client import Client

_KILLS = Range(0, 10_000)
"""Range of ``--kills``."""
_UNFINISHED_JOBS = 4
"""Unfinished jobs at any time while processes are killed."""
_LONGEST_PAUSE_S = 24.0
"""Most seconds between two kills: most jobs can end meanwhile, so that kills hit all kinds."""
_GIVE_UP_S = 1800.0
"""Seconds without the end of a job after which the measurement stops waiting."""


@dataclass
class Survival:
    """Kill server and worker at random moments over jobs of every kind, and count what is lost.

    Linux only: worker processes are found in /proc.
    """

    kills: Annotated[
        int, number("Number of kills, each of the server or the worker at random", _KILLS)
    ] = 50
    seed: Annotated[int, number("Seed of moments, victims and jobs", SEED)] = 0

    def run(self, console: Console) -> Outcome:
        """Measure a new server on a temporary folder."""
        check_numbers("bench.bad_option", self)
        if sys.platform != "linux":
            raise Dp3dError(
                "bench.unsupported",
                "This measurement looks for processes in /proc, which this system lacks.",
                "Run it on Linux.",
            )
        with tempfile.TemporaryDirectory(prefix="dp3d-bench-", ignore_cleanup_errors=True) as name:
            trial = _Trial(OwnServer(Path(name)).start(), random.Random(self.seed), console)
            try:
                trial.prepare()
                trial.kill_at_random(self.kills)
                trial.wait_until_ended()
                data = trial.count_faults(Path(name))
            finally:
                trial.server.stop()
        lines = [
            f"{data['kills']['server']} kills of the server and {data['kills']['worker']} of the "
            f"worker over {data['jobs']} jobs ({data['by_kind']})",
            f"lost {data['lost']}, duplicated {data['duplicated']}, corrupt {data['corrupt']}, "
            f"failed {data['failed']}; attempts {data['attempts']}",
        ]
        return Outcome(data, lines + [str(fault) for fault in data["faults"]])


class _Trial:
    """One server whose processes are killed.

    Args:
        server: already started.
        generator: source of moments, victims and jobs.
        console: for progress and cancel.

    """

    def __init__(self, server: OwnServer, generator: random.Random, console: Console) -> None:
        self.server, self._random, self._console = server, generator, console
        self._requests: dict[str, tuple[str, dict[str, Any]]] = {}
        self._kills: Counter[str] = Counter()
        self._portrait = self._views = self._fit = ""
        self._count = 0

    def prepare(self) -> None:
        """Make the views and the fit that other jobs start from, without kills."""
        from dp3d_core.portraits.photo_file import default_photo

        with self.server.client() as client:
            self._portrait = client.put_file(default_photo())
            cameras = {"preset": "orbit", "views": 12, "size": 96}
            views = client.create_job("views", portrait=self._portrait, cameras=cameras)
            self._views = client.wait(views["id"])["views"]
            fit = client.create_job("fit", views=self._views, preset="tiny", steps=60)
            self._fit = client.wait(fit["id"])["fit"]

    def _random_job(self) -> tuple[str, dict[str, Any]]:
        """Kind and parameters of a random job, unlike all others."""
        self._count += 1
        n = self._count
        cameras = {"preset": "orbit", "views": 8 + n, "size": 96}
        kinds: list[tuple[str, dict[str, Any]]] = [
            ("views", {"portrait": self._portrait, "cameras": cameras, "seed": n}),
            (
                "head",
                {"portrait": self._portrait, "seed": n, "detail": "half", "texture_size": 512},
            ),
            ("fit", {"views": self._views, "preset": "tiny", "steps": 60 + n}),
            ("render", {"fit": self._fit, "cameras": cameras}),
            ("mesh", {"fit": self._fit, "faces": 400 + n, "texture_size": 128}),
        ]
        return self._random.choice(kinds)

    def kill_at_random(self, count: int) -> None:
        """Kill processes at random moments while the queue is never empty."""
        for done in range(1, count + 1):
            self._keep_busy()
            self._pause(self._random.uniform(0.0, _LONGEST_PAUSE_S))
            victim = self._random.choice(("server", "worker"))
            if victim == "server":
                self.server.kill()
                self._kills[victim] += 1
                self.server.start()
            elif (pid := self._find_worker()) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self._kills[victim] += 1
            self._console.progress(Progress("survival", done, count, f"{victim} killed"))

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            check_cancel(self._console.cancel, "The measurement")
            time.sleep(0.05)

    def _find_worker(self) -> int | None:
        """Process id of the server's worker; None when there is none."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = path.read_bytes().decode(errors="replace").split("\0")
                if "server.worker" in words and str(self.server.data) in words:
                    return int(path.parent.name)
        return None

    def _keep_busy(self) -> None:
        """Queue jobs until four are unfinished."""
        with self.server.client() as client:
            states = [self._state(client, job_id) for job_id in self._requests]
            for _ in range(
                _UNFINISHED_JOBS - sum(state in ("queued", "running") for state in states)
            ):
                kind, params = self._random_job()
                job = client.create_job(kind, **params)
                self._requests[job["id"]] = (kind, params)

    @staticmethod
    def _state(client: Client, job_id: str) -> str:
        try:
            return str(client.job(job_id)["state"])
        except Dp3dError as error:
            if error.code != "job.not_found":
                raise
            return "lost"

    def wait_until_ended(self) -> None:
        """Wait until every job has ended."""
        with self.server.client() as client:
            deadline, previous = time.monotonic() + _GIVE_UP_S, -1
            while time.monotonic() < deadline:
                check_cancel(self._console.cancel, "The measurement")
                states = [self._state(client, job_id) for job_id in self._requests]
                unfinished = sum(state in ("queued", "running") for state in states)
                if unfinished == 0:
                    return
                if unfinished != previous:
                    deadline, previous = time.monotonic() + _GIVE_UP_S, unfinished
                time.sleep(0.5)

    def count_faults(self, folder: Path) -> dict[str, Any]:
        """Count lost, duplicated, corrupt and failed jobs."""
        faults: list[str] = []
        counts: Counter[str] = Counter()
        attempts: Counter[int] = Counter()
        with self.server.client() as client:
            for job_id, (kind, params) in self._requests.items():
                state = self._state(client, job_id)
                job: dict[str, Any] = {"attempt": 0, "error": None}
                if state != "lost":
                    job = client.job(job_id)
                attempts[job["attempt"]] += 1
                label = {"succeeded": "", "lost": "lost"}.get(state, "failed")
                reasons = [label] if label else []
                if not label:
                    reasons = list(_find_damage(client, job, params, folder / job_id))
                    identical_id = client.create_job(kind, **params)["id"]
                    reasons += ["duplicated"] if identical_id != job_id else []
                for reason in reasons:
                    counts[reason.partition(":")[0]] += 1
                    faults.append(f"{kind} {job_id}: {reason} {json.dumps(job['error'])[:300]}")
        names = ("lost", "duplicated", "corrupt", "failed")
        return {
            "kills": {name: self._kills[name] for name in ("server", "worker")},
            "jobs": len(self._requests),
            "by_kind": dict(Counter(kind for kind, _ in self._requests.values())),
            "attempts": {str(key): attempts[key] for key in sorted(attempts)},
            **{name: counts[name] for name in names},
            "faults": faults,
        }


def _find_damage(
    client: Client, job: dict[str, Any], params: dict[str, Any], folder: Path
) -> Iterator[str]:
    """Faults in the events, artifacts and result of a job that succeeded."""
    events = list(client.events(job["id"]))
    names = Counter(e.data["name"] for e in events if e.event == "artifact")
    states = [e.data["state"] for e in events if e.event == "state"]
    if max(names.values(), default=1) > 1 or states.count("succeeded") != 1:
        yield "duplicated: an event came twice"
    if [e.id for e in events] != sorted({e.id for e in events}):
        yield "duplicated: ids of events do not grow"
    try:
        for event in events:
            if event.event == "artifact":
                client.get_bytes(event.data["sha256"])
        _CHECKS[job["kind"]](client, job["result"], params, folder)
    except Exception as error:  # any error of a damaged result counts
        yield f"corrupt: {type(error).__name__} {error}"


def _check_frames(
    client: Client, result: dict[str, Any], params: dict[str, Any], folder: Path
) -> None:
    from dp3d_core.viewsets.viewset import ViewSet

    views = ViewSet.open(client.get_tree(result["views"], folder))
    if len(views) != params["cameras"]["views"]:
        raise ValueError(f"{len(views)} frames")
    for i in range(len(views)):
        views.rgba(i)


def _check_fit(
    client: Client, result: dict[str, Any], params: dict[str, Any], folder: Path
) -> None:
    from nerf_export.field.fit import Fit

    fit = Fit.open(client.get_tree(result["fit"], folder))
    if fit.meta.job.preset.steps != params["steps"]:
        raise ValueError("another number of steps")


def _check_mesh(
    client: Client, result: dict[str, Any], params: dict[str, Any], folder: Path
) -> None:
    import io

    import trimesh

    data = io.BytesIO(client.get_bytes(result["mesh"]["sha256"]))
    if not trimesh.load_scene(data, "glb").geometry:
        raise ValueError("no geometry")


def _check_head(
    client: Client, result: dict[str, Any], params: dict[str, Any], folder: Path
) -> None:
    import io

    import trimesh

    data = io.BytesIO(client.get_bytes(result["glb"]["sha256"]))
    if "skin" not in trimesh.load_scene(data, "glb").geometry:
        raise ValueError("no skin")


_Check = Callable[["Client", dict[str, Any], dict[str, Any], Path], None]
_CHECKS: dict[str, _Check] = {
    "views": _check_frames,
    "head": _check_head,
    "render": _check_frames,
    "fit": _check_fit,
    "mesh": _check_mesh,
}
"""Check of the result of each kind of job."""
