"""Event streams: every listener gets every event once and in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from dp3d_core.errors import Dp3dError
from server.jobs import queries
from server.jobs.model import JobState
from server.jobs.store import JobStore
from server.web import events
from server.web.events import EventHub
from tests.support.job_reading import events_after


@pytest.fixture
def store(tmp_path):
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    yield store
    store.close()


def progress(step):
    return {
        "stage": "views", "step": step, "of": 9, "message": "", "eta_s": None, "values": {},
    }  # fmt: skip


def running(store):
    store.create("views", {})
    return store.claim_next().id


def finish(store, job_id):
    store.finish(job_id, JobState.SUCCEEDED, result={})


def ids(text):
    return [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]


def stored_ids(store, job_id, after=0):
    return [e.id for e in events_after(store, job_id, after, limit=10**6)]


def with_hub(store, test: Callable[[EventHub], Awaitable[None]], limit=1000):
    async def main():
        stopping = threading.Event()
        hub = EventHub(store.engine, stopping, limit)
        poller = asyncio.create_task(hub.run())
        try:
            await asyncio.wait_for(test(hub), 60)
        finally:
            stopping.set()
            await poller
            hub.close()

    asyncio.run(main())


async def listen(hub, job_id, after=0, pause_s=0.0):
    received = []
    async for chunk in hub.stream(job_id, after):
        received += ids(chunk.decode())
        await asyncio.sleep(pause_s)
    return received


def test_a_hundred_listeners_get_every_event_once_and_in_order(store):
    jobs = [running(store) for _ in range(3)]

    def work():
        for step in range(60):
            for job in jobs:
                store.add_progress(job, progress(step))
        for job in jobs:
            finish(store, job)

    async def test(hub):
        early = [asyncio.create_task(listen(hub, jobs[i % 3])) for i in range(70)]
        worker = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0.1)
        late = [
            asyncio.create_task(listen(hub, jobs[i % 3], after=5, pause_s=0.05)) for i in range(30)
        ]
        received = await asyncio.gather(*early, *late)
        await worker
        for i, event_ids in enumerate(received[:70]):
            assert event_ids == stored_ids(store, jobs[i % 3])
        for i, event_ids in enumerate(received[70:]):
            assert event_ids == stored_ids(store, jobs[i % 3], after=5)

    with_hub(store, test)


def test_a_slow_listener_uses_bounded_memory_and_misses_nothing(store, monkeypatch):
    monkeypatch.setattr(events, "_MAX_QUEUED", 4)
    job = running(store)

    async def test(hub):
        stream = hub.stream(job, 0)
        text = b""
        while b"running" not in text:
            text += await anext(stream)
        for step in range(50):
            await asyncio.to_thread(store.add_progress, job, progress(step))
            await asyncio.sleep(0.06 if step < 10 else 0)
        (listener,) = hub._listeners[job]
        await asyncio.sleep(0.2)
        assert len(listener._queued) <= 4
        await asyncio.to_thread(finish, store, job)
        async for chunk in stream:
            text += chunk
        assert ids(text.decode()) == stored_ids(store, job)

    with_hub(store, test)


@pytest.mark.parametrize("after", [0, 1, 2, 10**9])
def test_the_stream_of_an_ended_job_ends(store, after):
    job = running(store)
    finish(store, job)

    async def test(hub):
        assert await listen(hub, job, after) == stored_ids(store, job, after)

    with_hub(store, test)


@pytest.mark.parametrize("how", ["deleted", "ended without an event"])
def test_deleted_and_failed_jobs_end_their_streams(store, monkeypatch, how):
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.1)
    job = running(store)

    async def test(hub):
        listening = asyncio.create_task(listen(hub, job))
        await asyncio.sleep(0.2)
        if how == "deleted":
            finish(store, job)
            queries.delete_job(store.engine, job)
        else:
            with store.engine.begin() as connection:
                connection.exec_driver_sql("UPDATE job SET state = 'failed'")
        await listening
        assert not hub._listeners

    with_hub(store, test)


def test_events_after_a_deletion_have_new_ids(store):
    """SQLite reuses the largest id once its row is deleted; a listener would miss that event."""
    first = running(store)
    finish(store, first)
    newest = queries.last_event_id(store.engine)

    async def test(hub):
        job = running(store)
        listening = asyncio.create_task(listen(hub, job))
        await asyncio.sleep(0.2)
        store.add_progress(job, progress(1))
        finish(store, job)
        assert await listening == stored_ids(store, job)

    assert queries.delete_job(store.engine, first)
    assert stored_ids(store, first) == []
    second = running(store)
    assert min(stored_ids(store, second)) > newest
    with_hub(store, test)


def test_the_number_of_streams_is_bounded(store):
    job = running(store)

    async def test(hub):
        streams = [hub.stream(job, 0) for _ in range(2)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(Dp3dError) as caught:
            hub.check_stream_limit()
        assert caught.value.code == "server.busy"
        await streams[0].aclose()
        hub.check_stream_limit()
        await streams[1].aclose()

    with_hub(store, test, limit=2)


def test_a_silent_stream_sends_heartbeats(store, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    job = running(store)

    async def test(hub):
        stream = hub.stream(job, 10**9)
        assert [await anext(stream) for _ in range(3)][1:] == [b": still here\n\n"] * 2
        await stream.aclose()

    with_hub(store, test)


def test_an_unreadable_event_is_not_sent(store):
    job = running(store)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE event SET data = '{' WHERE id = 1")
    store.add_progress(job, progress(1))
    finish(store, job)

    async def test(hub):
        assert await listen(hub, job) == stored_ids(store, job) == [2, 3, 4]

    with_hub(store, test)
