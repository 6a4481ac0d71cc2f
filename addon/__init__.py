# SPDX-License-Identifier: GPL-3.0-or-later
"""DP3D Head Views: the Blender side of dp3d.

``link`` speaks to the server (threads, no bpy), ``scene`` puts things into the scene and reads
cameras out of it, ``ui`` is what a person sees.  Between them: ``request`` turns the settings
into a plan, ``session`` follows a run, ``placing`` brings its results into the scene, ``ledger``
keeps what a scene has outside of undo.
"""

from __future__ import annotations

import bpy

from . import check, ledger, session, settings
from .scene import ghost, nearest_view, standing
from .ui import (
    anchor,
    engine_options,
    operators,
    orbit_export,
    packing,
    panel,
    pictures,
    portrait,
    preferences,
    presets,
    server_page,
)

_MODULES = (
    settings,
    ledger,
    preferences,
    engine_options,
    anchor,
    standing,
    ghost,
    nearest_view,
    pictures,
    portrait,
    presets,
    operators,
    packing,
    server_page,
    panel,
    orbit_export,
    check,
    session,
)
"""In the order of registration.  Each may have ``CLASSES``, ``attach()`` and ``detach()``."""


def register() -> None:
    """Called by Blender when the add-on is switched on."""
    for module in _MODULES:
        for cls in getattr(module, "CLASSES", ()):
            bpy.utils.register_class(cls)
    for module in _MODULES:
        if hasattr(module, "attach"):
            module.attach()


def unregister() -> None:
    """Called by Blender when the add-on is switched off; a running job goes on at the server."""
    for module in reversed(_MODULES):
        if hasattr(module, "detach"):
            module.detach()
    for module in reversed(_MODULES):
        for cls in reversed(getattr(module, "CLASSES", ())):
            bpy.utils.unregister_class(cls)
