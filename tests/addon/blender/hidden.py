# SPDX-License-Identifier: GPL-3.0-or-later
"""Anchor and cameras that are hidden in every way, and their parents: poses of a path."""

import bpy
from common import enable_addon, main

FRAMES = [1, 5, 10]


def animate(thing, step):
    for frame in FRAMES:
        thing.location.x = step * frame
        thing.keyframe_insert("location", frame=frame)


def build():
    """Anchor and camera under parents, a second camera bound to a marker, all of them moving."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    collection = bpy.data.collections.new("stage")
    scene.collection.children.link(collection)
    made = {}
    for name in ("anchor parent", "anchor", "camera parent", "camera", "second"):
        data = bpy.data.cameras.new(name) if name in ("camera", "second") else None
        made[name] = thing = bpy.data.objects.new(name, data)
        collection.objects.link(thing)
        animate(thing, 0.01 * len(made))
    for frame in (1, 10):
        made["camera"].data.lens = 40 + frame
        made["camera"].data.keyframe_insert("lens", frame=frame)
    made["anchor"].parent, made["camera"].parent = made["anchor parent"], made["camera parent"]
    made["anchor parent"].scale = (0.5,) * 3
    for name in ("camera", "second"):
        made[name].location.z = 3
    scene.camera, scene.dp3d.anchor = made["camera"], made["anchor"]
    return scene, collection, made


def hide(method, scene, collection, objects):
    layer = bpy.context.view_layer.layer_collection.children["stage"]
    if method == "excluded":
        layer.exclude = True
    elif method == "collection monitor":
        collection.hide_viewport = True
    elif method == "collection eye":
        layer.hide_viewport = True
    for thing in objects:
        if method == "monitor":
            thing.hide_viewport = True
        elif method == "eye":
            thing.hide_set(True)
        elif method == "monitor keyed":
            for frame, hidden in ((1, False), (3, True), (10, True)):
                thing.hide_viewport = hidden
                thing.keyframe_insert("hide_viewport", frame=frame)


def work(request):
    enable_addon()
    from addon.scene import camera_check

    out = {"poses": {}, "left": []}
    parents = ("anchor parent", "camera parent")
    for method in (
        *("none", "monitor", "eye", "monitor keyed"),
        *("excluded", "collection monitor", "collection eye"),
    ):
        for level in ("all", "parents") if method in ("monitor", "monitor keyed") else ("all",):
            scene, collection, made = build()
            scene.frame_set(4)
            hide(
                method, scene, collection, [made[n] for n in (made if level == "all" else parents)]
            )
            before = len(bpy.data.objects)
            layer = bpy.context.view_layer
            path = camera_check.scene_path(scene, layer, FRAMES, must_show_head=False)
            poses = path["frames"]
            names = camera_check.camera_names(scene, layer, FRAMES)
            for frame, name in ((1, "second"), (5, "camera")):
                scene.timeline_markers.new("m", frame=frame).camera = made[name]
            path = camera_check.scene_path(scene, layer, FRAMES, must_show_head=False)
            names += camera_check.camera_names(scene, layer, FRAMES)
            out["poses"][f"{method}, {level}"] = [poses, path["frames"], names]
            out["left"].append([len(bpy.data.objects) - before, scene.frame_current])

    # The selected cameras at the current frame, the anchor hidden.
    scene, collection, made = build()
    made["anchor"].hide_viewport = True
    scene.frame_set(10)
    made["second"].select_set(True)
    shot = camera_check.selected_shots(scene, bpy.context.view_layer)[0]
    out["selected"] = [shot.anchor_world[0][3], shot.camera_world[0][3]]
    return out


main(work)
