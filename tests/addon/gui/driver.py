# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside the windowed Blender: answers Python sent over a loopback socket on the main thread.

``blender --python driver.py -- PORT SECRET``.  One JSON line in (``{"secret", "code"}``; the code
sets ``result``), one JSON line out.
"""

import json
import queue
import socket
import sys
import threading
import traceback

import bpy

PORT, SECRET = sys.argv[sys.argv.index("--") + 1 :]
MODULE = "bl_ext.user_default.dp3d_head_views"
_requests = queue.Queue()

preferences = bpy.context.preferences
preferences.view.show_splash = False
preferences.view.ui_scale = 1.0
preferences.system.viewport_aa = "OFF"


def viewport():
    """Window, area, and the two regions of the 3D view that matter."""
    window = bpy.context.window_manager.windows[0]
    area = next(a for a in window.screen.areas if a.type == "VIEW_3D")
    regions = {r.type: r for r in area.regions}
    return window, area, regions["WINDOW"], regions["UI"]


def redraw(times=1):
    """Draw everything, now."""
    window, area, main, _ = viewport()
    for each in window.screen.areas:
        each.tag_redraw()
    with bpy.context.temp_override(window=window, area=area, region=main):
        bpy.ops.wm.redraw_timer(type="DRAW_WIN_SWAP", iterations=times)


def open_tab(name):
    """Show the sidebar with a tab in front."""
    _, area, _, sidebar = viewport()
    area.spaces.active.show_region_ui = True
    redraw(2)
    sidebar.active_panel_category = name
    redraw(2)


def call(operator, **arguments):
    """Call an operator as if pressed in the 3D view."""
    window, area, main, _ = viewport()
    name, _, rest = operator.partition(".")
    with bpy.context.temp_override(window=window, area=area, region=main):
        return list(getattr(getattr(bpy.ops, name), rest)(**arguments))


def show_preferences():
    """The extension's preferences, in place of the 3D view."""
    _, area, _, _ = viewport()
    area.type = "PREFERENCES"
    preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "Head Views"
    bpy.ops.preferences.addon_expand(module=MODULE)
    area.tag_redraw()
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area):
        bpy.ops.wm.redraw_timer(type="DRAW_WIN_SWAP", iterations=2)


def step_and_undo():
    """A step of the user's, and its undo."""
    call("ed.undo_push", message="before")
    call("mesh.primitive_cube_add")
    call("ed.undo_push", message="cube")
    call("ed.undo")


def mark_action(on):
    """Draw Generate/Cancel in Blender's alert colour, so that a picture shows where it is."""
    panel = sys.modules[MODULE + ".ui.panel"]
    if not hasattr(panel, "plain_action"):
        panel.plain_action = panel._action
    plain = panel.plain_action

    class Marked:
        def __init__(self, layout):
            self._layout = layout

        def row(self, **arguments):
            row = self._layout.row(**arguments)
            row.alert = True
            return row

        def __getattr__(self, name):
            return getattr(self._layout, name)

    panel._action = (lambda layout, context: plain(Marked(layout), context)) if on else plain
    redraw()


def _serve():
    listener = socket.create_server(("127.0.0.1", int(PORT)))
    connection, _ = listener.accept()
    stream = connection.makefile("rwb")
    for line in stream:
        answer = queue.Queue()
        _requests.put((json.loads(line), answer))
        stream.write(json.dumps(answer.get(), default=str).encode() + b"\n")
        stream.flush()


def _work():
    try:
        request, answer = _requests.get_nowait()
    except queue.Empty:
        return 0.03
    try:
        if request["secret"] != SECRET:
            raise PermissionError("wrong secret")
        names = globals()
        names["result"] = None
        exec(compile(request["code"], "<walk>", "exec"), names)
        answer.put({"result": names["result"]})
    except BaseException:
        answer.put({"error": traceback.format_exc()})
    return 0.01


threading.Thread(target=_serve, daemon=True).start()
bpy.app.timers.register(_work, first_interval=0.1, persistent=True)
