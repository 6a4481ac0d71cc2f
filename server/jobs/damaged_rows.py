"""Damaged rows of the job table: values that no job can have.

They are detected when a row is read, and their job is ended as ``job.damaged``.
"""

from __future__ import annotations

from sqlalchemy import text, update
from sqlmodel import Session, col, select

from dp3d_core.errors import Dp3dError
from server.jobs.model import Job, JobState, utc_now

UNREADABLE = (ValueError, TypeError, LookupError, RecursionError)
"""Exceptions that reading a damaged row raises."""
_REPAIR_TEXTS = """
UPDATE job SET
    id = CASE WHEN typeof(id) = 'text' AND length(id) = 32 AND id NOT GLOB '*[^0-9a-f]*' THEN id
         ELSE lower(hex(randomblob(16))) END,
    kind = CASE WHEN typeof(kind) = 'text' AND length(kind) < 64 THEN kind ELSE 'unknown' END,
    created_at = CASE WHEN typeof(created_at) = 'text' AND length(created_at) < 64
                 THEN created_at ELSE :now END
WHERE number = :number
"""
"""SQL that gives a damaged row a valid id, kind and creation time.

For SQLite alone, whose columns take values of any type.
"""


def checked_job(session: Session, number: int) -> Job | None:
    """Read and check a job by its number; None when there is none.

    Raises:
        ValueError, TypeError, LookupError, RecursionError: the row is damaged; the tuple
            :data:`UNREADABLE` has these four.

    """
    job = session.exec(select(Job).where(Job.number == number)).first()
    if job is not None:
        job.check()
    return job


def end_as_damaged(session: Session, number: int, reason: str) -> Job | None:
    """Fail the job of a damaged row and overwrite its values with readable ones.

    Args:
        session: with write access.
        number: of the job.
        reason: the damage, for the error's detail.

    Returns:
        the failed job; None when the row no longer exists.

    """
    error = Dp3dError(
        "job.damaged",
        "The job cannot be read from the database any more.",
        "Start it again; other jobs are not touched.",
        reason,
    ).to_dict()
    if session.get_bind().dialect.name == "sqlite":
        session.connection().execute(text(_REPAIR_TEXTS), {"number": number, "now": utc_now()})
    session.exec(
        update(Job)
        .where(col(Job.number) == number)
        .values(
            **dict.fromkeys(("result", "started_at", "stage", "eta_s")),
            **dict.fromkeys(("attempt", "crashes", "kills", "step", "of"), 0),
            state=JobState.FAILED.value,
            finished_at=utc_now(),
            params={},
            error=error,
            message="",
            cancel_requested=False,
        )
        .execution_options(synchronize_session=False)
    )
    session.commit()
    return session.exec(select(Job).where(Job.number == number)).first()
