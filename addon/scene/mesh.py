# SPDX-License-Identifier: GPL-3.0-or-later
"""The mesh into the scene: glTF import, then one matrix under the anchor.

Blender's importer turns glTF's Y-up space upright: a vertex p of the file becomes C p, with
C = (x, y, z) -> (x, -z, y), and a node's matrix M becomes C M C^-1.  The file's space is head
space, so an object with the local matrix C^-1 @ imported, under the anchor with an identity
parent inverse, has every vertex at anchor @ p.
"""

from __future__ import annotations

from pathlib import Path

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from . import tags

HEAD_FROM_IMPORTED = Matrix(
    ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, -1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
)
"""C^-1, exact."""


def load(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    anchor: bpy.types.Object,
    path: Path,
    run_id: str,
    title: str,
) -> list[bpy.types.Object]:
    """Import a GLB at the anchor, in place of an earlier import of the same run.

    Returns:
        All objects that came in; the first one is the root.

    Raises:
        AddonError: ``addon.mesh_missing`` or ``addon.import_failed``.

    """
    if not path.is_file():
        raise AddonError(
            "addon.mesh_missing",
            f"The mesh {path} is not there.",
            "Press Import Mesh to fetch it again.",
        )
    found = _import(path)
    tags.remove_objects(o for o in tags.objects(scene, run_id, "mesh") if o not in found)
    collection = tags.collection(scene, run_id, title)
    found.sort(key=lambda o: o.parent is not None)
    for thing in found:
        tags.mark(thing, run_id, "mesh")
        for old in list(thing.users_collection):
            old.objects.unlink(thing)
        collection.objects.link(thing)
        if thing.parent is None:
            local = thing.matrix_basis.copy()
            thing.parent = anchor
            thing.matrix_parent_inverse = Matrix.Identity(4)
            thing.rotation_mode = "QUATERNION"
            thing.matrix_basis = HEAD_FROM_IMPORTED @ local
    view_layer.update()
    return found


def _import(path: Path) -> list[bpy.types.Object]:
    if "gltf" not in dir(bpy.ops.import_scene):
        raise AddonError(
            "addon.import_failed",
            "Blender's glTF importer is switched off.",
            "Switch on the add-on 'glTF 2.0 format' in the preferences.",
        )
    before = {o.as_pointer() for o in bpy.data.objects}
    try:
        bpy.ops.import_scene.gltf(filepath=str(path))
    except RuntimeError as error:
        raise AddonError(
            "addon.import_failed",
            f"Blender cannot import the mesh ({str(error).strip()}).",
            "Press Import Mesh to fetch it again.",
        ) from error
    found = [o for o in bpy.data.objects if o.as_pointer() not in before]
    if not found:
        raise AddonError(
            "addon.import_failed",
            f"{path.name} holds no object.",
            "Press Import Mesh to fetch it again.",
        )
    return found
