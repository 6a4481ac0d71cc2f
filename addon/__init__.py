# SPDX-License-Identifier: GPL-3.0-or-later
"""DP3D Head Views: the Blender side of dp3d.

One noun per file.  ``panel`` and ``operators`` are what a person sees; ``request`` turns the
settings into a plan, ``run`` follows it over HTTP in a thread (``client``, ``sse``, ``storage``: no
bpy in any of them), ``session`` brings what arrives into the scene (``scene_views``,
``scene_mesh``) on the main thread.
"""

from __future__ import annotations

import bpy

from . import check, operators, panel, preferences, session, settings

_CLASSES = (
    *settings.CLASSES,
    *preferences.CLASSES,
    *operators.CLASSES,
    *panel.CLASSES,
)


def register() -> None:
    """Called by Blender when the add-on is switched on."""
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    settings.attach()
    session.attach()


def unregister() -> None:
    """Called by Blender when the add-on is switched off; a running job goes on at the server."""
    session.detach()
    check.detach()
    settings.detach()
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
