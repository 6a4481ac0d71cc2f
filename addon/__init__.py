# SPDX-License-Identifier: GPL-3.0-or-later
"""DP3D Head Views: the Blender side of dp3d.

``link`` speaks to the server and starts dp3d's processes (threads, no bpy), ``scene`` puts things
into the scene and reads cameras out of it, ``ui`` is what a person sees.  Between them:

- a run: ``request`` turns the settings into a plan, ``run_view`` follows it, ``watch`` holds the
  run that goes on now, ``placing`` brings its results into the scene;
- an export of the scene: ``exporting`` drives it, ``export_record`` keeps its settings and outcome;
- ``limits`` are the server's choices and ranges;
- ``ledger`` keeps what a scene has outside of undo, ``portrait_file`` finds the portrait's file,
  ``local_dp3d`` has the server and the commands of this computer, ``check`` asks who a server is.
"""

from __future__ import annotations

import bpy

from . import (
    check,
    engine_options,
    export_record,
    exporting,
    ledger,
    local_dp3d,
    placing,
    settings,
    watch,
)
from .scene import ghost, nearest_view, standing
from .ui import (
    anchor,
    engines,
    operators,
    orbit_export,
    packing,
    panel,
    pictures,
    portrait,
    portrait_picture,
    preferences_page,
    presets,
    server_buttons,
)

_MODULES = (
    settings,
    ledger,
    export_record,
    exporting,
    placing,
    preferences_page,
    engine_options,
    engines,
    anchor,
    standing,
    ghost,
    nearest_view,
    pictures,
    portrait_picture,
    portrait,
    presets,
    operators,
    packing,
    local_dp3d,
    server_buttons,
    panel,
    orbit_export,
    check,
    watch,
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
