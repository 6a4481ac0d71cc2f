"""Tables of the job database.  The database is the truth about every job."""

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
    """Life of a job: ``queued -> running -> succeeded | failed | cancelled``."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Nothing more will happen to the job."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


def utc_now() -> str:
    """Now, as :func:`utc_time` writes it."""
    return utc_time(datetime.now(UTC))


def utc_time(when: datetime) -> str:
    """A time (UTC) as the API writes it: ISO 8601, milliseconds, ``Z``; sorts by time."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Job(SQLModel, table=True):
    """One job."""

    number: int | None = Field(default=None, primary_key=True)
    """Order of creation."""
    id: str = Field(default_factory=lambda: uuid.uuid4().hex, index=True, unique=True)
    kind: str
    state: str = Field(default=JobState.QUEUED.value, index=True)
    params: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: str = Field(default_factory=utc_now)
    started_at: str | None = None
    finished_at: str | None = None
    attempt: int = 0
    """How many times it was started."""
    crashes: int = 0
    """How many times its worker died of it."""
    kills: int = 0
    """How many times in a row its worker was killed from outside before anything new was done."""
    cancel_requested: bool = False
    stage: str | None = None
    step: int = 0
    of: int = 0
    eta_s: float | None = None
    message: str = ""
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))

    def check(self) -> None:
        """Refuse a row whose values no job can have; SQLite stores anything in any column.

        Raises:
            ValueError: naming the first column that is wrong.

        """
        for name in _KINDS_OF_COLUMNS:
            if not is_possible(name, getattr(self, name)):
                raise ValueError(f"its {name} is damaged")
        for name in ("params", "result", "error"):
            check_depth(getattr(self, name), f"its {name}", MAX_DEPTH)

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it (``docs/http-api.md``)."""
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


_OPTIONAL = type(None)
_KINDS_OF_COLUMNS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "state": (str,),
    "kind": (str,),
    "params": (dict,),
    "created_at": (str,),
    "started_at": (str, _OPTIONAL),
    "finished_at": (str, _OPTIONAL),
    "attempt": (int,),
    "crashes": (int,),
    "kills": (int,),
    "stage": (str, _OPTIONAL),
    "step": (int,),
    "of": (int,),
    "eta_s": (int, float, _OPTIONAL),
    "message": (str,),
    "result": (dict, _OPTIONAL),
    "error": (dict, _OPTIONAL),
}
_LONGEST = 100_000
"""Characters of a text column."""
_JOB_ID = re.compile(r"[0-9a-f]{32}")
MAX_DEPTH = 64
"""Levels of nesting of a stored JSON value; requests are held to far fewer."""
ADDED_COLUMNS = {"crashes": "NOT NULL DEFAULT 0", "kills": "NOT NULL DEFAULT 0"}
"""Columns that older files lack, with how they are added."""


def is_possible(name: str, value: Any) -> bool:
    """Whether a column of a job may hold a value; True for columns that are not checked."""
    if name == "id":  # it names a folder
        return isinstance(value, str) and bool(_JOB_ID.fullmatch(value))
    if name == "state":
        return value in set(JobState)
    kinds = _KINDS_OF_COLUMNS.get(name, (object,))
    return isinstance(value, kinds) and not (isinstance(value, str) and len(value) > _LONGEST)


class JobIdentity(SQLModel, table=True):
    """What a job was asked for, in one number.

    A table of its own: a database from before it exists gets it without a migration, and its
    older jobs, of which nothing is known, are never taken for identical ones.
    """

    job_id: str = Field(primary_key=True)
    digest: str = Field(index=True)
    """See :func:`server.jobs.identity.request_digest`."""


class Event(SQLModel, table=True):
    """One thing that happened to a job; ``id`` grows over all jobs, so a client can resume."""

    id: int | None = Field(default=None, primary_key=True)
    job_id: str = Field(index=True)
    event: str
    """``state``, ``progress`` or ``artifact``."""
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class DatabaseBirth(SQLModel, table=True):
    """When a database began to know its jobs.

    Artifacts that are older may belong to jobs of a database that was lost: nothing here says
    that nobody refers to them.
    """

    id: int = Field(default=1, primary_key=True)
    born: float
    """Seconds since 1970; 0 for a database that had jobs before this table."""
