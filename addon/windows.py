# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's windows: whether the user is busy in one, their contexts, and redrawing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy


def context_of(scene: bpy.types.Scene) -> Any:
    """Context of a window that shows the scene, for operators that a timer calls."""
    manager = bpy.context.window_manager
    for window in manager.windows if manager else ():
        if window.scene == scene:
            return bpy.context.temp_override(window=window)
    return bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0])


_DRAGS = ("TRANSFORM_", "VIEW3D_", "SCULPT_", "PAINT_", "GPENCIL_", "GREASE_", "MESH_", "CURVE_")
"""Prefixes of the modal operators during which the scene must not change."""
_PATIENCE_S = 3.0
"""Seconds that a result waits for other modal operators; some add-ons never end theirs."""


def obstacle(waited_s: float) -> str:
    """Why the scene must not change now, a sentence; empty where it may.

    Args:
        waited_s: seconds that the result has waited already.

    """
    if bpy.app.background:
        return ""
    if bpy.app.is_job_running("RENDER"):
        return "The result comes in when the render is done"
    for window in bpy.context.window_manager.windows:
        if _modal(window) and (waited_s < _PATIENCE_S or _dragging(window)):
            return "Finish or cancel the running tool to bring the result in"
        active = window.view_layer.objects.active
        if active is not None and active.mode != "OBJECT":
            mode = active.mode.replace("_", " ").lower()
            return f"Leave the {mode} mode to bring the result in"
    return ""


def _modal(window: bpy.types.Window) -> bool:
    """Whether a modal operator runs, renders aside: an ended one stays listed for a while."""
    return any(o.bl_idname != "RENDER_OT_render" for o in getattr(window, "modal_operators", ()))


def _dragging(window: bpy.types.Window) -> bool:
    """Whether the user is in the middle of a drag or a stroke."""
    return any(o.bl_idname.startswith(_DRAGS) for o in getattr(window, "modal_operators", ()))


status_draw: Callable[[Any, bpy.types.Context], None] | None = None
"""Draws the progress of runs in the status bar; set by the panel, and added again if it is lost."""


def redraw() -> None:
    """Redraw sidebars, preferences and status bar.

    Not the viewport: it costs up to a second where OpenGL is computed in software.
    """
    header = bpy.types.STATUSBAR_HT_header
    if status_draw is not None and status_draw not in getattr(header.draw, "_draw_funcs", ()):
        header.append(status_draw)
    manager = bpy.context.window_manager
    for window in manager.windows if manager else []:
        if not _dragging(window):  # a drag shows its numbers there
            # The status bar is no area of the screen; this is what redraws it.  Blender's own
            # status_text_set would put an earlier header back, without what was appended.
            window.workspace.status_text_set_internal(None)
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()
    redraw_sidebars()


def redraw_sidebars() -> None:
    """Have every sidebar of a 3D view drawn again."""
    manager = bpy.context.window_manager
    for window in manager.windows if manager else []:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()
