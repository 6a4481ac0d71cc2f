"""Who runs jobs: the protocol between the web process and an executor.

``local`` (one spawned process on this machine) is the one implementation; the seam is here so
that another one changes nothing above it.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

WorkerState = Literal["idle", "busy", "starting", "down"]


class Executor(Protocol):
    """Takes queued jobs from the store, runs them, and reports back to the store."""

    def start(self) -> None:
        """Begin to take jobs."""
        ...

    def stop(self) -> None:
        """Stop in good order: a running job goes back to the queue."""
        ...

    def wake(self) -> None:
        """Look at the queue now: a job was added."""
        ...

    def cancel(self, job_id: str) -> None:
        """Stop a running job within one step."""
        ...

    @property
    def state(self) -> WorkerState:
        """What ``GET /v1/health`` shows."""
        ...

    @property
    def engines(self) -> list[dict[str, Any]] | None:
        """Descriptions of the engines on the worker's side; None while not known yet."""
        ...
