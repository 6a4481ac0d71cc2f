# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of *Export Orbit Renders*, and the record of a scene's last export.

Undo resets every property of a scene.  The record is therefore kept in this module, which undo does
not reach, and copied to ``scene.dp3d_export`` after each undo.
"""

# No postponed annotations here: Blender reads property definitions from them.

from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty, EnumProperty, IntProperty, PointerProperty, StringProperty

from . import run_records, windows
from .scene import files
from .scene.orbit_export import OrbitExport
from .settings import PATH_OPTIONS

_RECORD = (
    *("state", "message", "warnings", "folder_used", "title"),
    *("views", "done", "exported_folder", "exported_frames"),
    *("error_code", "error_problem", "error_remedy"),
)
_records: dict[int, dict[str, Any]] = {}
"""Record of each scene's last export, by the scene's ``session_uid``."""


class OrbitExportSettings(bpy.types.PropertyGroup):
    """Settings of the export, and the record of the last one."""

    source: EnumProperty(
        name="Cameras",
        description="Cameras the scene is rendered from",
        items=(
            ("PRESET", "Preset", "Preset, number, size and pitch as chosen for the head views"),
            ("SCENE", "Camera", "The scene's camera along the frame range, with its step"),
            ("SELECTED", "Selected", "All selected cameras, at the current frame"),
        ),
    )
    folder: StringProperty(
        name="Folder",
        description=(
            "Folder of the view set; the same export into the same folder renders only what is "
            "missing. Empty: a folder in head_views beside the .blend file, numbered where "
            "another scene's export is; exports of an unsaved file come along at its first save"
        ),
        subtype="DIR_PATH",
        options=PATH_OPTIONS,
    )
    look: EnumProperty(
        name="Colors",
        description="View transform of the frames",
        items=(
            ("STANDARD", "True", "Standard: the colors a fit and a dataset need"),
            ("SCENE", "As in the Scene", "The scene's own view transform, look and exposure"),
        ),
    )
    use_compositing: BoolProperty(
        name="Compositing",
        description="Run the scene's compositor and sequencer over the frames",
    )
    use_transforms: BoolProperty(
        name="nerfstudio File",
        description="Also write transforms.json, for ns-train and other tools",
    )
    # -- the record
    state: StringProperty(description="empty, running, succeeded, cancelled or failed")
    message: StringProperty(description="Sentence for a person")
    warnings: StringProperty(description="One per line")
    folder_used: StringProperty(
        description="Folder of the last export", subtype="DIR_PATH", options=PATH_OPTIONS
    )
    title: StringProperty(description="Name of the last export")
    views: IntProperty(description="Views of the last export")
    done: IntProperty(description="Finished views of the last export")
    exported_folder: StringProperty(
        description="Folder of the last complete export", subtype="DIR_PATH", options=PATH_OPTIONS
    )
    exported_frames: StringProperty(description="Its scene frames, comma separated")
    error_code: StringProperty(description="Code of the last failure")
    error_problem: StringProperty(description="What is wrong")
    error_remedy: StringProperty(description="What to do")


def mirror(export: OrbitExport) -> None:
    """Copy an export's progress to its scene."""
    scene = export.scene
    if scene is None:
        return
    state = "running" if export.state in ("preparing", "rendering") else export.state
    values: dict[str, Any] = {
        "state": state,
        "message": message(export),
        "warnings": "\n".join(export.warnings),
        "folder_used": str(export.folder),
        "title": export.options.title,
        "views": export.views,
        "done": export.done,
    }
    if export.error is not None:
        values |= {
            "error_code": export.error.code,
            "error_problem": export.error.problem,
            "error_remedy": export.error.remedy,
        }
    put(scene, **values)


def message(export: OrbitExport) -> str:
    """Progress or outcome of an export, one sentence."""
    count = f"{export.done} of {export.views}"
    if export.state == "preparing":
        return f"Measuring camera {len(export.cameras) + 1} of {export.views}"
    if export.state == "rendering":
        return f"Rendering view {min(export.done + 1, export.views)} of {export.views}"
    if export.state == "cancelled":
        kept = f" {count} frames are kept: export again to go on." if export.done else ""
        return f"Export cancelled.{kept}"
    if export.state == "succeeded":
        if not export.rendered:
            return f"All {export.views} frames were there already. Start Over renders them anew."
        return f"{export.views} views in {export.folder.name}. Next: press Fit or Import Mesh."
    return ""


def put(scene: bpy.types.Scene, **values: Any) -> None:
    """Change fields of a scene's record."""
    record = _records.setdefault(scene.session_uid, {n: _read(scene, n) for n in _RECORD})
    record.update(values)
    _show_record(scene, record)


def _read(scene: bpy.types.Scene, name: str) -> Any:
    return getattr(scene.dp3d_export, name)


def _show_record(scene: bpy.types.Scene, record: dict[str, Any]) -> None:
    if run_records.write(scene.dp3d_export, record):
        windows.redraw()


def moved(scene: bpy.types.Scene, old: str, new: Path) -> None:
    """Record the new place of the folder of the scene's last export."""
    values = {
        name: files.moved(_read(scene, name), old, new)
        for name in ("folder_used", "exported_folder")
        if _read(scene, name)
    }
    if values:
        put(scene, **values)


@persistent
def _after_load(*_: Any) -> None:
    _records.clear()


@persistent
def _after_undo(*_: Any) -> None:
    for scene in bpy.data.scenes:
        if record := _records.get(scene.session_uid):
            _show_record(scene, record)


_HANDLERS = (("load_post", _after_load), ("undo_post", _after_undo), ("redo_post", _after_undo))

CLASSES = (OrbitExportSettings,)


def attach() -> None:
    """Give every scene its settings, and listen to Blender."""
    bpy.types.Scene.dp3d_export = PointerProperty(type=OrbitExportSettings)
    for name, call in _HANDLERS:
        getattr(bpy.app.handlers, name).append(call)


def detach() -> None:
    """Stop listening and drop the records; the scenes keep their copies."""
    for name, call in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if call in handlers:
            handlers.remove(call)
    _records.clear()
    del bpy.types.Scene.dp3d_export
