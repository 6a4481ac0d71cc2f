"""``dp3d bench``: the measurements of ``docs/benchmarks.md`` that a user can repeat."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Progress, check_cancel
from server.cli.session import Common, Outcome, Session

_TOKEN = "token-of-the-measurement"
_PAUSE_S = 0.02
"""Between requests while the job runs, so that they fall on all of its phases."""

if TYPE_CHECKING:
    from server.client import Client


@dataclass
class Bench(Common):
    """Measure something on this machine: status, official, heads or front."""

    what: tyro.conf.Positional[Literal["status", "official", "heads", "front"]] = field(
        default=tyro.MISSING
    )
    """status: how long GET /v1/jobs/{id} takes while a views job runs, beside an idle server;
    official: the preview engine against the frames published with DiffPortrait3D;
    heads: the preview engine on synthetic heads whose pose, mesh and views are known;
    front: how well the preview engine repeats photos at their own camera, and how fast."""
    photos: tuple[Path, ...] = ()
    """front: photos, instead of those of all kinds that dp3d makes or finds by itself."""
    data: Path | None = None
    """official: folder of the published samples, NAME/portrait.png, generated/ and start/."""
    out: Path | None = None
    """official, heads, front: folder for contact sheets."""
    count: int = 50
    """heads: how many."""
    seed: int = 1
    """heads: of subjects and cameras."""
    requests: int = 200
    """status: requests on the idle server, and the least while the job runs."""

    def run(self, session: Session) -> Outcome:
        """Measure."""
        if self.what == "heads":
            return self._heads(session)
        if self.what == "front":
            return self._front(session)
        return self._official(session) if self.what == "official" else self._status(session)

    def _front(self, session: Session) -> Outcome:
        """Once per photo; the first also pays for what a process builds once."""
        from dp3d_core.evaluation.kinds import kinds
        from dp3d_core.evaluation.scores import score_front
        from dp3d_core.pictures import contact_sheet, save_png
        from dp3d_core.portrait import load_portrait
        from dp3d_core.preview.engine import PreviewHead
        from dp3d_core.trajectories import WHOLE_HEAD_FOCAL, full_orbit

        sources: dict[str, Path | bytes] = {
            photo.stem if photo.stem != "portrait" else photo.parent.name: photo
            for photo in self.photos
        } or {name: make() for name, make in kinds().items()}
        found, lines = (
            {},
            [f"{'':28}{'PSNR':>8}{'IoU':>8}{'head IoU':>10}{'fit, s':>9}{'32 views, s':>13}"],
        )
        for name, source in sources.items():
            started = time.perf_counter()
            portrait = load_portrait(source)
            head = PreviewHead(portrait)
            fitted = time.perf_counter()
            views = []
            for camera in full_orbit(32, size=512, focal=WHOLE_HEAD_FOCAL):
                check_cancel(session.cancel, "The measurement")
                views.append(head.render(camera).composite((235, 235, 235)))
            rendered = time.perf_counter()
            front = score_front(portrait, head.render(portrait.camera))
            seconds = {
                "fit_s": round(fitted - started, 2),
                "views_s": round(rendered - fitted, 2),
            }
            found[name] = front.to_dict() | seconds
            lines.append(
                f"{name:28}{front.psnr:8.1f}{front.iou:8.3f}{front.head_iou:10.3f}"
                f"{seconds['fit_s']:9.1f}{seconds['views_s']:13.1f}"
            )
            if self.out is not None:
                save_png(
                    self.out / f"{name}.png",
                    contact_sheet([portrait.image, *views[::4]], 9, tile=160),
                )
        return Outcome({"photos": found}, lines)

    def _heads(self, session: Session) -> Outcome:
        from dp3d_core.evaluation.synthetic import evaluate_heads, summary, summary_lines
        from dp3d_core.pictures import save_png

        if not 1 <= self.count <= 10000 or self.seed < 0:
            raise Dp3dError(
                "server.bad_request",
                f"{self.count} heads of seed {self.seed} cannot be measured.",
                "Give a count from 1 to 10000 and a seed of at least 0.",
            )
        cases = evaluate_heads(
            self.count, self.seed, progress=session.progress, cancel=session.cancel
        )
        if self.out is not None:
            for case in cases:
                save_png(self.out / f"{case.seed:06d}.png", case.sheet)
        found = summary(cases)
        data = {"summary": found, "cases": [case.to_dict() for case in cases]}
        return Outcome(data, summary_lines(found))

    def _official(self, session: Session) -> Outcome:
        from dp3d_core.evaluation.official import compare_with_official, official_samples
        from dp3d_core.evaluation.scores import table
        from dp3d_core.pictures import contact_sheet, save_png

        if self.data is None:
            raise Dp3dError(
                "server.bad_request",
                "The published samples are not part of dp3d.",
                "Name their folder with --data.",
            )
        scores, rows = {}, []
        for sample in official_samples(self.data):
            found = compare_with_official(sample, progress=session.progress, cancel=session.cancel)
            scores[sample.name] = {name: s.to_dict() for name, s in found.scores.items()}
            rows += [(f"{sample.name} {name}", s) for name, s in scores[sample.name].items()]
            if self.out is not None:
                save_png(self.out / f"{sample.name}.png", contact_sheet(found.frames))
        return Outcome({"scores": scores}, table(rows))

    def _status(self, session: Session) -> Outcome:
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
        from dp3d_core.photos import default_photo

        portrait = client.put_file(default_photo())

        def job(views: int) -> str:
            cameras = {"preset": "orbit", "views": views, "size": 512}
            return str(client.create_job("views", portrait=portrait, cameras=cameras)["id"])

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
