"""Why a running job is interrupted, and how often before it fails."""

from __future__ import annotations

from enum import Enum
from typing import Any

from dp3d_core.errors import Dp3dError

MAX_CRASHES = 3
"""Deaths of the worker by a job's own doing after which the job fails."""
MAX_KILLS = 10
"""Kills from outside in a row, nothing new done between them, after which a job fails."""


class Interruption(Enum):
    """Why a running job is not running any more although it has not ended."""

    SERVER_STOPPED = "server stopped"
    """Its server was stopped in good order: the start is not even counted."""
    SERVER_KILLED = "server killed"
    """Its server was killed: no fault of the job's."""
    WORKER_KILLED = "worker killed"
    """Its worker was killed from outside."""
    WORKER_CRASHED = "worker crashed"
    """Its worker died by itself: memory ran out, a library crashed."""


def worker_died(crashes: int, kills: int) -> dict[str, Any]:
    """The error ``job.worker_died`` for a job that is not started again."""
    why = f"died {crashes} times" if crashes >= MAX_CRASHES else f"was killed {kills} times"
    return Dp3dError(
        "job.worker_died",
        f"The worker process {why} while it ran this job.",
        "Free memory or ask for fewer or smaller views; logs/worker.log in the server's data "
        "folder has the reason.",
    ).to_dict()
