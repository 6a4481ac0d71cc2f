# SPDX-License-Identifier: GPL-3.0-or-later
"""Start Server, and the page that says what is missing on this computer.

The threads of ``link/local_server.py`` do the work; a timer looks at their counters while
something goes on, redraws, and starts what follows from an end.  Drawing reads plain attributes.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import bpy
from bpy.props import StringProperty

from .. import check, ledger, session, settings, windows
from ..link import local_server, programs
from ..link.client import is_loopback
from ..link.errors import AddonError
from . import preferences, sentences

SERVER = local_server.LocalServer()
"""The server of this computer."""

FINDINGS: list[dict[str, Any]] = []
"""Answer of the last ``dp3d doctor``."""

_command: local_server.Command | None = None
"""The command that runs now or ran last."""
_program: programs.Program | None = None
"""dp3d as the last command came across it."""
_looked = False
"""Whether dp3d was looked for since Blender started."""
_asked = False
"""Whether the server was asked since Blender started."""
_handled: local_server.Command | None = None
"""The last command whose end was taken note of."""
_started_at = 0.0
_seen: tuple[Any, ...] = ()

_MENDED = ("server.", "addon.program", "addon.server", "addon.command", "addon.not")
"""Beginnings of the codes of failures that the buttons of this page mend."""
_FAST_S, _SLOW_S = 0.25, 1.0
_SECOND_CLICK_S = 0.7
"""Stop appears where Start was pressed; the second click of a double click is not meant."""
_SETUP = {"models": ("setup", "models"), "nerf": ("setup", "nerf")}
_TITLES = {
    "models": "Face Models",
    "nerf": "NeRF Environment",
    "NeRF environment": "NeRF Environment",
}
_PANEL_FINDINGS = ("models", "NeRF environment")
"""What the short page names even though the main job works without."""
_INSTALL = (
    'py -3.11 -m venv .venv; .venv\\Scripts\\python -m pip install -e ".[core,heic,nerf,server]"'
    if sys.platform == "win32"
    else "make env"
)
"""Line for a terminal in dp3d's folder, as in its README."""


# -- state -------------------------------------------------------------------------------------


def can_start() -> bool:
    """Whether *Start Server* makes sense: an address of this computer, and no server known."""
    url = preferences.url()
    return local_server.startable(url) and _state() in ("stopped", "failed")


def _state() -> str:
    """State of the server at the address of the preferences."""
    if SERVER.state == "connected":
        # Nobody watches a server that was started elsewhere: it counts as long as it answers.
        here = SERVER.url == preferences.url()
        return "connected" if here and settings.SERVER_REPORT else "stopped"
    return SERVER.state


def start_server() -> None:
    """Begin to start the server of the preferences; without a window, stay until it runs.

    Raises:
        AddonError: the address is another computer's; without a window, any failure.

    """
    global _started_at  # noqa: PLW0603
    chosen = preferences.settings()
    settings.SERVER_REPORT.clear()
    order = local_server.Order(
        preferences.server(),
        chosen=_chosen(),
        token=chosen.token.strip() if chosen is not None else "",
        keep=bool(chosen is not None and chosen.keep_server),
        host=_host(),
    )
    SERVER.start(order)
    _started_at = time.monotonic()
    _watch()
    if bpy.app.background:
        while SERVER.state == "starting":
            time.sleep(0.05)
        SERVER.raise_failure()


def run_command(arguments: tuple[str, ...], title: str) -> local_server.Command:
    """Begin a command of dp3d; without a window, stay until its end.

    Raises:
        AddonError: ``addon.busy`` while another one runs; without a window, any failure.

    """
    global _command, _looked  # noqa: PLW0603
    if _command is not None and _command.busy:
        raise AddonError(
            "addon.busy",
            f"'{_command.title}' is going on.",
            "Wait for it, or cancel it.",
        )
    _looked = True
    _command = local_server.Command(arguments, title)
    _command.start(_chosen(), _host())
    _watch()
    if bpy.app.background:
        _command.wait()
        _take_result(_command)
        _command.raise_failure()
    return _command


