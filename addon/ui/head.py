# SPDX-License-Identifier: GPL-3.0-or-later
"""The rigged head in the panel: its look, and the keys that are tried first."""

from __future__ import annotations

from typing import Any

import bpy

from ..scene import look, rigged_head, tags
from . import sentences

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
