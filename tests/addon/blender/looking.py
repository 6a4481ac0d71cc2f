# SPDX-License-Identifier: GPL-3.0-or-later
"""Look Through Views and back: what the scene had, after saving, deleting, undoing, calling twice."""

import shutil
from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor

RENDER = (
    "resolution_x",
    "resolution_y",
    "resolution_percentage",
    "pixel_aspect_x",
    "pixel_aspect_y",
)
PREVIEW = ("use_preview_range", "frame_preview_start", "frame_preview_end")


def state(scene):
    return [
        scene.camera.name if scene.camera else "",
        *(round(float(getattr(scene.render, name)), 4) for name in RENDER),
        *(int(getattr(scene, name)) for name in (*PREVIEW, "frame_start", "frame_end")),
    ]


def own_scene(preview=()):
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = 1920, 1080
    scene.render.resolution_percentage = 40
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = 1.0, 1.25
    scene.frame_start, scene.frame_end = 11, 99
    if preview:
        scene.use_preview_range = True
        scene.frame_preview_end = preview[1]
        scene.frame_preview_start = preview[0]
    return scene


def camera(scene, name):
    thing = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    scene.collection.objects.link(thing)
    return thing


def work(request):
    enable_addon()
    from addon.link.errors import AddonError
    from addon.scene import files, tags, viewing
    from addon.scene import views as scene_views

    folder, frames = Path(request["folder"]), request["frames"]
    run = {"run_id": "run", "folder": str(folder)}
    anchor = make_anchor("plain")
    scene = own_scene((20, 30))
    own = scene.camera = camera(scene, "own")
    camera(scene, "other")
    out = {"before": state(scene), "nothing": viewing.restore(scene)}
    try:
        viewing.look_through(scene, run)
    except AddonError as error:
        out["missing"] = error.code
    out["after_missing"] = state(scene)
    scene_views.load(scene, anchor, folder, "run", "Anna", frames)

    # Twice, with what a run does in between.
    viewing.set_timeline(scene, frames)
    out["timeline"] = state(scene)[6:]
    viewing.look_through(scene, run)
    viewing.look_through(scene, run)
    out["looking"] = [viewing.is_looking(scene), *state(scene)]
    out["own"] = viewing.own_camera(scene).name
    with viewing.own_settings(scene):
        out["inside"] = state(scene)[:6]
    out["after_inside"] = state(scene)
    out["restored"] = [viewing.restore(scene), *state(scene)]
    out["again"] = [viewing.restore(scene), viewing.is_looking(scene)]

    # Over save and reload, the camera renamed.
    viewing.look_through(scene, run)
    own.name = "renamed"
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "x.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "x.blend"))
    scene = bpy.context.scene
    viewing.restore(scene)
    out["reopened"] = state(scene)

    # The artist's camera is deleted meanwhile; another one is chosen meanwhile; a preview range.
    viewing.look_through(scene, run)
    bpy.data.objects.remove(bpy.data.objects["renamed"])
    out["own_deleted"] = viewing.own_camera(scene)
    with viewing.own_settings(scene):
        out["camera_inside"] = scene.camera
    viewing.restore(scene)
    out["camera_deleted"] = state(scene)[0]
    scene.camera = bpy.data.objects["other"]
    viewing.look_through(scene, run)
    third = scene.camera = camera(scene, "third")
    scene.frame_preview_end = 77
    out["own_chosen"] = viewing.own_camera(scene).name
    viewing.restore(scene)
    out["chosen"] = [state(scene)[0], *state(scene)[6:9]]
    # Unlinked from the scene, but kept in memory by what remembers it.
    viewing.look_through(scene, run)
    scene.collection.objects.unlink(third)
    out["own_unlinked"] = viewing.own_camera(scene)
    viewing.restore(scene)
    out["unlinked"] = state(scene)[0]
    # The player is deleted while looking: with a camera of the artist's, and with none.
    for theirs in (bpy.data.objects["other"], None):
        scene.camera = theirs
        viewing.look_through(scene, run)
        tags.delete_run(scene, "run")
        own = viewing.own_camera(scene)
        with viewing.own_settings(scene):
            inside = state(scene)[:3]
        restored = viewing.restore(scene)
        out.setdefault("player_deleted", []).append(
            [own.name if own else "", inside, restored, state(scene)[:3]]
        )
        scene_views.load(scene, anchor_of(scene), folder, "run", "Anna", frames)

    # The artist sets another size or percentage while looking, and looks again.
    scene.camera = bpy.data.objects["other"]
    viewing.look_through(scene, run)
    scene.render.resolution_x = 3840
    with viewing.own_settings(scene):
        out["sized_inside"] = state(scene)[:6]
    out["sized_after"] = state(scene)[:6]
    viewing.restore(scene)
    out["sized"] = state(scene)[:6]
    viewing.look_through(scene, run)
    scene.render.resolution_percentage = 25
    scene.camera = camera(scene, "fourth")
    viewing.look_through(scene, run)
    out["looked_again"] = state(scene)[:4]
    viewing.restore(scene)
    out["sized_again"] = state(scene)[:6]
    scene.render.resolution_x, scene.render.resolution_y = 1920, 1080
    # Memory of an early version, without the view's size.
    viewing.look_through(scene, run)
    del scene["dp3d_before"]["look"]["ours"]
    viewing.restore(scene)
    out["sized_early"] = state(scene)[:6]
    # A player that the artist made the scene's camera comes back as such.
    scene.camera = tags.originals(scene, "run", "player")[0]
    viewing.look_through(scene, run)
    viewing.restore(scene)
    out["player_chosen"] = state(scene)[0]
    tags.delete_run(scene, "run")

    # Undo of the look takes the memory along.
    scene_views.load(scene, anchor_of(scene), folder, "run", "Anna", frames)
    scene.camera = bpy.data.objects["other"]
    bpy.ops.ed.undo_push(message="before")
    viewing.look_through(bpy.context.scene, run)
    bpy.ops.ed.undo_push(message="look")
    looked = viewing.is_looking(bpy.context.scene)
    bpy.ops.ed.undo()
    scene = bpy.context.scene
    out["undone"] = [looked, viewing.is_looking(scene), state(scene)[0], viewing.restore(scene)]

    # The frames of an unsaved file come along.
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene_views.load(scene, make_anchor("plain"), folder, "run", "Anna", frames)
    home = folder.parent / "project"
    home.mkdir()
    blend = home / "head.blend"
    out["away"] = [files.away([run], blend), files.away([run], folder.parent / "y.blend")]
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    target = files.bring_along(scene, [run], blend)["run"]
    out["along"] = [
        str(target.relative_to(home)),
        sorted(i.filepath for i in bpy.data.images),
        files.moved(str(folder / "head.glb"), folder, target),
        files.moved("/elsewhere/x.glb", folder, target),
    ]
    again = files.bring_along(scene, [{"run_id": "run", "folder": str(target)}], blend)
    out["again_along"] = again["run"] == target
    bpy.ops.wm.save_mainfile()
    # The whole project moves: everything is still there, without the first folder.
    shutil.move(str(folder), str(folder) + ".gone")
    shutil.move(str(home), str(home) + "2")
    bpy.ops.wm.open_mainfile(filepath=str(folder.parent / "project2" / "head.blend"))
    scene = bpy.context.scene
    missing = [i.name for i in bpy.data.images if not Path(bpy.path.abspath(i.filepath)).is_file()]
    out["moved"] = [missing, len(bpy.data.images), list(bpy.data.images[0].size)]
    packed = files.pack(scene, "run")
    out["packed"] = [*packed, sum(i.packed_file is not None for i in bpy.data.images)]
    # Views that come again over packed images show the files.
    place = folder.parent / "project2" / "head_views" / folder.name
    scene_views.load(scene, anchor_of(scene), place, "run", "Anna", frames)
    out["unpacked"] = sum(i.packed_file is not None for i in bpy.data.images)
    blocked = folder.parent / "blocked"
    blocked.mkdir()
    (blocked / "head_views").write_text("a file where the folder should be")
    try:
        files.bring_along(
            scene, [{"run_id": "run", "folder": str(folder) + ".gone"}], blocked / "z.blend"
        )
    except AddonError as error:
        out["blocked"] = error.code
    return out


def anchor_of(scene):
    return scene.objects["anchor"]


main(work)