def check_setup() -> None:
    """Begin ``dp3d doctor``; its answer goes into :data:`FINDINGS`."""
    try:
        port = urlsplit(preferences.url()).port or 80
    except ValueError:  # no number, or none that a port can have
        run_command(("doctor",), "Check Setup")
    else:
        run_command(("doctor", "--port", str(port)), "Check Setup")


def look_once() -> None:
    """Look for dp3d once in the life of this Blender; for drawing functions."""
    global _looked  # noqa: PLW0603
    if not _looked and not bpy.app.background:
        _looked = True
        bpy.app.timers.register(_first_look, first_interval=0.1, persistent=True)


def ask_once() -> None:
    """Ask the server once in the life of this Blender who it is; for drawing functions."""
    global _asked  # noqa: PLW0603
    if not _asked and not bpy.app.background:
        _asked = True
        bpy.app.timers.register(_ask, first_interval=0.1, persistent=True)


def address_changed() -> None:
    """Another server was chosen: what was known of the one before is void."""
    settings.SERVER_REPORT.clear()
    check.clear_server_errors()
    if not bpy.app.background:
        _ask()


def path_changed() -> None:
    """Another dp3d was chosen: what was found out about the one before is void."""
    global _program  # noqa: PLW0603
    _program = None
    FINDINGS.clear()
    if not bpy.app.background and not (_command is not None and _command.busy):
        check_setup()


def _ask() -> None:
    """Ask the server unless that needs a permission that Blender does not have."""
    allowed = is_loopback(preferences.url()) or bpy.app.online_access
    if allowed and not SERVER.busy and session.current() is None:
        check.start(preferences.server(), unasked=True)


def _first_look() -> None:
    if _command is None:
        check_setup()


def _chosen() -> str:
    chosen = preferences.settings()
    return bpy.path.abspath(chosen.dp3d_path) if chosen is not None else ""


def _host() -> tuple[str, ...]:
    """Folders whose libraries are Blender's."""
    folders = (sys.prefix, sys.base_prefix, os.path.dirname(bpy.app.binary_path))  # noqa: PTH120
    return tuple(folder for folder in folders if folder)


def _take_result(command: local_server.Command) -> None:
    """What follows from the end of a command."""
    global _program  # noqa: PLW0603
    _program = command.program
    if command.arguments[0] == "doctor" and isinstance(command.result, dict):
        FINDINGS[:] = [f for f in command.result.get("findings", []) if isinstance(f, dict)]
        if SERVER.state == "failed" and SERVER.code.startswith("addon.program"):
            SERVER.forget()  # dp3d is there now: Start Server can be pressed again


def _watch() -> None:
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=_FAST_S, persistent=True)


def _tick() -> float | None:
    """Redraw after changes, and start what follows from an end; None ends the timer."""
    global _seen, _handled  # noqa: PLW0603
    before, _seen = _seen, (SERVER.state, SERVER.changes, _command and _command.changes)
    if before != _seen:
        windows.redraw()
    if before[:1] != _seen[:1] and SERVER.state in ("running", "connected"):
        check.start(preferences.server())
    if before[:1] != _seen[:1] and SERVER.state in ("failed", "stopped"):
        settings.SERVER_REPORT.clear()  # no longer true
    if _command is not None and not _command.busy and _command is not _handled:
        _handled = _command
        _take_result(_command)
        windows.redraw()
        if _command.state == "succeeded" and _command.arguments[0] != "doctor":
            check_setup()  # what it brought is no longer missing
            if SERVER.state in ("running", "connected"):
                check.start(preferences.server())
    if (_command is not None and _command.busy) or SERVER.state in ("starting", "stopping"):
        return _FAST_S
    return _SLOW_S if SERVER.busy else None


# -- drawing -----------------------------------------------------------------------------------


