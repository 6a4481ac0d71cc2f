# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the state of the local server and the missing parts of dp3d on this computer.

Drawing reads attributes that ``local_dp3d`` keeps up to date, never the disk or the network.
The operators of its buttons are in ``server_buttons``.
"""

from __future__ import annotations

import sys
from typing import Any

import bpy

from .. import local_dp3d, preferences, settings
from ..link.client import is_loopback
from . import sentences

TITLES = {
    "models": "Face Models",
    "nerf": "NeRF Environment",
    "NeRF environment": "NeRF Environment",
}
"""Names of parts of dp3d for people."""
_PANEL_FINDINGS = ("models", "NeRF environment")
"""Findings that the short page lists although views can be generated without these parts."""
_INSTALL = (
    'py -3.11 -m venv .venv; .venv\\Scripts\\python -m pip install -e ".[core,heic,nerf,server]"'
    if sys.platform == "win32"
    else "make env"
)
"""Line for a terminal in dp3d's folder, as in its README."""


def draw_server(layout: Any, context: bpy.types.Context) -> None:
    """One row: what is known of the server, and Start Server or Stop Server.

    Below it, while it starts the last line it printed, and after a failure what to do.
    """
    server = local_dp3d.SERVER
    local_dp3d.ask_once()
    row = layout.row(align=True)
    text, icon = server_text()
    row.label(text=text, icon=icon)
    state = local_dp3d.server_state()
    if state in ("running", "starting"):
        row.operator("dp3d.stop_server", icon="SNAP_FACE")
    elif local_dp3d.can_start() and (state == "failed" or not settings.SERVER_REPORT):
        row.operator("dp3d.start_server", icon="PLAY")
    if server.state == "starting" and server.lines:
        sentences.draw(layout, context, server.lines[-1], active=False)
    if server.state == "failed":
        _failure(layout, context, server)
        _draw_lines(layout, context, server.lines)
        if server.code.startswith("addon.program"):
            _draw_install(layout, context, None)


def draw_setup(layout: Any, context: bpy.types.Context, width: float | None = None) -> None:
    """What is missing on this computer, each with its button or a command to copy.

    Args:
        layout: where to draw.
        context: of the drawing.
        width: of the layout in pixels at a scale of 1; None for that of the region.

    """
    command, column = local_dp3d.command, layout.column()
    if command is not None and (command.busy or command.code):
        _draw_command(column, context, width)
    if command is None or command.busy:
        return
    if local_dp3d.program is None and command.code.startswith("addon.program"):
        _draw_install(column, context, width)
        return
    for finding in local_dp3d.FINDINGS:
        name, status = str(finding.get("name")), finding.get("status")
        if status == "fail" or (status != "ok" and name in _PANEL_FINDINGS):
            _draw_finding(column, context, finding, width)


def draw_page(layout: Any, context: bpy.types.Context) -> None:
    """The page of the preferences: dp3d, the server with its last lines, all that is missing."""
    server, findings = local_dp3d.SERVER, local_dp3d.FINDINGS
    command, program = local_dp3d.command, local_dp3d.program
    local_dp3d.look_once()
    draw_server(layout, context)
    if server.state != "failed":  # then they stand there already
        _draw_lines(layout, context, server.lines)
    row = layout.row(align=True)
    if program is not None:
        text = f"dp3d {program.version}: {program.command[0]} ({program.origin})"
        sentences.draw(layout, context, text, "CHECKMARK")
    if command is not None and command.busy:
        draw_setup(layout, context)
        return
    row.operator("dp3d.check_setup", icon="VIEWZOOM")
    if not findings or (command is not None and command.code):
        draw_setup(layout, context)
        if not findings:
            return
    missing = [f for f in findings if f.get("status") != "ok" and not _told_by_another(f)]
    if not missing:
        layout.label(text="Everything is there", icon="CHECKMARK")
    if not bpy.app.online_access and any(finding.get("command") for finding in missing):
        needed = "Downloads need Blender's online access."
        sentences.draw(layout, context, needed, "INTERNET_OFFLINE")
        layout.prop(context.preferences.system, "use_online_access")
    for finding in missing:
        _draw_finding(layout, context, finding)


def server_text() -> tuple[str, str]:
    """What is known of the server in a few words, and their icon."""
    server = local_dp3d.SERVER
    # Half of a narrow sidebar: some 15 letters where there is a button beside.
    texts = {
        "starting": ("Server starting", "SORTTIME"),
        "running": (f"dp3d {server.version} runs", "CHECKMARK"),
        "connected": (f"dp3d {server.version} runs, started elsewhere", "CHECKMARK"),
        "stopping": ("Server stopping", "SORTTIME"),
        "failed": ("Server failed", "ERROR"),
    }
    if server.state == "running" and server.url != preferences.url():
        return f"dp3d runs at {server.url}", "INFO"
    if (state := local_dp3d.server_state()) in texts:
        return texts[state]
    if settings.SERVER_REPORT:
        return "Server answers", "CHECKMARK"
    if not is_loopback(preferences.url()):
        return "Server on another computer", "INTERNET"
    return "No server yet", "RADIOBUT_OFF"


def _told_by_another(finding: dict[str, Any]) -> bool:
    """Whether the finding of an engine is covered by that of its weights."""
    name = str(finding.get("name"))
    weights = [f for f in local_dp3d.FINDINGS if str(f.get("name")).startswith("weights ")]
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
    title = TITLES.get(name, name[:1].upper() + name[1:])
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
    command = local_dp3d.command
    if command is None:
        return
    if not command.busy:
        _failure(layout, context, command, width)
        _draw_lines(layout, context, command.lines, width)
        return
    row = layout.row(align=True)
    if command.of > 0:
        text = f"{command.title}: {command.step} of {command.of}"
        row.progress(factor=command.fraction, type="BAR", text=text)
    else:
        row.label(text=command.title, icon="SORTTIME")
    text = "Cancelling" if command.state == "cancelling" else "Cancel"
    row.operator("dp3d.cancel_setup", text=text, icon="X")
    _draw_lines(layout, context, command.lines, width)


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
