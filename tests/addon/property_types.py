# SPDX-License-Identifier: GPL-3.0-or-later
"""Read by mypy alone: types that ``mypy_plugin`` gives, which would otherwise be Any or wrong."""

from __future__ import annotations

from typing import assert_type

import bpy

from addon.settings import HeadViewsResult, HeadViewsSettings


def of_scene(scene: bpy.types.Scene) -> None:
    """Properties that ``attach`` adds, and those of their groups."""
    assert_type(scene.dp3d, HeadViewsSettings)
    assert_type(scene.dp3d.views, int)
    assert_type(scene.dp3d.head_yaw, float)
    assert_type(scene.dp3d.use_crop, bool)
    assert_type(scene.dp3d.crop[0], int)
    assert_type(scene.dp3d.preset, str)
    assert_type(scene.dp3d.anchor, bpy.types.Object | None)
    assert_type(scene.dp3d_results[0], HeadViewsResult)
    assert_type(scene.dp3d_results[0].folder, str)


def of_blender(context: bpy.types.Context) -> None:
    """What the stubs leave open."""
    assert_type(context.scene, bpy.types.Scene)
    assert_type(context.scene.camera, bpy.types.Object | None)
    assert_type(context.view_layer.objects.get("Head"), bpy.types.Object | None)
    assert_type(context.scene.render.engine, str)