def draw_server(layout: Any, context: bpy.types.Context) -> None:
    """One row: what is known of the server, and Start Server or Stop Server.

    Below it, while it starts the last line it printed, and after a failure what to do.
    """
    ask_once()
    row = layout.row(align=True)
    text, icon = _server_text()
    row.label(text=text, icon=icon)
    state = _state()
    if state in ("running", "starting"):
        row.operator("dp3d.stop_server", icon="SNAP_FACE")
    elif can_start() and (state == "failed" or not settings.SERVER_REPORT):
        row.operator("dp3d.start_server", icon="PLAY")
    if SERVER.state == "starting" and SERVER.lines:
        sentences.draw(layout, context, SERVER.lines[-1], active=False)
    if SERVER.state == "failed":
        _failure(layout, context, SERVER)
        _draw_lines(layout, context, SERVER.lines)
        if SERVER.code.startswith("addon.program"):
            _draw_install(layout, context, None)


def draw_setup(layout: Any, context: bpy.types.Context, width: float | None = None) -> None:
    """What is missing on this computer, each with its button or a command to copy.

    Args:
        layout: where to draw.
        context: of the drawing.
        width: of the layout in pixels at a scale of 1; None for that of the region.

    """
    column = layout.column()
    if _command is not None and (_command.busy or _command.code):
        _draw_command(column, context, width)
    if _command is None or _command.busy:
        return
    if _program is None and _command.code.startswith("addon.program"):
        _draw_install(column, context, width)
        return
    for finding in FINDINGS:
        name, status = str(finding.get("name")), finding.get("status")
        if status == "fail" or (status != "ok" and name in _PANEL_FINDINGS):
            _draw_finding(column, context, finding, width)


def draw_page(layout: Any, context: bpy.types.Context) -> None:
    """The page of the preferences: dp3d, the server with its last lines, all that is missing."""
    look_once()
    draw_server(layout, context)
    if SERVER.state != "failed":  # then they stand there already
        _draw_lines(layout, context, SERVER.lines)
    row = layout.row(align=True)
    if _program is not None:
        text = f"dp3d {_program.version}: {_program.command[0]} ({_program.origin})"
        sentences.draw(layout, context, text, "CHECKMARK")
    if _command is not None and _command.busy:
        draw_setup(layout, context)
        return
    row.operator("dp3d.check_setup", icon="VIEWZOOM")
    if not FINDINGS or (_command is not None and _command.code):
        draw_setup(layout, context)
        if not FINDINGS:
            return
    missing = [f for f in FINDINGS if f.get("status") != "ok" and not _told_by_another(f)]
    if not missing:
        layout.label(text="Everything is there", icon="CHECKMARK")
    if not bpy.app.online_access and any(finding.get("command") for finding in missing):
        needed = "Downloads need Blender's online access."
        sentences.draw(layout, context, needed, "INTERNET_OFFLINE")
        layout.prop(context.preferences.system, "use_online_access")
    for finding in missing:
        _draw_finding(layout, context, finding)


def _server_text() -> tuple[str, str]:
    # Half of a narrow sidebar: some 15 letters where there is a button beside.
    texts = {
        "starting": ("Server starting", "SORTTIME"),
        "running": (f"dp3d {SERVER.version} runs", "CHECKMARK"),
        "connected": (f"dp3d {SERVER.version} runs, started elsewhere", "CHECKMARK"),
        "stopping": ("Server stopping", "SORTTIME"),
        "failed": ("Server failed", "ERROR"),
    }
    if SERVER.state == "running" and SERVER.url != preferences.url():
        return f"dp3d runs at {SERVER.url}", "INFO"
    if _state() in texts:
        return texts[_state()]
    if settings.SERVER_REPORT:
        return "Server answers", "CHECKMARK"
    if not is_loopback(preferences.url()):
        return "Server on another computer", "INTERNET"
    return "No server yet", "RADIOBUT_OFF"


def _told_by_another(finding: dict[str, Any]) -> bool:
    """An engine without weights is named by the rows of its weights."""
    name = str(finding.get("name"))
    weights = [f for f in FINDINGS if str(f.get("name")).startswith("weights ")]
    return (
        name.startswith("engine ")
        and finding.get("status") != "fail"
        and any(f.get("status") != "ok" and str(f["name"])[8:] == name[7:] for f in weights)
    )


