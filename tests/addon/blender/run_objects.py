# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that come again, are renamed, moved, copied and deleted: what the file holds after each."""

from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor

KINDS = ("objects", "cameras", "meshes", "materials", "images", "actions", "collections")


def counts():
    return {kind: len(getattr(bpy.data, kind)) for kind in KINDS}


def names():
    return {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in KINDS}


class Runs:
    def __init__(self, request, anchor):
        self.folder, self.glb, self.anchor = Path(request["folder"]), Path(request["glb"]), anchor

    def bring(self, run_id, title, look=""):
        from addon.scene import mesh, playback, views

        scene, layer = bpy.context.scene, bpy.context.view_layer
        views.load(scene, self.anchor, self.folder, run_id, title, [1, 4, 7])
        objects = mesh.load(scene, layer, self.anchor, self.glb, run_id, title, look)
        playback.show_plane(scene, self.anchor, self.folder, [1, 4, 7], run_id, title)
        playback.show_behind(scene, bpy.data.objects["own"], self.folder, [1, 4, 7], run_id, title)
        return objects


def work(request):
    enable_addon()
    from addon.scene import look, mesh, tags

    scene, layer = bpy.context.scene, bpy.context.view_layer
    anchor = make_anchor("plain")
    own = bpy.data.objects.new("own", bpy.data.cameras.new("own"))
    scene.collection.objects.link(own)
    layer.objects.active = own
    own.select_set(True)
    runs = Runs(request, anchor)
    out = {"empty": counts()}
    runs.bring("one", "Anna")
    out["first"] = names()
    runs.bring("two", "Berta")
    out["two"] = counts()
    out["selected"] = [o.name for o in layer.objects.selected] + [layer.objects.active.name]
    head = bpy.data.objects["Anna · Head"]
    out["statistics"] = list(mesh.statistics([head]))

    # Again, twice: nothing grows, and what points at the head goes on pointing.
    hat = bpy.data.objects.new("hat", None)
    scene.collection.objects.link(hat)
    hat.parent, hat.location = head, (0, 0, 0.2)
    for _ in range(2):
        runs.bring("one", "Anna")
    out["again"] = names()
    out["hat"] = hat.parent == head

    # The user renames, moves, edits and replaces; then it comes again under another title.
    view = bpy.data.objects["Anna · View 001"]
    pose = [list(row) for row in view.matrix_local]
    view.name, view.location.x = "my favourite", 5.0
    head.name, head.location.x = "my head", 0.7
    material = head.data.materials[0]
    extra = material.node_tree.nodes.new("ShaderNodeHueSaturation")
    extra.name = "my hue"
    head.modifiers.new("my smooth", "SMOOTH")
    bpy.data.objects.remove(bpy.data.objects["Anna · View 002"])
    runs.bring("one", "Anna Again", look.PHOTO)
    texture = next(n for n in material.node_tree.nodes if n.bl_idname == "ShaderNodeTexImage").image
    layer.update()
    drift = max(
        abs(a - b)
        for was, now in zip(pose, view.matrix_local, strict=True)
        for a, b in zip(was, now, strict=True)
    )
    out["edited"] = {
        "names": names(),
        "head_x": round(head.location.x, 4),
        "view_moved_by": drift,
        "material": head.data.materials[0] == material and "my hue" in material.node_tree.nodes,
        "texture": [texture.name, texture.users > 0, tuple(texture.size)],
        "modifiers": [m.name for m in head.modifiers],
        "kept": look.apply([head], look.LIT).kept,
    }
    head.data.materials[0] = bpy.data.materials.new("gold")
    runs.bring("one", "Anna Again")
    out["gold"] = [m.name for m in head.data.materials]
    out["after_gold"] = counts()

    # A copy of the head, a thing of the user's in the run's collection; then the run goes.
    twin = head.copy()
    twin.data = head.data.copy()
    scene.collection.objects.link(twin)
    collection = next(c for c in bpy.data.collections if tags.is_marked(c, "one", "run"))
    lamp = bpy.data.objects.new("lamp", bpy.data.lights.new("lamp", "POINT"))
    collection.objects.link(lamp)
    theirs = own.data.background_images.new()
    theirs.image = bpy.data.images.load(str(runs.folder / "frames" / "0000.png"))
    layer.update()
    where = hat.matrix_world.copy()
    tags.delete_run(scene, "one")
    layer.update()
    out["deleted"] = {
        "names": names(),
        "in_scene": sorted(o.name for o in scene.objects if o.name in ("lamp", "hat", twin.name)),
        "twin_marks": [key for key in ("dp3d_run", "dp3d_role") if key in twin],
        "hat_moved": (hat.matrix_world.translation - where.translation).length,
        "backgrounds": [b.image.name for b in own.data.background_images],
    }
    runs.bring("two", "Berta")
    out["berta"] = sorted(o.name for o in scene.objects if o.get(tags.RUN) == "two")
    tags.delete_run(scene, "two")
    for thing in (twin, lamp, hat):
        bpy.data.objects.remove(thing)
    out["end"] = names()
    # A long title, and one of many bytes.
    runs.bring("three", "Ä" * 80)
    out["long"] = sorted(o.name for o in scene.objects if o.get(tags.RUN) == "three")
    return out


main(work)
