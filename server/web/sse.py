"""Server-sent events of one job: replay from the store, then live, then the end."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator

from server.jobs.model import Event
from server.jobs.store import JobStore

HEARTBEAT_S = 2.0
_POLL_S = 0.1


def encode(event: Event) -> str:
    """One event in the format of the stream."""
    data = json.dumps(event.data, separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.event}\ndata: {data}\n\n"


async def event_stream(
    store: JobStore, job_id: str, after: int, stopping: threading.Event
) -> AsyncIterator[str]:
    """Events of a job with ids above ``after``; ends after the one that ends the job.

    The store is read in a thread, so that the event loop never waits for a disk.
    """
    last_sent = time.monotonic()
    yield ": dp3d\n\n"
    while not stopping.is_set():
        # State first: events written before it was read as ended are then all in the list.
        ended = (await asyncio.to_thread(store.state, job_id)).ended
        events = await asyncio.to_thread(store.events_after, job_id, after)
        for event in events:
            after = event.id or after
            last_sent = time.monotonic()
            yield encode(event)
        if events:
            continue
        if ended:
            return
        if time.monotonic() - last_sent >= HEARTBEAT_S:
            last_sent = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(_POLL_S)
