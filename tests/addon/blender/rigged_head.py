# SPDX-License-Identifier: GPL-3.0-or-later
"""A photo to a rigged head in the scene: what stands there, how it moves, its looks, its renewal."""

from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor, rows
from mathutils import Matrix

KINDS = ("objects", "meshes", "armatures", "materials", "images", "shape_keys", "collections")


def counts():
    return {kind: len(getattr(bpy.data, kind)) for kind in KINDS}


def refusal(call, **arguments):
    """Code of the failure that a button reports."""
    try:
        call(**arguments)
    except RuntimeError:
        return bpy.context.scene.dp3d_run.error_code
    return ""


def head_objects(run_id):
    from addon.scene import tags

    originals = tags.originals(bpy.context.scene, run_id, "rig")
    return [originals[index] for index in sorted(originals)]


def describe(thing):
    mesh = thing.data
    return {
        "part": thing["dp3d_part"],
        "name": thing.name,
        "vertices": len(mesh.vertices),
        "sides": sorted({len(polygon.vertices) for polygon in mesh.polygons}),
        "polygons": len(mesh.polygons),
        "keys": [block.name for block in mesh.shape_keys.key_blocks][1:],
        "material": mesh.materials[0].name,
        "armature": thing.modifiers[0].object.name,
        "collection": [collection.name for collection in thing.users_collection],
    }


def values(meshes, name):
    bpy.context.view_layer.update()
    return [
        mesh.data.shape_keys.evaluated_get(depsgraph).key_blocks[name].value
        for depsgraph in [bpy.context.evaluated_depsgraph_get()]
        for mesh in meshes
        if name in mesh.data.shape_keys.key_blocks
    ]


def corners(thing):
    """Least and greatest coordinates of the evaluated mesh in the space of the anchor."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    evaluated = thing.evaluated_get(depsgraph)
    to_head = bpy.context.scene.dp3d.anchor.matrix_world.inverted() @ evaluated.matrix_world
    points = [to_head @ vertex.co for vertex in evaluated.data.vertices]
    return [[pick(p[axis] for p in points) for axis in range(3)] for pick in (min, max)]


def work(request):
    enable_addon(request["url"], request["token"])
    from addon.scene import look, tags

    scene = bpy.context.scene
    chosen = scene.dp3d
    out = {"no_portrait": refusal(bpy.ops.dp3d.import_rigged_head)}
    chosen.portrait, chosen.output = request["portrait"], request["folder"]
    out["no_anchor"] = refusal(bpy.ops.dp3d.import_rigged_head)
    chosen.anchor = make_anchor("turned")
    bpy.ops.dp3d.import_rigged_head()
    run = scene.dp3d_run
    run_id = run.run_id
    out["run"] = [run.state, run.error_code, run.kind, run.message]
    out["results"] = [[r.title, Path(r.rig).name, r.source] for r in scene.dp3d_results]
    armature, *meshes = head_objects(run_id)
    out["armature"] = [
        armature.type,
        armature.parent.name,
        sorted(b.name for b in armature.data.bones),
    ]
    out["meshes"] = [describe(thing) for thing in meshes]
    out["alpha"] = {
        image.name.rpartition(" · ")[2]: image.alpha_mode
        for image in bpy.data.images
        if image.depth == 32
    }
    out["box"] = corners(meshes[0])
    out["expression"] = values(meshes, "photoExpression")

    keys = meshes[0].data.shape_keys.key_blocks
    at_rest = corners(meshes[0])
    keys["jawOpen"].value = 0.75
    out["jaw"] = values(meshes, "jawOpen")
    out["lower_by"] = at_rest[0][1] - corners(meshes[0])[0][1]
    armature.pose.bones["eye.L"].rotation_mode = "XYZ"
    armature.pose.bones["eye.L"].rotation_euler = (0.3, 0, 0)
    keys["jawOpen"].keyframe_insert("value", frame=1)

    photographed = meshes[0].data.materials[0].name
    chosen.look = look.LIT
    lit = meshes[0].data.materials[0].name
    chosen.look = look.PHOTO
    mine = bpy.data.materials.new("mine")
    meshes[0].data.materials[0] = mine
    chosen.look = look.LIT
    out["looks"] = [photographed, lit, meshes[0].data.materials[0].name]
    out["look_of_hair"] = next(
        m.data.materials[0].name for m in meshes if m["dp3d_part"] == "upper_teeth"
    )
    bpy.data.materials.remove(mine)

    before = counts()
    armature.matrix_basis = Matrix.Translation((0.5, 0, 0)) @ armature.matrix_basis
    moved = rows(armature.matrix_basis)
    bpy.ops.dp3d.import_rigged_head()
    out["renewed"] = [run.state, run.run_id == run_id, len(scene.dp3d_results), counts() == before]
    armature, *meshes = head_objects(run_id)
    out["kept_place"] = max(
        abs(a - b)
        for one, two in zip(rows(armature.matrix_basis), moved, strict=True)
        for a, b in zip(one, two, strict=True)
    )
    out["kept_action"] = meshes[0].data.shape_keys.animation_data.action is not None
    bpy.ops.dp3d.rerun()
    out["again"] = [run.state, run.run_id != run_id, len(scene.dp3d_results), bool(run.rig)]
    out["hidden"] = armature.hide_get()
    Path(run.rig).unlink()
    out["missing"] = refusal(bpy.ops.dp3d.load_result, what="HEAD")
    for result in list(scene.dp3d_results):
        bpy.ops.dp3d.delete_result(run_id=result.run_id)
    out["left"] = counts()
    out["left_ours"] = sorted(thing.name for thing in bpy.data.objects if tags.is_ours(thing))
    return out


main(work)
