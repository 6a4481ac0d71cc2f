# SPDX-License-Identifier: GPL-3.0-or-later
"""New anchors: where, how large, selected; the ghost: when it is drawn and what it looks like."""

import bpy
from common import enable_addon, main, rows
from mathutils import Euler, Matrix, Vector


def work(request):
    enable_addon()
    bpy.ops.wm.read_homefile(use_factory_startup=True)  # the cube, selected
    from addon.scene import ghost, tags
    from addon.ui import anchor as button

    scene, layer = bpy.context.scene, bpy.context.view_layer
    out = {}

    def state():
        thing = scene.dp3d.anchor
        return {
            "location": list(thing.matrix_world.translation),
            "scale": list(thing.scale),
            "selected": [o.name for o in layer.objects if o.select_get()],
            "active": layer.objects.active.name,
            "anchors": sum(1 for _ in tags.objects(scene, None, "anchor")),
        }

    # in edit mode of the cube, as somebody might
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.dp3d.add_anchor()
    out["first"] = state()
    first = scene.dp3d.anchor
    cube = bpy.data.objects["Cube"]
    low = first.matrix_world @ Vector((0, -0.33, 0))
    out["above_cube"] = low.z - max((cube.matrix_world @ Vector(c)).z for c in cube.bound_box)

    layer.objects.active = cube
    bpy.ops.dp3d.add_anchor()
    out["again"] = state()
    first.hide_set(True)
    bpy.ops.dp3d.add_anchor()
    out["unhidden"] = [state(), first.hide_get()]
    scene.cursor.location = (3, -4, 0.5)
    bpy.ops.dp3d.add_anchor(another=True)
    out["moved_cursor"] = state()
    bpy.ops.dp3d.add_anchor(another=True, placement="CURSOR")
    out["cursor"] = state()
    bpy.data.objects.remove(scene.dp3d.anchor)
    bpy.ops.dp3d.add_anchor()
    out["after_delete"] = state()
    scene.unit_settings.scale_length = 0.01
    bpy.ops.dp3d.add_anchor(another=True)
    out["centimetres"] = state()
    scene.unit_settings.system = "NONE"
    bpy.ops.dp3d.add_anchor(another=True)
    out["no_units"] = state()

    # in sight of a view
    world = rows(scene.dp3d.anchor.matrix_world)

    def sight(distance, turn=0.0, shift=0.0):
        eye = (
            Matrix.Translation((shift, -4 - distance, 1.589))
            @ Euler((1.5708, 0, turn)).to_matrix().to_4x4()
        )
        lens = Matrix(((2, 0, 0, 0), (0, 3, 0, 0), (0, 0, -1, -0.02), (0, 0, -1, 0)))
        return button.in_sight(lens @ eye.inverted(), Matrix(world))

    scene.dp3d.anchor.location = (0, -4, 1.589)
    layer.update()
    world = rows(scene.dp3d.anchor.matrix_world)
    out["sight"] = [sight(2), sight(2, turn=3.1), sight(30), sight(2, shift=1.5)]

    # the original's matrix, which the ghost is drawn with, follows an animation
    mover = scene.dp3d.anchor
    for frame, x in ((1, 0.0), (11, 5.0)):
        mover.location.x = x
        mover.keyframe_insert("location", frame=frame)
    scene.frame_set(11)
    out["animated_x"] = mover.matrix_world.translation.x
    scene.frame_set(1)

    # the ghost
    head = scene.dp3d.anchor
    shown = [ghost.shown_anchor(scene, layer) == head]

    def now():
        layer.update()
        shown.append(ghost.shown_anchor(scene, layer) is not None)

    scene.dp3d.show_ghost = False
    now()
    scene.dp3d.show_ghost = True
    head.hide_set(True)
    now()
    head.hide_set(False)
    now()
    collection = tags.collection(scene, "abc", "Somebody")
    mesh = bpy.data.objects.new("head", bpy.data.meshes.new("head"))
    tags.mark(mesh, "abc", "mesh")
    collection.objects.link(mesh)
    now()  # elsewhere
    mesh.parent = head
    now()
    mesh.hide_set(True)
    now()
    mesh.hide_set(False)
    scene.collection.objects.unlink(head)
    now()
    scene.dp3d.anchor = None
    now()
    out["shown"] = shown
    out["lines"] = [[list(p) for p in path] for path in ghost.paths()]
    out["segments"] = len(ghost.segments())
    return out


main(work)
