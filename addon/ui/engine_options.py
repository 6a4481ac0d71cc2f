# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines and their options as the server describes them.

An engine's options become a property group of their own, ``scene.dp3d_options_NAME``, made when the
server tells of the engine: so they have Blender's own fields, ranges and tooltips, and the .blend
keeps their values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from .. import ledger, settings
from ..limits import DEFAULT_ENGINE, LARGEST_INT, SEED

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

_attached: dict[str, tuple[list[dict[str, Any]], type]] = {}
"""Options and class of each engine that has a property group now."""


def attribute(engine: str) -> str:
    """Name of the scene's property group with an engine's options."""
    return "dp3d_options_" + re.sub(r"\W", "_", engine.lower())


def refresh(engines: list[dict[str, Any]]) -> None:
    """Make the property groups of the engines' options; those that did not change stay."""
    settings.ENGINES[:] = engines
    for engine in engines:
        options = [o for o in engine.get("options") or [] if _property(o) is not None]
        name = str(engine["name"])
        if name in _attached and _attached[name][0] == options:
            continue
        _remove(name)
        annotations = {o["name"]: _property(o) for o in options}
        group = type(
            "DP3D_" + attribute(name), (bpy.types.PropertyGroup,), {"__annotations__": annotations}
        )
        bpy.utils.register_class(group)
        setattr(bpy.types.Scene, attribute(name), bpy.props.PointerProperty(type=group))
        _attached[name] = (options, group)


def _property(option: dict[str, Any]) -> Any:
    """Blender property of an option; None for a kind that has none."""
    name, default = str(option.get("name", "")), option.get("default")
    if not name.isidentifier():
        return None
    about: dict[str, Any] = {
        "name": name.replace("_", " ").title(),
        "description": " ".join(str(option.get("description") or "").split()).rstrip("."),
    }
    if choices := option.get("choices"):
        items = [(str(c), str(c).replace("_", " ").capitalize(), "") for c in choices]
        known = str(default) if str(default) in {item[0] for item in items} else items[0][0]
        return EnumProperty(**about, items=items, default=known)
    if isinstance(default, bool):
        return BoolProperty(**about, default=default)
    if isinstance(default, str):
        return StringProperty(**about, default=default)
    if not isinstance(default, (int, float)):
        return None
    low, high = option.get("minimum"), option.get("maximum")
    limits = {k: v for k, v in (("min", low), ("max", high)) if v is not None}
    if isinstance(default, int):
        limits = {k: int(max(-LARGEST_INT, min(LARGEST_INT, v))) for k, v in limits.items()}
        step = max(1, min(100, int(option.get("step") or 1)))
        return IntProperty(**about, default=default, step=step, **limits)
    return FloatProperty(**about, default=default, **limits)


def group_of(scene: bpy.types.Scene) -> Any:
    """Property group with the options of the scene's engine, None before the server told of it."""
    engine = scene.dp3d.engine or DEFAULT_ENGINE
    return getattr(scene, attribute(engine), None) if engine in _attached else None


def values(scene: bpy.types.Scene) -> dict[str, Any]:
    """Options of the scene's engine that differ from their defaults."""
    group = group_of(scene)
    if group is None:
        return {}
    options = _attached[scene.dp3d.engine or DEFAULT_ENGINE][0]
    chosen = {}
    for option in options:
        value, default = getattr(group, option["name"]), option["default"]
        if isinstance(default, float):
            value = round(value, 6)  # Blender keeps single precision
        if value != default:
            chosen[option["name"]] = value
    return chosen


def draw(layout: Any, scene: bpy.types.Scene) -> None:
    """Draw every option of the scene's engine."""
    group = group_of(scene)
    if group is None:
        layout.label(text="Check the server to see the options", icon="INFO")
        return
    options = _attached[scene.dp3d.engine or DEFAULT_ENGINE][0]
    for option in options:
        layout.prop(group, option["name"])
    if not options:
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
        import random

        context.scene.dp3d.seed = random.randint(int(SEED.low), int(SEED.high))
        ledger.clear_error(context.scene)
        return {"FINISHED"}


CLASSES = (DP3D_OT_choose_engine, DP3D_MT_engines, DP3D_OT_new_seed)


def _remove(name: str) -> None:
    if name in _attached:
        delattr(bpy.types.Scene, attribute(name))
        bpy.utils.unregister_class(_attached.pop(name)[1])


def detach() -> None:
    """Take the property groups away; their values stay in the .blend."""
    for name in list(_attached):
        _remove(name)
    settings.ENGINES.clear()
