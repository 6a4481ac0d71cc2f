"""What the web side asks the job database besides the life of a job: lists, news, deletion.

Columns that may be large (parameters, results) are never loaded for a list, and JSON is read here
row by row, so that one damaged row is one damaged entry.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Text, and_, cast, delete, func, select, update
from sqlalchemy.orm import Session, aliased
from sqlmodel import col

from server.jobs.database import session_of
from server.jobs.model import DatabaseBirth, Event, Job, JobIdentity, JobState

_ENDED = [state.value for state in JobState if state.ended]
_RESUMABLE = (
    *("job.worker_died", "nerf.child_killed"),
    *("storage.full", "storage.quota", "output.not_writable"),
)
"""Failures whose work an identical job goes on with."""
_SUMMARY = (
    *("number", "id", "kind", "state", "created_at", "started_at", "finished_at", "attempt"),
    *("stage", "step", "of", "eta_s", "message"),
)
_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_AT_ONCE = 200
_DELETED = ""
"""Job id of the event that keeps the newest id taken."""


def birth(engine: Engine) -> float:
    """Time of the birth of a database, noted at the first call; seconds since 1970."""
    with session_of(engine) as session:
        known = session.get(DatabaseBirth, 1)
        if known is None:
            has_jobs = session.execute(select(Job.id).limit(1)).first() is not None  # type: ignore[call-overload]
            known = DatabaseBirth(id=1, born=0.0 if has_jobs else time.time())
            session.add(known)
            session.commit()
        elif known.born > time.time():  # the clock was ahead then
            known.born = time.time()
            session.add(known)
            session.commit()
        return known.born


def summaries(
    engine: Engine,
    limit: int,
    before: int | None = None,
    after: int | None = None,
    states: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Jobs without parameters and result, newest first.

    Args:
        engine: of the job database.
        limit: largest number of them.
        before: only jobs with a smaller number.
        after: only jobs with a larger number.
        states: only jobs in one of these; all when empty.

    """
    columns = [getattr(Job, name) for name in _SUMMARY]
    query = select(*columns, cast(col(Job.error), Text))
    if before is not None:
        query = query.where(col(Job.number) < before)
    if after is not None:
        query = query.where(col(Job.number) > after)
    if states:
        query = query.where(col(Job.state).in_(states))
    with session_of(engine) as session:
        rows = session.execute(query.order_by(col(Job.number).desc()).limit(limit)).all()
    return [
        {**dict(zip(_SUMMARY, row[:-1], strict=True)), "error": read_json(row[-1])} for row in rows
    ]


def count_jobs(engine: Engine, states: Collection[JobState]) -> int:
    """Number of jobs in any of some states."""
    query = select(func.count()).where(col(Job.state).in_([s.value for s in states]))
    with session_of(engine) as session:
        return int(session.execute(query).scalar_one())


def running_since(engine: Engine) -> float:
    """Start of the earliest job that runs, in seconds since 1970; infinite when none does."""
    query = select(Job.started_at).where(Job.state == JobState.RUNNING.value)  # type: ignore[call-overload]
    with session_of(engine) as session:
        return min(map(_seconds, session.execute(query).scalars()), default=math.inf)


def _seconds(time_text: Any) -> float:
    """Seconds since 1970 of a time as the database has it; 0 of what is none."""
    try:
        return datetime.fromisoformat(time_text).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return 0.0


# -- events --------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredEvent:
    """An event as it goes over the wire."""

    id: int
    job_id: str
    event: str
    data: str
    """JSON on one line."""

    @property
    def is_readable(self) -> bool:
        """Whether its data is a JSON object; a damaged row may hold anything."""
        return isinstance(read_json(self.data), dict)

    @property
    def ends_job(self) -> bool:
        """Whether it is the state event after which nothing happens to its job."""
        data = read_json(self.data) if self.event == "state" else None
        return isinstance(data, dict) and data.get("state") in _ENDED


def last_event_id(engine: Engine) -> int:
    """Id of the newest event of all jobs, 0 when there is none."""
    with session_of(engine) as session:
        return int(session.execute(select(func.max(col(Event.id)))).scalar_one() or 0)


def events_between(
    engine: Engine, after: int, job_ids: Sequence[str] | None = None, limit: int = 500
) -> list[StoredEvent]:
    """Events with an id above ``after``, oldest first.

    Args:
        engine: of the job database.
        after: an id.
        job_ids: of these jobs only; of all when None.
        limit: largest number of events.

    """
    query = select(Event.id, Event.job_id, Event.event, cast(col(Event.data), Text))  # type: ignore[call-overload]
    query = query.where(col(Event.id) > after)
    if job_ids is not None:
        query = query.where(col(Event.job_id).in_(job_ids))
    with session_of(engine) as session:
        rows = session.execute(query.order_by(col(Event.id)).limit(limit)).all()
    # A line break inside would end the event; JSON has none outside of its texts' escapes.
    return [StoredEvent(n, job, kind, " ".join(str(d).splitlines())) for n, job, kind, d in rows]


