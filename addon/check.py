# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the server for its version and engines, in a thread and without a job."""

from __future__ import annotations

import time
from pathlib import Path

import bpy

from . import engine_options, run_records, settings, windows
from .link.client import Server
from .link.errors import AddonError
from .link.messages import EnginesListed, Failed, ServerAnswered
from .link.run import Plan, Run

_INTERVAL_S = 0.1
_NO_SERVER = ("server.unreachable",)
"""Codes of failures that the panel already shows as "No server yet"."""


class Check:
    """One handshake with the server in a thread; the main thread reads the answer."""

    def __init__(self, server: Server, unasked: bool = False) -> None:
        self.unasked = unasked
        self._began = time.monotonic()
        self._run = Run(server, Plan(run_id="check", kinds=(), folder=Path()))
        self._run.start()
        self.report = ""

    def finished(self) -> bool:
        """Process the messages so far; True at the end.

        Raises:
            AddonError: what is wrong with the server, its address or the token.

        """
        alive = self._run.is_alive()  # before the queue: its last word is then in there
        while not self._run.messages.empty():
            message = self._run.messages.get()
            if isinstance(message, Failed):
                raise AddonError(message.code, message.problem, message.remedy)
            if isinstance(message, ServerAnswered):
                spent = (time.monotonic() - self._began) * 1000
                self.report = f"dp3d {message.version} answers ({spent:.0f} ms)"
            elif isinstance(message, EnginesListed):
                engine_options.refresh(message.engines)
                names = ", ".join(e["name"] for e in message.engines)
                self.report += f"; engines: {names}"
        return not alive

    def wait(self) -> None:
        """Block until the end (without a window)."""
        while not self.finished():
            time.sleep(0.02)


_current: Check | None = None


def start(server: Server, unasked: bool = False) -> Check:
    """Start a check; with a window, a timer writes the answer into every scene's panel.

    Args:
        server: to ask.
        unasked: nobody pressed a button, so an absent server is not reported as a failure.

    """
    global _current  # noqa: PLW0603
    _current = Check(server, unasked)
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        # A file that is opened meanwhile would otherwise end it, and with it the answer.
        bpy.app.timers.register(_tick, first_interval=_INTERVAL_S, persistent=True)
    return _current


def clear_server_errors() -> None:
    """Clear failures of the connection: the server answers now, or its address has changed."""
    for scene in bpy.data.scenes:
        if run_records.run(scene)["error_code"].startswith(("server.", "addon.bad_url")):
            run_records.clear_error(scene)


def detach() -> None:
    """Drop a check that is still running."""
    global _current  # noqa: PLW0603
    _current = None
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)


def _tick() -> float | None:
    if _current is None:
        return None
    try:
        ended = _current.finished()
    except AddonError as error:
        settings.SERVER_REPORT.clear()
        if not (_current.unasked and error.code in _NO_SERVER):
            for scene in bpy.data.scenes:
                run_records.set_error(scene, error.code, error.problem, error.remedy)
        ended = True
    else:
        settings.SERVER_REPORT[:] = [_current.report] if _current.report else []
        if ended:
            clear_server_errors()
    windows.redraw()
    return None if ended else _INTERVAL_S
