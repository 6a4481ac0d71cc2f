# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures in a panel: the box with problem and remedy, and the test for an outdated failure."""

from __future__ import annotations

from typing import Any

import bpy

from .. import settings
from ..link.errors import AddonError
from ..scene import anchor as head_anchor
from . import sentences


def is_outdated(scene: bpy.types.Scene, code: str) -> bool:
    """Whether the scene no longer has the fault that this error code stands for."""
    s = scene.dp3d
    if code in ("addon.anchor_missing", "camera.anchor_not_uniform"):
        try:
            head_anchor.check(head_anchor.required(scene).matrix_world)
        except AddonError:
            return False
        return True
    if code in ("addon.camera_missing", "camera.not_perspective"):
        data = None if scene.camera is None else scene.camera.data
        return isinstance(data, bpy.types.Camera) and data.type == "PERSP"
    if code == "addon.no_camera_selected":
        return any(o.type == "CAMERA" for o in bpy.context.selected_objects)
    if code == "addon.no_views":
        return bool(scene.dp3d_run.views)
    return code == "addon.engine_unavailable" and s.engine in {
        e["name"] for e in settings.ENGINES if e.get("available", True)
    }


def draw(layout: Any, context: bpy.types.Context, owner: Any, dismiss: str) -> None:
    """Draw problem, remedy and code of a failure, and a button that clears it.

    Args:
        layout: where to draw.
        context: of the drawing.
        owner: property group with ``error_code``, ``error_problem`` and ``error_remedy``.
        dismiss: operator of the button.

    """
    box = layout.box()
    sentences.draw(box, context, owner.error_problem, "ERROR")
    sentences.draw(box, context, owner.error_remedy)
    row = box.row()
    code = row.row()
    code.active = False
    code.label(text=owner.error_code)
    row.operator(dismiss, text="", icon="X", emboss=False)