def ended_among(engine: Engine, job_ids: Iterable[str]) -> set[str]:
    """Those of some jobs that have ended or are not there any more."""
    wanted, alive = sorted(set(job_ids)), set()
    with session_of(engine) as session:
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            query = select(Job.id).where(col(Job.id).in_(part), col(Job.state).not_in(_ENDED))  # type: ignore[call-overload]
            alive |= set(session.execute(query).scalars())
    return set(wanted) - alive


# -- keeping and deleting ------------------------------------------------------------------


def delete_job(engine: Engine, job_id: str) -> bool:
    """Delete an ended job with its events; False when it has not ended or is not there."""
    ended = select(Job.id).where(col(Job.id) == job_id, col(Job.state).in_(_ENDED))  # type: ignore[call-overload]
    with session_of(engine) as session:
        if session.execute(ended.with_for_update()).first() is None:
            return False
        # The newest id of all must stay taken: SQLite would give it out again, and listeners wait
        # for larger ones.
        newest = select(func.max(col(Event.id))).scalar_subquery()
        session.execute(
            delete(Event).where(col(Event.job_id).in_([job_id, _DELETED]), col(Event.id) < newest)
        )
        session.execute(
            update(Event)
            .where(col(Event.job_id) == job_id)
            .values(job_id=_DELETED, event="deleted", data={})
        )
        session.execute(delete(JobIdentity).where(col(JobIdentity.job_id) == job_id))
        session.execute(delete(Job).where(col(Job.id) == job_id))
        session.commit()
        return True


def abandoned_like(engine: Engine, job_id: str, others: Collection[str]) -> list[str]:
    """Ids of jobs of equal kind and parameters that were stopped from outside, newest first.

    Those are the cancelled ones and the ones whose process was killed.  What a job left
    that failed by itself may be why it failed.

    Args:
        engine: of the job database.
        job_id: the job that they are to be like.
        others: ids of those that are asked about.

    """
    ended = [JobState.CANCELLED.value, JobState.FAILED.value]
    mine = aliased(Job)
    # The database compares the texts: parameters of megabytes are not read.
    query = (
        select(col(Job.id), cast(col(Job.error), Text))
        .join(
            mine,
            and_(
                col(mine.kind) == col(Job.kind),
                cast(col(mine.params), Text) == cast(col(Job.params), Text),
            ),
        )
        .where(col(mine.id) == job_id, col(Job.id).in_(list(others)), col(Job.state).in_(ended))
        .order_by(col(Job.number).desc())
    )
    with session_of(engine) as session:
        rows = session.execute(query).all()
    return [
        other
        for other, error in rows
        if error in {None, "null"} or any(f'"{code}"' in error for code in _RESUMABLE)
    ]


def oldest_ended(engine: Engine, kept: int) -> list[str]:
    """Ended jobs besides the newest ``kept`` of them, newest first."""
    query = select(Job.id).where(col(Job.state).in_(_ENDED))  # type: ignore[call-overload]
    query = query.order_by(col(Job.number).desc()).offset(kept).limit(10_000)
    with session_of(engine) as session:
        return list(session.execute(query).scalars())


def artifact_references(
    engine: Engine, known: Collection[str] = ()
) -> Iterator[tuple[str, bool, set[str]]]:
    """Hashes that jobs name: in parameters, results and announced artifacts.

    Args:
        engine: of the job database.
        known: ids of ended jobs whose references are known; their rows are not read again.

    Yields:
        id of each job, whether it has ended, and its hashes (none for a known one).

    """
    with session_of(engine) as session:
        jobs = session.execute(select(Job.id, Job.state)).all()  # type: ignore[call-overload]
        for job_id, state in jobs:
            ended = state in _ENDED
            if ended and job_id in known:
                yield job_id, True, set()
                continue
            yield job_id, ended, _hashes(session, job_id, Job.params, Job.result)


def result_references(engine: Engine, job_id: str) -> set[str]:
    """Hashes of what a job made: those in its result and of its announced artifacts."""
    with session_of(engine) as session:
        return _hashes(session, job_id, Job.result)


def _hashes(session: Session, job_id: str, *columns: Any) -> set[str]:
    """Hashes in columns of a job and in the artifacts that it announced."""
    texts = session.execute(
        select(*(cast(col(column), Text) for column in columns)).where(col(Job.id) == job_id)
    ).all()
    announced = session.execute(
        select(cast(col(Event.data), Text)).where(
            col(Event.job_id) == job_id, col(Event.event) == "artifact"
        )
    ).all()
    return {
        sha256
        for row in (*texts, *announced)
        for text in row
        for sha256 in _SHA256.findall(text or "")
    }


def read_json(text: str | None) -> Any:
    """A value as the database has it; None for what cannot be read."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
