# SPDX-License-Identifier: GPL-3.0-or-later
"""The view at the head: which one is chosen, where it stands, when something else stands there."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import bpy
from common import enable_addon, main, make_anchor, update
from mathutils import Matrix, Vector


def start(folder, kind="plain"):
    """An empty scene with an anchor and one result, whose views are in it."""
    from addon import run_records
    from addon.scene import nearest_view
    from addon.scene import views as scene_views

    bpy.ops.wm.read_factory_settings(use_empty=True)
    nearest_view.forget(folder)
    scene = bpy.context.scene
    head = scene.dp3d.anchor = make_anchor(kind)
    scene_views.load(scene, head, folder, "run", "Anna")
    run_records.set_run(scene, run_id="run", title="Anna", folder=str(folder), frames="1")
    run_records.add_result(scene, source="generated", created="")
    scene.frame_set(4)
    update()
    return scene, head


def shown(scene, head, eye):
    """Picture for a direction in head space, read first where that is needed."""
    from addon.scene import nearest_view

    layer = bpy.context.view_layer
    world = head.matrix_world.to_3x3() @ eye
    for _ in range(2):
        if (picture := nearest_view.picture(scene, layer, head, world)) is not None:
            return picture
        nearest_view.read()
    return nearest_view.picture(scene, layer, head, world)


def name_of(picture):
    return None if picture is None else Path(bpy.path.abspath(picture.image.filepath)).name


def choices(folder):
    """For each view: the picture that is chosen from its camera, and the error of its place."""
    from addon.scene import views as scene_views

    views, out = scene_views.read_views(folder), {}
    for kind in ("plain", "turned", "scaled", "animated"):
        scene, head = start(folder, kind)
        chosen, worst = [], 0.0
        for view in views:
            picture = shown(scene, head, 7 * scene_views.local_matrix(view.c2w).translation)
            chosen.append(name_of(picture))
            expected_matrix = head.matrix_world @ scene_views.plane_matrix(view)
            pairs = zip(picture.matrix, expected_matrix, strict=True)
            difference = max(
                abs(a - b) for row, other in pairs for a, b in zip(row, other, strict=True)
            )
            worst = max(worst, difference / head.matrix_world.median_scale)
        below = shown(scene, head, Vector((0.0, -1.0, 0.0)))
        out[kind] = {"chosen": chosen, "worst_place": worst, "from_below": name_of(below)}
    return out


def in_views(folder):
    """What a 3D view shows: perspective, orthographic, through a camera, switched off."""
    from addon.scene import nearest_view
    from addon.scene import views as scene_views

    scene, head = start(folder)
    view = scene_views.read_views(folder)[3]
    eye = head.matrix_world @ scene_views.local_matrix(view.c2w)
    turned = eye.to_quaternion().to_matrix().to_4x4()
    beside = Matrix.Translation(eye.translation + Vector((3.0, 0.0, 0.0)))
    layer = bpy.context.view_layer
    shown(scene, head, Vector((0.0, 0.0, 1.0)))

    def look(perspective, place):
        region = SimpleNamespace(
            view_perspective=perspective,
            is_perspective=perspective != "ORTHO",
            view_matrix=(place @ turned).inverted(),
        )
        space = SimpleNamespace(region_3d=region)
        return name_of(nearest_view.stands_at(scene, layer, head, space))

    at = Matrix.Translation(eye.translation)
    out = [look("PERSP", at), look("ORTHO", at), look("ORTHO", beside), look("CAMERA", at)]
    scene.dp3d.show_nearest_view = False
    return [*out, look("PERSP", at)]


def elsewhere(folder, many):
    """Excluded, exported, without files, more views than cameras, an unfinished run chosen."""
    from addon import run_records
    from addon.scene import views as scene_views

    front = Vector((0.0, 0.0, 1.0))
    scene, head = start(folder)
    out = {"there": name_of(shown(scene, head, front))}
    run_records.set_run(scene, run_id="next", folder="", state="running", job_id="job")
    out["while_another_runs"] = name_of(shown(scene, head, front))
    bpy.ops.dp3d.delete_result()
    out["deleted"] = [len(scene.dp3d_results), scene.dp3d_run.run_id, scene.dp3d_run.job_id]
    out["after_deleting"] = name_of(shown(scene, head, front))

    scene, head = start(folder)
    root = bpy.context.view_layer.layer_collection.children["Head Views"]
    root.children["Anna"].exclude = True
    update()
    out["excluded"] = name_of(shown(scene, head, front))

    scene, head = start(folder)
    run_records.add_result(scene, source="exported")
    out["exported"] = name_of(shown(scene, head, front))

    scene, head = start(many)
    out["cameras_of_many"] = len([o for o in scene.objects if o.get("dp3d_role") == "view"])
    first = scene_views.local_matrix(scene_views.read_views(many)[0].c2w).translation
    out["of_many"] = name_of(shown(scene, head, first))

    lost = folder.with_name("lost")
    shutil.copytree(folder, lost)
    scene, head = start(lost)
    shutil.rmtree(lost / "frames")
    for image in bpy.data.images:
        image.reload()
    out["without_files"] = name_of(shown(scene, head, front))
    return out


def bodies(folder):
    """A mesh at the anchor; a playback that is refused, one that hides it, and its copies."""
    from addon import result_placement, run_records
    from addon.link.errors import AddonError
    from addon.scene import ghost, playback, preview_anchor, tags

    scene, head = start(folder)
    layer = bpy.context.view_layer
    preview_anchor.attach()
    mesh = bpy.data.objects.new("head", bpy.data.meshes.new("head"))
    tags.collection(scene, "run", "Anna").objects.link(mesh)
    tags.mark(mesh, "run", "mesh")
    tags.name(mesh, "head")
    mesh.parent = head
    statue = mesh.copy()
    statue.parent = None
    scene.collection.objects.link(statue)
    update()
    out = {"under_mesh": preview_anchor.find(scene, layer) is None}
    out["ghost_under_mesh"] = ghost.shown_anchor(scene, layer) is None
    for collection in list(mesh.users_collection):
        collection.objects.unlink(mesh)
    scene.collection.objects.link(mesh)
    update()
    out["in_own_collection"] = preview_anchor.find(scene, layer) is None

    run_records.set_run(scene, playback=str(folder), mesh="head.glb")
    scene.dp3d.playback_show = "BEHIND"
    playback.write_frames(folder, [1, 2, 3], cameras=["gone"])
    try:
        result_placement.place_playback(scene, run_records.run(scene), [1, 2, 3])
    except AddonError as error:
        out["refused"] = [error.code, mesh.hide_get(), scene.dp3d_run.mesh]
    (folder / playback.FRAMES_FILE).unlink()
    scene.camera = bpy.data.objects.new("own", bpy.data.cameras.new("own"))
    result_placement.place_playback(scene, run_records.run(scene), [1, 2, 3])
    update()
    out["hidden"] = [mesh.hide_get(), statue.hide_get()]
    out["free_again"] = preview_anchor.find(scene, layer) == head
    out["changed"] = [tags.show(scene, "run", "mesh", True), tags.show(scene, "run", "mesh", True)]
    preview_anchor.detach()
    return out


def work(request):
    enable_addon()
    folder = Path(request["folder"])
    return {
        "choices": choices(folder),
        "in_views": in_views(folder),
        "elsewhere": elsewhere(folder, Path(request["many"])),
        "bodies": bodies(folder),
    }


main(work)
