"""What the routes work with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from dp3d_core.errors import Dp3dError
from server.jobs.executor import Executor
from server.jobs.retention import Retention
from server.jobs.store import JobStore
from server.settings import MEBIBYTE, Settings
from server.storage.artifacts import ArtifactStore
from server.web.events import EventHub

_T = TypeVar("_T")
_MAX_BODIES_BYTES = 64 * MEBIBYTE
"""Bytes of all bodies that are received or wait to be read."""


@dataclass(frozen=True)
class Services:
    """Kept in ``app.state.services``."""

    settings: Settings
    store: JobStore
    artifacts: ArtifactStore
    executor: Executor
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the server shuts down: open event streams end."""
    bodies: BodyBudget = field(default_factory=lambda: BodyBudget(_MAX_BODIES_BYTES))
    """Memory for the bodies of requests."""
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "requests"))
    """Reads requests for jobs, one at a time: cameras are decomposed there, and two at once would
    only wait for each other while everything else waits for both."""
    files: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, "files"))
    """Reads and writes artifacts for clients: never behind requests that wait for the database."""

    events: EventHub = field(init=False)
    """All event streams."""
    retention: Retention = field(init=False)
    """Quota and deletion."""

    async def in_files(self, call: Callable[..., _T], *arguments: object) -> _T:
        """The result of a call made in a thread of ``files``."""
        return await asyncio.get_running_loop().run_in_executor(self.files, call, *arguments)

    def __post_init__(self) -> None:
        hub = EventHub(self.store.engine, self.stopping, self.settings.limits.streams)
        retention = Retention(self.settings, self.store, self.artifacts, self.stopping)
        object.__setattr__(self, "events", hub)
        object.__setattr__(self, "retention", retention)


class BodyBudget:
    """Memory that bodies of requests may take together; used by one event loop."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def take(self, size: int) -> None:
        """Take bytes; raises ``server.busy`` when there are not so many."""
        if size > self._free:
            raise Dp3dError(
                "server.busy",
                "The server is reading too many large requests.",
                "Send the request again in some seconds.",
            )
        self._free -= size

    def release(self, size: int) -> None:
        """Give bytes back."""
        self._free += size
