# SPDX-License-Identifier: GPL-3.0-or-later
"""Custom properties that mark the add-on's objects, images and collections with run and role.

The add-on finds its data-blocks by these properties, never by name, since names change: by
renaming, appending, or a second import.  When a run is loaded again, its objects are kept and their
data and images replaced, so references to them and names that the user gave stay valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import bpy

from . import sequence
from .object_data import scene_cameras

RUN = "dp3d_run"
"""Id of the run an object, collection, material, image or action came from."""
ROLE = "dp3d_role"
"""Role of a data-block: root, run, view, player, mesh, rig, plane, anchor, data, material, texture,
frames, playback or action."""
VIEW = "dp3d_view"
"""Index of the view a camera shows, or of the part of a mesh file or rigged head."""
FRAME = "dp3d_frame"
"""Scene frame a view was taken at."""
NAME = "dp3d_name"
"""Name that the add-on gave; where the present name differs, the user renamed the data-block."""

_NAME_BYTES = 63
"""Largest length of a name in Blender 4, bytes; Blender cuts longer ones."""


def mark(thing: Any, run_id: str, role: str) -> None:
    """Write run and role on an ID."""
    thing[RUN] = run_id
    thing[ROLE] = role


def is_marked(thing: Any, run_id: str | None, role: str) -> bool:
    """Whether an ID has that role and, unless None, belongs to that run."""
    return thing.get(ROLE) == role and (run_id is None or thing.get(RUN) == run_id)


def is_ours(thing: Any, run_id: str | None = None) -> bool:
    """Whether an ID is marked as the add-on's; with a run, as that run's."""
    return ROLE in thing and (run_id is None or thing.get(RUN) == run_id)


def objects(scene: bpy.types.Scene, run_id: str | None, role: str) -> Iterator[bpy.types.Object]:
    """Objects of a scene in a role."""
    return (o for o in list(scene.objects) if is_marked(o, run_id, role))


def originals(scene: bpy.types.Scene, run_id: str, role: str) -> dict[int, bpy.types.Object]:
    """Objects of a run in a role by their index (0 without one); a user's copies are left out.

    A copy carries the marks of its original, but not the name they record; where the user
    renamed the original too, a copy is the one with a number appended.
    """
    candidates: dict[int, list[bpy.types.Object]] = {}
    for thing in objects(scene, run_id, role):
        candidates.setdefault(int(thing.get(VIEW, 0)), []).append(thing)
    return {
        index: min(things, key=lambda o: (o.name != o.get(NAME), len(o.name), o.name))
        for index, things in candidates.items()
    }


def show(
    scene: bpy.types.Scene,
    run_id: str,
    role: str,
    visible: bool,
    under: bpy.types.Object | None = None,
) -> int:
    """Show or hide objects of a run in the 3D views, but not the user's copies of them.

    Args:
        scene: which has the objects.
        run_id: of the run.
        role: theirs.
        visible: whether they are to be seen.
        under: an object they must hang on; None: any.

    Returns:
        How many were changed.

    """
    count = 0
    for thing in originals(scene, run_id, role).values():
        if under is not None and not hangs_on(thing, under):
            continue
        for layer in scene.view_layers:
            if thing.name in layer.objects and thing.hide_get(view_layer=layer) == visible:
                thing.hide_set(not visible, view_layer=layer)
                count += 1
    return count


def hangs_on(thing: bpy.types.Object, top: bpy.types.Object) -> bool:
    """Whether an object is parented to another, directly or not."""
    parent = thing.parent
    while parent is not None and parent != top:
        parent = parent.parent
    return parent is not None


def runs(scene: bpy.types.Scene) -> set[str]:
    """Ids of the runs that have objects in a scene."""
    return {o[RUN] for o in scene.objects if is_ours(o)}


# -- names -----------------------------------------------------------------------------------


def label(title: str, what: str) -> str:
    """Name of a run's data-block, "Anna · View 003", within Blender's limit of length."""
    suffix = f" · {what}" if what else ""
    room = _NAME_BYTES - len(suffix.encode())
    return title.encode()[:room].decode(errors="ignore").rstrip() + suffix


def name(thing: bpy.types.ID, wanted: str) -> None:
    """Name a data-block, unless the user has renamed it."""
    if thing.get(NAME, thing.name) == thing.name:
        if thing.name != wanted:
            thing.name = wanted
        thing[NAME] = thing.name


# -- collections -----------------------------------------------------------------------------


def collection(scene: bpy.types.Scene, run_id: str, title: str) -> bpy.types.Collection:
    """The run's collection inside the scene's "Head Views" collection; made when absent."""
    root = _child(scene.collection, "", "root", "Head Views")
    return _child(root, run_id, "run", label(title, ""))


def _child(
    parent: bpy.types.Collection, run_id: str, role: str, title: str
) -> bpy.types.Collection:
    for child in parent.children_recursive:
        if is_marked(child, run_id, role):
            name(child, title)
            return child
    child = bpy.data.collections.new(title)
    mark(child, run_id, role)
    child[NAME] = child.name
    parent.children.link(child)
    return child


# -- removal ---------------------------------------------------------------------------------


def remove_objects(objects: Iterable[bpy.types.Object]) -> int:
    """Delete objects and the add-on's data-blocks that only they used; number of objects.

    Objects parented to them stay where they are in the world.
    """
    things = list(objects)
    pointers = {thing.as_pointer() for thing in things}
    leftovers: list[bpy.types.ID] = []
    for thing in things:
        for child in thing.children:
            if child.as_pointer() not in pointers:
                world = child.matrix_world.copy()
                child.parent = None
                child.matrix_world = world
        leftovers += used_by(thing)
    for thing in things:
        bpy.data.objects.remove(thing)
    sweep(leftovers)
    return len(things)


def used_by(thing: bpy.types.Object) -> list[bpy.types.ID]:
    """The add-on's data-blocks an object uses, users first: data, actions, materials, images."""
    data = thing.data
    used: list[Any] = [data, _action(thing), _action(data)]
    materials = [slot.material for slot in thing.material_slots]
    if isinstance(data, bpy.types.Mesh):
        materials += list(data.materials)
    used += materials
    for material in materials:
        if material is not None:
            used += images_of(material)
    if isinstance(data, bpy.types.Camera):
        used += [background.image for background in data.background_images]
    unique = {
        item.as_pointer(): item
        for item in used
        if item is not None and (is_ours(item) or isinstance(item, bpy.types.Camera))
    }
    return list(unique.values())


