"""The services of one server, which the routes use."""

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
"""Most bytes of all request bodies in memory."""


@dataclass(frozen=True)
class Services:
    """The services of one server, in ``app.state.services``."""

    settings: Settings
    store: JobStore
    artifacts: ArtifactStore
    executor: Executor
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the server stops; event streams and collections then end."""
    bodies: BodyBudget = field(default_factory=lambda: BodyBudget(_MAX_BODIES_BYTES))
    """Budget of memory for request bodies."""
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "requests"))
    """Parses requests for jobs, one at a time: parsing cameras is CPU-bound, and two parsers would
    slow each other and all other requests."""
    files: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, "files"))
    """Reads and writes artifacts, separate from requests that wait for the database."""

    events: EventHub = field(init=False)
    """All event streams."""
    retention: Retention = field(init=False)
    """Quota and deletion."""

    async def in_files(self, call: Callable[..., _T], *arguments: object) -> _T:
        """Run a call in a thread of ``files`` and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self.files, call, *arguments)

    def __post_init__(self) -> None:
        hub = EventHub(self.store.engine, self.stopping, self.settings.limits.streams)
        retention = Retention(self.settings, self.store, self.artifacts, self.stopping)
        object.__setattr__(self, "events", hub)
        object.__setattr__(self, "retention", retention)


class BodyBudget:
    """Budget of memory for all request bodies, bytes; used by one event loop."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def take(self, size: int) -> None:
        """Take bytes of the budget; raises ``server.busy`` when too few are free."""
        if size > self._free:
            raise Dp3dError(
                "server.busy",
                "The server is reading too many large requests.",
                "Send the request again in some seconds.",
            )
        self._free -= size

    def release(self, size: int) -> None:
        """Return bytes to the budget."""
        self._free += size
