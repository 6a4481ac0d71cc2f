"""Queries of the job database that change no job's state: lists, events, references, deletion.

Lists never load the columns that may be large (parameters, results).  JSON is parsed row by row,
so that a damaged row damages only its own entry.
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
"""Values of the final states."""
_RESUMABLE_CODES = (
    *("job.worker_died", "nerf.child_killed"),
    *("storage.full", "storage.quota", "output.not_writable"),
)
"""Error codes of failed jobs whose work an identical job may resume."""
_SUMMARY_COLUMNS = (
    *("number", "id", "kind", "state", "created_at", "started_at", "finished_at", "attempt"),
    *("stage", "step", "of", "eta_s", "message"),
)
"""Columns of a job in a list."""
_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
"""A hash inside a JSON text."""
_IDS_PER_QUERY = 200
"""Job ids in one ``IN`` clause; databases bound the number of parameters."""
_NO_JOB = ""
"""Job id of the placeholder event that keeps the newest event id in use."""


def birth_time(engine: Engine) -> float:
    """Time from which the database has complete records, seconds since 1970; see ``DatabaseBirth``.

    The first call writes it.
    """
    with session_of(engine) as session:
        birth = session.get(DatabaseBirth, 1)
        if birth is None:
            has_jobs = session.execute(select(Job.id).limit(1)).first() is not None  # type: ignore[call-overload]
            birth = DatabaseBirth(id=1, born=0.0 if has_jobs else time.time())
            session.add(birth)
            session.commit()
        elif birth.born > time.time():  # the clock was ahead when the time was written
            birth.born = time.time()
            session.add(birth)
            session.commit()
        return birth.born


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
        limit: largest number of jobs.
        before: only jobs with a smaller number.
        after: only jobs with a larger number.
        states: only jobs in one of these states; all when empty.

    Returns:
        the columns of ``_SUMMARY_COLUMNS`` and ``error`` for each job.

    """
    columns = [getattr(Job, name) for name in _SUMMARY_COLUMNS]
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
        {**dict(zip(_SUMMARY_COLUMNS, row[:-1], strict=True)), "error": read_json(row[-1])}
        for row in rows
    ]


def count_jobs(engine: Engine, states: Collection[JobState]) -> int:
    """Number of jobs in one of ``states``."""
    query = select(func.count()).where(col(Job.state).in_([s.value for s in states]))
    with session_of(engine) as session:
        return int(session.execute(query).scalar_one())


def running_since(engine: Engine) -> float:
    """Earliest start of a running job, seconds since 1970; infinite when no job runs."""
    query = select(Job.started_at).where(Job.state == JobState.RUNNING.value)  # type: ignore[call-overload]
    with session_of(engine) as session:
        return min(map(_seconds, session.execute(query).scalars()), default=math.inf)


def _seconds(time_text: Any) -> float:
    """Seconds since 1970 of a stored time; 0 for a value that is not a time."""
    try:
        return datetime.fromisoformat(time_text).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return 0.0


