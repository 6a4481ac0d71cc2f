# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes for exports: a block before the head, cameras, odd settings; the button pressed."""

from contextlib import suppress

import bpy
from common import make_anchor
from mathutils import Vector


def flat_workbench(scene):
    """Workbench without light: each object in its own plain colour, edges smoothed."""
    scene.render.engine = "BLENDER_WORKBENCH"
    shading = scene.display.shading
    shading.light, shading.color_type = "FLAT", "OBJECT"
    scene.display.render_aa = "8"


def camera(scene, anchor, name, place, **lens):
    """A camera that looks at the anchor from a place in head space, at the present frame."""
    bpy.context.view_layer.update()
    thing = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    scene.collection.objects.link(thing)
    for key, value in lens.items():
        setattr(thing.data, key, value)
    thing.data.clip_start, thing.data.clip_end = 0.001, 1000
    world = anchor.matrix_world
    thing.location = world @ Vector(place)
    thing.rotation_mode = "QUATERNION"
    thing.rotation_quaternion = (world.translation - thing.location).to_track_quat("-Z", "Y")
    return thing


def plain_scene():
    """A block before the head, a camera, an anchor; Workbench."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    anchor = make_anchor("plain")
    bpy.ops.mesh.primitive_cube_add(size=0.3)
    block = bpy.context.object
    block.color = (0.5, 0.25, 0.75, 1.0)
    flat_workbench(scene)
    settings = scene.dp3d
    settings.anchor, settings.preset, settings.views, settings.size = anchor, "ORBIT", 4, 48
    scene.camera = camera(scene, anchor, "own", (0, 0, 3))
    return scene, anchor, block


def odd_settings(scene):
    """Settings an export must work around and leave alone."""
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 300, 200, 50
    render.pixel_aspect_x, render.pixel_aspect_y = 1.0, 1.25
    render.use_border, render.border_max_x = True, 0.4
    render.use_stamp = render.use_crop_to_border = True
    render.image_settings.file_format = "JPEG"
    render.filepath = "//elsewhere"
    scene.view_settings.exposure = 2.0
    scene.view_layers.new("Other")


def settings_of(scene):
    """Everything of the scene that an export could spoil."""
    values = {}
    for owner in (
        scene,
        scene.render,
        scene.render.image_settings,
        scene.view_settings,
        scene.display_settings,
        scene.dp3d,
    ):
        for prop in owner.bl_rna.properties:
            if prop.identifier == "dp3d_result_index":  # the export enters the list of results
                continue
            if prop.type in {"BOOLEAN", "INT", "FLOAT", "STRING", "ENUM"}:
                value = getattr(owner, prop.identifier)
                if hasattr(value, "__len__") and not isinstance(value, str):
                    value = sorted(value) if isinstance(value, set) else list(value)
                values[f"{owner.bl_rna.identifier}.{prop.identifier}"] = value
    values["camera"] = scene.camera and scene.camera.name
    values["markers"] = [(m.name, m.frame) for m in scene.timeline_markers]
    values["scenes"] = [s.name for s in bpy.data.scenes]
    values["objects"] = sorted(o.name for o in bpy.data.objects)
    values["cameras"] = sorted(c.name for c in bpy.data.cameras)
    values["layers"] = [(layer.name, layer.use) for layer in scene.view_layers]
    values["selected"] = [o.name for o in bpy.context.selected_objects]
    return values


def export(scene, folder=None, **settings):
    """Press the button; the record, or the refusal."""
    if folder is not None:
        scene.dp3d_export.folder = str(folder)
    start_over = settings.pop("start_over", False)
    for name, value in settings.items():
        setattr(scene.dp3d_export, name, value)
    with suppress(RuntimeError):
        bpy.ops.dp3d.export_orbit(start_over=start_over)
    record = scene.dp3d_export
    names = ("state", "views", "done", "warnings", "message", "exported_folder", "exported_frames")
    return {n: getattr(record, n) for n in (*names, "error_code", "error_problem", "error_remedy")}
