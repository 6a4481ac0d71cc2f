"""The job store: every change of a job's state happens here, together with its event.

Only the server process writes.  A change is an ``UPDATE ... WHERE state IN (...)``, so that of
two who race (a cancel and a finish, say) exactly one wins, on SQLite as on PostgreSQL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine, event, func, update
from sqlmodel import Session, SQLModel, col, create_engine, select

from dp3d_core.errors import Dp3dError
from server.jobs.model import Event, Job, JobIdentity, JobState, utc_now

MAX_ATTEMPTS = 3
_KILLED = ("job.worker_died", "nerf.child_killed")


def _worker_died() -> dict[str, Any]:
    return Dp3dError(
        "job.worker_died",
        f"The worker process died {MAX_ATTEMPTS} times while it ran this job.",
        "Free memory or ask for fewer or smaller views; logs/worker.log in the server's data "
        "folder has the reason.",
    ).to_dict()


def open_database(url: str) -> Engine:
    """Engine of the job database, its tables made when absent."""
    is_sqlite = url.startswith("sqlite")
    engine = create_engine(
        url, connect_args={"check_same_thread": False, "timeout": 15} if is_sqlite else {}
    )
    if is_sqlite:

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            # WAL: readers (event streams) never wait for the writer; NORMAL keeps the file
            # whole through a crash of the process.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

    SQLModel.metadata.create_all(engine)
    return engine


class JobStore:
    """Jobs and their events; safe to use from several threads."""

    def __init__(self, database_url: str) -> None:
        self._engine = open_database(database_url)
        self._writing = threading.RLock()  # SQLite has one writer; wait here, not in its timeout

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)

    # -- reading --

    def get(self, job_id: str) -> Job:
        """A job; raises ``job.not_found``."""
        with self._session() as session:
            return self._get(session, job_id)

    @staticmethod
    def _get(session: Session, job_id: str) -> Job:
        job = session.exec(select(Job).where(Job.id == job_id)).first()
        if job is None:
            raise Dp3dError(
                "job.not_found",
                f"There is no job {job_id[:40]!r} on this server.",
                "List the jobs with GET /v1/jobs, or start a new one.",
            )
        return job

    def state(self, job_id: str) -> JobState:
        """State of a job, without the rest of it; raises ``job.not_found``."""
        with self._session() as session:
            state = session.exec(select(Job.state).where(Job.id == job_id)).first()
        return JobState(state if state is not None else self.get(job_id).state)

    def recent(self, limit: int = 50) -> list[Job]:
        """Jobs, newest first."""
        with self._session() as session:
            return list(session.exec(select(Job).order_by(col(Job.number).desc()).limit(limit)))

    def abandoned_like(self, job: Job) -> list[Job]:
        """Jobs of the same kind and parameters that were stopped from outside, newest first.

        Those are the cancelled ones and the ones whose process was killed.  What a job left
        that failed by itself may be why it failed.
        """
        ended = [JobState.CANCELLED.value, JobState.FAILED.value]
        with self._session() as session:
            query = (
                select(Job)
                .where(Job.kind == job.kind, col(Job.state).in_(ended))
                .order_by(col(Job.number).desc())
                .limit(100)
            )
            return [
                other
                for other in session.exec(query)
                if other.params == job.params
                and (other.error is None or other.error.get("code") in _KILLED)
            ]

    def events_after(self, job_id: str, after: int, limit: int = 500) -> list[Event]:
        """Events of a job with an id above ``after``, oldest first."""
        with self._session() as session:
            query = (
                select(Event)
                .where(Event.job_id == job_id, col(Event.id) > after)
                .order_by(col(Event.id))
                .limit(limit)
            )
            return list(session.exec(query))

    # -- life of a job --

    def create(self, kind: str, params: dict[str, Any], digest: str | None = None) -> Job:
        """Queue a job.

        Args:
            kind: of the job.
            params: complete parameters.
            digest: of the request, so that :meth:`create_once` can answer with this job.

        """
        with self._writing, self._session() as session:
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
    ) -> tuple[Job, bool]:
        """The newest job of the same request that is waiting, running or usable, else a new one.

        Of two that ask at once, one makes the job and the other gets it.

        Args:
            kind: of the job.
            params: complete parameters.
            digest: of the request.
            is_usable: whether the result of a succeeded job can still be fetched.

        Returns:
            the job, and whether it is new.

        """
        with self._writing:
            for job in self._of_request(digest):
                unfinished = not JobState(job.state).ended and not job.cancel_requested
                if unfinished or (job.state == JobState.SUCCEEDED and is_usable(job.result)):
                    return job, False
            return self.create(kind, params, digest), True

    def _of_request(self, digest: str) -> list[Job]:
        """Jobs of a request, newest first."""
        with self._session() as session:
            query = (
                select(Job)
                .join(JobIdentity, col(JobIdentity.job_id) == col(Job.id))
                .where(JobIdentity.digest == digest)
                .order_by(col(Job.number).desc())
                .limit(100)
            )
            return list(session.exec(query))

    def claim_next(self) -> Job | None:
        """The oldest queued job, now running; None when nothing waits."""
        with self._writing, self._session() as session:
            waiting = session.exec(
                select(Job.id).where(Job.state == JobState.QUEUED.value).order_by(col(Job.number))
            ).all()
            for job_id in waiting:
                job = self._change(
                    session,
                    job_id,
                    [JobState.QUEUED],
                    state=JobState.RUNNING.value,
                    attempt=Job.attempt + 1,
                    started_at=func.coalesce(Job.started_at, utc_now()),
                    message="",
                )
                if job is not None:
                    return job
            return None

    def request_cancel(self, job_id: str) -> tuple[Job, bool]:
        """Cancel a job: a queued one at once, a running one is only marked.

        Returns:
            the job, and whether this changed anything (False on an ended job).

        """
        with self._writing, self._session() as session:
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
        with self._writing, self._session() as session:
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

    def give_back(self, job_id: str, *, count_attempt: bool = True) -> Job | None:
        """Put a running job whose worker is gone back into the queue.

        Ends it instead when a cancel was asked for, or as ``job.worker_died`` after
        ``MAX_ATTEMPTS``.

        Args:
            job_id: the job.
            count_attempt: False when the server itself stopped in good order.

        """
        with self._writing, self._session() as session:
            job = self._get(session, job_id)
            if job.cancel_requested:
                return self.finish(job_id, JobState.CANCELLED)
            if count_attempt and job.attempt >= MAX_ATTEMPTS:
                return self.finish(job_id, JobState.FAILED, error=_worker_died())
            return self._change(
                session,
                job_id,
                [JobState.RUNNING],
                state=JobState.QUEUED.value,
                attempt=job.attempt if count_attempt else max(0, job.attempt - 1),
                eta_s=None,
                message="waiting to go on",
            )

    def recover(self) -> list[Job]:
        """Give back every job that was running when an earlier server died."""
        with self._session() as session:
            running = session.exec(select(Job.id).where(Job.state == JobState.RUNNING.value)).all()
        return [job for job_id in running if (job := self.give_back(job_id)) is not None]

    # -- news from a running job --

    def add_progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Record a progress event of a running job; ignored when it is not running."""
        fields = ("stage", "step", "of", "message", "eta_s", "values")
        with self._writing, self._session() as session:
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
        with self._writing, self._session() as session:
            known = session.exec(
                select(Event.data).where(Event.job_id == job_id, Event.event == "artifact")
            )
            if artifact not in list(known):
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
    def _add_state_event(session: Session, job: Job) -> None:
        session.add(Event(job_id=job.id, event="state", data=job.to_dict()))
