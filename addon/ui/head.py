# SPDX-License-Identifier: GPL-3.0-or-later
"""The rigged head in the panel: its look, the keys that are tried first, and face captures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import StringProperty

from .. import capture_file, run_records
from ..link.errors import AddonError
from ..scene import capture, look, rigged_head, tags
from . import sentences
from .operators import show_failure

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

_KEYS = (
    ("eyeBlinkLeft", "Blink Left"),
    ("eyeBlinkRight", "Blink Right"),
    ("jawOpen", "Jaw Open"),
    ("mouthSmileLeft", "Smile Left"),
    ("mouthSmileRight", "Smile Right"),
    ("browInnerUp", "Brows Up"),
    (rigged_head.PHOTO_EXPRESSION, "Photo's Expression"),
)
"""Names and labels of the keys that the panel shows."""


def draw(layout: Any, context: bpy.types.Context) -> None:
    """Draw look and keys of the chosen result's rigged head."""
    scene = context.scene
    layout.use_property_split = True
    layout.use_property_decorate = False
    layout.prop(scene.dp3d, "look")
    if scene.dp3d.look == look.PHOTO and (warning := look.view_transform_warning(scene)):
        sentences.draw(layout, context, warning, "COLOR")
        layout.operator("dp3d.use_standard")
    keys = rigged_head.keys_of(tags.objects(scene, scene.dp3d_run.run_id, rigged_head.ROLE))
    if not keys:
        layout.label(text="Its objects are not in the scene", icon="INFO")
        layout.operator("dp3d.load_result", text="Load Again", icon="ARMATURE_DATA").what = "HEAD"
        return
    column = layout.column(align=True)
    for name, label in _KEYS:
        if name in keys:
            column.prop(keys[name], "value", text=label, slider=True)
    skin: Any = next(iter(keys.values())).id_data
    text = f"All {len(keys)} keys: Shape Keys of {skin.user.name}"
    layout.label(text=text, icon="SHAPEKEY_DATA")
    layout.operator("dp3d.play_capture", icon="PLAY")


class DP3D_OT_play_capture(bpy.types.Operator):
    """Key the head's blend shapes and its turn by a CSV file of the app Live Link Face"""

    bl_idname = "dp3d.play_capture"
    bl_label = "Play a Capture"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", description="CSV file", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.csv", description="Kinds of files", options={"HIDDEN"})

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> set[OperatorReturnItems]:
        """Open the file browser."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Key the chosen result's head."""
        scene = context.scene
        run_id = scene.dp3d_run.run_id
        originals = tags.originals(scene, run_id, rigged_head.ROLE)
        objects = [originals[index] for index in sorted(originals)]
        keys = rigged_head.keys_of(objects)
        try:
            if not keys or objects[0].type != "ARMATURE":
                raise AddonError(
                    "addon.head_missing",
                    "There is no rigged head of the chosen result in the scene.",
                    "Press Import Rigged Head, or Load Again.",
                )
            path = Path(bpy.path.abspath(self.filepath))
            take = capture_file.read(path, [k for k in keys if k != rigged_head.PHOTO_EXPRESSION])
        except AddonError as error:
            return show_failure(self, scene, error)
        first, last = capture.play(scene, objects, take.times[-1], take.at)
        run_records.clear_error(scene)
        self.report({"INFO"}, f"The capture plays from frame {first} to {last}")
        return {"FINISHED"}


CLASSES = (DP3D_OT_play_capture,)
