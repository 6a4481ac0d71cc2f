# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by the scripts that run inside bpy: request, result, add-on, anchors."""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
from mathutils import Euler, Matrix, Vector

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY))


def main(work: Callable[[dict[str, Any]], Any]) -> None:
    """Run ``work(request)``, print its result, leave without bpy's exit handlers."""
    request = json.loads(Path(sys.argv[1]).read_text())
    code = 0
    try:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        print("@@RESULT@@" + json.dumps(work(request)))
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def enable_addon(url: str = "", token: str = "") -> Any:
    """Register the add-on from the source tree, with its preferences, as an install would."""
    import addon

    entry = bpy.context.preferences.addons.new()
    entry.module = "addon"
    addon.register()
    if url:
        entry.preferences.server_url = url
    if token:
        entry.preferences.token = token
    return addon


def update() -> None:
    bpy.context.view_layer.update()


def rows(matrix: Matrix) -> list[list[float]]:
    return [list(row) for row in matrix]


ANCHORS = ("plain", "turned", "scaled", "parented", "animated")


def make_anchor(kind: str) -> bpy.types.Object:
    """An anchor of each sort; the animated one moves and grows from frame 1 to 10."""
    scene = bpy.context.scene
    empty = bpy.data.objects.new("anchor", None)
    scene.collection.objects.link(empty)
    empty.rotation_euler = (math.pi / 2, 0, 0)
    if kind == "plain":
        empty.scale = (0.5,) * 3
    elif kind == "turned":
        empty.rotation_euler = (1.1, -0.4, 2.3)
        empty.location = (1.5, -2.0, 0.7)
    elif kind == "scaled":
        empty.scale = (3.7,) * 3
        empty.rotation_euler = (1.3, 0.2, -0.9)
        empty.location = (-4, 6, 2)
    elif kind in ("parented", "everything"):
        top = bpy.data.objects.new("top", None)
        middle = bpy.data.objects.new("middle", None)
        for thing in (top, middle):
            scene.collection.objects.link(thing)
        top.location, top.rotation_euler, top.scale = (3, 1, -2), (0.3, 0.8, -1.9), (2.0,) * 3
        middle.parent, middle.location, middle.scale = top, (0.4, 0.1, 0.9), (0.35,) * 3
        middle.rotation_euler = (-0.5, 0.1, 0.6)
        empty.parent = middle
        # a parent inverse such as Ctrl-P leaves behind
        empty.matrix_parent_inverse = Matrix.LocRotScale(
            Vector((0.2, -0.3, 0.5)), Euler((0.1, 0.2, 0.3)), Vector((1.4,) * 3)
        )
    if kind in ("animated", "everything"):
        for frame, location, turn, scale in ((1, 0.0, 0.0, 0.5), (10, 1.0, 1.2, 0.9)):
            empty.location = (location, 0.3 * location, 1.0)
            empty.rotation_euler = (math.pi / 2, 0, turn)
            empty.scale = (scale,) * 3
            for path in ("location", "rotation_euler", "scale"):
                empty.keyframe_insert(path, frame=frame)
    update()
    return empty
