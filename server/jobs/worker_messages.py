"""What the server and its worker say to each other: one line of JSON each.

The server sends commands (:class:`RunJob`, :class:`CancelJob`), the worker events (all others).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from dp3d_core.progress import Progress
from server.json_ready import json_ready

EndState = Literal["succeeded", "failed", "cancelled"]
"""Values of ``JobState``, which comes with the database that the worker does not need."""


@dataclass(frozen=True)
class RunJob:
    """Run a job."""

    job: str
    """Its id."""
    kind: str
    params: dict[str, Any]


@dataclass(frozen=True)
class CancelJob:
    """Stop a job within one step."""

    job: str


@dataclass(frozen=True)
class WorkerReady:
    """Jobs may come."""

    engines: list[dict[str, Any]]
    """``EngineInfo`` of each engine."""


@dataclass(frozen=True)
class EnginesChanged:
    """Weights or packages were installed or removed."""

    engines: list[dict[str, Any]]


@dataclass(frozen=True)
class JobProgress:
    """A job got on."""

    job: str
    progress: Progress


@dataclass(frozen=True)
class JobArtifact:
    """A result of a job can be fetched already."""

    job: str
    name: str
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class JobEnded:
    """A job came to its end."""

    job: str
    state: EndState
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    """Why it failed, as ``Dp3dError.to_dict`` writes it."""


Command: TypeAlias = RunJob | CancelJob
Event: TypeAlias = WorkerReady | EnginesChanged | JobProgress | JobArtifact | JobEnded

_COMMANDS: dict[str, type[Command]] = {"run": RunJob, "cancel": CancelJob}
_EVENTS: dict[str, type[Event]] = {
    "ready": WorkerReady,
    "engines": EnginesChanged,
    "progress": JobProgress,
    "artifact": JobArtifact,
    "ended": JobEnded,
}
_NAMES: dict[type[Command | Event], str] = {
    kind: name for name, kind in (*_COMMANDS.items(), *_EVENTS.items())
}


def to_line(message: Command | Event) -> str:
    """A message as a line, with its end."""
    data = {"type": _NAMES[type(message)], **json_ready(message)}
    return json.dumps(data, separators=(",", ":")) + "\n"


def parse_command(line: str | bytes) -> Command:
    """The command in a line; raises ``ValueError``."""
    command: Command = _parse(line, _COMMANDS)
    return command


def parse_event(line: str | bytes) -> Event:
    """The event in a line; raises ``ValueError``."""
    event: Event = _parse(line, _EVENTS)
    return event


def _parse(line: str | bytes, kinds: dict[str, type[Any]]) -> Any:
    try:
        data = json.loads(line)
        kind = kinds[data.pop("type")]
        if kind is JobProgress:
            data["progress"] = Progress(**data["progress"])
        elif kind is JobEnded and data["state"] not in get_args(EndState):
            raise ValueError(f"a job cannot end as {data['state']!r}")
        return kind(**data)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"a line is no message ({error})") from error
