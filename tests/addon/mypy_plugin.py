# SPDX-License-Identifier: GPL-3.0-or-later
"""mypy plugin: the types that Blender gives the add-on's classes when it registers them.

Blender reads ``views: IntProperty(...)`` in a class body as the definition of a property; for mypy
it is an annotation that is no type.  The plugin reads these definitions from the add-on's source,
so that ``settings.views`` is an int, and ``scene.dp3d``, which ``attach`` gives to every scene, is
a ``HeadViewsSettings``.  fake-bpy-module marks every pointer of Blender's as optional;
``NEVER_NONE`` names those that are always set.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mypy.checker import TypeChecker
from mypy.maptype import map_instance_to_supertype
from mypy.nodes import MypyFile, TypeInfo
from mypy.plugin import (
    AttributeContext,
    ClassDefContext,
    FunctionContext,
    MethodContext,
    Plugin,
    ReportConfigContext,
)
from mypy.plugins.common import add_attribute_to_class
from mypy.types import AnyType, Instance, NoneType, Type, TypeOfAny, UnionType, get_proper_type

ROOT = Path(__file__).parents[2]

VALUES = {
    "BoolProperty": "builtins.bool",
    "EnumProperty": "builtins.str",
    "FloatProperty": "builtins.float",
    "IntProperty": "builtins.int",
    "StringProperty": "builtins.str",
}
"""Type of a property's value, by the function of ``bpy.props`` that defines the property."""

VECTORS = {"FloatVectorProperty": "builtins.float", "IntVectorProperty": "builtins.int"}
"""Type of a vector property's items."""

TARGETS = ("PointerProperty", "CollectionProperty")
"""Properties whose value is of the class that their argument ``type`` names."""

NEVER_NONE = frozenset(
    {
        "bpy.types.Camera.dof",
        "bpy.types.Context.preferences",
        "bpy.types.Context.scene",
        "bpy.types.Context.view_layer",
        "bpy.types.Context.window_manager",
        "bpy.types.FCurve.driver",
        "bpy.types.Header.layout",
        "bpy.types.ID.original",
        "bpy.types.Image.colorspace_settings",
        "bpy.types.Menu.layout",
        "bpy.types.NodeLink.from_node",
        "bpy.types.NodeLink.from_socket",
        "bpy.types.NodeLink.to_node",
        "bpy.types.NodeLink.to_socket",
        "bpy.types.Operator.layout",
        "bpy.types.Panel.layout",
        "bpy.types.Scene.cycles",
        "bpy.types.Scene.display",
        "bpy.types.Scene.display_settings",
        "bpy.types.Scene.eevee",
        "bpy.types.Scene.view_settings",
        "bpy.types.SpaceView3D.region_3d",
        "bpy.types.ViewLayer.depsgraph",
    }
)
"""Pointers that Blender always sets where an operator, a panel or a timer of ours runs."""

NAMES = frozenset(
    {
        "bpy.types.ColorManagedDisplaySettings.display_device",
        "bpy.types.ColorManagedViewSettings.look",
        "bpy.types.ColorManagedViewSettings.view_transform",
        "bpy.types.RenderSettings.engine",
    }
)
"""Enums whose items Blender collects while it runs: the stubs know only what stood there once."""

UNKNOWN = frozenset(
    {
        "bpy.types.Image.pixels",
        "gpu.matrix.push_pop",
        "gpu.state.blend_get",
        "gpu.state.depth_test_get",
    }
)
"""Attributes of another type than the stubs say, and functions whose return value they leave out.
"""

MISSING = {
    "bpy.types.Attribute": ("data",),
    "bpy.types.BlenderRNA": ("functions",),
    "bpy.types.Constraint": ("target",),
    "bpy.types.ImageFormatSettings": ("media_type",),
    "bpy.types.NodeSocket": ("default_value",),
    "bpy.types.Property": ("default", "enum_items", "fixed_type"),
    "mathutils.Matrix": ("__iter__",),
    "mathutils.Quaternion": ("__iter__",),
    "mathutils.Vector": ("__iter__",),
}
"""Attributes that the stubs leave out, or that most kinds or other versions of a class have."""

FOR_TYPES = 25
"""Priority of a dependency as of an import under ``TYPE_CHECKING``: it decides no order."""


class Property(NamedTuple):
    """A property of a class: the function that defines it and the class that it refers to."""

    function: str
    target: str = ""


def plugin(version: str) -> type[Plugin]:
    """Entry point; mypy passes its version."""
    return BlenderPlugin


