# SPDX-License-Identifier: GPL-3.0-or-later
"""Create Orbit Cameras: names, replacement, undo."""

import bpy
from common import enable_addon, main
from export_scene import plain_scene


def work(request):
    """Create Orbit Cameras: names, replacement, undo."""
    enable_addon()
    scene, anchor, _ = plain_scene()
    anchor.scale = (0.2,) * 3
    scene.dp3d.views, scene.dp3d.preset = 3, "ARC"
    bpy.ops.ed.undo_push(message="before")
    report = {}

    def names():
        return sorted(o.name for o in bpy.data.objects if o.type == "CAMERA")

    bpy.ops.dp3d.create_orbit_cameras()
    bpy.ops.ed.undo_push(message="made")
    report["first"] = names()
    report["selected"] = sorted(o.name for o in bpy.context.selected_objects)
    report["active"] = bpy.context.view_layer.objects.active.name
    report["collection"] = [c.name for c in bpy.data.objects["Arc 001"].users_collection]
    scene.camera = bpy.data.objects["Arc 001"]
    unparented = bpy.data.objects["Arc 002"]
    unparented.parent = None
    copy = bpy.data.objects["Arc 000"].copy()
    copy.data, copy.name = copy.data.copy(), "My Close-up"
    copy.keyframe_insert("location", frame=1)
    bpy.context.collection.objects.link(copy)
    scene.dp3d.views = 2
    bpy.ops.dp3d.create_orbit_cameras()
    report["second"] = names()
    report["scene_camera"] = scene.camera.name
    bpy.ops.dp3d.create_orbit_cameras()
    report["third"] = names()
    report["data"] = sorted(c.name for c in bpy.data.cameras)
    bpy.ops.ed.undo_push(message="more")
    bpy.ops.ed.undo()
    report["undone"] = names()

    # each of these is an edit: none of the edited cameras is deleted
    scene = bpy.context.scene  # undo made another
    for index, edit in enumerate(
        (
            lambda c: setattr(c, "location", (0, 0, 3)),
            lambda c: setattr(c.data, "lens", 20),
            lambda c: setattr(c, "name", "Mine"),
            lambda c: c.keyframe_insert("location", frame=1),
            lambda c: c.data.keyframe_insert("lens", frame=1),
            lambda c: c.constraints.new("LIMIT_LOCATION"),
            lambda c: setattr(bpy.data.objects["Cube"], "parent", c),
            lambda c: setattr(scene.timeline_markers.new("m", frame=2), "camera", c),
        )
    ):
        bpy.ops.dp3d.create_orbit_cameras()
        camera = bpy.context.view_layer.objects.active
        edit(camera)
        camera["edit"] = index
    bpy.ops.dp3d.create_orbit_cameras()
    report["edited"] = sorted(o["edit"] for o in scene.objects if "edit" in o)
    report["made_at_last"] = len(bpy.context.selected_objects)
    report["all"] = len(names())
    return report


main(work)
