# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine in the panel: its menu, its options, and the button that draws a seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import StringProperty

from .. import engine_options, run_records, settings
from ..limits import DEFAULT_ENGINE, SEED

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems


def draw(layout: Any, scene: bpy.types.Scene) -> None:
    """Draw every option of the scene's engine."""
    group = engine_options.group_of(scene)
    if group is None:
        layout.label(text="Check the server to see the options", icon="INFO")
        return
    names = engine_options.names(scene)
    for name in names:
        layout.prop(group, name)
    if not names:
        layout.label(text="This engine has no options", icon="INFO")


class DP3D_OT_choose_engine(bpy.types.Operator):
    """Use this engine for the views"""

    bl_idname = "dp3d.choose_engine"
    bl_label = "Choose Engine"
    bl_options = {"INTERNAL", "UNDO"}

    engine: StringProperty(name="Engine", description="Name of the engine", options={"SKIP_SAVE"})

    @classmethod
    def description(cls, context: bpy.types.Context, properties: Any) -> str:
        """The engine's title, or why it cannot run."""
        for engine in settings.ENGINES:
            if engine["name"] == properties.engine:
                return str(engine.get("problem") or engine.get("title") or engine["name"])
        return "Engine that generates the views"

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Choose it."""
        context.scene.dp3d.engine = self.engine
        return {"FINISHED"}


class DP3D_MT_engines(bpy.types.Menu):
    """Engines of the server"""

    bl_idname = "DP3D_MT_engines"
    bl_label = "Engine"

    def draw(self, context: bpy.types.Context) -> None:
        """One entry an engine; those that cannot run are grey."""
        layout = self.layout
        for engine in settings.ENGINES or [{"name": DEFAULT_ENGINE, "available": True}]:
            row = layout.row()
            row.enabled = bool(engine.get("available", True))
            row.operator("dp3d.choose_engine", text=title(engine)).engine = engine["name"]


def title(engine: dict[str, Any]) -> str:
    """Short name of an engine for a menu."""
    return str(engine.get("title") or engine["name"]).partition(":")[0]


class DP3D_OT_new_seed(bpy.types.Operator):
    """Draw a new seed at random"""

    bl_idname = "dp3d.new_seed"
    bl_label = "New Seed"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Draw it."""
        context.scene.dp3d.seed = random.randint(int(SEED.low), int(SEED.high))
        run_records.clear_error(context.scene)
        return {"FINISHED"}


CLASSES = (DP3D_OT_choose_engine, DP3D_MT_engines, DP3D_OT_new_seed)
