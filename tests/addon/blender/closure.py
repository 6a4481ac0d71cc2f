# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way round, inside Blender: scene camera path -> views -> fit -> mesh -> import.

Reports what Blender sees before and after; the comparison is made outside.
"""

import math
import time

import bpy
from bpy_extras.object_utils import world_to_camera_view
from common import enable_addon, main, make_anchor, rows
from mathutils import Matrix, Vector
from mathutils.geometry import barycentric_transform

LANDMARKS = [(0, 0, 0), (0.0, -0.02, 0.29), (0.21, 0.0, 0.0), (-0.1, 0.25, 0.1)]


def animate_camera(scene, anchor, frames):
    """Keyframe a camera on a wavy ring about the (moving) anchor, looking at it."""
    camera = bpy.data.objects.new("path", bpy.data.cameras.new("path"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.rotation_mode = "QUATERNION"
    data = camera.data
    data.sensor_fit, data.sensor_width, data.sensor_height = "VERTICAL", 36.0, 24.0
    data.shift_x, data.shift_y, data.lens = 0.03, -0.04, 92.0
    for index, frame in enumerate(frames):
        scene.frame_set(frame)
        yaw = 2 * math.pi * index / len(frames)
        pitch = math.radians(12.0) * math.sin(3 * yaw) + 0.1
        head = Vector(
            (math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch))
        )
        world = anchor.matrix_world
        camera.location = world @ (2.7 * head)
        towards = (world.translation - camera.location).normalized()
        up = (world.to_3x3() @ Vector((0, 1, 0))).normalized()
        right = towards.cross(up).normalized()
        turn = Matrix((right, right.cross(towards), -towards)).transposed()
        camera.rotation_quaternion = turn.to_quaternion()
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_quaternion", frame=frame)
    return camera


def projection(camera, depsgraph, scene, size):
    return camera.evaluated_get(depsgraph).calc_matrix_camera(
        depsgraph,
        x=size[0],
        y=size[1],
        scale_x=scene.render.pixel_aspect_x,
        scale_y=scene.render.pixel_aspect_y,
    )


def texture_at(thing, index, point, pixels):
    """Colour (0..255) of the mesh's texture at a point of one of its triangles."""
    mesh = thing.data
    polygon = mesh.polygons[index]
    corners = [mesh.vertices[i].co for i in polygon.vertices]
    layer = mesh.uv_layers.active.data
    places = [layer[i].uv.to_3d() for i in polygon.loop_indices]
    uv = barycentric_transform(point, *corners, *places)
    width, height, values = pixels
    x = min(width - 1, max(0, int(uv.x * width)))
    y = min(height - 1, max(0, int(uv.y * height)))
    at = 4 * (y * width + x)
    return [round(255 * c) for c in values[at : at + 3]]


def texture_of(thing):
    """Size and values of the base colour image of an imported mesh."""
    nodes = thing.data.materials[0].node_tree.nodes
    image = next(n.image for n in nodes if n.bl_idname == "ShaderNodeTexImage")
    return image.size[0], image.size[1], list(image.pixels)


def look(scene, depsgraph, camera, size, textures):
    """Rays through all pixels, by Blender's own matrices: what is hit, and some of its colours.

    Returns one character per pixel, row by row from the top, and [u, v, r, g, b] for hits of
    every fourth row and column.
    """
    back = projection(camera, depsgraph, scene, size).inverted()
    world = camera.evaluated_get(depsgraph).matrix_world
    turn, origin = world.to_quaternion(), world.translation
    hits, colours = [], []
    for v in range(size[1]):
        for u in range(size[0]):
            at = Vector(((u + 0.5) / size[0] * 2 - 1, 1 - (v + 0.5) / size[1] * 2, 0.0, 1.0))
            near = back @ at
            ray = turn @ (near.xyz / near.w)
            hit, place, _, face, thing, _ = scene.ray_cast(depsgraph, origin, ray.normalized())
            hits.append("1" if hit else "0")
            if hit and u % 4 == 2 and v % 4 == 2:
                local = thing.evaluated_get(depsgraph).matrix_world.inverted() @ place
                colours.append([u, v, *texture_at(thing, face, local, textures[thing.name])])
    return "".join(hits), colours


def work(request):
    enable_addon(request["url"], request["token"])
    scene, layer = bpy.context.scene, bpy.context.view_layer
    anchor = make_anchor("everything")
    frames = list(range(1, 1 + request["views"]))
    camera = animate_camera(scene, anchor, frames)
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 200, 256, 50
    render.pixel_aspect_x, render.pixel_aspect_y = 1.1, 1.0
    settings = scene.dp3d
    settings.portrait, settings.anchor = request["portrait"], anchor
    settings.output = request["folder"]
    settings.camera_source, settings.use_scene_range = "SCENE", False
    settings.frame_start, settings.frame_end = frames[0], frames[-1]
    settings.then_mesh, settings.fit_preset = True, request["preset"]
    settings.faces, settings.texture_size = 6000, 256
    scene.frame_set(4)

    began = time.monotonic()
    bpy.ops.dp3d.generate()
    seconds = time.monotonic() - began
    run, frame_after = scene.dp3d_run, scene.frame_current
    size = (100, 128)

    views = {o["dp3d_view"]: o for o in scene.objects if o.get("dp3d_role") == "view"}
    player = next(o for o in scene.objects if o.get("dp3d_role") == "player")
    meshes = [o for o in scene.objects if o.get("dp3d_role") == "mesh" and o.type == "MESH"]
    textures = {o.name: texture_of(o) for o in meshes}
    frame_reports = []
    for index, frame in enumerate(frames):
        scene.frame_set(frame)
        depsgraph = layer.depsgraph
        world = anchor.evaluated_get(depsgraph).matrix_world
        hits, colours = look(scene, depsgraph, camera, size, textures)
        seen = []
        for point in LANDMARKS:
            at = world_to_camera_view(scene, camera, world @ Vector(point))
            seen.append((at.x * size[0], (1 - at.y) * size[1]))
        frame_reports.append(
            {
                "frame": views[index]["dp3d_frame"],
                "anchor": rows(world),
                "seen": seen,
                "scene_camera": rows(camera.evaluated_get(depsgraph).matrix_world),
                "view_camera": rows(views[index].evaluated_get(depsgraph).matrix_world),
                "player": rows(player.evaluated_get(depsgraph).matrix_world),
                "scene_projection": rows(projection(camera, depsgraph, scene, size)),
                "view_projection": rows(projection(views[index], depsgraph, scene, size)),
                "player_projection": rows(projection(player, depsgraph, scene, size)),
                "vertices": [
                    list(o.evaluated_get(depsgraph).matrix_world @ v.co)
                    for o in meshes
                    for v in o.data.vertices
                ],
                "silhouette": hits,
                "colours": colours,
            }
        )
    return {
        "views": frame_reports,
        "landmarks": LANDMARKS,
        "size": size,
        "folder": run.folder,
        "mesh": run.mesh,
        "frame_after": frame_after,
        "seconds": seconds,
        "state": run.state,
        "error": run.error_problem,
    }


main(work)
