# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies results beside the .blend: at the first save of a file, or by *Bring Frames Along*."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty

from .. import export_record, exporting, run_records, run_watcher
from ..link.errors import AddonError
from ..scene import files
from .operators import show_failure

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

_PATHS = ("mesh", "rig", "playback", "video")
_saving_again = False


def bring(scene: bpy.types.Scene, run_ids: list[str]) -> int:
    """Copy the folders of results beside the .blend; how many there were.

    Raises:
        AddonError: ``output.not_writable``.

    """
    entries = [entry for entry in run_records.results(scene) if entry["run_id"] in run_ids]
    before = {entry["run_id"]: str(run_records.absolute(entry["folder"])) for entry in entries}
    folders = files.bring_along(scene, entries, bpy.data.filepath, temporary=own_folders())
    for entry in entries:
        run_id = entry["run_id"]
        if run_id not in folders:
            continue
        moved = {n: files.moved(entry[n], before[run_id], folders[run_id]) for n in _PATHS}
        run_records.change_result(scene, run_id, folder=str(folders[run_id]), **moved)
        if exporting.current(scene) is None:
            export_record.moved(scene, before[run_id], folders[run_id])
    return len(folders)


def own_folders() -> tuple[Path, Path]:
    """The extension's folders for runs and exports of files that are not saved."""
    return files.own("runs"), files.own("exports")


def movable(scene: bpy.types.Scene) -> list[str]:
    """Results that do not lie beside the .blend, without one that a run or an export is filling."""
    if not bpy.data.filepath:
        return []
    running = run_watcher.current()
    busy = running.plan.run_id if running is not None else ""
    export = exporting.current()
    filled = str(export.folder) if export is not None else ""
    records = [entry for entry in run_records.results(scene) if entry["folder"] != filled]
    elsewhere = files.away(records, Path(bpy.data.filepath), own_folders())
    return [run_id for run_id in elsewhere if run_id != busy]


class DP3D_OT_bring_along(bpy.types.Operator):
    """Put the frames of all results where the .blend goes."""

    bl_idname = "dp3d.bring_along"
    bl_label = "Bring Frames Along"
    bl_description = (
        "Copy the frames, meshes and playbacks of all results to the folder head_views beside "
        "the .blend, and point to them by relative paths"
    )

    pack: BoolProperty(
        name="Pack",
        description="Also pack the views' pictures into the .blend; sequences cannot be packed",
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Copy them."""
        scene = context.scene
        try:
            if not bpy.data.filepath:
                raise AddonError(
                    "addon.not_saved",
                    "The .blend file is not saved yet, so nothing can lie beside it.",
                    "Save the file; its frames come along by themselves.",
                )
            count = bring(scene, movable(scene))
        except AddonError as error:
            return show_failure(self, scene, error)
        if self.pack:
            packed = [files.pack(scene, entry["run_id"]) for entry in run_records.results(scene)]
            if sequences := [name for each in packed for name in each.sequences]:
                self.report(
                    {"WARNING"},
                    f"Blender packs no sequences; they lie beside the file: {', '.join(sequences)}",
                )
        self.report({"INFO"}, f"{count} results beside the .blend; save to keep their new paths")
        return {"FINISHED"}


def draw(layout: Any, context: bpy.types.Context) -> None:
    """The button, where the chosen result lies elsewhere than the .blend."""
    folder = bpy.path.abspath(context.scene.dp3d_run.folder)
    if not bpy.data.filepath or not folder:
        return
    if not Path(folder).is_relative_to(Path(bpy.data.filepath).parent):  # no disk is asked
        layout.operator("dp3d.bring_along", icon="PACKAGE")


@persistent
def _after_save(*_: Any) -> None:
    """Copy results out of the extension's folders, where those of an unsaved file are kept."""
    if _saving_again or not bpy.data.filepath:
        return
    own = own_folders()
    brought = 0
    for scene in bpy.data.scenes:
        ids = set(movable(scene))
        unsaved = [
            entry["run_id"]
            for entry in run_records.results(scene)
            if entry["run_id"] in ids
            and any(map(run_records.absolute(entry["folder"]).is_relative_to, own))
        ]
        try:
            brought += bring(scene, unsaved) if unsaved else 0
        except AddonError as error:
            run_records.set_error(scene, error.code, error.problem, error.remedy)
    if brought:  # the file on disk still has the old paths
        if bpy.app.background:
            _save_again()
        else:  # not within the save that goes on
            bpy.app.timers.register(_save_again, first_interval=0.0)


def _save_again() -> None:
    global _saving_again  # noqa: PLW0603
    _saving_again = True
    try:
        bpy.ops.wm.save_mainfile()
    finally:
        _saving_again = False


CLASSES = (DP3D_OT_bring_along,)


def attach() -> None:
    """Listen for saves."""
    bpy.app.handlers.save_post.append(_after_save)


def detach() -> None:
    """Stop listening."""
    if _after_save in bpy.app.handlers.save_post:
        bpy.app.handlers.save_post.remove(_after_save)
