"""Reads jobs and parsed events from a job store."""

from __future__ import annotations

import json

from server.jobs import queries
from server.jobs.model import Event, Job
from server.jobs.store import JobStore


def recent(store: JobStore, limit: int = 50) -> list[Job]:
    """The newest jobs, newest first."""
    return [store.get(summary["id"]) for summary in store.summaries(limit)]


def events_after(store: JobStore, job_id: str, after: int, limit: int = 500) -> list[Event]:
    """Readable events of a job with ids above ``after``, oldest first."""
    return [
        Event(id=e.id, job_id=e.job_id, event=e.event, data=json.loads(e.data))
        for e in queries.events_between(store.engine, after, [job_id], limit)
        if e.is_readable
    ]
