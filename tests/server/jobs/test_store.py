"""The job store: states, attempts, damaged rows, concurrent changes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import threading

import pytest

from dp3d_core.errors import Dp3dError
from server.jobs.identity import request_digest
from server.jobs.interruption import MAX_CRASHES, MAX_KILLS, Interruption
from server.jobs.model import JobState
from server.jobs.store import JobStore
from tests.support.job_reading import events_after, recent


@pytest.fixture
def store(tmp_path):
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    yield store
    store.close()


def states(store, job_id):
    return [e.data["state"] for e in events_after(store, job_id, 0) if e.event == "state"]


def test_jobs_are_claimed_oldest_first_and_once(store):
    ids = [store.create("views", {"n": n}).id for n in range(3)]
    assert [store.claim_next().id for _ in ids] == ids
    assert store.claim_next() is None
    assert [job.id for job in recent(store)] == ids[::-1]


def test_every_change_of_a_job_adds_an_event(store):
    job = store.create("views", {})
    store.claim_next()
    store.add_progress(
        job.id,
        {"stage": "views", "step": 1, "of": 2, "message": "m", "eta_s": 1.5, "values": {"a": 1}},
    )
    store.add_artifact(job.id, {"name": "frames/0000.png", "sha256": "x", "size": 1})
    store.add_artifact(job.id, {"name": "frames/0000.png", "sha256": "x", "size": 1})
    store.finish(job.id, JobState.SUCCEEDED, result={"views": "y"})
    events = events_after(store, job.id, 0)
    assert [e.event for e in events] == ["state", "state", "progress", "artifact", "state"]
    assert events[-1].data["result"] == {"views": "y"}
    assert events_after(store, job.id, events[2].id)[0].id == events[3].id
    ended = store.get(job.id)
    assert (ended.stage, ended.step, ended.of, ended.eta_s) == ("views", 1, 2, None)


def test_an_ended_job_never_changes(store):
    job = store.create("views", {})
    store.claim_next()
    store.finish(job.id, JobState.SUCCEEDED, result={})
    before = store.get(job.id).to_dict()
    assert store.finish(job.id, JobState.FAILED) is None
    assert store.requeue(job.id, Interruption.WORKER_CRASHED) is None
    assert store.request_cancel(job.id)[1] is False
    store.add_progress(job.id, dict.fromkeys(("stage", "step", "of", "message", "eta_s", "values")))
    assert store.get(job.id).to_dict() == before
    assert states(store, job.id) == ["queued", "running", "succeeded"]


def test_a_job_fails_after_max_crashes(store):
    job = store.create("views", {})
    for attempt in range(1, MAX_CRASHES + 1):
        assert store.claim_next().attempt == attempt
        back = store.requeue(job.id, Interruption.WORKER_CRASHED)
    assert back.state == "failed"
    assert back.error["code"] == "job.worker_died"


def test_kills_count_only_without_progress(store):
    job = store.create("views", {})
    for _ in range(3 * MAX_KILLS):
        store.claim_next()
        back = store.requeue(job.id, Interruption.WORKER_KILLED, has_advanced=True)
        assert (back.state, back.kills) == ("queued", 1)
    for _ in range(MAX_KILLS - 1):
        store.claim_next()
        back = store.requeue(job.id, Interruption.WORKER_KILLED, has_advanced=False)
    assert back.state == "failed"
    assert f"killed {MAX_KILLS} times" in back.error["problem"]


@pytest.mark.parametrize("end", [Interruption.SERVER_STOPPED, Interruption.SERVER_KILLED])
def test_ends_of_the_server_are_not_counted(store, end):
    job = store.create("views", {})
    for start in range(1, 3 * MAX_CRASHES):
        assert store.claim_next().attempt == (1 if end is Interruption.SERVER_STOPPED else start)
        back = store.requeue(job.id, end)
        assert (back.state, back.crashes, back.kills) == ("queued", 0, 0)


def test_a_job_on_a_full_disk_waits_with_its_error(store):
    job = store.create("views", {})
    store.claim_next()
    waiting = store.requeue_for_disk(job.id, {"code": "storage.full"})
    assert (waiting.state, waiting.error) == ("queued", {"code": "storage.full"})
    again = store.claim_next()
    assert (again.id, again.error) == (job.id, None)
    store.request_cancel(job.id)
    assert store.requeue_for_disk(job.id, {"code": "storage.full"}).state == "cancelled"


def test_a_job_waiting_for_its_disk_does_not_block_others(store):
    first, second = (store.create("views", {}).id for _ in range(2))
    assert store.claim_next([first]).id == second
    assert store.claim_next([first]) is None
    assert store.claim_next().id == first


DEEP = "[" * 400 + "]" * 400
BAD_VALUES = [
    ("params", "'{'"),
    ("params", f"'{DEEP}'"),
    ("params", f"'{'[' * 5000}'"),
    ("params", "'[1]'"),
    ("params", "x'ff00'"),
    ("result", "'{\"a\": '"),
    ("error", f"'{DEEP}'"),
    ("params", "CAST(x'7b22ff223a317d' AS TEXT)"),
    ("message", "CAST(x'fffe' AS TEXT)"),
    ("state", "'lost'"),
    ("attempt", "'three'"),
    ("step", "x'00'"),
    ("created_at", "7"),
    ("kind", "zeroblob(9)"),
    ("id", "zeroblob(32)"),
    ("id", "''"),
    ("id", "'../artifacts'"),
]


@pytest.mark.parametrize(("column", "value"), BAD_VALUES)
def test_an_unreadable_row_ends_only_its_own_job(store, tmp_path, column, value):
    before, damaged, after = (store.create("views", {"n": n}, "digest") for n in range(3))
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as connection:
        connection.execute(f'UPDATE job SET "{column}" = {value} WHERE number = {damaged.number}')
        connection.commit()
    with contextlib.suppress(Dp3dError):  # its id may be what is damaged
        store.request_cancel(damaged.id)
    listed = {job.number: job for job in recent(store)}
    assert listed[damaged.number].state in ("failed", "cancelled")
    json.dumps([job.to_dict() for job in listed.values()])
    assert (
        listed[damaged.number].error is None
        or listed[damaged.number].error["code"] == "job.damaged"
    )
    assert store.create_once("views", {}, "digest", has_result)[1] is False
    store.recover()
    assert [store.claim_next().id, store.claim_next().id] == [before.id, after.id]
    assert store.claim_next() is None


@pytest.mark.parametrize(("column", "value"), BAD_VALUES)
def test_a_list_has_every_job_despite_a_damaged_row(store, tmp_path, column, value):
    jobs = [store.create("views", {}) for _ in range(3)]
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as connection:
        connection.execute(f'UPDATE job SET "{column}" = {value} WHERE number = {jobs[1].number}')
        connection.commit()
    listed = json.loads(json.dumps(store.summaries()))
    assert [job["number"] for job in listed] == [3, 2, 1]
    assert [listed[0]["id"], listed[2]["id"]] == [jobs[2].id, jobs[0].id]


def test_an_unreadable_event_is_left_out(store, tmp_path):
    job = store.create("views", {})
    store.claim_next()
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as connection:
        connection.execute("UPDATE event SET data = '{' WHERE id = 1")
        connection.commit()
    assert [event.id for event in events_after(store, job.id, 0)] == [2]


def test_an_artifact_is_recorded_despite_an_unreadable_event(store, tmp_path):
    job = store.create("views", {})
    store.claim_next()
    store.add_artifact(job.id, {"name": "a"})
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        database.execute("UPDATE event SET data = '{\"name\": ' WHERE event = 'artifact'")
    for _ in range(2):
        store.add_artifact(job.id, {"name": "b"})
    names = [event.data for event in events_after(store, job.id, 0) if event.event == "artifact"]
    assert len([data for data in names if "b" in str(data)]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="an open file keeps its name there")
@pytest.mark.parametrize("replacement", ["nothing", "a folder", "an older file", "no database"])
def test_deleting_or_replacing_the_open_file_loses_no_job(store, tmp_path, replacement):
    path = tmp_path / "jobs.sqlite"
    first = store.create("views", {}).id
    store.back_up()
    older = (tmp_path / "jobs.backup.sqlite").read_bytes()
    for file in tmp_path.glob("jobs.sqlite*"):
        file.unlink()
    if replacement == "a folder":
        path.mkdir()
    elif replacement != "nothing":
        path.write_bytes(older if replacement == "an older file" else b"no database at all" * 100)
    second = store.create("views", {}).id
    assert store.is_damaged
    store.repair()
    assert not store.is_damaged
    third = store.create("views", {}).id
    store.close()
    again = JobStore(f"sqlite:///{path}")
    assert [job["id"] for job in again.summaries()] == [third, second, first]
    again.close()


def test_recover_requeues_jobs_of_a_dead_server(tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    first = JobStore(url)
    running, cancelled, waiting = (first.create("views", {}).id for _ in range(3))
    first.claim_next()
    first.claim_next()
    first.request_cancel(cancelled)
    first.close()
    second = JobStore(url)
    assert {job.id for job in second.recover()} == {running, cancelled}
    states_by_id = {job.id: job.state for job in recent(second)}
    assert states_by_id == {running: "queued", cancelled: "cancelled", waiting: "queued"}
    assert second.claim_next().id == running, "the job lost its place in the queue"
    second.close()


def test_of_a_concurrent_claim_and_cancel_one_wins(store):
    for _ in range(20):
        job = store.create("views", {})
        start = threading.Barrier(2)

        def claim(start=start):
            start.wait()
            store.claim_next()

        def cancel(start=start, job=job):
            start.wait()
            store.request_cancel(job.id)

        threads = [threading.Thread(target=t) for t in (claim, cancel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        current = store.get(job.id)
        assert (current.state, states(store, job.id)) in [
            ("cancelled", ["queued", "cancelled"]),
            ("running", ["queued", "running"]),
        ]
        if current.state == "running":
            assert current.cancel_requested
            store.finish(job.id, JobState.CANCELLED)


def test_only_jobs_stopped_from_outside_are_resumable(store):
    def ended(params, state, code=None):
        job = store.create("views", params)
        store.claim_next()
        return store.finish(job.id, state, error={"code": code} if code else None).id

    cancelled = ended({"n": 1}, JobState.CANCELLED)
    died = ended({"n": 1}, JobState.FAILED, "job.worker_died")
    killed = ended({"n": 1}, JobState.FAILED, "nerf.child_killed")
    not_resumable = [
        ended({"n": 1}, JobState.FAILED, "nerf.child_failed"),
        ended({"n": 2}, JobState.CANCELLED),
        ended({"n": 1}, JobState.SUCCEEDED),
    ]
    new = store.create("views", {"n": 1}).id
    candidates = [*not_resumable, cancelled, died, killed]
    assert store.resumable_jobs(new, candidates) == [killed, died, cancelled]
    assert store.resumable_jobs(new, [*not_resumable, died]) == [died]


def test_unknown_job(store):
    with pytest.raises(Dp3dError) as caught:
        store.get("none")
    assert caught.value.code == "job.not_found"


def has_result(result):
    return result is not None


def test_an_identical_job_is_made_once(store):
    first, is_new = store.create_once("views", {"n": 1}, "digest", has_result)
    assert is_new
    assert store.create_once("views", {"n": 1}, "digest", has_result)[0].id == first.id
    assert store.create_once("views", {"n": 2}, "another", has_result)[1]
    store.claim_next()
    assert store.create_once("views", {"n": 1}, "digest", has_result)[0].state == "running"
    store.request_cancel(first.id)
    second, is_new = store.create_once("views", {"n": 1}, "digest", has_result)
    assert is_new, "a job with a requested cancel was reused"
    store.finish(first.id, JobState.CANCELLED)
    store.claim_next()
    store.claim_next()
    store.finish(second.id, JobState.SUCCEEDED, result={"views": "x"})
    assert store.create_once("views", {"n": 1}, "digest", has_result)[0].id == second.id
    assert store.create_once("views", {"n": 1}, "digest", lambda result: False)[1]


def test_a_failed_job_is_not_reused(store):
    first, _ = store.create_once("views", {}, "digest", has_result)
    store.claim_next()
    store.finish(first.id, JobState.FAILED, error={"code": "internal"})
    assert store.create_once("views", {}, "digest", has_result)[1]


def test_concurrent_identical_requests_make_one_job(store):
    start, answers = threading.Barrier(8), []

    def create():
        start.wait()
        answers.append(store.create_once("views", {}, "digest", has_result))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1


def test_a_database_without_the_identity_table_is_upgraded(tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    first = JobStore(url)
    old = first.create("views", {})
    with first.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE jobidentity")
    first.close()
    second = JobStore(url)
    job, is_new = second.create_once("views", {}, "digest", has_result)
    assert is_new
    assert {j.id for j in recent(second)} == {old.id, job.id}
    second.close()


def test_the_digest_covers_parameters_version_and_models(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    params = {"seed": 0, "cameras": {"preset": "orbit"}}
    before = request_digest("views", params)
    assert before == request_digest("views", dict(reversed(params.items())))
    assert before != request_digest("views", params | {"seed": 1})
    assert before != request_digest("fit", params)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/face.tflite").write_bytes(b"weights")
    with_model = request_digest("views", params)
    assert with_model != before
    monkeypatch.setattr("server.jobs.identity.__version__", "0.0.1")
    assert request_digest("views", params) not in {before, with_model}
