# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports the mesh: glTF import, then one matrix under the anchor.

Blender's importer turns glTF's Y-up space upright: a vertex p of the file becomes C p, with
C = (x, y, z) -> (x, -z, y), and a node's matrix M becomes C M C^-1.  The file's space is head
space, so an object with the local matrix C^-1 @ imported, under the anchor with an identity
parent inverse, has every vertex at anchor @ p.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from . import look as looks
from . import tags
from .gltf_import import import_objects, kept_selection
from .object_data import mesh_data

HEAD_FROM_IMPORTED = Matrix(
    ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, -1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
)
"""C^-1, exact."""

_REMEDY = "Press Import Mesh to fetch it again."
"""Sentence on how to get another file."""
_PLACED = "dp3d_placed"
"""Custom property: local matrix that the add-on gave an object, 16 numbers row by row.  Where the
present matrix differs, the user moved the object."""


class Statistics(NamedTuple):
    """How large imported meshes are."""

    vertices: int
    triangles: int


def load(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    anchor: bpy.types.Object,
    path: Path,
    run_id: str,
    title: str,
    look: str = "",
) -> list[bpy.types.Object]:
    """Import a GLB at the anchor, in place of an earlier import of the same run.

    Objects of the earlier import stay and get the new mesh: name, position, modifiers and
    materials the user changed are kept, an edited material of the add-on gets the new texture.

    Args:
        scene: where to.
        view_layer: what the import runs in; its selection is put back.
        anchor: the head anchor.
        path: the GLB.
        run_id: what objects, meshes, materials and images are marked with.
        title: name of the run, which they are named after.
        look: PHOTO or LIT of ``look``; empty for that of the earlier import, or the file's.

    Returns:
        All objects, the root first.

    Raises:
        AddonError: ``addon.mesh_missing`` or ``addon.import_failed``.

    """
    if not path.is_file():
        raise AddonError(
            "addon.mesh_missing",
            f"The mesh {path} is not there.",
            _REMEDY,
        )
    with kept_selection(view_layer):
        tags.purge(run_id)
        incoming = _import(path)
        existing = tags.originals(scene, run_id, "mesh")
        collection = tags.collection(scene, run_id, title)
        look = look or looks.kind_of(existing.values())
        incoming.sort(key=lambda o: (o.parent is not None, o.name))
        leftovers: list[bpy.types.ID] = []
        objects: dict[int, bpy.types.Object] = {}
        for index, thing in enumerate(incoming):
            local = thing.matrix_basis.copy()
            parent = objects.get(incoming.index(thing.parent)) if thing.parent else anchor
            earlier = existing.get(index)
            _adopt(thing, run_id)
            if look:
                looks.apply([thing], look)
            if earlier is not None and earlier.type == thing.type == "MESH":
                leftovers += tags.used_by(earlier)
                _carry_materials(mesh_data(earlier), mesh_data(thing), leftovers)
                earlier.data = thing.data
                target, moved = earlier, _is_moved(earlier)
            else:
                target, moved = thing, False
                for old in list(thing.users_collection):
                    old.objects.unlink(thing)
                collection.objects.link(thing)
            tags.mark(target, run_id, "mesh")
            target[tags.VIEW] = index
            if not moved:
                _stand(target, parent, HEAD_FROM_IMPORTED @ local if parent == anchor else local)
            objects[index] = target
        reused = set(objects.values())
        for thing in incoming:
            if thing not in reused:
                bpy.data.objects.remove(thing)
        tags.remove_objects(o for o in existing.values() if o not in reused)
        tags.sweep(leftovers)
        for index, thing in objects.items():
            _name(thing, tags.label(title, f"Head {index}" if index else "Head"))
    return list(objects.values())


def statistics(objects: Iterable[bpy.types.Object]) -> Statistics:
    """Vertices and triangles of objects, without their modifiers."""
    meshes = [o.data for o in objects if isinstance(o.data, bpy.types.Mesh)]
    return Statistics(
        sum(len(m.vertices) for m in meshes),
        sum(len(m.loops) - 2 * len(m.polygons) for m in meshes),
    )


def _adopt(thing: bpy.types.Object, run_id: str) -> None:
    """Mark the data an object came in with: mesh, materials, images."""
    if not isinstance(thing.data, bpy.types.Mesh):
        return
    tags.mark(thing.data, run_id, "data")
    for material in thing.data.materials:
        if material is not None and not tags.is_ours(material):
            looks.adopt(material, run_id)


def _stand(thing: bpy.types.Object, parent: bpy.types.Object | None, local: Matrix) -> None:
    thing.parent = parent
    thing.matrix_parent_inverse = Matrix.Identity(4)
    thing.rotation_mode = "QUATERNION"
    thing.matrix_basis = local
    thing[_PLACED] = [value for row in thing.matrix_basis for value in row]


def _is_moved(thing: bpy.types.Object) -> bool:
    """Whether the user moved an object, or gave it another parent, since it came in."""
    placed = thing.get(_PLACED)
    if placed is None:
        return False
    now = [value for row in thing.matrix_basis for value in row]
    identity = thing.matrix_parent_inverse == Matrix.Identity(4)
    return not identity or any(abs(a - b) > 1e-6 for a, b in zip(now, placed, strict=True))


def _carry_materials(
    earlier: bpy.types.Mesh,
    mesh: bpy.types.Mesh,
    leftovers: list[bpy.types.ID],
) -> None:
    """Keep what the user did to the materials of the earlier import, with the new texture."""
    for old, new in zip(list(earlier.materials), list(mesh.materials), strict=False):
        if old is None or new is None:
            continue
        for was, now in zip(looks.images_of(old), looks.images_of(new), strict=True):
            if was is not None and now is not None and was != now:
                was.user_remap(now)
                leftovers.append(was)
    for number, old in enumerate(list(earlier.materials)):
        if old is None or looks.is_untouched(old) or number >= max(1, len(mesh.materials)):
            continue
        if number < len(mesh.materials):
            new = mesh.materials[number]
            if new is not None and tags.is_ours(new):
                leftovers += [new, *(i for i in looks.images_of(new) if i is not None)]
            mesh.materials[number] = old
        else:
            mesh.materials.append(old)


def _name(thing: bpy.types.Object, label: str) -> None:
    tags.name(thing, label)
    if not isinstance(thing.data, bpy.types.Mesh):
        return
    tags.name(thing.data, label)
    for number, material in enumerate(m for m in thing.data.materials if m is not None):
        if tags.is_ours(material):
            looks.name(material, f"{label} {number}" if number else label)


def _import(path: Path) -> list[bpy.types.Object]:
    imported = import_objects(path, "mesh", _REMEDY)
    if not imported:
        raise AddonError(
            "addon.import_failed",
            f"{path.name} holds no object.",
            _REMEDY,
        )
    return imported
