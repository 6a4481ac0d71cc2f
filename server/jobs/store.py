"""The job store: changes the state of jobs, and records an event with each change.

Only the server process writes.  A change is an ``UPDATE ... WHERE state IN (...)``: of two
concurrent changes (for example a cancel and a finish) exactly one takes effect, on SQLite and on
PostgreSQL.

An unreadable row (of a damaged file, or of another version) ends its own job as ``job.damaged``.
Other jobs can still be listed and claimed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap
from typing import Any

from sqlalchemy import Text, cast, event, func, update
from sqlalchemy.engine import ExceptionContext
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from dp3d_core.errors import Dp3dError
from server.jobs import queries
from server.jobs.damaged_rows import UNREADABLE, checked_job, end_as_damaged
from server.jobs.database import (
    BUSY_TIMEOUT_S,
    HeldFile,
    back_up,
    database_error,
    open_database,
    session_of,
    sqlite_path,
)
from server.jobs.interruption import MAX_CRASHES, MAX_KILLS, Interruption, worker_died
from server.jobs.model import Event, Job, JobIdentity, JobState, is_valid, utc_now

log = logging.getLogger(__name__)

_CLAIM_CANDIDATES = 20
"""Queued jobs that one claim tries, oldest first."""


class JobStore:
    """Jobs and their events; safe to use from several threads.

    Every method may raise ``server.database_busy``, ``server.database_damaged`` and
    ``storage.full``, and has then changed nothing.

    Args:
        database_url: SQLAlchemy URL of the job database.

    Attributes:
        engine: of the database, for :mod:`server.jobs.queries`.

    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self.engine = open_database(database_url)
        path = sqlite_path(database_url)
        self._held_file = None if path is None else HeldFile(path)
        self._damaged = threading.Event()
        event.listen(self.engine, "handle_error", self._note_error)
        # SQLite has one writer: wait for this lock, not for the timeout of SQLite.
        self._write_lock = threading.RLock()

    def close(self) -> None:
        """Close the database."""
        self.engine.dispose()
        if self._held_file is not None:
            self._held_file.close()

    def back_up(self) -> None:
        """Copy a SQLite database to its backup; :meth:`repair` reads it."""
        path = sqlite_path(self._url)
        if path is not None:
            back_up(path)

    @property
    def is_damaged(self) -> bool:
        """Whether damage was met since the last repair, or the file was deleted or replaced.

        Reads may still succeed meanwhile, from memory or from intact pages.
        """
        return self._damaged.is_set() or (self._held_file is not None and self._held_file.is_lost)

    def _note_error(self, context: ExceptionContext) -> None:
        error = database_error(context.original_exception)
        if error is not None and error.code == "server.database_damaged":
            self._damaged.set()

    def repair(self) -> None:
        """Repair a damaged SQLite database from its readable rows and its backup."""
        with self._write_lock:
            self._damaged.clear()
            try:
                if self._held_file is not None and self._held_file.is_lost:
                    self._held_file.restore()
                open_database(self._url).dispose()
                self._hold_new_file()
            except BaseException:
                self._damaged.set()
                raise
            finally:
                self.engine.dispose()  # closes connections to the old file

    def _hold_new_file(self) -> None:
        path = sqlite_path(self._url)
        if path is not None and self._held_file is not None:
            previous, self._held_file = self._held_file, HeldFile(path)
            previous.close()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with session_of(self.engine) as session:
            yield session

    @contextmanager
    def _writing_alone(self) -> Iterator[None]:
        """Hold the write lock; raises ``server.database_busy`` after 6 s of waiting."""
        if not self._write_lock.acquire(timeout=2 * BUSY_TIMEOUT_S):
            busy = database_error(TimeoutError("another request holds it, locked"))
            assert busy is not None
            raise busy
        try:
            yield
        finally:
            self._write_lock.release()

    @contextmanager
    def _write_session(self) -> Iterator[Session]:
        """A session that holds the write lock."""
        with self._writing_alone(), self._session() as session:
            yield session

    # -- reading --

    def get(self, job_id: str) -> Job:
        """A job; raises ``job.not_found``."""
        job = next(self._jobs(select(Job.number).where(Job.id == job_id)), None)
        if job is None:
            raise _no_such_job(job_id)
        return job

    def state(self, job_id: str) -> JobState:
        """State of a job, read without its other columns; raises ``job.not_found``."""
        with self._session() as session:
            state = session.exec(select(Job.state).where(Job.id == job_id)).first()
        try:
            return JobState(state or "")
        except ValueError:  # no such job, or an unreadable row
            return JobState(self.get(job_id).state)

    def summaries(
        self,
        limit: int = 50,
        before: int | None = None,
        after: int | None = None,
        states: Collection[str] = (),
    ) -> list[dict[str, Any]]:
        """See :func:`server.jobs.queries.summaries`; jobs of damaged rows are ended first."""
        filters = (self.engine, limit, before, after, states)
        rows = queries.summaries(*filters)
        damaged = [row["number"] for row in rows if not all(starmap(is_valid, row.items()))]
        for number in damaged:
            self._read_or_end(number)
        return queries.summaries(*filters) if damaged else rows

    def _jobs(self, query: SelectOfScalar[Any]) -> Iterator[Job]:
        """Jobs of a query for job numbers; each job is read when the iterator reaches it."""
        with self._session() as session:
            numbers = list(session.exec(query))
        for number in numbers:
            if (job := self._read_or_end(number)) is not None:
                yield job

    def _read_or_end(self, number: int) -> Job | None:
        """The job of a number, ended as damaged if its row is unreadable; None if deleted."""
        for _ in range(2):
            try:
                with self._session() as session:
                    return checked_job(session, number)
            except UNREADABLE as error:
                self._end_as_damaged(number, error)
        return None

    def _end_as_damaged(self, number: int, reason: Exception) -> None:
        """Fail the job of an unreadable row and record the event."""
        log.error("job number %d cannot be read and is ended: %s", number, str(reason)[:200])
        with self._write_session() as session:
            job = end_as_damaged(session, number, str(reason)[:200])
            if job is not None:
                self._add_state_event(session, job)
                session.commit()

    def resumable_jobs(self, job_id: str, candidates: Collection[str]) -> list[str]:
        """See :func:`server.jobs.queries.resumable_jobs`."""
        return queries.resumable_jobs(self.engine, job_id, candidates)

    def delete(self, job_id: str) -> bool:
        """Delete an ended job with its events; False when it has not ended or does not exist."""
        with self._write_lock:
            return queries.delete_job(self.engine, job_id)

    # -- life of a job --

    def create(self, kind: str, params: dict[str, Any], digest: str | None = None) -> Job:
        """Queue a job.

        Args:
            kind: of the job.
            params: complete parameters.
            digest: of the request; :meth:`create_once` finds the job by it.

        """
        with self._write_session() as session:
            job = Job(kind=kind, params=params)
            session.add(job)
            session.flush()
            if digest is not None:
                session.add(JobIdentity(job_id=job.id, digest=digest))
            self._add_state_event(session, job)
            session.commit()
            return job

    def create_once(
        self,
        kind: str,
        params: dict[str, Any],
        digest: str,
        is_usable: Callable[[dict[str, Any] | None], bool],
        check: Callable[[], object] = lambda: None,
        *,
        fresh: bool = False,
    ) -> tuple[Job, bool]:
        """The newest identical job that is queued, running or usable, else a new one.

        Two concurrent calls make one job, and both return it.

        Args:
            kind: of the job.
            params: complete parameters.
            digest: of the request.
            is_usable: whether the result of a succeeded job can still be fetched.
            check: called before a job is made; its exception prevents the job.
            fresh: make a new job although an identical one exists.

        Returns:
            the job, and whether it is new.

        """
        with self._writing_alone():
            for job in () if fresh else self._jobs_of_request(digest):
                unfinished = not JobState(job.state).ended and not job.cancel_requested
                if unfinished or (job.state == JobState.SUCCEEDED and is_usable(job.result)):
                    return job, False
            check()
            return self.create(kind, params, digest), True

    def _jobs_of_request(self, digest: str) -> Iterator[Job]:
        """Queued, running and succeeded jobs of a request, newest first; at most 100."""
        query = (
            select(Job.number)
            .join(JobIdentity, col(JobIdentity.job_id) == col(Job.id))
            .where(
                JobIdentity.digest == digest,
                col(Job.state).not_in([JobState.CANCELLED.value, JobState.FAILED.value]),
            )
            .order_by(col(Job.number).desc())
            .limit(100)
        )
        return self._jobs(query)

    def claim_next(self, excluding: Sequence[str] = ()) -> Job | None:
        """Start the oldest queued job and return it; None when no job waits.

        Args:
            excluding: ids of jobs that are not started.

        """
        queued = select(Job.number).where(
            Job.state == JobState.QUEUED.value, col(Job.id).not_in(excluding)
        )
        with self._writing_alone():
            for candidate in self._jobs(queued.order_by(col(Job.number)).limit(_CLAIM_CANDIDATES)):
                with self._write_session() as session:
                    job = self._change_state(
                        session,
                        candidate.id,
                        [JobState.QUEUED],
                        state=JobState.RUNNING.value,
                        attempt=Job.attempt + 1,
                        started_at=func.coalesce(Job.started_at, utc_now()),
                        message="",
                        error=None,
                    )
                    if job is not None:
                        return job
        return None

    def request_cancel(self, job_id: str) -> tuple[Job, bool]:
        """Cancel a queued job, or mark a running job for cancellation.

        Returns:
            the job, and whether the call changed it (False for an ended job).

        """
        self.get(job_id)  # ends the job of an unreadable row
        with self._write_session() as session:
            job = self._change_state(
                session,
                job_id,
                [JobState.QUEUED],
                state=JobState.CANCELLED.value,
                finished_at=utc_now(),
                cancel_requested=True,
                eta_s=None,
            )
            if job is not None:
                return job, True
            marked = session.exec(
                update(Job)
                .where(col(Job.id) == job_id, col(Job.state) == JobState.RUNNING.value)
                .values(cancel_requested=True, message="cancelling")
            )
            session.commit()
            return self._get(session, job_id), marked.rowcount == 1

    def finish(
        self,
        job_id: str,
        state: JobState,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> Job | None:
        """End a running job; None when it is no longer running."""
        self.get(job_id)
        with self._write_session() as session:
            return self._change_state(
                session,
                job_id,
                [JobState.RUNNING],
                state=state.value,
                finished_at=utc_now(),
                eta_s=None,
                message="",
                result=result,
                error=error,
            )

    def requeue(
        self, job_id: str, reason: Interruption, *, has_advanced: bool = True
    ) -> Job | None:
        """Put an interrupted job back into the queue.

        A job with a requested cancel ends as cancelled instead.  After ``MAX_CRASHES`` crashes, or
        ``MAX_KILLS`` kills in a row without progress, the job fails as ``job.worker_died``.

        Args:
            job_id: of a running job.
            reason: of the interruption.
            has_advanced: whether the job made progress since its last interruption.

        Returns:
            the job; None when it is no longer running.

        """
        with self._write_session() as session:
            job = self.get(job_id)
            if job.cancel_requested:
                return self.finish(job_id, JobState.CANCELLED)
            crashes = job.crashes + (reason is Interruption.WORKER_CRASHED)
            kills = (0 if has_advanced else job.kills) + (reason is Interruption.WORKER_KILLED)
            if crashes >= MAX_CRASHES or kills >= MAX_KILLS:
                return self.finish(job_id, JobState.FAILED, error=worker_died(crashes, kills))
            return self._change_state(
                session,
                job_id,
                [JobState.RUNNING],
                state=JobState.QUEUED.value,
                attempt=max(0, job.attempt - (reason is Interruption.SERVER_STOPPED)),
                crashes=crashes,
                kills=kills,
                eta_s=None,
                message="waiting to go on",
            )

    def requeue_for_disk(self, job_id: str, error: dict[str, Any]) -> Job | None:
        """Put a running job that could not write back into the queue, with its error.

        A job with a requested cancel ends as cancelled instead.
        """
        with self._write_session() as session:
            if self.get(job_id).cancel_requested:
                return self.finish(job_id, JobState.CANCELLED)
            return self._change_state(
                session,
                job_id,
                [JobState.RUNNING],
                state=JobState.QUEUED.value,
                eta_s=None,
                message="waiting for room on the disk",
                error=error,
            )

    def recover(self, excluding: str | None = None) -> list[Job]:
        """Requeue every job that is marked as running without a worker.

        Its server died, or could not write the end of the job.

        Args:
            excluding: id of the job that does run.

        Returns:
            the requeued jobs.

        """
        with self._session() as session:
            query = select(Job.id).where(Job.state == JobState.RUNNING.value)
            running = [job_id for job_id in session.exec(query) if job_id != excluding]
        jobs = [self.requeue(job_id, Interruption.SERVER_KILLED) for job_id in running]
        return [job for job in jobs if job is not None]

    # -- events of a running job --

    def add_progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Record a progress event of a running job; ignored when it is not running."""
        fields = ("stage", "step", "of", "message", "eta_s", "values")
        with self._write_session() as session:
            values = {name: progress[name] for name in fields[:-1]}
            changed = session.exec(
                update(Job)
                .where(col(Job.id) == job_id, col(Job.state) == JobState.RUNNING.value)
                .values(**values)
            )
            if changed.rowcount:
                data = {name: progress[name] for name in fields}
                session.add(Event(job_id=job_id, event="progress", data=data))
                session.commit()

    def add_artifact(self, job_id: str, artifact: dict[str, Any]) -> None:
        """Record an artifact of a running job; a repeated one is recorded once."""
        with self._write_session() as session:
            recorded = session.exec(
                select(cast(col(Event.data), Text)).where(
                    Event.job_id == job_id, Event.event == "artifact"
                )
            )
            if artifact not in map(queries.read_json, recorded):
                session.add(Event(job_id=job_id, event="artifact", data=artifact))
                session.commit()

    # -- helpers --

    def _change_state(
        self, session: Session, job_id: str, allowed: Iterable[JobState], **values: Any
    ) -> Job | None:
        """Change a job in one of the allowed states and add its event; None in another state."""
        changed = session.exec(
            update(Job)
            .where(col(Job.id) == job_id, col(Job.state).in_([s.value for s in allowed]))
            .values(**values)
            .execution_options(synchronize_session=False)
        )
        if changed.rowcount != 1:
            session.rollback()
            return None
        session.expire_all()
        job = self._get(session, job_id)
        self._add_state_event(session, job)
        session.commit()
        return job

    @staticmethod
    def _get(session: Session, job_id: str) -> Job:
        job = session.exec(select(Job).where(Job.id == job_id)).first()
        if job is None:
            raise _no_such_job(job_id)
        return job

    @staticmethod
    def _add_state_event(session: Session, job: Job) -> None:
        # Without the parameters, which may be large and never change.
        data = {name: value for name, value in job.to_dict().items() if name != "params"}
        session.add(Event(job_id=job.id, event="state", data=data))


def _no_such_job(job_id: str) -> Dp3dError:
    return Dp3dError(
        "job.not_found",
        f"There is no job {job_id[:40]!r} on this server.",
        "List the jobs with GET /v1/jobs, or start a new one.",
    )
