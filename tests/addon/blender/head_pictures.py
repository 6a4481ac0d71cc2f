# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of a rigged head under three lamps, by Cycles; see ``tests.addon.head_pictures``."""

from math import radians

import bpy
from common import main
from mathutils import Matrix, Vector

TARGET = Vector((0, -0.005, -0.012))
"""Middle of the pictures, metres, in Blender's axes: the face looks along -Y."""
DISTANCE = 1.5
"""Metres from the camera to the middle of the pictures."""
BACKDROP = (0.50, 0.53, 0.57)
"""Linear colour behind the head."""
LAMPS = (
    ((-0.9, -1.1, 0.7), 22, 0.5, (1.0, 0.96, 0.91)),
    ((1.1, -0.8, 0.2), 7, 0.9, (0.92, 0.96, 1.0)),
    ((0.5, 1.0, 0.8), 9, 0.5, (1.0, 1.0, 1.0)),
)
"""Place in metres, power in watts, side in metres and colour of key, fill and rim."""


def set_scene(request):
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = request["samples"]
    scene.cycles.use_denoising = True
    scene.cycles.seed = 0
    scene.render.resolution_x, scene.render.resolution_y = request["size"]
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"
    scene.view_settings.view_transform = "Standard"
    world = bpy.data.worlds.new("World")
    scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (*BACKDROP, 1)
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.55
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens = request["lens"]
    scene.collection.objects.link(camera)
    scene.camera = camera
    lamps = []
    for place, power, side, colour in LAMPS:
        light = bpy.data.lights.new("Lamp", "AREA")
        light.energy, light.size, light.color = power, side, colour
        lamp = bpy.data.objects.new("Lamp", light)
        scene.collection.objects.link(lamp)
        lamps.append((lamp, Vector(place)))
    return camera, lamps


def look_from(camera, lamps, yaw_deg, pitch_deg):
    """Put the camera on a circle around the head, and the lamps about it."""
    turn = Matrix.Rotation(radians(yaw_deg), 4, "Z")
    tilt = Matrix.Rotation(radians(-pitch_deg), 4, "X")
    place = TARGET + turn @ tilt @ Vector((0, -DISTANCE, 0))
    camera.location = place
    camera.rotation_euler = (TARGET - place).to_track_quat("-Z", "Y").to_euler()
    for lamp, offset in lamps:
        at = TARGET + turn @ offset
        lamp.location = at
        lamp.rotation_euler = (TARGET - at).to_track_quat("-Z", "Y").to_euler()


def render(request):
    camera, lamps = set_scene(request)
    bpy.ops.import_scene.gltf(filepath=request["glb"], import_shading="SMOOTH")
    for view in request["views"]:
        for keys in bpy.data.shape_keys:
            for block in keys.key_blocks[1:]:
                block.value = view["weights"].get(block.name, 0.0)
        look_from(camera, lamps, view["yaw_deg"], view["pitch_deg"])
        bpy.context.scene.render.filepath = view["png"]
        bpy.ops.render.render(write_still=True)
    return [view["png"] for view in request["views"]]


main(render)
