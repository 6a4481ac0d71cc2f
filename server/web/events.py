"""Event streams: one poller reads the database for all listeners and fans out.

A listener first reads from the database what it missed, then takes what the poller hands it.  It
is registered before it reads, so that nothing falls between the two, and the ids tell what came
both ways.  A listener that reads more slowly than events come loses its place in memory, not its
events: it reads them from the database again.
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
"""Longest silence of a stream."""
POLL_S = 0.05
_EVENTS_PER_READ = 100
"""Events that are read at once."""
_MAX_QUEUED = 256
"""Events that wait in memory for one listener."""
_WAKES_PER_BATCH = 4
"""Streams that are written to before another request has its turn."""
_WAKE_PAUSE_S = 0.002
_T = TypeVar("_T")


def encode(event: StoredEvent) -> bytes:
    """One event in the format of the stream; nothing for one that cannot be read."""
    if not event.is_readable:
        return b""
    return f"id: {event.id}\nevent: {event.event}\ndata: {event.data}\n\n".encode()


class _Listener:
    """What waits for one stream."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.must_read_database = True
        """Whether the database has events that did not wait here."""
        self.job_ended = False
        """Whether the job has job_ended, so that the database has all of its events."""
        self._queued: deque[tuple[StoredEvent, bytes]] = deque()

    def put(self, event: StoredEvent, encoded: bytes) -> None:
        """Hand over an event, without waking the stream."""
        if len(self._queued) >= _MAX_QUEUED:
            self._queued.clear()
            self.must_read_database = True
        self._queued.append((event, encoded))

    def take(self) -> list[tuple[StoredEvent, bytes]]:
        """All events that wait."""
        taken = list(self._queued)
        self._queued.clear()
        return taken


class EventHub:
    """All event streams of one server.

    Args:
        engine: of the job database.
        stopping: set when the server stops; streams then end.
        limit: largest number of streams.

    """

    def __init__(self, engine: Engine, stopping: threading.Event, limit: int) -> None:
        self._engine, self._stopping, self._limit = engine, stopping, limit
        self._listeners: dict[str, set[_Listener]] = {}
        self._count = 0
        self._last: int | None = None
        """Newest id that was handed out; None while nobody listens."""
        self._starting = asyncio.Lock()
        # Threads of their own: a hundred listeners that connect must not hold up other requests.
        self._threads = ThreadPoolExecutor(2, "events")

    # -- streams ---------------------------------------------------------------------------

    def check_stream_limit(self) -> None:
        """Refuse another stream when there are too many; raises ``server.busy``."""
        if self._count >= self._limit:
            raise Dp3dError(
                "server.busy",
                f"{self._limit} clients follow jobs already.",
                "Close streams that nobody reads, or ask for the job now and then.",
            )

    async def stream(self, job_id: str, after: int) -> AsyncIterator[bytes]:
        """Events of a job with ids above ``after``; ends after the one that ends the job."""
        listener = _Listener()
        self._listeners.setdefault(job_id, set()).add(listener)
        self._count += 1
        try:
            yield b": dp3d\n\n"
            await self._start_polling()
            listener.job_ended = bool(await self._in_thread(self._ended, [job_id]))
            last_sent = time.monotonic()
            # Not all at once: streams that were opened together would be written to together.
            heartbeat_s = HEARTBEAT_S * random.uniform(0.6, 1.0)
            while not self._stopping.is_set():
                if listener.must_read_database:
                    # Before the database is read: what comes meanwhile waits.
                    listener.must_read_database = False
                    is_last = listener.job_ended
                    while page := await self._in_thread(self._read_page, job_id, after):
                        after = page[-1].id
                        yield b"".join(encode(event) for event in page)
                        if page[-1].ends_job:
                            return
                    if is_last:
                        return
                # One write for all that wait: with many listeners, writes are what costs.
                waiting = [(e, text) for e, text in listener.take() if e.id > after]
                if listener.must_read_database:
                    continue
                if waiting:
                    after, last_sent = waiting[-1][0].id, time.monotonic()
                    yield b"".join(text for _, text in waiting)
                    if waiting[-1][0].ends_job:
                        return
                    continue
                if time.monotonic() - last_sent >= heartbeat_s:
                    last_sent = time.monotonic()
                    yield b": still here\n\n"
                await _wait(listener.wake, last_sent + heartbeat_s - time.monotonic())
        finally:
            self._count -= 1
            others = self._listeners[job_id]
            others.discard(listener)
            if not others:
                del self._listeners[job_id]

    async def _start_polling(self) -> None:
        async with self._starting:
            if self._last is None:
                self._last = await self._in_thread(queries.last_event_id, self._engine)

    def _read_page(self, job_id: str, after: int) -> list[StoredEvent]:
        return queries.events_between(self._engine, after, [job_id], _EVENTS_PER_READ)

    def _ended(self, job_ids: list[str]) -> set[str]:
        return queries.ended_among(self._engine, job_ids)

    # -- the poller ------------------------------------------------------------------------

    async def run(self) -> None:
        """Hand out events until the server stops."""
        looked = 0.0
        while not self._stopping.is_set():
            await asyncio.sleep(POLL_S)
            if not self._listeners:
                self._last = None
                continue
            try:
                await self._poll()
                if time.monotonic() - looked >= HEARTBEAT_S:
                    looked = time.monotonic()
                    await self._wake_ended()
            except Exception:  # a database that is busy just now; listeners keep their place
                log.exception("the events of jobs could not be read")
                await asyncio.sleep(0.5)
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.wake.set()

    def close(self) -> None:
        """End the threads, when no stream is open any more."""
        self._threads.shutdown(wait=False)

    async def _poll(self) -> None:
        if self._last is None:  # the first listener is about to say where to begin
            return
        newest = await self._in_thread(queries.last_event_id, self._engine)
        while self._last < newest:
            events = await self._in_thread(
                queries.events_between, self._engine, self._last, None, _EVENTS_PER_READ
            )
            self._last = events[-1].id if len(events) == _EVENTS_PER_READ else newest
            await _wake_in_batches(self._hand_out(events))

    def _hand_out(self, events: list[StoredEvent]) -> list[_Listener]:
        """Give events to those who listen to their jobs; returns these."""
        reached: dict[_Listener, None] = {}
        for event in events:
            if listeners := self._listeners.get(event.job_id):
                encoded = encode(event)
                for listener in listeners:
                    listener.put(event, encoded)
                    reached[listener] = None
        return list(reached)

    async def _wake_ended(self) -> None:
        """Wake listeners of jobs that job_ended without a last event, or were deleted."""
        for job_id in await self._in_thread(self._ended, list(self._listeners)):
            for listener in self._listeners.get(job_id, ()):
                listener.job_ended = listener.must_read_database = True
                listener.wake.set()

    async def _in_thread(self, call: Callable[..., _T], *arguments: object) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, call, *arguments)


async def _wake_in_batches(listeners: list[_Listener]) -> None:
    """Wake streams a few at a time: a request that comes meanwhile is answered between them."""
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
