# SPDX-License-Identifier: GPL-3.0-or-later
"""Named presets of the panel's settings, stored in Blender's folder of presets."""

from __future__ import annotations

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

_SUBDIR = "dp3d_head_views"
_SETTINGS = (
    *("camera_source", "preset", "views", "size", "pitch", "engine", "then_mesh"),
    *("fit_preset", "faces", "texture_size", "look"),
    *("playback_show", "playback_step", "playback_video"),
)


class DP3D_MT_presets(bpy.types.Menu):
    """Named presets of cameras, engine, fit and playback"""

    bl_label = "Head Views Presets"
    preset_subdir = _SUBDIR
    preset_operator = "script.execute_preset"
    draw = bpy.types.Menu.draw_preset  # type: ignore[assignment]  # its stub takes any context


# Blender's own base class, whose stub says nothing of what its methods return.
class DP3D_OT_add_preset(AddPresetBase, bpy.types.Operator):  # type: ignore[misc]
    """Keep cameras, engine, fit and playback under a name, or remove the preset"""

    bl_idname = "dp3d.add_preset"
    bl_label = "Add Head Views Preset"
    preset_menu = "DP3D_MT_presets"
    preset_subdir = _SUBDIR
    preset_defines = ["settings = bpy.context.scene.dp3d"]

    @property
    def preset_values(self) -> list[str]:
        """Expressions whose values a preset keeps."""
        return [f"settings.{name}" for name in _SETTINGS]


class DP3D_PT_presets(PresetPanel, bpy.types.Panel):
    """The menu of presets in the header of the options."""

    bl_label = "Head Views Presets"
    preset_subdir = _SUBDIR
    preset_operator = "script.execute_preset"
    preset_add_operator = "dp3d.add_preset"


CLASSES = (DP3D_MT_presets, DP3D_OT_add_preset, DP3D_PT_presets)