def _draw_finding(
    layout: Any, context: bpy.types.Context, finding: dict[str, Any], width: float | None = None
) -> None:
    name = str(finding.get("name", ""))
    box = layout.box()
    icon = "ERROR" if finding.get("status") == "fail" else "INFO"
    title = _TITLES.get(name, name[:1].upper() + name[1:])
    sentences.draw(box, context, f"{title}: {finding.get('text', '')}", icon, width)
    sentences.draw(box, context, str(finding.get("remedy", "")), "BLANK1", width, active=False)
    row = box.row(align=True)
    if finding.get("command"):
        row.operator("dp3d.run_setup", text=f"Install {title}", icon="IMPORT").what = name
    if finding.get("terminal"):
        row.operator("dp3d.copy_command", icon="COPYDOWN").text = str(finding["terminal"])


def _draw_install(layout: Any, context: bpy.types.Context, width: float | None) -> None:
    chosen = preferences.settings()
    if chosen is not None:
        layout.prop(chosen, "dp3d_path")
    text = "dp3d is installed once, by this line in a terminal in its folder:"
    sentences.draw(layout, context, text, "INFO", width)
    sentences.draw(layout, context, _INSTALL, "CONSOLE", width)
    layout.operator("dp3d.copy_command", icon="COPYDOWN").text = _INSTALL


def _draw_command(layout: Any, context: bpy.types.Context, width: float | None) -> None:
    if _command is None:
        return
    if not _command.busy:
        _failure(layout, context, _command, width)
        _draw_lines(layout, context, _command.lines, width)
        return
    row = layout.row(align=True)
    if _command.of > 0:
        text = f"{_command.title}: {_command.step} of {_command.of}"
        row.progress(factor=_command.fraction, type="BAR", text=text)
    else:
        row.label(text=_command.title, icon="SORTTIME")
    text = "Cancelling" if _command.state == "cancelling" else "Cancel"
    row.operator("dp3d.cancel_setup", text=text, icon="X")
    _draw_lines(layout, context, _command.lines, width)


def _failure(
    layout: Any, context: bpy.types.Context, watched: Any, width: float | None = None
) -> None:
    if not watched.code:
        return
    box = layout.box()
    sentences.draw(box, context, watched.problem, "ERROR", width)
    sentences.draw(box, context, watched.remedy, "BLANK1", width)
    sentences.draw(box, context, watched.code, "BLANK1", width, active=False)


def _draw_lines(
    layout: Any, context: bpy.types.Context, lines: tuple[str, ...], width: float | None = None
) -> None:
    if not lines:
        return
    box = layout.box().column(align=True)
    box.scale_y = 0.8
    box.active = False
    limit = sentences.letters(context, width)
    for line in lines:
        box.label(text=line if len(line) <= limit else line[: limit - 1] + "\u2026")


# -- buttons -----------------------------------------------------------------------------------


class DP3D_OT_start_server(bpy.types.Operator):
    """Start the dp3d server on this computer; it stops with Blender unless it is to be kept"""

    bl_idname = "dp3d.start_server"
    bl_label = "Start Server"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin to start it; without a window, stay until it runs."""
        _forget_failures(context.scene)
        try:
            start_server()
            if bpy.app.background:
                check.start(preferences.server()).wait()
                self.report({"INFO"}, _server_text()[0])
        except AddonError as error:
            return _show(self, context.scene, error)
        return {"FINISHED"}


class DP3D_OT_stop_server(bpy.types.Operator):
    """Stop the server that Blender started; unfinished jobs go on at its next start"""

    bl_idname = "dp3d.stop_server"
    bl_label = "Stop Server"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask it to stop; without a window, stay until it has."""
        if not bpy.app.background and time.monotonic() - _started_at < _SECOND_CLICK_S:
            return {"CANCELLED"}
        SERVER.stop()
        settings.SERVER_REPORT.clear()
        _watch()
        if bpy.app.background:
            SERVER.wait()
        return {"FINISHED"}


