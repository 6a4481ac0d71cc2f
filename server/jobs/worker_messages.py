"""Messages between the server and its worker, one line of JSON each.

The server sends commands (:class:`RunJob`, :class:`CancelJob`), the worker sends events (all other
classes).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from dp3d_core.progress import Progress
from server.json_ready import json_ready

EndState = Literal["succeeded", "failed", "cancelled"]
"""Final values of ``JobState``, whose import would load the database into the worker."""


@dataclass(frozen=True)
class RunJob:
    """Command to run a job."""

    job: str
    """Id of the job."""
    kind: str
    """``views``, ``fit``, ``render``, ``mesh`` or ``head``."""
    params: dict[str, Any]
    """Complete parameters of this kind of job."""


@dataclass(frozen=True)
class CancelJob:
    """Command to cancel a job within one step."""

    job: str
    """Id of the job."""


@dataclass(frozen=True)
class WorkerReady:
    """The worker is ready for jobs."""

    engines: list[dict[str, Any]]
    """``EngineInfo`` of each engine."""


@dataclass(frozen=True)
class EnginesChanged:
    """Weights or packages were installed or removed."""

    engines: list[dict[str, Any]]
    """``EngineInfo`` of each engine."""


@dataclass(frozen=True)
class JobProgress:
    """Progress of a job."""

    job: str
    """Id of the job."""
    progress: Progress


@dataclass(frozen=True)
class JobArtifact:
    """An artifact of a running job that clients can already fetch."""

    job: str
    """Id of the job."""
    name: str
    """Relative path, for example ``frames/0001.png``."""
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class JobEnded:
    """A job ended."""

    job: str
    """Id of the job."""
    state: EndState
    result: dict[str, Any] | None = None
    """Result of a succeeded job."""
    error: dict[str, Any] | None = None
    """Error of a failed job, from ``Dp3dError.to_dict``."""


Command: TypeAlias = RunJob | CancelJob
"""Message from the server to the worker."""
Event: TypeAlias = WorkerReady | EnginesChanged | JobProgress | JobArtifact | JobEnded
"""Message from the worker to the server."""

_COMMANDS: dict[str, type[Command]] = {"run": RunJob, "cancel": CancelJob}
_EVENTS: dict[str, type[Event]] = {
    "ready": WorkerReady,
    "engines": EnginesChanged,
    "progress": JobProgress,
    "artifact": JobArtifact,
    "ended": JobEnded,
}
_NAMES: dict[type[Command | Event], str] = {
    type_: name for name, type_ in (*_COMMANDS.items(), *_EVENTS.items())
}


def to_line(message: Command | Event) -> str:
    """A message as one line of JSON with its newline."""
    data = {"type": _NAMES[type(message)], **json_ready(message)}
    return json.dumps(data, separators=(",", ":")) + "\n"


def parse_command(line: str | bytes) -> Command:
    """Parse a line with a command; raises ``ValueError``."""
    command: Command = _parse(line, _COMMANDS)
    return command


def parse_event(line: str | bytes) -> Event:
    """Parse a line with an event; raises ``ValueError``."""
    event: Event = _parse(line, _EVENTS)
    return event


def _parse(line: str | bytes, types: dict[str, type[Any]]) -> Any:
    try:
        data = json.loads(line)
        type_ = types[data.pop("type")]
        if type_ is JobProgress:
            data["progress"] = Progress(**data["progress"])
        elif type_ is JobEnded and data["state"] not in get_args(EndState):
            raise ValueError(f"a job cannot end as {data['state']!r}")
        return type_(**data)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"a line is no message ({error})") from error