class BlenderPlugin(Plugin):
    """Types of the add-on's properties, and pointers without None."""

    def __init__(self, options: object) -> None:
        super().__init__(options)  # type: ignore[arg-type]
        self.properties = {
            name: prop
            for path in sorted((ROOT / "addon").rglob("*.py"))
            for name, prop in properties_of(path).items()
        }

    def report_config_data(self, ctx: ReportConfigContext) -> object:
        """The definitions, so that a changed one has everything checked again that may use it."""
        if ctx.id == "bpy.types" or ctx.id.partition(".")[0] == "addon":
            return {name: list(prop) for name, prop in self.properties.items()}
        return None

    def get_additional_deps(self, file: MypyFile) -> list[tuple[int, str, int]]:
        """Modules with classes that properties point to, as their types may be met anywhere."""
        if file.fullname.partition(".")[0] != "addon":
            return []
        targets = {prop.target.rpartition(".")[0] for prop in self.properties.values()}
        return [(FOR_TYPES, target, -1) for target in sorted(targets - {"", file.fullname})]

    def get_customize_class_mro_hook(
        self, fullname: str
    ) -> Callable[[ClassDefContext], None] | None:
        """Add what is missing, and what ``attach`` adds to scenes: its type follows at each use."""
        names = [name.rpartition(".") for name in self.properties if name.startswith("bpy.")]
        missing = [name for owner, _, name in names if owner == fullname]
        missing += MISSING.get(fullname, ())
        return (lambda context: _add(context, missing)) if missing else None

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        """Type of a property's value, or of a pointer that is never None."""
        if fullname in NEVER_NONE:
            return _without_none
        if fullname in UNKNOWN:
            return lambda context: AnyType(TypeOfAny.unannotated)
        if fullname in NAMES:
            return lambda context: context.api.named_generic_type("builtins.str", [])
        if prop := self.properties.get(fullname):
            return lambda context: _value(context, prop)
        return None

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        """Return type of what the stubs say returns nothing."""
        return (lambda context: AnyType(TypeOfAny.unannotated)) if fullname in UNKNOWN else None

    def get_method_hook(self, fullname: str) -> Callable[[MethodContext], Type] | None:
        """``get`` of Blender's collections, of which the stubs say that it finds nothing."""
        return _item if re.fullmatch(r"bpy\.types\.\w+\.get", fullname) else None


def properties_of(path: Path) -> dict[str, Property]:
    """Properties that a module defines, by full name: those of its classes and of scenes."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    properties = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.AnnAssign):
                    name = f"{module}.{node.name}.{ast.unparse(line.target)}"
                    properties[name] = _property(line.annotation, module)
        elif isinstance(node, ast.Assign):
            properties[ast.unparse(node.targets[0])] = _property(node.value, module)
    return {name: prop for name, prop in properties.items() if prop is not None}


def _property(value: ast.expr, module: str) -> Property | None:
    """The property that an expression defines, if it does."""
    if not isinstance(value, ast.Call):
        return None
    function = ast.unparse(value.func).rpartition(".")[2]
    if function in TARGETS:
        target = next(ast.unparse(word.value) for word in value.keywords if word.arg == "type")
        return Property(function, target if target.startswith("bpy.") else f"{module}.{target}")
    return Property(function) if function in VALUES or function in VECTORS else None


def _add(context: ClassDefContext, names: list[str]) -> None:
    for name in names:
        add_attribute_to_class(context.api, context.cls, name, AnyType(TypeOfAny.special_form))


def _without_none(context: AttributeContext) -> Type:
    kind = get_proper_type(context.default_attr_type)
    if not isinstance(kind, UnionType):
        return kind
    return UnionType.make_union(
        [item for item in kind.items if not isinstance(get_proper_type(item), NoneType)]
    )


def _item(context: MethodContext) -> Type:
    """What a collection holds, or the default; ``get`` of other classes is as the stubs say."""
    checker, owner = context.api, get_proper_type(context.type)
    assert isinstance(checker, TypeChecker)
    collection = _instance(checker, "bpy.types.bpy_prop_collection").type
    if not isinstance(owner, Instance) or not owner.type.has_base(collection.fullname):
        return context.default_return_type
    item = map_instance_to_supertype(owner, collection).args[0]
    defaults = context.arg_types[1]
    return UnionType.make_union([item, defaults[0] if defaults else NoneType()])


def _value(context: AttributeContext, prop: Property) -> Type:
    checker = context.api
    assert isinstance(checker, TypeChecker)
    if prop.function in VALUES:
        return _instance(checker, VALUES[prop.function])
    if prop.function in VECTORS:
        owner = "typing.Sequence" if context.is_lvalue else "bpy.types.bpy_prop_array"
        return _instance(checker, owner, VECTORS[prop.function])
    if prop.function == "CollectionProperty":
        return _instance(checker, "bpy.types.bpy_prop_collection_idprop", prop.target)
    target = _instance(checker, prop.target)
    # a group of properties is part of its owner; a datablock is chosen or not
    return UnionType([target, NoneType()]) if prop.target.startswith("bpy.") else target


def _instance(checker: TypeChecker, fullname: str, item: str = "") -> Instance:
    """A class by its full name, with the type of its items where it is generic."""
    module, _, name = fullname.rpartition(".")
    node = checker.modules[module].names[name].node
    assert isinstance(node, TypeInfo), fullname
    return Instance(node, [_instance(checker, item)] if item else [])
