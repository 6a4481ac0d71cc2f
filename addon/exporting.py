# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, drives and ends the current export of a scene.

``scene.orbit_export`` does the export.  In a window each view is a render job that a timer starts,
so the window stays responsive.  Without a window the operator drives the export in a loop.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import export_record, run_records, windows
from .link.errors import AddonError
from .scene import files
from .scene.export_shots import Options
from .scene.orbit_export import OrbitExport
from .scene.renderers import Immediate, InWindow, first_window
from .scene.scene_copy import remove_leftovers

INTERVAL_S = 0.05
_BUDGET_S = 0.008
"""Seconds after which a tick of the timer begins no further step of the export."""

_current: OrbitExport | None = None


def current(scene: bpy.types.Scene | None = None) -> OrbitExport | None:
    """The running export; with a scene, only if it is of that scene."""
    if _current is None or _current.ended:
        return None
    return _current if scene is None or _current.scene == scene else None


def start(context: bpy.types.Context, *, start_over: bool = False) -> OrbitExport:
    """Start an export with the scene's settings.

    Raises:
        AddonError: ``addon.busy``, ``output.not_writable``, and those of ``OrbitExport``.

    """
    global _current  # noqa: PLW0603
    if current() is not None:
        raise AddonError(
            "addon.busy",
            "An export is going on already.",
            "Wait for it, or press Cancel in the scene it belongs to.",
        )
    scene = context.scene
    remove_leftovers()
    renderer = Immediate() if bpy.app.background else InWindow()
    options = options_of(scene, start_over=start_over)
    _current = OrbitExport(scene, context.view_layer, options, renderer)
    export_record.put(scene, error_code="", error_problem="", error_remedy="", warnings="", done=0)
    export_record.mirror(_current)
    return _current


def options_of(scene: bpy.types.Scene, *, start_over: bool = False) -> Options:
    """Options of an export, from the scene's settings.

    Raises:
        AddonError: ``output.not_writable`` for a relative folder before the file is saved.

    """
    settings = scene.dp3d_export
    name = {
        "PRESET": scene.dp3d.bl_rna.properties["preset"].enum_items[scene.dp3d.preset].name,
        "SCENE": "Camera Path",
        "SELECTED": "Selected Cameras",
    }[settings.source]
    title = f"{scene.name} {name}"
    folder, numbered = _folder(settings.folder, title)
    if start_over and settings.folder_used and numbered:
        folder, numbered = Path(bpy.path.abspath(settings.folder_used)), False
    return Options(
        source=settings.source,
        folder=folder,
        title=title,
        look=settings.look,
        use_compositing=settings.use_compositing,
        transforms=settings.use_transforms,
        start_over=start_over,
        numbered=numbered,
    )


def _folder(chosen: str, title: str) -> tuple[Path, bool]:
    """Folder of an export, and whether a taken folder's name may get a number."""
    if chosen:
        return files.chosen(chosen, "The export's folder"), False
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "export"
    if bpy.data.filepath:
        return Path(bpy.path.abspath("//")) / files.BESIDE / name, True
    return files.own("exports") / name, True


def advance(export: OrbitExport) -> bool:
    """Run an export for one tick; False once it has ended."""
    began = time.monotonic()
    going = export.step()
    while going and not export.in_flight and time.monotonic() - began < _BUDGET_S:
        going = export.step()
    export_record.mirror(export)
    if not going:
        _finish(export)
    return going


def _finish(export: OrbitExport) -> None:
    global _current  # noqa: PLW0603
    _current = None
    scene = export.scene
    if scene is None:
        return
    if export.state == "succeeded":
        export_record.put(
            scene,
            exported_folder=str(export.folder),
            exported_frames=",".join(map(str, export.frames)),
        )
        run_records.adopt_export(
            scene,
            export.folder,
            export.frames,
            export.options.title,
            scene.render.engine,
            export.rendered,
        )
        if not bpy.app.background:
            with bpy.context.temp_override(window=first_window()):
                bpy.ops.ed.undo_push(message="Export Orbit Renders")
    windows.redraw()


def cancel() -> None:
    """Stop the export and its running render; finished frames are kept."""
    if _current is not None and not _current.ended:
        export = _current
        export.cancel()
        export_record.mirror(export)
        _finish(export)


def _tick() -> float | None:
    if _current is None:
        return None
    return INTERVAL_S if advance(_current) else None


def follow() -> None:
    """Start the timer that drives the export."""
    bpy.app.timers.register(_tick, first_interval=0.0)


@persistent
def _render_began(*_: Any) -> None:
    # Called from the render's thread: nothing of Blender is touched.
    if _current is not None:
        _current.render_began()


@persistent
def _render_stopped(*_: Any) -> None:
    if _current is not None:
        _current.render_stopped()


@persistent
def _before_load(*_: Any) -> None:
    cancel()


@persistent
def _after_load(*_: Any) -> None:
    remove_leftovers()  # a file that was saved as an autosave may hold some


@persistent
def _after_undo(*_: Any) -> None:
    if _current is not None:
        _current.disturbed = True
    elif bpy.app.background:
        remove_leftovers()
    elif not bpy.app.timers.is_registered(_tidy):
        bpy.app.timers.register(_tidy, first_interval=0.01)


def _tidy() -> None:
    if _current is None:
        remove_leftovers()


_HANDLERS = (
    ("render_init", _render_began),
    ("render_cancel", _render_stopped),
    ("load_pre", _before_load),
    ("load_post", _after_load),
    ("undo_post", _after_undo),
    ("redo_post", _after_undo),
)


def attach() -> None:
    """Listen to Blender."""
    for name, call in _HANDLERS:
        getattr(bpy.app.handlers, name).append(call)


def detach() -> None:
    """Stop a running export, its timers and its handlers."""
    cancel()
    for timer in (_tick, _tidy):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    for name, call in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if call in handlers:
            handlers.remove(call)
