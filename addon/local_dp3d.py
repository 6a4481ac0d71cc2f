# SPDX-License-Identifier: GPL-3.0-or-later
"""dp3d on this computer: its server, its running command, and the findings of ``dp3d doctor``.

The threads of ``link/local_server.py`` and ``link/command.py`` do the work.  While one is active, a
timer polls their counters, redraws the panels, and starts what follows from its end.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import bpy

from . import check, preferences, run_watcher, settings, windows
from .link.client import is_loopback
from .link.command import Command
from .link.errors import AddonError
from .link.local_server import LocalServer, Order, startable
from .link.programs import Program

SERVER = LocalServer()
"""The server of this computer."""

FINDINGS: list[dict[str, Any]] = []
"""Findings of the last ``dp3d doctor``."""

command: Command | None = None
"""The command that runs now or ran last."""
program: Program | None = None
"""The dp3d program that the last command used; None before the first."""
_looked = False
"""Whether dp3d was looked for since Blender started."""
_asked = False
"""Whether the server was asked since Blender started."""
_handled: Command | None = None
"""The last command whose result was processed."""
_started_at = 0.0
_seen: tuple[Any, ...] = ()

_FAST_S, _SLOW_S = 0.25, 1.0


def can_start() -> bool:
    """Whether *Start Server* can work: the address is local, and no server runs there."""
    url = preferences.url()
    return startable(url) and server_state() in ("stopped", "failed")


def server_state() -> str:
    """State of the server at the address of the preferences."""
    if SERVER.state == "connected":
        # Nobody watches a server that was started elsewhere: it counts as long as it answers.
        here = SERVER.url == preferences.url()
        return "connected" if here and settings.SERVER_REPORT else "stopped"
    return SERVER.state


def start_server() -> None:
    """Start the server of the preferences; without a window, wait until it runs.

    Raises:
        AddonError: the address is another computer's; without a window, any failure.

    """
    global _started_at  # noqa: PLW0603
    chosen = preferences.settings()
    settings.SERVER_REPORT.clear()
    order = Order(
        preferences.server(),
        chosen=_chosen(),
        token=chosen.token.strip() if chosen is not None else "",
        keep=bool(chosen is not None and chosen.keep_server),
        host=_host(),
    )
    SERVER.start(order)
    _started_at = time.monotonic()
    _follow()
    if bpy.app.background:
        while SERVER.state == "starting":
            time.sleep(0.05)
        SERVER.raise_failure()


def stop_server() -> None:
    """Stop the server that the add-on started; without a window, wait for its end."""
    SERVER.stop()
    settings.SERVER_REPORT.clear()
    _follow()
    if bpy.app.background:
        SERVER.wait()


def server_age_s() -> float:
    """Seconds since *Start Server*."""
    return time.monotonic() - _started_at


def run_command(arguments: tuple[str, ...], title: str) -> Command:
    """Start a command of dp3d; without a window, wait for its end.

    Raises:
        AddonError: ``addon.busy`` while another one runs; without a window, any failure.

    """
    global command, _looked  # noqa: PLW0603
    if command is not None and command.busy:
        raise AddonError(
            "addon.busy",
            f"'{command.title}' is going on.",
            "Wait for it, or cancel it.",
        )
    _looked = True
    command = Command(arguments, title)
    command.start(_chosen(), _host())
    _follow()
    if bpy.app.background:
        command.wait()
        _take_result(command)
        command.raise_failure()
    return command


def cancel_command() -> None:
    """Ask the running command to stop."""
    if command is not None:
        command.cancel()


def check_setup() -> None:
    """Start ``dp3d doctor``; its findings go into :data:`FINDINGS`."""
    try:
        port = urlsplit(preferences.url()).port or 80
    except ValueError:  # no number, or none that a port can have
        run_command(("doctor",), "Check Setup")
    else:
        run_command(("doctor", "--port", str(port)), "Check Setup")


def look_once() -> None:
    """Look for dp3d, once per session of Blender; for drawing functions."""
    global _looked  # noqa: PLW0603
    if not _looked and not bpy.app.background:
        _looked = True
        bpy.app.timers.register(_first_look, first_interval=0.1, persistent=True)


def ask_once() -> None:
    """Ask the server for its version, once per session of Blender; for drawing functions."""
    global _asked  # noqa: PLW0603
    if not _asked and not bpy.app.background:
        _asked = True
        bpy.app.timers.register(_ask, first_interval=0.1, persistent=True)


def address_changed() -> None:
    """Discard what is known of the former server; ask the one at the new address."""
    settings.SERVER_REPORT.clear()
    check.clear_server_errors()
    if not bpy.app.background:
        _ask()


def path_changed() -> None:
    """Discard the findings about the former dp3d; look at the newly chosen one."""
    global program  # noqa: PLW0603
    program = None
    FINDINGS.clear()
    if not bpy.app.background and not (command is not None and command.busy):
        check_setup()


def _ask() -> None:
    """Ask the server, unless it is remote and Blender has no online access."""
    allowed = is_loopback(preferences.url()) or bpy.app.online_access
    if allowed and not SERVER.busy and run_watcher.current() is None:
        check.start(preferences.server(), unasked=True)


def _first_look() -> None:
    if command is None:
        check_setup()


def _chosen() -> str:
    chosen = preferences.settings()
    return bpy.path.abspath(chosen.dp3d_path) if chosen is not None else ""


def _host() -> tuple[str, ...]:
    """Folders with Blender's libraries."""
    folders = (sys.prefix, sys.base_prefix, os.path.dirname(bpy.app.binary_path))  # noqa: PTH120
    return tuple(folder for folder in folders if folder)


def _take_result(ended: Command) -> None:
    """Process the result of a command."""
    global program  # noqa: PLW0603
    program = ended.program
    if ended.arguments[0] == "doctor" and isinstance(ended.result, dict):
        FINDINGS[:] = [f for f in ended.result.get("findings", []) if isinstance(f, dict)]
        if SERVER.state == "failed" and SERVER.code.startswith("addon.program"):
            SERVER.forget()  # dp3d is there now: Start Server can be pressed again


def _follow() -> None:
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=_FAST_S, persistent=True)


def _tick() -> float | None:
    """Redraw after changes, and start what follows a command's end; None ends the timer."""
    global _seen, _handled  # noqa: PLW0603
    before, _seen = _seen, (SERVER.state, SERVER.changes, command and command.changes)
    if before != _seen:
        windows.redraw()
    if before[:1] != _seen[:1] and SERVER.state in ("running", "connected"):
        check.start(preferences.server())
    if before[:1] != _seen[:1] and SERVER.state in ("failed", "stopped"):
        settings.SERVER_REPORT.clear()  # no longer true
    if command is not None and not command.busy and command is not _handled:
        _handled = command
        _take_result(command)
        windows.redraw()
        if command.state == "succeeded" and command.arguments[0] != "doctor":
            check_setup()  # what it brought is no longer missing
            if SERVER.state in ("running", "connected"):
                check.start(preferences.server())
    if (command is not None and command.busy) or SERVER.state in ("starting", "stopping"):
        return _FAST_S
    return _SLOW_S if SERVER.busy else None


def _release_processes() -> None:
    """Release the server and cancel the command when Blender ends.

    Without this the server would stop too, at the end of its input.
    """
    SERVER.release()
    cancel_command()


def attach() -> None:
    """Release the server when Blender ends."""
    atexit.register(_release_processes)


def detach() -> None:
    """Release the server and cancel the command: the add-on ends."""
    atexit.unregister(_release_processes)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for timer in (_first_look, _ask):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    SERVER.release(timeout_s=5.0)
    cancel_command()
