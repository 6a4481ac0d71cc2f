"""The child's channel to its parent: events as lines of JSON, and a flag to stop."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from typing import IO, Any

from dp3d_core.progress import Progress


class ParentChannel:
    """Sends events to ``nerf_export.process.child_process``, which reads them from a pipe."""

    def __init__(self, events: IO[str]) -> None:
        self._events = events
        self.stop = threading.Event()
        """Set when the parent cancels or is gone."""
        self.has_to_save = False
        """Whether the command has unsaved work, and ends itself when ``stop`` is set."""

    def progress(self, event: Progress) -> None:
        """Send a progress event; also usable as a ``ProgressCallback``."""
        self._send("progress", asdict(event))

    def result(self, data: dict[str, Any]) -> None:
        """Send the command's result."""
        self._send("result", data)

    def error(self, data: dict[str, Any]) -> None:
        """Send an error, as of ``Dp3dError.to_dict``."""
        self._send("error", data)

    def _send(self, kind: str, data: dict[str, Any]) -> None:
        """Write one line; sets ``stop`` if the pipe is closed."""
        try:
            self._events.write(json.dumps({"event": kind, "data": data}) + "\n")
            self._events.flush()
        except OSError:  # may come before launch's thread notices the closed stdin
            self.stop.set()
