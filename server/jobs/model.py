"""Tables of the job database: jobs, events, identities."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from dp3d_core.storage.json_fields import check_depth


class JobState(StrEnum):
    """State of a job: ``queued -> running -> succeeded | failed | cancelled``."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether this is a final state."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


def utc_now() -> str:
    """Current time in the format of :func:`utc_time`."""
    return utc_time(datetime.now(UTC))


def utc_time(when: datetime) -> str:
    """A UTC time as ISO 8601 text with milliseconds and ``Z``; the texts sort by time."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Job(SQLModel, table=True):
    """One job."""

    number: int | None = Field(default=None, primary_key=True)
    """Number in order of creation."""
    id: str = Field(default_factory=lambda: uuid.uuid4().hex, index=True, unique=True)
    kind: str
    state: str = Field(default=JobState.QUEUED.value, index=True)
    params: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: str = Field(default_factory=utc_now)
    started_at: str | None = None
    finished_at: str | None = None
    attempt: int = 0
    """Number of starts."""
    crashes: int = 0
    """Number of crashes of the worker during this job."""
    kills: int = 0
    """Number of kills of the worker in a row without progress between them."""
    cancel_requested: bool = False
    stage: str | None = None
    step: int = 0
    of: int = 0
    eta_s: float | None = None
    message: str = ""
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))

    def check(self) -> None:
        """Refuse a damaged row: SQLite stores values of any type in any column.

        Raises:
            ValueError: with the name of the first damaged column.

        """
        for name in _COLUMN_TYPES:
            if not is_valid(name, getattr(self, name)):
                raise ValueError(f"its {name} is damaged")
        for name in ("params", "result", "error"):
            check_depth(getattr(self, name), f"its {name}", MAX_DEPTH)

    def to_dict(self) -> dict[str, Any]:
        """Members of the job in the API (``docs/http-api.md``)."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "params": self.params,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "attempt": self.attempt,
            "stage": self.stage,
            "step": self.step,
            "of": self.of,
            "eta_s": self.eta_s,
            "message": self.message,
            "result": self.result,
            "error": self.error,
        }


_NULL = type(None)
_COLUMN_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "state": (str,),
    "kind": (str,),
    "params": (dict,),
    "created_at": (str,),
    "started_at": (str, _NULL),
    "finished_at": (str, _NULL),
    "attempt": (int,),
    "crashes": (int,),
    "kills": (int,),
    "stage": (str, _NULL),
    "step": (int,),
    "of": (int,),
    "eta_s": (int, float, _NULL),
    "message": (str,),
    "result": (dict, _NULL),
    "error": (dict, _NULL),
}
"""Types that each column of a job may hold."""
_MAX_TEXT = 100_000
"""Largest number of characters of a text column."""
_JOB_ID = re.compile(r"[0-9a-f]{32}")
"""Form of a job id."""
MAX_DEPTH = 64
"""Most levels of nesting of a stored JSON value; requests may have 16."""
ADDED_COLUMNS = {"crashes": "NOT NULL DEFAULT 0", "kills": "NOT NULL DEFAULT 0"}
"""Columns that files of older versions lack, with their SQL constraints."""


def is_valid(name: str, value: Any) -> bool:
    """Whether a value is valid for a column of a job; True for columns without a check."""
    if name == "id":  # the job's id becomes the name of a folder
        return isinstance(value, str) and bool(_JOB_ID.fullmatch(value))
    if name == "state":
        return value in set(JobState)
    types = _COLUMN_TYPES.get(name, (object,))
    return isinstance(value, types) and not (isinstance(value, str) and len(value) > _MAX_TEXT)


class JobIdentity(SQLModel, table=True):
    """Digest of a job's request.

    It is a separate table so that older databases need no migration; their older jobs have no
    digest and never count as identical.
    """

    job_id: str = Field(primary_key=True)
    digest: str = Field(index=True)
    """See :func:`server.jobs.identity.request_digest`."""


class Event(SQLModel, table=True):
    """One event of a job; ``id`` grows over all jobs, so that a client can resume a stream."""

    id: int | None = Field(default=None, primary_key=True)
    job_id: str = Field(index=True)
    event: str
    """``state``, ``progress`` or ``artifact``."""
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class DatabaseBirth(SQLModel, table=True):
    """Time from which a database has complete records of its jobs.

    Older artifacts are kept: they may belong to jobs of a database that was lost.
    """

    id: int = Field(default=1, primary_key=True)
    born: float
    """Seconds since 1970; 0 for a database that had jobs before this table existed."""
