"""The protocol between the web process and an executor, which runs jobs.

``local`` is the only implementation: one spawned process on this machine.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

WorkerState = Literal["idle", "busy", "starting", "down"]
"""State of the worker; ``down`` when several starts in a row have failed."""


class Executor(Protocol):
    """Takes queued jobs from the store, runs them, and writes progress and results to the store."""

    def start(self) -> None:
        """Start to take jobs."""
        ...

    def stop(self) -> None:
        """Stop the executor; a running job goes back to the queue."""
        ...

    def wake(self) -> None:
        """Check the queue now: a job was added."""
        ...

    def cancel(self, job_id: str) -> None:
        """Cancel a running job within one step."""
        ...

    @property
    def state(self) -> WorkerState:
        """State of the worker, shown by ``GET /v1/health``."""
        ...

    @property
    def engines(self) -> list[dict[str, Any]] | None:
        """Descriptions of the engines that the worker has; None until the worker has sent them."""
        ...
