# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside the windowed Blender: answers Python sent over a loopback socket on the main thread.

``blender --python driver.py -- PORT SECRET``.  One JSON line in (``{"secret", "code"}``; the code
sets ``result``), one JSON line out.  Names here are what the walk's code can use.
"""

import json
import queue
import socket
import sys
import threading
import traceback
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

sys.path.insert(0, str(Path(__file__).parent))
import clocks
import marks

PORT, SECRET = sys.argv[sys.argv.index("--") + 1 :]
MODULE = "bl_ext.user_default.dp3d_head_views"
counts = {"undo": 0, "redo": 0}
_requests = queue.Queue()
_expanded = []

preferences = bpy.context.preferences
preferences.view.show_splash = False
preferences.view.ui_scale = 1.0
preferences.system.viewport_aa = "OFF"


def window():
    """The first window."""
    return bpy.context.window_manager.windows[0]


def scene():
    """Its scene, looked up each time: undo frees what a kept reference points to."""
    return window().scene


def area(kind):
    """First area of a kind."""
    return next(a for a in window().screen.areas if a.type == kind)


def region(kind, of="VIEW_3D"):
    """A region of an area."""
    return next(r for r in area(of).regions if r.type == kind)


def rectangle(kind, of="VIEW_3D"):
    """Left, top, width, height of a region in pixels of the window's picture."""
    r = region(kind, of)
    return r.x, window().height - r.y - r.height, r.width, r.height


def redraw(times=1):
    """Draw everything, now."""
    for screen_area in window().screen.areas:
        screen_area.tag_redraw()
        for area_region in screen_area.regions:
            area_region.tag_redraw()
    with bpy.context.temp_override(window=window()):
        bpy.ops.wm.redraw_timer(type="DRAW_WIN_SWAP", iterations=times)


def redraw_panels():
    """Draw sidebars and preferences, now; the list of what they say is new."""
    marks.drawn.clear()
    for screen_area in window().screen.areas:
        for area_region in screen_area.regions:
            if area_region.type in ("UI", "HEADER") or screen_area.type == "PREFERENCES":
                area_region.tag_redraw()
    with bpy.context.temp_override(window=window()):
        bpy.ops.wm.redraw_timer(type="DRAW_WIN_SWAP", iterations=1)


def texts():
    """What labels and progress bars of our panels say."""
    redraw_panels()
    return [name for kind, name, _ in marks.drawn if kind in ("label", "progress") and name]


def open_tab(name):
    """Show the sidebar with a tab in front."""
    area("VIEW_3D").spaces.active.show_region_ui = True
    redraw(2)
    region("UI").active_panel_category = name
    redraw(2)


def call(operator, **arguments):
    """Call an operator as if pressed in the 3D view."""
    name, _, rest = operator.partition(".")
    with bpy.context.temp_override(window=window(), area=area("VIEW_3D"), region=region("WINDOW")):
        return list(getattr(getattr(bpy.ops, name), rest)(**arguments))


def show_preferences():
    """The extension's preferences, in place of the 3D view."""
    space = area("VIEW_3D")
    space.type = "PREFERENCES"
    preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "Head Views"
    if not _expanded:  # the operator is a toggle
        bpy.ops.preferences.addon_expand(module=MODULE)
        _expanded.append(MODULE)
    redraw(2)


def hide_preferences():
    """The 3D view again."""
    area("PREFERENCES").type = "VIEW_3D"
    redraw(2)


def show_files(folder):
    """A file browser in place of the properties editor; it lists files one under another."""
    if not any(a.type == "FILE_BROWSER" for a in window().screen.areas):
        area("PROPERTIES").type = "FILE_BROWSER"
        redraw(2)
    space = area("FILE_BROWSER").spaces.active
    space.show_region_toolbar = False
    space.params.directory = folder.encode()
    space.params.display_type, space.params.use_filter = "LIST_VERTICAL", False
    redraw(3)


def hide_files():
    """The properties editor again."""
    area("FILE_BROWSER").type = "PROPERTIES"
    redraw(2)


def in_status_bar():
    """Whether the status bar calls a draw function of ours: others can make it forget them."""
    functions = getattr(bpy.types.STATUSBAR_HT_header.draw, "_draw_funcs", ())
    return any(f.__module__.startswith(MODULE) for f in functions)


def results():
    """What the scene has: names by role, and the list of results."""
    roles = {}
    for thing in scene().objects:
        if role := thing.get("dp3d_role"):
            roles[role] = roles.get(role, 0) + 1
    entries = getattr(scene(), "dp3d_results", ())
    names = "title", "views", "fit", "mesh", "playback"
    return {
        "objects": roles,
        "results": [{n: getattr(entry, n, "") for n in names} for entry in entries],
    }


@persistent
def _count_undo(*_):
    counts["undo"] += 1


@persistent
def _count_redo(*_):
    counts["redo"] += 1


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
clocks.install()
bpy.app.handlers.undo_post.append(_count_undo)
bpy.app.handlers.redo_post.append(_count_redo)
