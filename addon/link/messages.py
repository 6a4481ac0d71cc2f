# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages from the thread of a run to Blender's main thread, in the order of a run.  No bpy here.

The server's JSON ends here: :meth:`Job.from_dict` and :meth:`Progress.from_dict` read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ENDED = ("succeeded", "failed", "cancelled")
"""States of a job that has ended."""


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    stage: str
    step: int
    of: int
    """At least 1."""
    message: str = ""
    eta_s: float | None = None
    """Seconds left of the stage, when known."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """Of a progress event, or of a job."""
        eta = data.get("eta_s")
        return cls(
            stage=str(data.get("stage") or ""),
            step=int(data.get("step") or 0),
            of=max(1, int(data.get("of") or 1)),
            message=str(data.get("message") or ""),
            eta_s=None if eta is None else float(eta),
        )


@dataclass(frozen=True)
class Job:
    """A job as the server describes it."""

    id: str
    kind: str
    state: str
    progress: Progress
    """Its stage is empty before the first."""
    error: Failed | None
    """Why it failed, or why it waits."""
    result: dict[str, Any]
    """By its kind; empty before it succeeded."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Job:
        """Of the server's answer, or of a state event."""
        error = data.get("error")
        return cls(
            id=str(data["id"]),
            kind=str(data["kind"]),
            state=str(data.get("state", "")),
            progress=Progress.from_dict(data),
            error=Failed.from_dict(error) if isinstance(error, dict) else None,
            result=dict(data.get("result") or {}),
        )


# -- messages ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServerAnswered:
    """A dp3d server answered the handshake."""

    version: str


@dataclass(frozen=True)
class EnginesListed:
    """The engines, as ``GET /v1/engines`` describes them."""

    engines: list[dict[str, Any]]


@dataclass(frozen=True)
class KindBegan:
    """A step of the plan begins."""

    kind: str
    number: int
    """From 1."""
    of: int


@dataclass(frozen=True)
class JobChanged:
    """A job was created, or has another state."""

    job: Job


@dataclass(frozen=True)
class Progressed:
    """A job, or what the run does itself, got on."""

    progress: Progress


@dataclass(frozen=True)
class Noticed:
    """Something is waited for."""

    message: str


@dataclass(frozen=True)
class PortraitArrived:
    """The picture of the portrait with its crop is on disk."""

    path: str


@dataclass(frozen=True)
class FrameArrived:
    """A frame, or its mask, is on disk."""

    path: str


@dataclass(frozen=True)
class ViewsStored:
    """The server has the views that it is to fit."""

    views: str
    """SHA-256 of the tree."""


@dataclass(frozen=True)
class ViewsArrived:
    """All views are on disk."""

    views: str
    """SHA-256 of the tree."""
    report: dict[str, Any]
    """Of the portrait."""
    warnings: list[str]


@dataclass(frozen=True)
class FitDone:
    """The server has a fit."""

    fit: str
    """SHA-256 of the tree."""
    scores: dict[str, Any]
    warnings: list[str]


@dataclass(frozen=True)
class MeshArrived:
    """The mesh is on disk."""

    path: str
    stats: dict[str, Any]


@dataclass(frozen=True)
class HeadArrived:
    """The rigged head is on disk."""

    path: str
    report: dict[str, Any]
    """Of the portrait."""
    warnings: list[str]


@dataclass(frozen=True)
class PlaybackArrived:
    """All frames of a playback are on disk."""

    folder: str
    video: str
    """Path; empty: none was asked for."""
    warnings: list[str]


@dataclass(frozen=True)
class FitSaved:
    """The files of the fit are on disk."""

    folder: str


@dataclass(frozen=True)
class Failed:
    """The run, or a job, ended by a failure."""

    code: str
    problem: str
    remedy: str

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Failed:
        """Of a problem document."""
        return cls(
            str(data.get("code", "internal")),
            str(data.get("problem", "The job failed.")),
            str(data.get("remedy", "See the server's log.")),
        )


@dataclass(frozen=True)
class RunCancelled:
    """The run was cancelled."""


@dataclass(frozen=True)
class RunFinished:
    """All steps of the plan are done."""


Arrived = ViewsArrived | MeshArrived | HeadArrived | PlaybackArrived
"""Results that come into the scene."""
Message = (
    ServerAnswered
    | EnginesListed
    | KindBegan
    | JobChanged
    | Progressed
    | Noticed
    | PortraitArrived
    | FrameArrived
    | ViewsStored
    | FitDone
    | FitSaved
    | Failed
    | RunCancelled
    | RunFinished
    | Arrived
)
