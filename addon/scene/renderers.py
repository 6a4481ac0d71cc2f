# SPDX-License-Identifier: GPL-3.0-or-later
"""Renderers of an export: blocking without a window, as Blender's render job with one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import bpy

from .scene_copy import remove_scene

_PATIENCE_S = 3.0
"""Seconds that a new render waits for the end of a drag."""
SAFE_UNSHOWN = (5, 0, 0)
"""Version of Blender from which a scene that no window shows may be rendered."""


class Renderer(Protocol):
    """Renders one picture after another of a scene that no window needs to show."""

    def start(self, scene: bpy.types.Scene) -> None:
        """Render the scene's current frame to its file path; RuntimeError when Blender refuses."""

    def running(self) -> bool:
        """Whether a render is still going on."""

    def busy(self) -> bool:
        """Whether a render must not start now."""

    def stop(self, scene: bpy.types.Scene) -> None:
        """Stop the render and delete its scene."""

    def end(self) -> None:
        """Let go of everything when the export has ended."""


class Immediate:
    """Renders without a window: ``start`` returns when the picture is written."""

    def start(self, scene: bpy.types.Scene) -> None:
        """Render the scene's current frame to its file path; RuntimeError when Blender refuses."""
        with bpy.context.temp_override(scene=scene):
            bpy.ops.render.render(write_still=True)

    def running(self) -> bool:
        """Whether the render is still going on."""
        return False

    def busy(self) -> bool:
        """Whether a render must not start now."""
        return False

    def stop(self, scene: bpy.types.Scene) -> None:
        """Stop the render and delete its scene."""
        remove_scene(scene)

    def end(self) -> None:
        """Let go of everything when the export has ended."""


class InWindow:
    """Renders as Blender's render jobs, so that the window stays responsive.

    Before 5.0 Blender frees the GPU context of a render whose scene no window shows, also while
    it is used, and crashes.  There a second window shows the copy and the picture that grows,
    as Blender's own renders do by default; closing it stops the render.
    """

    def __init__(self) -> None:
        self._waiting_since = 0.0
        self._window = 0
        """Pointer of the second window."""

    def start(self, scene: bpy.types.Scene) -> None:
        """Begin a render job of a scene that no window shows; RuntimeError when Blender refuses."""
        self._waiting_since = 0.0
        preferences = bpy.context.preferences
        display, dirty = preferences.view.render_display_type, preferences.is_dirty
        preferences.view.render_display_type = "NONE"  # or a window for the render opens
        try:
            with self._context(scene):
                answer: Any = bpy.ops.render.render("INVOKE_DEFAULT", write_still=True)
        finally:
            preferences.view.render_display_type = display
            preferences.is_dirty = dirty
        if "RUNNING_MODAL" not in answer:
            raise RuntimeError("Blender did not begin the render")

    def _context(self, scene: bpy.types.Scene) -> AbstractContextManager[Any]:
        if bpy.app.version >= SAFE_UNSHOWN:
            return shown_nowhere(scene)
        window = self._second()
        if window is None:
            windows = bpy.context.window_manager.windows
            with bpy.context.temp_override(window=first_window()):
                bpy.ops.wm.window_new_main()
            window = windows[-1]
            self._window = window.as_pointer()
            area = max(window.screen.areas, key=lambda a: a.width * a.height)
            area.ui_type = "IMAGE_EDITOR"
            space = area.spaces.active
            assert isinstance(space, bpy.types.SpaceImageEditor)
            space.image = bpy.data.images.get("Render Result")
        if window.scene != scene:
            window.scene = scene
        return bpy.context.temp_override(window=window)

    def _second(self) -> bpy.types.Window | None:
        windows = bpy.context.window_manager.windows
        return next((w for w in windows if w.as_pointer() == self._window), None)

    def end(self) -> None:
        """Close the second window."""
        window = self._second()
        if window is not None and len(bpy.context.window_manager.windows) > 1:
            with bpy.context.temp_override(window=window):
                bpy.ops.wm.window_close()
        self._window = 0

    def running(self) -> bool:
        """Whether any render is going on."""
        return bool(bpy.app.is_job_running("RENDER"))

    def busy(self) -> bool:
        """Whether a render must not start now: another goes on, or for a while, a drag."""
        if self.running():
            return True
        if not any(_dragging(window) for window in bpy.context.window_manager.windows):
            return False
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        return now - self._waiting_since < _PATIENCE_S

    def stop(self, scene: bpy.types.Scene) -> None:
        """Stop the scene's render job, which deleting the scene does first."""
        with shown_nowhere(scene):
            if bpy.context.scene == scene:
                bpy.ops.scene.delete()


@contextmanager
def shown_nowhere(scene: bpy.types.Scene) -> Iterator[None]:
    """Context of a window and a scene that it does not show.

    In one override the window's own scene would win.
    """
    with (
        bpy.context.temp_override(window=first_window()),
        bpy.context.temp_override(scene=scene),
    ):
        yield


def first_window() -> bpy.types.Window:
    """A window of Blender's."""
    return bpy.context.window_manager.windows[0]


def _dragging(window: bpy.types.Window) -> bool:
    operators = getattr(window, "modal_operators", ())
    return any(not o.bl_idname.startswith(("RENDER_", "SCREEN_")) for o in operators)
