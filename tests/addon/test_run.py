# SPDX-License-Identifier: GPL-3.0-or-later
"""A run against the real server: to the end, cancelled, with a server that dies and returns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dp3d_core.viewsets.viewset import ViewSet
from tests.addon.odd_server import HEALTH, OddServer, document
from tests.addon.support import TOKEN, ServerProcess
from tests.conftest import share_heads


@pytest.fixture
def start(addon, portrait: Path, tmp_path: Path):
    """Starts a run; ``.seen`` fills as its messages are collected."""
    module, client = addon("link.run"), addon("link.client")

    def make(url: str, views: int = 4, size: int = 64, **changes):
        cameras = {"preset": "orbit", "views": views, "size": size, "pitch_deg": 0}
        plan = {
            "run_id": "0" * 32,
            "kinds": ("views",),
            "folder": tmp_path / "results",
            "portrait": portrait,
            "params": {"views": {"cameras": cameras}},
            **changes,
        }
        run = module.Run(client.Server(url, TOKEN, "a test"), module.Plan(**plan))
        run.seen = []
        run.start()
        return run

    return make


def collect(run, until=lambda message: False, timeout: float = 90) -> list[Any]:
    """Messages up to the first that ``until`` accepts, or to the end of the run."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        alive = run.is_alive()
        while not run.messages.empty():
            run.seen.append(run.messages.get())
            if until(run.seen[-1]):
                return run.seen
        if not alive:
            return run.seen
        time.sleep(0.02)
    pytest.fail(f"the run did not end; last messages: {run.seen[-3:]}")


def kinds(messages: list[Any]) -> list[str]:
    return [type(m).__name__ for m in messages]


def of_kind(messages: list[Any], name: str) -> list[Any]:
    return [m for m in messages if type(m).__name__ == name]


def is_frame(message: Any) -> bool:
    return kinds([message]) == ["FrameArrived"]


def test_to_the_end(start, server, tmp_path: Path) -> None:
    run = start(server.url)
    seen = collect(run)
    assert kinds(seen)[:2] == ["ServerAnswered", "EnginesListed"]
    assert kinds(seen)[-2:] == ["ViewsArrived", "RunFinished"]
    assert kinds(seen).count("FrameArrived") >= 4
    steps = [m.progress for m in of_kind(seen, "Progressed") if m.progress.stage == "views"]
    assert steps[-1].step == steps[-1].of == 4
    assert len(ViewSet.open(tmp_path / "results")) == 4


def test_resumed_by_another_run(start, server, tmp_path: Path) -> None:
    """As after closing Blender: a new run takes up the job, finished or not, and has it all."""
    first = start(server.url, views=12)
    job = of_kind(collect(first, lambda m: kinds([m]) == ["JobChanged"]), "JobChanged")[0].job
    first.abandon()
    first.join(10)
    assert not first.is_alive()
    second = start(server.url, resume_job=job.id, portrait=None)
    assert kinds(collect(second))[-1] == "RunFinished"
    assert len(ViewSet.open(tmp_path / "results")) == 12


def test_a_rigged_head(start, server, tmp_path: Path) -> None:
    small = {"detail": "quarter", "texture_size": 512}
    seen = collect(start(server.url, kinds=("head",), params={"head": small}))
    assert kinds(seen)[-2:] == ["HeadArrived", "RunFinished"]
    assert kinds(seen).count("PortraitArrived") >= 1
    path = Path(seen[-2].path)
    assert path == tmp_path / "results" / "head.glb"
    assert path.read_bytes()[:4] == b"glTF"
    assert seen[-2].report["crop"]
    job = of_kind(seen, "JobChanged")[0].job
    path.unlink()
    taken_up = start(server.url, kinds=("head",), resume_job=job.id, portrait=None)
    assert kinds(collect(taken_up))[-2:] == ["HeadArrived", "RunFinished"]
    assert path.is_file()


def test_cancel(start, server, addon) -> None:
    run = start(server.url, views=200, size=512)
    collect(run, is_frame)
    run.cancel()
    seen = collect(run)
    assert kinds(seen)[-1] == "RunCancelled"
    assert kinds(seen).count("FrameArrived") < 200
    assert of_kind(seen, "JobChanged")[-1].job.state == "cancelled"