# -- events --------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredEvent:
    """An event with its data as stored JSON text."""

    id: int
    job_id: str
    event: str
    data: str
    """JSON on one line."""

    @property
    def is_readable(self) -> bool:
        """Whether ``data`` is a JSON object; False for a damaged row."""
        return isinstance(read_json(self.data), dict)

    @property
    def ends_job(self) -> bool:
        """Whether this is the event of the job's final state."""
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
        after: id of the last event that the caller has.
        job_ids: only events of these jobs; of all when None.
        limit: largest number of events.

    """
    query = select(Event.id, Event.job_id, Event.event, cast(col(Event.data), Text))  # type: ignore[call-overload]
    query = query.where(col(Event.id) > after)
    if job_ids is not None:
        query = query.where(col(Event.job_id).in_(job_ids))
    with session_of(engine) as session:
        rows = session.execute(query.order_by(col(Event.id)).limit(limit)).all()
    # A line break would end the event of the stream; valid JSON needs none.
    return [StoredEvent(n, job, kind, " ".join(str(d).splitlines())) for n, job, kind, d in rows]


def ended_among(engine: Engine, job_ids: Iterable[str]) -> set[str]:
    """The ids in ``job_ids`` whose jobs have ended or were deleted."""
    wanted, alive = sorted(set(job_ids)), set()
    with session_of(engine) as session:
        for start in range(0, len(wanted), _IDS_PER_QUERY):
            batch = wanted[start : start + _IDS_PER_QUERY]
            query = select(Job.id).where(col(Job.id).in_(batch), col(Job.state).not_in(_ENDED))  # type: ignore[call-overload]
            alive |= set(session.execute(query).scalars())
    return set(wanted) - alive


# -- keeping and deleting ------------------------------------------------------------------


def delete_job(engine: Engine, job_id: str) -> bool:
    """Delete an ended job with its events; False when it has not ended or does not exist."""
    ended = select(Job.id).where(col(Job.id) == job_id, col(Job.state).in_(_ENDED))  # type: ignore[call-overload]
    with session_of(engine) as session:
        if session.execute(ended.with_for_update()).first() is None:
            return False
        # The newest event id must stay in use: SQLite would assign it again, and listeners wait
        # for larger ids.
        newest = select(func.max(col(Event.id))).scalar_subquery()
        session.execute(
            delete(Event).where(col(Event.job_id).in_([job_id, _NO_JOB]), col(Event.id) < newest)
        )
        session.execute(
            update(Event)
            .where(col(Event.job_id) == job_id)
            .values(job_id=_NO_JOB, event="deleted", data={})
        )
        session.execute(delete(JobIdentity).where(col(JobIdentity.job_id) == job_id))
        session.execute(delete(Job).where(col(Job.id) == job_id))
        session.commit()
        return True


def resumable_jobs(engine: Engine, job_id: str, candidates: Collection[str]) -> list[str]:
    """Candidates whose work a job can resume, newest first.

    They have the job's kind and parameters and were stopped from outside: cancelled, killed, or
    without disk space.  Work of a job that failed by itself is not resumed, since it may be the
    cause of the failure.

    Args:
        engine: of the job database.
        job_id: the job that resumes.
        candidates: ids of jobs with work on disk.

    """
    ended = [JobState.CANCELLED.value, JobState.FAILED.value]
    resuming = aliased(Job)
    # The database compares the JSON texts, so that parameters of megabytes are not loaded.
    query = (
        select(col(Job.id), cast(col(Job.error), Text))
        .join(
            resuming,
            and_(
                col(resuming.kind) == col(Job.kind),
                cast(col(resuming.params), Text) == cast(col(Job.params), Text),
            ),
        )
        .where(
            col(resuming.id) == job_id,
            col(Job.id).in_(list(candidates)),
            col(Job.state).in_(ended),
        )
        .order_by(col(Job.number).desc())
    )
    with session_of(engine) as session:
        rows = session.execute(query).all()
    return [
        candidate
        for candidate, error in rows
        if error in {None, "null"} or any(f'"{code}"' in error for code in _RESUMABLE_CODES)
    ]


def ended_beyond(engine: Engine, count: int) -> list[str]:
    """Ids of ended jobs without the newest ``count``, newest first; at most 10,000."""
    query = select(Job.id).where(col(Job.state).in_(_ENDED))  # type: ignore[call-overload]
    query = query.order_by(col(Job.number).desc()).offset(count).limit(10_000)
    with session_of(engine) as session:
        return list(session.execute(query).scalars())


def artifact_references(
    engine: Engine, known_jobs: Collection[str] = ()
) -> Iterator[tuple[str, bool, set[str]]]:
    """Hashes that each job refers to, in parameters, result and announced artifacts.

    Args:
        engine: of the job database.
        known_jobs: ids of ended jobs whose references the caller has; their rows are not read.

    Yields:
        id of the job, whether it has ended, and its hashes (empty for a known job).

    """
    with session_of(engine) as session:
        jobs = session.execute(select(Job.id, Job.state)).all()  # type: ignore[call-overload]
        for job_id, state in jobs:
            ended = state in _ENDED
            if ended and job_id in known_jobs:
                yield job_id, True, set()
                continue
            yield job_id, ended, _referenced_hashes(session, job_id, Job.params, Job.result)


def result_references(engine: Engine, job_id: str) -> set[str]:
    """Hashes in a job's result and of its announced artifacts, without those of its parameters.

    A result names the photos that it was made from.
    """
    with session_of(engine) as session:
        made = _referenced_hashes(session, job_id, Job.result)
        return made - _named_hashes(session, job_id, Job.params)


def _referenced_hashes(session: Session, job_id: str, *columns: Any) -> set[str]:
    """Hashes in the given columns of a job and of its announced artifacts."""
    announced = session.execute(
        select(cast(col(Event.data), Text)).where(
            col(Event.job_id) == job_id, col(Event.event) == "artifact"
        )
    ).all()
    return _named_hashes(session, job_id, *columns) | _hashes_in(announced)


def _named_hashes(session: Session, job_id: str, *columns: Any) -> set[str]:
    """Hashes in the given columns of a job."""
    query = select(*(cast(col(column), Text) for column in columns)).where(col(Job.id) == job_id)
    return _hashes_in(session.execute(query).all())


def _hashes_in(rows: Iterable[Iterable[str | None]]) -> set[str]:
    return {sha256 for row in rows for text in row for sha256 in _SHA256.findall(text or "")}


def read_json(text: str | None) -> Any:
    """The value of a JSON text; None for an empty or damaged text."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
