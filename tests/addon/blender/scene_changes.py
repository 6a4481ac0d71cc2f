# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of a scene, and what each changes of what the scene shows."""

import time

import bpy
from common import enable_addon, main


def work(request):
    """Which edits change what a scene shows."""
    enable_addon()
    from addon.scene import scene_state

    bpy.ops.wm.read_factory_settings(use_empty=False)
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=1000, y_subdivisions=1000)
    scene, block, grid = bpy.context.scene, bpy.data.objects["Cube"], bpy.context.object
    lamp, material = bpy.data.objects["Light"].data, bpy.data.materials["Material"]
    surface = material.node_tree.nodes["Principled BSDF"]
    ramp = material.node_tree.nodes.new("ShaderNodeValToRGB").color_ramp
    image = bpy.data.images.new("image", 8, 8)
    material.node_tree.nodes.new("ShaderNodeTexImage").image = image
    wave = grid.modifiers.new("wave", "WAVE")
    hook = bpy.data.objects.new("hook", None)
    scene.collection.objects.link(hook)
    block.modifiers.new("hook", "HOOK").object = hook
    block.shape_key_add(name="basis")
    key = block.shape_key_add(name="key")
    bpy.context.view_layer.objects.active = block
    background = scene.world.node_tree.nodes["Background"]

    def take():
        return scene_state.take(
            scene, bpy.context.evaluated_depsgraph_get(), "unmarked", shapes=True
        )

    def color(value):
        surface.inputs[0].default_value = value

    edits = {
        "vertex": lambda: setattr(block.data.vertices[0].co, "x", 3),
        "material": lambda: color((1, 0, 0, 1)),
        "ramp": lambda: setattr(ramp.elements[0], "position", 0.3),
        "painted": lambda: image.pixels.__setitem__(0, 1.0),
        "energy": lambda: setattr(lamp, "energy", 5),
        "world": lambda: setattr(background.inputs[1], "default_value", 5),
        "modifier": lambda: setattr(wave, "height", 0.7),
        "hook": lambda: setattr(hook, "location", (0, 0, 1)),
        "shape key": lambda: setattr(key, "value", 0.7),
        "smooth": block.data.shade_smooth,
        "node moved": lambda: setattr(surface, "location", (9, 9)),
        "edit mode": lambda: bpy.ops.object.mode_set(mode="EDIT"),
        "object mode": lambda: bpy.ops.object.mode_set(mode="OBJECT"),
        "selected": lambda: bpy.ops.object.select_all(action="SELECT"),
        "camera": lambda: setattr(bpy.data.objects["Camera"], "location", (0, 0, 9)),
    }
    changed, before = {}, take()
    for name, edit in edits.items():
        edit()
        after = take()
        changed[name] = scene_state.changes(before, after)
        before = after
    began = time.monotonic()
    take()
    return {"changed": changed, "seconds": time.monotonic() - began}


main(work)
