# SPDX-License-Identifier: GPL-3.0-or-later
"""How the add-on finds its own things again: custom properties, never names.

Names change under us (rename, append, a second import of the same name); these do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy

RUN = "dp3d_run"
"""Id of the run an object, collection or image came from."""
ROLE = "dp3d_role"
"""What it is: root, run, view, player, mesh, anchor."""
VIEW = "dp3d_view"
"""Index of the view a camera shows."""
FRAME = "dp3d_frame"
"""Scene frame a view was taken at."""


def mark(thing: Any, run_id: str, role: str) -> None:
    """Write run and role on an ID."""
    thing[RUN] = run_id
    thing[ROLE] = role


def is_marked(thing: Any, run_id: str | None, role: str) -> bool:
    """Whether an ID is ours, in that role and (unless None) of that run."""
    return thing.get(ROLE) == role and (run_id is None or thing.get(RUN) == run_id)


def objects(scene: bpy.types.Scene, run_id: str | None, role: str) -> Iterator[bpy.types.Object]:
    """Objects of a scene in a role."""
    return (o for o in list(scene.objects) if is_marked(o, run_id, role))


def collection(scene: bpy.types.Scene, run_id: str, title: str) -> bpy.types.Collection:
    """The run's collection inside the scene's "Head Views" collection; made when absent."""
    root = _child(scene.collection, "", "root", "Head Views")
    return _child(root, run_id, "run", title)


def _child(parent: bpy.types.Collection, run_id: str, role: str, name: str) -> bpy.types.Collection:
    for child in parent.children_recursive:
        if is_marked(child, run_id, role):
            return child
    child = bpy.data.collections.new(name)
    mark(child, run_id, role)
    parent.children.link(child)
    return child


def remove_objects(objects: Iterator[bpy.types.Object]) -> int:
    """Delete objects and the data only they used; how many objects there were."""
    count = 0
    for thing in list(objects):
        data = thing.data
        bpy.data.objects.remove(thing)
        count += 1
        if isinstance(data, bpy.types.Mesh) and not data.users:
            materials = [m for m in data.materials if m is not None]
            bpy.data.meshes.remove(data)
            for material in materials:
                _remove_material(material)
        elif isinstance(data, bpy.types.Camera) and not data.users:
            images = [b.image for b in data.background_images if b.image is not None]
            bpy.data.cameras.remove(data)
            for image in images:
                if not image.users:
                    bpy.data.images.remove(image)
    return count


def _remove_material(material: bpy.types.Material) -> None:
    if material.users:
        return
    nodes = material.node_tree.nodes if material.node_tree else []
    images = [n.image for n in nodes if n.bl_idname == "ShaderNodeTexImage" and n.image]
    bpy.data.materials.remove(material)
    for image in images:
        if not image.users:
            bpy.data.images.remove(image)
