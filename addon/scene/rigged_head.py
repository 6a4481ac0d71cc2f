# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports a rigged head: armature, meshes with shape keys, both sets of materials.

The file is in metres and its origin is that of head space.  The armature stands under the anchor
with the local matrix that takes Blender's import back to head space (see ``mesh``).  A key that
several meshes have is driven by the first of them, which is the skin for all but the tongue's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from . import quads, tags
from .gltf_import import import_objects, kept_selection
from .look import PHOTO
from .mesh import HEAD_FROM_IMPORTED
from .object_data import mesh_data

METRES = 1e-3 / 0.00228
"""Metres of a file per head unit, ``dp3d_core.rigged.rig.METRES``."""
PHOTO_EXPRESSION = "photoExpression"
"""Key with the expression of the photo; on in the file."""
ROLE = "rig"
"""Role of the armature and the meshes, see ``tags``."""
SKIN = "skin"
"""Mesh with most keys."""

_PART = "dp3d_part"
"""Custom property of a mesh: its name in the file."""
_LIT, _PHOTOGRAPHED = "dp3d_lit", "dp3d_photographed"
"""Custom properties of a mesh: its materials lit by the scene and as photographed."""
_REMEDY = "Press Import Rigged Head to fetch it again."
"""Sentence on how to get another file."""
_BITS_WITH_ALPHA = 32
"""Bits of a pixel of an image file with alpha; without alpha it has 24."""
_ARMATURE = 0
"""Index of the armature among the objects of a run (``tags.VIEW``)."""


def load(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    anchor: bpy.types.Object,
    path: Path,
    run_id: str,
    title: str,
    look: str,
) -> list[bpy.types.Object]:
    """Import a rigged head at the anchor, in place of an earlier import of the run.

    Of the earlier import the armature's place, its pose's action and the action of the keys stay.

    Args:
        scene: where to.
        view_layer: that the import runs in; its selection is put back.
        anchor: the head anchor.
        path: the GLB.
        run_id: of the run, that all data-blocks are marked with.
        title: name of the run, which they are named after.
        look: ``PHOTO`` or ``LIT`` of ``look``.

    Returns:
        The armature, then the meshes, the skin first.

    Raises:
        AddonError: ``addon.head_missing`` or ``addon.import_failed``.

    """
    if not path.is_file():
        raise AddonError(
            "addon.head_missing",
            f"The rigged head {path} is not there.",
            _REMEDY,
        )
    with kept_selection(view_layer):
        armature, meshes = _parts(_import(path))
        earlier = tags.originals(scene, run_id, ROLE)
        placed = _take_over(earlier, armature, meshes)
        tags.remove_objects(earlier.values())
        tags.purge(run_id)
        collection = tags.collection(scene, run_id, title)
        for index, thing in enumerate((armature, *meshes)):
            _adopt(thing, run_id, index, title)
            for old in list(thing.users_collection):
                old.objects.unlink(thing)
            collection.objects.link(thing)
        armature.parent = anchor
        armature.matrix_parent_inverse = Matrix.Identity(4)
        if placed is None:
            armature.matrix_basis = HEAD_FROM_IMPORTED @ Matrix.Scale(1 / METRES, 4)
        else:
            armature.matrix_basis = placed
        for thing in meshes:
            quads.restore(mesh_data(thing))
        link_keys(meshes)
        objects = [armature, *meshes]
        apply_look(objects, look)
    return objects


def link_keys(meshes: Iterable[bpy.types.Object]) -> int:
    """Drive each key by the equally named key of the first mesh that has it.

    Returns:
        Number of driven keys.

    """
    leaders: dict[str, bpy.types.Key] = {}
    count = 0
    for thing in meshes:
        keys = mesh_data(thing).shape_keys
        if keys is None:
            continue
        for block in list(keys.key_blocks)[1:]:
            leader = leaders.setdefault(block.name, keys)
            if leader != keys:
                _drive(block, leader)
                count += 1
    return count


def keys_of(objects: Iterable[bpy.types.Object]) -> dict[str, bpy.types.ShapeKey]:
    """The keys of a head that a person moves, by name: those without a driver of ``link_keys``."""
    keys: dict[str, bpy.types.ShapeKey] = {}
    for thing in sorted(objects, key=lambda o: int(o.get(tags.VIEW, 0))):
        data = thing.data
        if isinstance(data, bpy.types.Mesh) and data.shape_keys is not None:
            for block in list(data.shape_keys.key_blocks)[1:]:
                keys.setdefault(block.name, block)
    return keys


def apply_look(objects: Iterable[bpy.types.Object], look: str) -> int:
    """Give the meshes of a head the materials of a look; materials of the user stay.

    Args:
        objects: of a head; others are passed over.
        look: ``PHOTO`` or ``LIT``.

    Returns:
        Number of meshes that have the look.

    """
    count = 0
    for thing in objects:
        if not isinstance(thing.data, bpy.types.Mesh) or not len(thing.data.materials):
            continue
        both = thing.data.get(_LIT), thing.data.get(_PHOTOGRAPHED)
        wanted = both[look == PHOTO]
        if wanted is not None and thing.data.materials[0] in both:
            thing.data.materials[0] = wanted
            count += 1
    return count


