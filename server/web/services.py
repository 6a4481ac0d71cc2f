"""What the routes work with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from server.artifacts import ArtifactStore
from server.jobs.executor import Executor
from server.jobs.store import JobStore
from server.settings import Settings


@dataclass(frozen=True)
class Services:
    """Kept in ``app.state.services``."""

    settings: Settings
    store: JobStore
    artifacts: ArtifactStore
    executor: Executor
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the server shuts down: open event streams end."""
