# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the engines' options, as Blender properties that the server's description defines.

Each engine gets a property group ``scene.dp3d_options_NAME`` when the server lists it.  Its options
then have Blender's fields, ranges and tooltips, and the .blend keeps their values.
"""

from __future__ import annotations

import re
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from . import settings
from .limits import DEFAULT_ENGINE, LARGEST_INT

_attached: dict[str, tuple[list[dict[str, Any]], type]] = {}
"""Options and property group class of each engine that the server listed."""


def attribute(engine: str) -> str:
    """Name of the scene's property group with an engine's options."""
    return "dp3d_options_" + re.sub(r"\W", "_", engine.lower())


def refresh(engines: list[dict[str, Any]]) -> None:
    """Register a property group per engine; groups whose options did not change are kept."""
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
    """Blender property of an option; None for a type that has none."""
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
    """Property group with the options of the scene's engine; None before the server listed it."""
    engine = scene.dp3d.engine or DEFAULT_ENGINE
    return getattr(scene, attribute(engine), None) if engine in _attached else None


def names(scene: bpy.types.Scene) -> list[str]:
    """Names of the options of the scene's engine; empty before the server listed it."""
    engine = scene.dp3d.engine or DEFAULT_ENGINE
    return [option["name"] for option in _attached[engine][0]] if engine in _attached else []


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


def _remove(name: str) -> None:
    if name in _attached:
        delattr(bpy.types.Scene, attribute(name))
        bpy.utils.unregister_class(_attached.pop(name)[1])


def detach() -> None:
    """Take the property groups away; their values stay in the .blend."""
    for name in list(_attached):
        _remove(name)
    settings.ENGINES.clear()