# -- the import ----------------------------------------------------------------------------------


def _import(path: Path) -> list[bpy.types.Object]:
    """Objects of a file, with vertices joined at the seams of the texture."""
    # Normals of the file would not follow the keys; bones get no shape of their own.
    return import_objects(
        path,
        "rigged head",
        _REMEDY,
        merge_vertices=True,
        import_shading="SMOOTH",
        disable_bone_shape=True,
    )


def _parts(imported: list[bpy.types.Object]) -> tuple[bpy.types.Object, list[bpy.types.Object]]:
    """The armature and its meshes, the skin first; anything else that came along is removed.

    Raises:
        AddonError: ``addon.import_failed`` for a file that is no rigged head.

    """
    armature = next((thing for thing in imported if thing.type == "ARMATURE"), None)
    meshes = [t for t in imported if t.type == "MESH" and armature and t.parent == armature]
    others = [thing for thing in imported if thing not in (armature, *meshes)]
    for thing in others:
        _discard(thing)
    if armature is None or not meshes:
        if armature is not None:
            _discard(armature)
        raise AddonError(
            "addon.import_failed",
            "The file holds no rigged head.",
            _REMEDY,
        )
    for thing in meshes:
        thing[_PART] = thing.name.partition(".")[0]
    meshes.sort(key=lambda thing: (thing[_PART] != SKIN, thing[_PART]))
    return armature, meshes


def _discard(thing: bpy.types.Object) -> None:
    """Remove an imported object, its data and a collection that held it alone.

    Importers without ``disable_bone_shape`` bring the shape of the bones in a hidden collection.
    """
    data, collections = thing.data, list(thing.users_collection)
    bpy.data.objects.remove(thing)
    if data is not None and not data.users:
        bpy.data.batch_remove([data])
    for collection in collections:
        if collection in set(bpy.data.collections) and not collection.all_objects:
            bpy.data.collections.remove(collection)


def _adopt(thing: bpy.types.Object, run_id: str, index: int, title: str) -> None:
    """Mark and name an object, its data, both of its materials, and their images."""
    part = str(thing.get(_PART, "Rig"))
    label = tags.label(title, part.replace("_", " ").title())
    tags.mark(thing, run_id, ROLE)
    thing[tags.VIEW] = index
    tags.name(thing, label)
    if thing.data is None:
        return
    tags.mark(thing.data, run_id, "data")
    tags.name(thing.data, label)
    if not isinstance(thing.data, bpy.types.Mesh):
        return
    lit, photographed = _both_materials(thing.data)
    for key, material in ((_LIT, lit), (_PHOTOGRAPHED, photographed)):
        if material is None:
            continue
        thing.data[key] = material
        if not tags.is_ours(material):
            tags.mark(material, run_id, "material")
            tags.name(material, tags.label(title, material.name.partition(".")[0]))
        for image in tags.images_of(material):
            if not tags.is_ours(image):
                tags.mark(image, run_id, "texture")
                tags.name(image, tags.label(title, image.name.partition(".")[0]))
            if image.depth == _BITS_WITH_ALPHA:
                image.alpha_mode = "STRAIGHT"  # Solid views ignore the alpha of packed channels


def _both_materials(
    mesh: bpy.types.Mesh,
) -> tuple[bpy.types.Material | None, bpy.types.Material | None]:
    """Materials lit by the scene and as photographed: the file's first and second variant."""
    lit = mesh.materials[0] if len(mesh.materials) else None
    photographed = lit
    for entry in getattr(mesh, "gltf2_variant_mesh_data", ()):
        for variant in entry.variants:
            if variant.variant.variant_idx == 0:
                lit = entry.material
            else:
                photographed = entry.material
    return lit, photographed


def _take_over(
    earlier: dict[int, bpy.types.Object],
    armature: bpy.types.Object,
    meshes: list[bpy.types.Object],
) -> Matrix | None:
    """Give a new import the actions of an earlier one; the earlier armature's local matrix."""
    before = earlier.get(_ARMATURE)
    if before is None:
        return None
    _carry_action(before, armature)
    former = {thing.get(_PART): thing for thing in earlier.values() if thing.type == "MESH"}
    for thing in meshes:
        keys, old = mesh_data(thing).shape_keys, former.get(thing[_PART])
        if keys is not None and old is not None and mesh_data(old).shape_keys is not None:
            _carry_action(mesh_data(old).shape_keys, keys)
    return before.matrix_basis.copy()


def _carry_action(old: Any, new: Any) -> None:
    animation = old.animation_data
    if animation is None or animation.action is None:
        return
    data = new.animation_data or new.animation_data_create()
    data.action = animation.action
    if hasattr(data, "action_slot") and animation.action_slot is not None:  # Blender 4.4
        data.action_slot = animation.action_slot


def _drive(block: bpy.types.ShapeKey, leader: bpy.types.Key) -> None:
    """Make a key follow the equally named key of another mesh."""
    curve: Any = block.driver_add("value")
    curve.driver.type = "AVERAGE"  # of one variable: no script that Blender would ask about
    variable = curve.driver.variables.new()
    variable.name = "key"
    target = variable.targets[0]
    target.id_type = "KEY"
    target.id = leader
    target.data_path = f'key_blocks["{block.name}"].value'
