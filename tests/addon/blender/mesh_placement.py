# SPDX-License-Identifier: GPL-3.0-or-later
"""A GLB under every sort of anchor: where its vertices stand, at two frames, after re-imports."""

from pathlib import Path

import bpy
from common import ANCHORS, enable_addon, main, make_anchor, rows


def world_vertices(thing, depsgraph):
    evaluated = thing.evaluated_get(depsgraph)
    return [list(evaluated.matrix_world @ v.co) for v in thing.data.vertices]


def work(request):
    enable_addon()
    from addon.scene import mesh as scene_mesh
    from addon.scene import tags

    scene, layer = bpy.context.scene, bpy.context.view_layer
    out = []
    for kind in ANCHORS:
        anchor = make_anchor(kind)
        for _ in range(2):
            scene_mesh.load(scene, layer, anchor, Path(request["glb"]), kind, kind)
        meshes = [o for o in tags.objects(scene, kind, "mesh") if o.type == "MESH"]
        for frame in (1, 7):
            scene.frame_set(frame)
            depsgraph = layer.depsgraph
            out.append(
                {
                    "label": [kind, frame],
                    "anchor_world": rows(anchor.evaluated_get(depsgraph).matrix_world),
                    "vertices": [v for o in meshes for v in world_vertices(o, depsgraph)],
                    "objects": len(meshes),
                    "collection": [c.name for c in meshes[0].users_collection],
                }
            )
    return {
        "out": out,
        "meshes": len(bpy.data.meshes),
        "materials": len(bpy.data.materials),
        "images": len(bpy.data.images),
    }


main(work)
