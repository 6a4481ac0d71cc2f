"""The job store: every change of a job's state happens here, together with its event.

Only the server process writes.  A change is an ``UPDATE ... WHERE state IN (...)``, so that of
two who race (a cancel and a finish, say) exactly one wins, on SQLite as on PostgreSQL.

A row that cannot be read (a file is damaged in many ways, and another version may have written
it) ends its own job as ``job.damaged`` and never keeps another one from being listed or claimed.
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
    Anchor,
    back_up,
    database_error,
    open_database,
    session_of,
    sqlite_path,
)
from server.jobs.interruption import MAX_CRASHES, MAX_KILLS, Interruption, worker_died
from server.jobs.model import Event, Job, JobIdentity, JobState, is_possible, utc_now

log = logging.getLogger(__name__)

_CLAIMS_AT_ONCE = 20
"""Queued jobs that are looked at for one that can be started."""


class JobStore:
    """Jobs and their events; safe to use from several threads.

    Every method may raise ``server.database_busy``, ``server.database_damaged`` and
    ``storage.full``, and has then changed nothing.

    Attributes:
        engine: of the database, for what :mod:`server.jobs.queries` reads from it.

    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self.engine = open_database(database_url)
        path = sqlite_path(database_url)
        self._anchor = None if path is None else Anchor(path)
        self._damaged = threading.Event()
        event.listen(self.engine, "handle_error", self._note_error)
        self._writing = threading.RLock()  # SQLite has one writer; wait here, not in its timeout

    def close(self) -> None:
        """Close the database."""
        self.engine.dispose()
        if self._anchor is not None:
            self._anchor.close()

    def back_up(self) -> None:
        """Copy an SQLite database to its backup, which a damaged one is mended from."""
        path = sqlite_path(self._url)
        if path is not None:
            back_up(path)

    @property
    def is_damaged(self) -> bool:
        """Whether anybody has met damage since the database was mended, or its file is gone.

        Others may go on reading meanwhile: what they ask for may be in memory, or on sound pages.
        """
        return self._damaged.is_set() or (self._anchor is not None and self._anchor.is_lost)

    def _note_error(self, context: ExceptionContext) -> None:
        error = database_error(context.original_exception)
        if error is not None and error.code == "server.database_damaged":
            self._damaged.set()

    def mend(self) -> None:
        """Make a damaged SQLite database whole again, from what can be read and its backup."""
        with self._writing:
            self._damaged.clear()
            try:
                if self._anchor is not None and self._anchor.is_lost:
                    self._anchor.put_back()
                open_database(self._url).dispose()
                self._anchor_anew()
            except BaseException:
                self._damaged.set()
                raise
            finally:
                self.engine.dispose()  # connections to a file that was replaced

    def _anchor_anew(self) -> None:
        path = sqlite_path(self._url)
        if path is not None and self._anchor is not None:
            before, self._anchor = self._anchor, Anchor(path)
            before.close()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with session_of(self.engine) as session:
            yield session

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Nobody else writes; who waits too long for that is told that it is busy."""
        if not self._writing.acquire(timeout=2 * BUSY_TIMEOUT_S):
            busy = database_error(TimeoutError("another request holds it, locked"))
            assert busy is not None
            raise busy
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def _writer(self) -> Iterator[Session]:
        """A session of the one who writes now."""
        with self._turn(), self._session() as session:
            yield session

    # -- reading --

    def get(self, job_id: str) -> Job:
        """A job; raises ``job.not_found``."""
        job = next(self._jobs(select(Job.number).where(Job.id == job_id)), None)
        if job is None:
            raise _no_such_job(job_id)
        return job

    def state(self, job_id: str) -> JobState:
        """State of a job, without the rest of it; raises ``job.not_found``."""
        with self._session() as session:
            state = session.exec(select(Job.state).where(Job.id == job_id)).first()
        try:
            return JobState(state or "")
        except ValueError:  # no such job, or a row that cannot be read
            return JobState(self.get(job_id).state)

    def summaries(
        self,
        limit: int = 50,
        before: int | None = None,
        after: int | None = None,
        states: Collection[str] = (),
    ) -> list[dict[str, Any]]:
        """Jobs as :func:`server.jobs.queries.summaries`; what cannot be read is ended first."""
        chosen = (self.engine, limit, before, after, states)
        rows = queries.summaries(*chosen)
        damaged = [row["number"] for row in rows if not all(starmap(is_possible, row.items()))]
        for number in damaged:
            self._readable(number)
        return queries.summaries(*chosen) if damaged else rows

    def _jobs(self, numbers: SelectOfScalar[Any]) -> Iterator[Job]:
        """Jobs of a query for their numbers, each read when it is asked for."""
        with self._session() as session:
            wanted = list(session.exec(numbers))
        for number in wanted:
            if (job := self._readable(number)) is not None:
                yield job

    def _readable(self, number: int) -> Job | None:
        """The job of a number, ended as damaged where it cannot be read; None where it is gone."""
        for _ in range(2):
            try:
                with self._session() as session:
                    return checked_job(session, number)
            except UNREADABLE as error:
                self._end_as_damaged(number, error)
        return None

    def _end_as_damaged(self, number: int, reason: Exception) -> None:
        """Fail a job whose row cannot be read, with values that can be."""
        log.error("job number %d cannot be read and is ended: %s", number, str(reason)[:200])
        with self._writer() as session:
            job = end_as_damaged(session, number, str(reason)[:200])
            if job is not None:
                self._add_state_event(session, job)
                session.commit()

    def abandoned_like(self, job_id: str, others: Collection[str]) -> list[str]:
        """See :func:`server.jobs.queries.abandoned_like`."""
        return queries.abandoned_like(self.engine, job_id, others)

    def delete(self, job_id: str) -> bool:
        """Delete an ended job with its events; False when it has not ended or is not there."""
        with self._writing:
            return queries.delete_job(self.engine, job_id)

    # -- life of a job --

    def create(self, kind: str, params: dict[str, Any], digest: str | None = None) -> Job:
        """Queue a job.

        Args:
            kind: of the job.
            params: complete parameters.
            digest: of the request, so that :meth:`create_once` can answer with this job.

        """
        with self._writer() as session:
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
        """The newest job of the same request that is waiting, running or usable, else a new one.

        Of two that ask at once, one makes the job and the other gets it.

        Args:
            kind: of the job.
            params: complete parameters.
            digest: of the request.
            is_usable: whether the result of a succeeded job can still be fetched.
            check: called before a job is made; what it raises keeps it from being made.
            fresh: whether a new one is made in any case.

        Returns:
            the job, and whether it is new.

        """
        with self._turn():
            for job in () if fresh else self._of_request(digest):
                unfinished = not JobState(job.state).ended and not job.cancel_requested
                if unfinished or (job.state == JobState.SUCCEEDED and is_usable(job.result)):
                    return job, False
            check()
            return self.create(kind, params, digest), True

    def _of_request(self, digest: str) -> Iterator[Job]:
        """Jobs of a request that may be its answer, newest first."""
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
        """The oldest queued job but some, now running; None when nothing waits."""
        queued = select(Job.number).where(
            Job.state == JobState.QUEUED.value, col(Job.id).not_in(excluding)
        )
        with self._turn():
            for waiting in self._jobs(queued.order_by(col(Job.number)).limit(_CLAIMS_AT_ONCE)):
                with self._writer() as session:
                    job = self._change(
                        session,
                        waiting.id,
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
        """Cancel a job: a queued one at once, a running one is only marked.

        Returns:
            the job, and whether this changed anything (False on an ended job).

        """
        self.get(job_id)  # one that cannot be read is ended by this
        with self._writer() as session:
            job = self._change(
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
        """End a running job; None when it is not running any more."""
        self.get(job_id)
        with self._writer() as session:
            return self._change(
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

    def give_back(self, job_id: str, why: Interruption, *, has_advanced: bool = True) -> Job | None:
        """Put a running job whose worker is gone back into the queue.

        Ends it instead when a cancel was asked for, or as ``job.worker_died`` after
        ``MAX_CRASHES`` crashes or ``MAX_KILLS`` kills in a row.

        Args:
            job_id: the job.
            why: what happened to its worker.
            has_advanced: whether it had done anything new since it was last interrupted.

        """
        with self._writer() as session:
            job = self.get(job_id)
            if job.cancel_requested:
                return self.finish(job_id, JobState.CANCELLED)
            crashes = job.crashes + (why is Interruption.WORKER_CRASHED)
            kills = (0 if has_advanced else job.kills) + (why is Interruption.WORKER_KILLED)
            if crashes >= MAX_CRASHES or kills >= MAX_KILLS:
                return self.finish(job_id, JobState.FAILED, error=worker_died(crashes, kills))
            return self._change(
                session,
                job_id,
                [JobState.RUNNING],
                state=JobState.QUEUED.value,
                attempt=max(0, job.attempt - (why is Interruption.SERVER_STOPPED)),
                crashes=crashes,
                kills=kills,
                eta_s=None,
                message="waiting to go on",
            )

    def wait_for_disk(self, job_id: str, error: dict[str, Any]) -> Job | None:
        """Put a running job that could not write back into the queue, with the reason.

        Ends it instead when a cancel was asked for.
        """
        with self._writer() as session:
            if self.get(job_id).cancel_requested:
                return self.finish(job_id, JobState.CANCELLED)
            return self._change(
                session,
                job_id,
                [JobState.RUNNING],
                state=JobState.QUEUED.value,
                eta_s=None,
                message="waiting for room on the disk",
                error=error,
            )

    def recover(self, excluding: str | None = None) -> list[Job]:
        """Give back every job that is running for nobody: its server died, or could not write.

        Args:
            excluding: the job that does run.

        """
        with self._session() as session:
            query = select(Job.id).where(Job.state == JobState.RUNNING.value)
            running = [job_id for job_id in session.exec(query) if job_id != excluding]
        jobs = [self.give_back(job_id, Interruption.SERVER_KILLED) for job_id in running]
        return [job for job in jobs if job is not None]

    # -- news from a running job --

    def add_progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Record a progress event of a running job; ignored when it is not running."""
        fields = ("stage", "step", "of", "message", "eta_s", "values")
        with self._writer() as session:
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
        """Record a result that can be fetched already; the same one twice counts once."""
        with self._writer() as session:
            known = session.exec(
                select(cast(col(Event.data), Text)).where(
                    Event.job_id == job_id, Event.event == "artifact"
                )
            )
            if artifact not in map(queries.read_json, known):
                session.add(Event(job_id=job_id, event="artifact", data=artifact))
                session.commit()

    # -- helpers --

    def _change(
        self, session: Session, job_id: str, allowed: Iterable[JobState], **values: Any
    ) -> Job | None:
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
