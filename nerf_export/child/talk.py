"""How the child talks: one JSON line per event, and a flag that asks it to stop."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from typing import IO, Any

from dp3d_core.progress import Progress


class Talk:
    """The child's side of the conversation with ``nerf_export.process.child_process``."""

    def __init__(self, events: IO[str]) -> None:
        self._events = events
        self.stop = threading.Event()
        """Set when the parent wants us to end."""
        self.has_to_save = False
        """Whether work would be lost if we ended at once; it is then ended at the next step."""

    def progress(self, event: Progress) -> None:
        """Send a progress event; also usable as a ``ProgressCallback``."""
        self._send("progress", asdict(event))

    def result(self, data: dict[str, Any]) -> None:
        """Send what the command answers."""
        self._send("result", data)

    def error(self, data: dict[str, Any]) -> None:
        """Send an error a person can understand."""
        self._send("error", data)

    def _send(self, kind: str, data: dict[str, Any]) -> None:
        """Write one line; a parent that is gone asks to stop, and what was trained is saved."""
        try:
            self._events.write(json.dumps({"event": kind, "data": data}) + "\n")
            self._events.flush()
        except OSError:  # the write may meet the closed pipe before the watching thread does
            self.stop.set()