def test_refused_job(start, server) -> None:
    run = start(server.url, params={"views": {"cameras": {"preset": "orbit", "views": 0}}})
    last = collect(run)[-1]
    assert (kinds([last]), last.code) == (["Failed"], "camera.invalid")


@pytest.fixture
def own_server(
    heads_of_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("own"))
    share_heads(process.dp3d_home, heads_of_run)
    yield process.start()
    process.stop()


def test_server_dies_and_returns(start, own_server: ServerProcess, tmp_path: Path) -> None:
    run = start(own_server.url, views=24, size=256)
    collect(run, is_frame)
    own_server.kill()
    collect(run, lambda m: kinds([m]) == ["Noticed"])
    own_server.start()
    seen = collect(run)
    assert kinds(seen)[-1] == "RunFinished", seen[-1]
    assert len(ViewSet.open(tmp_path / "results")) == 24


def test_server_that_cannot_stream(addon, start, monkeypatch) -> None:
    """Without events a run asks for the job instead."""
    monkeypatch.setattr(addon("link.run"), "_POLL_S", 0.1)
    states = iter(["queued", "running", "running", "failed"])
    job = {"id": "j", "kind": "views", "stage": "views", "step": 1, "of": 2}
    error = {"code": "internal", "problem": "It broke.", "remedy": "Mend it."}

    def answer(method, path, headers):
        if path == "/v1/health":
            return HEALTH
        if path == "/v1/engines":
            return document({"engines": []})
        if path.endswith("/events"):
            return 404, {}, b"a proxy in the way"
        if path == "/v1/jobs/j":
            state = next(states)
            return document({**job, "state": state, "error": error if state == "failed" else None})
        if path == "/v1/jobs":
            return document({**job, "state": "queued"}, 201)
        return document({})

    with OddServer(answer) as odd:
        seen = collect(start(odd.url))
    assert kinds(seen)[-1] == "Failed"
    assert vars(seen[-1]) == error
    assert of_kind(seen, "JobChanged")[-1].job.state == "failed"


def test_a_file_name_that_climbs_is_refused(start, tmp_path: Path) -> None:
    """A hostile tree writes nothing outside the run's folder."""
    import hashlib
    import json

    tree = json.dumps(
        {"schema": "dp3d.tree/1", "files": {"../escaped.txt": {"sha256": "0" * 64, "size": 1}}}
    ).encode()
    sha = hashlib.sha256(tree).hexdigest()
    job = {"id": "j", "kind": "views", "state": "succeeded", "result": {"views": sha}}

    def answer(method, path, headers):
        if path == "/v1/health":
            return HEALTH
        if path.startswith("/v1/artifacts/") and method == "GET":
            return 200, {}, tree
        return document(job if "jobs" in path else {"engines": []})

    with OddServer(answer) as odd:
        last = collect(start(odd.url))[-1]
    assert (kinds([last]), last.code) == (["Failed"], "server.not_ours")
    assert not (tmp_path / "escaped.txt").exists()


def test_a_database_that_is_busy_is_waited_for(start) -> None:
    busy = {
        "code": "server.database_busy",
        "problem": "Another program holds it.",
        "remedy": "Wait.",
    }
    request_counts = {"POST": 0, "GET": 0}
    failed = {"code": "portrait.unreadable", "problem": "No picture.", "remedy": "Take another."}
    job = {"id": "j", "kind": "views", "state": "failed", "error": failed}

    def answer(method, path, headers):
        if path == "/v1/health":
            return HEALTH
        if method in request_counts and "/jobs" in path and "events" not in path:
            request_counts[method] += 1
            if request_counts[method] == 1:
                return document(busy, 503)
        return document(job if "jobs" in path else {"engines": []})

    with OddServer(answer) as odd:
        seen = collect(start(odd.url))
    assert seen[-1].code == "portrait.unreadable"
    assert [m.message for m in of_kind(seen, "Noticed")] == [busy["problem"]] * 2
    assert request_counts == {"POST": 2, "GET": 2}
