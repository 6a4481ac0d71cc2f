"""Reasons that interrupt a running job, and the numbers of them after which the job fails."""

from __future__ import annotations

from enum import Enum
from typing import Any

from dp3d_core.errors import Dp3dError

MAX_CRASHES = 3
"""Crashes of the worker after which a job fails."""
MAX_KILLS = 10
"""Kills of the worker in a row, without progress between them, after which a job fails."""


class Interruption(Enum):
    """Reason why a running job stopped before its end."""

    SERVER_STOPPED = "server stopped"
    """The server was stopped normally; the attempt is not counted."""
    SERVER_KILLED = "server killed"
    """The server was killed."""
    WORKER_KILLED = "worker killed"
    """The worker was killed from outside."""
    WORKER_CRASHED = "worker crashed"
    """The worker died by itself: out of memory, or a crash of a library."""


def worker_died(crashes: int, kills: int) -> dict[str, Any]:
    """The error ``job.worker_died`` of a job that is not started again.

    Args:
        crashes: of the worker during this job.
        kills: of the worker in a row without progress.

    """
    cause = f"died {crashes} times" if crashes >= MAX_CRASHES else f"was killed {kills} times"
    return Dp3dError(
        "job.worker_died",
        f"The worker process {cause} while it ran this job.",
        "Free memory or ask for fewer or smaller views; logs/worker.log in the server's data "
        "folder has the reason.",
    ).to_dict()
