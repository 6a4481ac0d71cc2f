# SPDX-License-Identifier: GPL-3.0-or-later
"""DP3D Head Views: the Blender extension of dp3d.

``link`` talks to the server over HTTP and starts dp3d's processes (threads, no bpy).  ``scene``
creates objects in the scene and reads its cameras.  ``ui`` has panels, buttons and preferences.
Between them:

- a run: ``request`` turns the panel's settings into a plan, ``run_view`` follows it,
  ``run_watcher`` polls the current run, ``result_placement`` adds its results to the scene,
  ``run_records`` keeps the run and the list of results, unaffected by undo;
- an export of the scene: ``exporting`` runs it, ``export_record`` keeps its settings and outcome;
- ``settings``, ``engine_options`` and ``preferences`` hold what the user chose, ``limits`` the
  server's choices and ranges;
- ``portrait_file`` finds the portrait's file, ``capture_file`` reads face captures, ``local_dp3d``
  manages the server and the commands on this computer, ``check`` asks a server for its version and
  engines.

A module knows only those below it: an import contract in ``pyproject.toml`` has their order.
"""

from __future__ import annotations

import bpy

from . import (
    check,
    engine_options,
    export_record,
    exporting,
    local_dp3d,
    result_placement,
    run_records,
    run_watcher,
    settings,
)
from .scene import ghost, nearest_view, preview_anchor
from .ui import (
    anchor,
    engines,
    head,
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
    run_records,
    export_record,
    exporting,
    result_placement,
    preferences_page,
    engine_options,
    engines,
    anchor,
    preview_anchor,
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
    head,
    panel,
    orbit_export,
    check,
    run_watcher,
)
"""Modules in the order of registration.  Each may have ``CLASSES``, ``attach()``, ``detach()``."""


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