class DP3D_OT_check_setup(bpy.types.Operator):
    """Look for dp3d on this computer, and for what it lacks"""

    bl_idname = "dp3d.check_setup"
    bl_label = "Check Setup"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; without a window, stay until the answer is there."""
        _forget_failures(context.scene)
        try:
            check_setup()
        except AddonError as error:
            return _show(self, context.scene, error)
        return {"FINISHED"}


class DP3D_OT_run_setup(bpy.types.Operator):
    """Let dp3d download and install this, with progress; it can be cancelled at any time"""

    bl_idname = "dp3d.run_setup"
    bl_label = "Install"

    what: StringProperty(
        name="What",
        description="models, nerf, or the name of something that Check Setup found missing",
        default="models",
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask before a large download."""
        remedy = next((str(f.get("remedy")) for f in FINDINGS if f.get("name") == self.what), "")
        if self.what == "models" or not bpy.app.online_access:
            return self.execute(context)
        return context.window_manager.invoke_confirm(
            self, event, title=self.bl_label, message=remedy, confirm_text=self.bl_label
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; without a window, stay until it is installed."""
        _forget_failures(context.scene)
        try:
            arguments = _setup_arguments(self.what)
            if not bpy.app.online_access:
                raise AddonError(
                    "addon.online_access_off",
                    "This is a download, and Blender's online access is off.",
                    "Switch on Preferences > System > Network > Allow Online Access, or copy the "
                    "command and run it in a terminal.",
                )
            run_command(arguments, f"Install {_TITLES.get(self.what, self.what)}")
        except AddonError as error:
            return _show(self, context.scene, error)
        return {"FINISHED"}


class DP3D_OT_cancel_setup(bpy.types.Operator):
    """Stop the command that runs; the next one goes on with what was downloaded"""

    bl_idname = "dp3d.cancel_setup"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask it to stop."""
        if _command is not None:
            _command.cancel()
        return {"FINISHED"}


class DP3D_OT_copy_command(bpy.types.Operator):
    """Copy this command line, to run it in a terminal"""

    bl_idname = "dp3d.copy_command"
    bl_label = "Copy Command"

    text: StringProperty(name="Text", description="Line to copy")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Put it into the clipboard."""
        context.window_manager.clipboard = self.text
        self.report({"INFO"}, "Copied")
        return {"FINISHED"}


def _show(operator: bpy.types.Operator, scene: bpy.types.Scene, error: AddonError) -> set[str]:
    from .operators import show_failure  # which may import this module

    return show_failure(operator, scene, error)


def _forget_failures(scene: bpy.types.Scene) -> None:
    """Take away the panel's failure when a button of this page is to mend it."""
    if ledger.run(scene)["error_code"].startswith(_MENDED):
        ledger.clear_error(scene)


def _setup_arguments(what: str) -> tuple[str, ...]:
    """Arguments of dp3d that install something.

    Raises:
        AddonError: ``addon.nothing_to_install`` when nothing of that name is known.

    """
    for finding in FINDINGS:
        command = finding.get("command")
        if finding.get("name") == what and isinstance(command, list):
            return tuple(map(str, command))
    if what in _SETUP:
        return _SETUP[what]
    raise AddonError(
        "addon.nothing_to_install",
        f"dp3d names no command that installs {what!r}.",
        "Press Check Setup in the add-on's preferences.",
    )


CLASSES = (
    DP3D_OT_start_server,
    DP3D_OT_stop_server,
    DP3D_OT_check_setup,
    DP3D_OT_run_setup,
    DP3D_OT_cancel_setup,
    DP3D_OT_copy_command,
)


def _leave() -> None:
    """Blender ends; without this the server would notice as well, by the end of its input."""
    SERVER.release()
    if _command is not None:
        _command.cancel()


def attach() -> None:
    """Let the server go with Blender."""
    atexit.register(_leave)


def detach() -> None:
    """Let go of the processes: the add-on ends."""
    atexit.unregister(_leave)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for timer in (_first_look, _ask):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    SERVER.release(timeout_s=5.0)
    if _command is not None:
        _command.cancel()