def images_of(material: bpy.types.Material) -> list[bpy.types.Image]:
    """Images of a material's texture nodes."""
    nodes = material.node_tree.nodes if material.node_tree else ()
    return [n.image for n in nodes if isinstance(n, bpy.types.ShaderNodeTexImage) and n.image]


def sweep(things: Iterable[bpy.types.ID]) -> None:
    """Remove unused data-blocks, given in the order of ``used_by``."""
    unique = {thing.as_pointer(): thing for thing in things}
    for thing in unique.values():
        if not thing.users:
            bpy.data.batch_remove([thing])


def purge(run_id: str) -> None:
    """Remove unused data-blocks of a run, whose objects the user deleted."""
    for kind in ("cameras", "meshes", "armatures", "materials", "images", "actions"):  # users first
        sweep(item for item in list(getattr(bpy.data, kind)) if is_ours(item, run_id))


def delete_run(scene: bpy.types.Scene, run_id: str) -> int:
    """Remove everything of a run from a scene: objects, their data, playback, collection.

    What the user added stays: objects put into the run's collection move up to the scene's own,
    copies of our objects lose their marks, other backgrounds of a camera are not touched.

    Returns:
        How many objects were removed.

    """
    remove_backgrounds(scene, run_id)
    ours = [o for o in scene.objects if is_ours(o, run_id)]
    kept: dict[str, dict[int, bpy.types.Object]] = {}
    for thing in ours:
        role = thing[ROLE]
        if role not in kept:
            kept[role] = originals(scene, run_id, role)
    first = {o.as_pointer() for by_index in kept.values() for o in by_index.values()}
    for copy in [o for o in ours if o.as_pointer() not in first]:
        for key in (RUN, ROLE, VIEW, FRAME, NAME):
            copy.pop(key, None)
    count = remove_objects(o for o in ours if o.as_pointer() in first)
    purge(run_id)
    for child in list(scene.collection.children_recursive):
        if is_marked(child, run_id, "run"):
            _dissolve(scene, child)
    for root in list(scene.collection.children_recursive):
        if is_marked(root, "", "root") and not root.children and not root.objects:
            bpy.data.collections.remove(root)
    return count


def remove_backgrounds(scene: bpy.types.Scene, run_id: str) -> int:
    """Remove a run's playback from the backgrounds of the scene's cameras; number removed."""
    count = 0
    for camera in scene_cameras(scene):
        sequence.realign(camera, sequences_behind(camera))
        removed = playback_backgrounds(camera, run_id)
        images = [background.image for background in removed]
        while removed:
            sequence.remove(removed[0].image_user)
            removed[0].image = None  # Blender would go on counting it as a user
            camera.background_images.remove(removed[0])
            # The others moved up one place: our drivers follow them.
            sequence.realign(camera, sequences_behind(camera))
            removed = playback_backgrounds(camera, run_id)
        sweep(images)
        count += len(images)
    return count


def sequences_behind(camera: bpy.types.Camera) -> list[bpy.types.Image]:
    """Image sequences of the add-on behind a camera: playbacks, and the frames of a player."""
    images = [background.image for background in camera.background_images]
    return [i for i in images if i is not None and is_ours(i) and i.source == "SEQUENCE"]


def playback_backgrounds(camera: bpy.types.Camera, run_id: str | None = None) -> list[Any]:
    """Backgrounds of a camera that play a run back (any run, when none is given)."""
    return [
        b for b in camera.background_images if b.image and is_marked(b.image, run_id, "playback")
    ]


def _dissolve(scene: bpy.types.Scene, child: bpy.types.Collection) -> None:
    for thing in list(child.objects):
        if len(thing.users_collection) == 1:
            scene.collection.objects.link(thing)
    for inner in list(child.children):
        if scene.collection not in _parents(inner):
            scene.collection.children.link(inner)
    bpy.data.collections.remove(child)


def _parents(child: bpy.types.Collection) -> list[bpy.types.Collection]:
    everything = [s.collection for s in bpy.data.scenes] + list(bpy.data.collections)
    return [c for c in everything if child.name in c.children]


def _action(owner: Any) -> bpy.types.Action | None:
    animation = getattr(owner, "animation_data", None)
    return animation.action if animation is not None else None
