# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras that cannot serve are named with their frames; selected cameras become a path."""

import math

import bpy
from common import enable_addon, main, rows
from mathutils import Vector


def camera(scene, name, location, target=(0, 0, 1.6), kind="PERSP"):
    thing = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    scene.collection.objects.link(thing)
    thing.location = location
    turn = (Vector(target) - Vector(location)).to_track_quat("-Z", "Y")
    thing.rotation_euler = turn.to_euler()
    thing.data.type = kind
    return thing


def work(request):
    enable_addon()
    from addon.link.errors import AddonError
    from addon.scene import anchor, camera_check

    scene, layer = bpy.context.scene, bpy.context.view_layer
    out = {}

    def raised(function, *arguments):
        try:
            function(*arguments)
        except AddonError as error:
            return [error.code, error.problem]
        return None

    out["no_anchor"] = raised(camera_check.problems, scene, layer, [1])
    scene.dp3d.anchor = anchor.add(scene)
    out["none"] = camera_check.problems(scene, layer, [1, 2, 3])

    good = camera(scene, "Good {1}", (0, -2, 1.6))
    scene.camera = good
    scene.frame_set(7)
    out["good"] = camera_check.problems(scene, layer, [1, 2, 3])
    path = camera_check.scene_path(scene, layer, [1, 2, 3])
    out["same_as_plain"] = path == camera_check.scene_path(
        scene, layer, [1, 2, 3], must_show_head=False
    )
    out["frame_kept"] = scene.frame_current

    # one camera that flies through the head and looks away at the end
    flight = camera(scene, "Flight", (0, -2, 1.6))
    for frame, y, turn in ((1, -2, 0), (5, 0, 0), (9, 2, 0), (10, -2, math.pi)):
        flight.location.y = y
        flight.rotation_euler.z = turn
        flight.keyframe_insert("location", frame=frame)
        flight.keyframe_insert("rotation_euler", frame=frame)
    scene.camera = flight
    out["flight"] = camera_check.problems(scene, layer, list(range(1, 11)))
    out["flight_raised"] = raised(camera_check.scene_path, scene, layer, list(range(1, 11)))

    # by markers: a flat one at frame 4, one that was deleted at frame 6
    flat = camera(scene, "Flat", (0, -2, 1.6), kind="ORTHO")
    gone = camera(scene, "Gone", (0, -2, 1.6))
    for frame, thing in ((1, good), (4, flat), (5, good), (6, gone)):
        scene.timeline_markers.new("m", frame=frame).camera = thing
    scene.collection.objects.unlink(gone)
    scene.camera = flight
    out["markers"] = camera_check.problems(scene, layer, [1, 4, 5, 6])
    out["markers_raised"] = raised(camera_check.scene_path, scene, layer, [1, 4, 5, 6])
    out["camera_kept"] = scene.camera.name
    scene.timeline_markers.clear()
    scene.camera = good

    scene.render.resolution_x, scene.render.resolution_percentage = 8000, 100
    out["large"] = raised(camera_check.scene_path, scene, layer, [1])
    scene.render.resolution_percentage = 50
    out["halved"] = camera_check.problems(scene, layer, [1])
    scene.render.resolution_x, scene.render.resolution_percentage = 640, 100
    scene.render.resolution_y = 480

    # what is still seen: a shifted lens, a close-up of an ear, the border of the head
    sights = {}
    for name, location, target, lens, shift in (
        ("centre", (0, -2, 1.6), (0, 0, 1.6), 50, 0),
        ("close-up", (1.0, 0, 1.6), (0, 0, 1.62), 300, 0),
        ("crown", (0, -2, 1.6), (0, 0, 2.2), 50, 0),
        ("above", (0, -2, 1.6), (0, 0, 2.6), 50, 0),
        ("behind", (0, -2, 1.6), (0, -4, 1.6), 50, 0),
        ("shifted away", (0, -2, 1.6), (0, 0, 1.6), 50, 1.5),
        ("shifted back", (0, -2, 1.6), (1.8, 0, 1.6), 50, -1.25),
        ("just beside", (0, -2, 1.6), (0.85, 0, 1.6), 50, 0),
        ("beside", (0, -2, 1.6), (1.0, 0, 1.6), 50, 0),
    ):
        thing = camera(scene, name, location, target)
        thing.data.lens, thing.data.shift_x = lens, shift
        scene.camera = thing
        layer.update()
        sights[name] = camera_check.problems(scene, layer, [1])
    out["sights"] = sights

    # a scene in centimetres
    scene.unit_settings.scale_length = 0.01
    scene.dp3d.anchor = anchor.add(scene)
    scene.camera = camera(scene, "Far", (0, -200, 160), (0, 0, 160))
    out["centimetres"] = camera_check.problems(scene, layer, [1])
    scene.camera.location = (0, -5, 160)
    out["centimetres_inside"] = camera_check.problems(scene, layer, [1])
    scene.unit_settings.scale_length = 1.0
    scene.dp3d.anchor = anchor.add(scene)

    # all selected cameras
    bpy.ops.object.select_all(action="DESELECT")
    out["unselected"] = raised(camera_check.selected_path, scene, layer)
    ring = [camera(scene, f"Cam {n}", (n / 4, -2, 1.6)) for n in (10, 2, 1)]
    for thing in (*ring, scene.dp3d.anchor):
        thing.select_set(True)
    out["order"] = [c.name for c in camera_check.selected_cameras(layer)]
    document = camera_check.selected_path(scene, layer)
    out["document"] = document
    out["expected"] = [rows(bpy.data.objects[name].matrix_world) for name in out["order"]]
    ring[0].data.type = "PANO"
    out["selected_fault"] = raised(camera_check.selected_path, scene, layer)
    return out


main(work)
