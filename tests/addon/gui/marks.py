# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender: paint one chosen widget in the alert colour, and remember what was drawn.

Python cannot ask where a widget is.  So the add-on's draw functions get a layout that passes
every call on, switches ``alert`` on for the chosen operator or property, and notes all texts: a
picture with the colour and one without tell the place.  The add-on itself has no part in this.
"""

import sys

import bpy

CONTAINERS = (
    *("row", "column", "column_flow", "grid_flow", "box", "split", "menu_pie", "panel"),
    "panel_prop",
)
WIDGETS = (
    *("operator", "operator_menu_enum", "prop", "prop_enum", "prop_search", "menu", "popover"),
    *("label", "template_icon", "template_list", "progress"),
)

target = ("", "", None)
"""Kind (a method of UILayout) and name (operator, property, menu or text) of the chosen widget,
and its text where several have that name."""
drawn = []
"""(kind, name, text) of the widgets of the drawing that is going on or was the last."""

shown = {}
"""Values of the properties in it, by name."""


class Layout:
    """A layout that passes everything on to Blender's."""

    def __init__(self, layout):
        object.__setattr__(self, "_layout", layout)

    def __setattr__(self, name, value):
        setattr(self._layout, name, value)

    def __getattr__(self, name):
        value = getattr(self._layout, name)
        if name in CONTAINERS:
            return lambda *a, **k: _wrapped(value(*a, **k))
        if name in WIDGETS:
            return lambda *a, **k: _draw(self._layout, name, value, a, k)
        return value


def _plain(value):
    return value._owner if isinstance(value, Owner) else value


def _wrapped(value):
    if isinstance(value, tuple):
        return tuple(map(_wrapped, value))
    return Layout(value) if isinstance(value, bpy.types.UILayout) else value


def _draw(layout, kind, method, positional, named):
    if kind in ("prop", "prop_enum", "prop_search"):
        name = named.get("property") or positional[1]
        shown[name] = str(getattr(_plain(positional[0]), name, "")) if positional else ""
        if kind == "prop_enum":
            name += "." + (named.get("value") or positional[2])
    elif kind in ("label", "progress"):
        name = named.get("text", "")
    else:
        name = str(positional[0] if positional else "")
    text = str(named.get("text", ""))
    drawn.append((kind, name, text))
    before = layout.alert
    if (kind, name) == target[:2] and target[2] in (None, text):
        layout.alert = True
    try:
        return method(*map(_plain, positional), **{n: _plain(v) for n, v in named.items()})
    finally:
        layout.alert = before


class Owner:
    """A panel (or preferences) whose ``layout`` is ours."""

    def __init__(self, owner):
        object.__setattr__(self, "_owner", owner)

    def __setattr__(self, name, value):
        setattr(self._owner, name, value)

    def __getattr__(self, name):
        if name == "layout":
            return Layout(self._owner.layout)
        function = getattr(type(self._owner), name, None)
        if callable(function) and hasattr(function, "__get__"):
            return function.__get__(self)
        return getattr(self._owner, name)


def _panel(function):
    def draw(self, context):
        return function(Owner(self), context)

    return draw


def _list(function):
    def draw_item(self, context, layout, data, item, icon, active_data, active_propname):
        rest = data, item, icon, active_data, active_propname
        return function(Owner(self), context, Layout(layout), *rest)

    return draw_item


METHODS = {"draw": _panel, "draw_header": _panel, "draw_header_preset": _panel, "draw_item": _list}
"""Blender counts the parameters of a draw function before it calls it."""


def install(package):
    """Wrap the draw functions of every class that a package has registered."""
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(package + "."):
            for cls in getattr(module, "CLASSES", ()):
                for method, wrapper in METHODS.items():
                    function = vars(cls).get(method)
                    if function is not None and not hasattr(function, "marked"):
                        marked = wrapper(function)
                        marked.marked = True
                        setattr(cls, method, marked)


def prepare_header(package, panel):
    """Let the header of a panel be found as ("header", panel): an icon in it, while chosen."""
    modules = (module for name, module in list(sys.modules.items()) if name.startswith(package))
    classes = (cls for module in modules for cls in getattr(module, "CLASSES", ()))
    cls = next(c for c in classes if getattr(c, "bl_idname", "") == panel)
    if hasattr(cls, "draw_header"):
        return

    def draw_header(self, context):
        if target[:2] == ("header", panel):
            self.layout.label(icon="KEYTYPE_EXTREME_VEC")

    cls.draw_header = draw_header
    bpy.utils.unregister_class(cls)
    bpy.utils.register_class(cls)


def mark(kind="", name="", text=None):
    """Choose a widget; without arguments none."""
    global target  # noqa: PLW0603
    target = kind, name, text
