# SPDX-License-Identifier: GPL-3.0-or-later
"""Data of camera and mesh objects, with their exact type."""

from __future__ import annotations

import bpy


def camera_data(thing: bpy.types.Object) -> bpy.types.Camera:
    """Lens and backgrounds of a camera object."""
    data = thing.data
    assert isinstance(data, bpy.types.Camera), thing.name
    return data


def scene_cameras(scene: bpy.types.Scene) -> set[bpy.types.Camera]:
    """Data of a scene's camera objects, which may share one."""
    return {thing.data for thing in scene.objects if isinstance(thing.data, bpy.types.Camera)}


def mesh_data(thing: bpy.types.Object) -> bpy.types.Mesh:
    """Mesh of a mesh object."""
    data = thing.data
    assert isinstance(data, bpy.types.Mesh), thing.name
    return data
