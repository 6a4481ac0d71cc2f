"""Event streams: one poller reads new events from the database for all listeners.

A listener first reads missed events from the database, then takes events from its queue, which
the poller fills.  It is registered before it reads, so that no event is lost between the two; ids
show duplicates.  When a slow listener's queue is full, the queue is cleared, and the listener
reads those events from the database again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Engine

from dp3d_core.errors import Dp3dError
from server.jobs import queries
from server.jobs.queries import StoredEvent

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
"""Longest silence of a stream, seconds."""
POLL_S = 0.05
"""Seconds between two polls of the database."""
_EVENTS_PER_READ = 100
"""Events that one query reads."""
_MAX_QUEUED = 256
"""Most events in the queue of one listener."""
_WAKES_PER_BATCH = 4
"""Streams that are woken before other requests get a turn."""
_WAKE_PAUSE_S = 0.002
"""Seconds between two batches of woken streams."""
_T = TypeVar("_T")


def encode(event: StoredEvent) -> bytes:
    """An event in the format of server-sent events; empty for an unreadable event."""
    if not event.is_readable:
        return b""
    return f"id: {event.id}\nevent: {event.event}\ndata: {event.data}\n\n".encode()


class _Listener:
    """Queue of events of one stream."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.must_read_database = True
        """Whether the database has events that are not in the queue."""
        self.job_ended = False
        """Whether the job has ended, so that the database has all of its events."""
        self._queued: deque[tuple[StoredEvent, bytes]] = deque()

    def put(self, event: StoredEvent, encoded: bytes) -> None:
        """Add an event without waking the stream; a full queue is cleared first."""
        if len(self._queued) >= _MAX_QUEUED:
            self._queued.clear()
            self.must_read_database = True
        self._queued.append((event, encoded))

    def take(self) -> list[tuple[StoredEvent, bytes]]:
        """Take all events out of the queue."""
        events = list(self._queued)
        self._queued.clear()
        return events


class EventHub:
    """All event streams of one server.

    Args:
        engine: of the job database.
        stopping: set when the server stops; all streams then end.
        limit: largest number of open streams.

    """

    def __init__(self, engine: Engine, stopping: threading.Event, limit: int) -> None:
        self._engine, self._stopping, self._limit = engine, stopping, limit
        self._listeners: dict[str, set[_Listener]] = {}
        self._count = 0
        self._last: int | None = None
        """Newest id that the poller has handed out; None without listeners."""
        self._starting = asyncio.Lock()
        # Separate threads: a hundred connecting listeners must not block other requests.
        self._threads = ThreadPoolExecutor(2, "events")

    # -- streams ---------------------------------------------------------------------------

    def check_stream_limit(self) -> None:
        """Check that another stream may open; raises ``server.busy``."""
        if self._count >= self._limit:
            raise Dp3dError(
                "server.busy",
                f"{self._limit} clients follow jobs already.",
                "Close unused streams, or poll GET /v1/jobs/{id} instead.",
            )

    async def stream(self, job_id: str, after: int) -> AsyncIterator[bytes]:
        """Events of a job with ids above ``after``, encoded; ends with the job's last event."""
        listener = _Listener()
        self._listeners.setdefault(job_id, set()).add(listener)
        self._count += 1
        try:
            yield b": dp3d\n\n"
            await self._start_polling()
            listener.job_ended = bool(await self._in_thread(self._ended, [job_id]))
            last_sent = time.monotonic()
            # Random, so that streams that opened together do not send heartbeats together.
            heartbeat_s = HEARTBEAT_S * random.uniform(0.6, 1.0)
            while not self._stopping.is_set():
                if listener.must_read_database:
                    # Cleared before the read: events that arrive during the read are queued.
                    listener.must_read_database = False
                    is_last = listener.job_ended
                    while page := await self._in_thread(self._read_page, job_id, after):
                        after = page[-1].id
                        yield b"".join(encode(event) for event in page)
                        if page[-1].ends_job:
                            return
                    if is_last:
                        return
                # One write for all queued events: with many listeners, writes are the cost.
                queued = [(e, text) for e, text in listener.take() if e.id > after]
                if listener.must_read_database:
                    continue
                if queued:
                    after, last_sent = queued[-1][0].id, time.monotonic()
                    yield b"".join(text for _, text in queued)
                    if queued[-1][0].ends_job:
                        return
                    continue
                if time.monotonic() - last_sent >= heartbeat_s:
                    last_sent = time.monotonic()
                    yield b": still here\n\n"
                await _wait(listener.wake, last_sent + heartbeat_s - time.monotonic())
        finally:
            self._count -= 1
            listeners = self._listeners[job_id]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[job_id]

    async def _start_polling(self) -> None:
        """Let the poller start after the newest event, unless it runs already."""
        async with self._starting:
            if self._last is None:
                self._last = await self._in_thread(queries.last_event_id, self._engine)

    def _read_page(self, job_id: str, after: int) -> list[StoredEvent]:
        return queries.events_between(self._engine, after, [job_id], _EVENTS_PER_READ)

    def _ended(self, job_ids: list[str]) -> set[str]:
        return queries.ended_among(self._engine, job_ids)

    # -- the poller ------------------------------------------------------------------------

    async def run(self) -> None:
        """Poll the database and hand out events until the server stops."""
        checked_at = 0.0
        while not self._stopping.is_set():
            await asyncio.sleep(POLL_S)
            if not self._listeners:
                self._last = None
                continue
            try:
                await self._poll()
                if time.monotonic() - checked_at >= HEARTBEAT_S:
                    checked_at = time.monotonic()
                    await self._wake_ended()
            except Exception:  # for example a locked database; listeners miss nothing
                log.exception("the events of jobs could not be read")
                await asyncio.sleep(0.5)
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.wake.set()

    def close(self) -> None:
        """End the threads; call it when all streams are closed."""
        self._threads.shutdown(wait=False)

    async def _poll(self) -> None:
        if self._last is None:  # the first listener is about to set the start
            return
        newest = await self._in_thread(queries.last_event_id, self._engine)
        while self._last < newest:
            events = await self._in_thread(
                queries.events_between, self._engine, self._last, None, _EVENTS_PER_READ
            )
            self._last = events[-1].id if len(events) == _EVENTS_PER_READ else newest
            await _wake_in_batches(self._hand_out(events))

    def _hand_out(self, events: list[StoredEvent]) -> list[_Listener]:
        """Queue events for the listeners of their jobs; returns these listeners."""
        receivers: dict[_Listener, None] = {}
        for event in events:
            if listeners := self._listeners.get(event.job_id):
                encoded = encode(event)
                for listener in listeners:
                    listener.put(event, encoded)
                    receivers[listener] = None
        return list(receivers)

    async def _wake_ended(self) -> None:
        """Wake listeners of jobs that ended without a last event, or were deleted."""
        for job_id in await self._in_thread(self._ended, list(self._listeners)):
            for listener in self._listeners.get(job_id, ()):
                listener.job_ended = listener.must_read_database = True
                listener.wake.set()

    async def _in_thread(self, call: Callable[..., _T], *arguments: object) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, call, *arguments)


async def _wake_in_batches(listeners: list[_Listener]) -> None:
    """Wake streams in batches of four, so that other requests are answered in between."""
    for start in range(0, len(listeners), _WAKES_PER_BATCH):
        if start:
            await asyncio.sleep(_WAKE_PAUSE_S)
        for listener in listeners[start : start + _WAKES_PER_BATCH]:
            listener.wake.set()


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
