# SPDX-License-Identifier: GPL-3.0-or-later
"""The view at the head: which one is chosen, where it stands, when something else stands there."""

import time
from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor, update
from mathutils import Vector


def unasked(port):
    """The failure in the panel after nobody and after somebody asked a server that is not there."""
    from addon import check, ledger
    from addon.link.client import Server

    codes = []
    for nobody in (True, False):
        server = Server.configured(f"http://127.0.0.1:{port}", "", False)
        check._current = check.Check(server, unasked=nobody)
        while check._tick() is not None:
            time.sleep(0.02)
        codes.append(ledger.run(bpy.context.scene)["error_code"])
    ledger.clear_error(bpy.context.scene)
    return codes


def work(request):
    enable_addon()
    from addon import ledger, placing
    from addon.scene import anchor as head_anchor
    from addon.scene import ghost, nearest_view, playback, tags
    from addon.scene import views as scene_views

    out = {"unasked": unasked(request["port"]), "kinds": {}}
    folder = Path(request["folder"])
    views = scene_views.read_views(folder)
    for kind in ("plain", "turned", "scaled", "animated"):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene, layer = bpy.context.scene, bpy.context.view_layer
        head = scene.dp3d.anchor = make_anchor(kind)
        scene_views.load(scene, head, folder, "run", "Anna")
        ledger.set_run(scene, run_id="run", title="Anna", folder=str(folder), frames="1")
        scene.frame_set(4)
        update()
        world = head.matrix_world
        chosen, places = [], []
        for view in views:
            eye = world @ scene_views.local_matrix(view.c2w).translation - world.translation
            shown = nearest_view.picture(scene, head, 7 * eye)
            chosen.append(Path(bpy.path.abspath(shown.image.filepath)).name)
            wanted = world @ playback.plane_matrix(view)
            scale = world.median_scale
            places.append(
                max(
                    abs(a - b) / scale
                    for row, other in zip(shown.matrix, wanted, strict=True)
                    for a, b in zip(row, other, strict=True)
                )
            )
        below = world.to_3x3() @ Vector((0.0, -1.0, 0.0))
        out["kinds"][kind] = {
            "chosen": chosen,
            "worst_place": max(places),
            "from_below": nearest_view.picture(scene, head, below) is not None,
        }

    # Another run is chosen: nothing of this one.
    ledger.set_run(scene, run_id="other")
    out["other_run"] = nearest_view.picture(scene, head, eye) is None
    ledger.set_run(scene, run_id="run")

    # A mesh stands there; a playback behind the camera hides it, the mesh comes back when asked.
    mesh = bpy.data.objects.new("head", bpy.data.meshes.new("head"))
    tags.collection(scene, "run", "Anna").objects.link(mesh)
    tags.mark(mesh, "run", "mesh")
    mesh.parent = head
    update()
    out["under_mesh"] = head_anchor.free(scene, layer) is None
    out["ghost_under_mesh"] = ghost.shown_anchor(scene, layer) is None
    scene.camera = bpy.data.objects.new("own", bpy.data.cameras.new("own"))
    scene.collection.objects.link(scene.camera)
    ledger.set_run(scene, playback=str(folder), mesh="head.glb")
    scene.dp3d.playback_show = "BEHIND"
    placing.place_playback(scene, ledger.run(scene), [1, 2, 3])
    update()
    out["hidden_by_playback"] = mesh.hide_get()
    out["free_again"] = head_anchor.free(scene, layer) == head
    out["changed"] = [tags.show(scene, "run", "mesh", True), tags.show(scene, "run", "mesh", True)]
    return out


main(work)
