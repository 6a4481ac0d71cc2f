# SPDX-License-Identifier: GPL-3.0-or-later
"""A playback goes behind the cameras it was rendered through, whatever became of them since."""

import json
from pathlib import Path

import bpy
from common import enable_addon, main


def camera(scene, name, data=None):
    thing = bpy.data.objects.new(name, data or bpy.data.cameras.new(name))
    scene.collection.objects.link(thing)
    return thing


def backgrounds(scene):
    """Backgrounds of each camera, and the scene frames of the first one's pictures."""
    from addon.scene import sequence

    behind = {o.name: o.data.background_images for o in scene.objects if o.type == "CAMERA"}
    return {
        name: [len(images), sequence.frames_of(images[0].image_user) if len(images) else []]
        for name, images in sorted(behind.items())
    }


def work(request):
    enable_addon()
    from addon.link.errors import AddonError
    from addon.scene import playback

    folder, frames = Path(request["folder"]), request["frames"]
    names = ["A", "B", "A", "twin"]
    scene = bpy.context.scene
    a, b = camera(scene, "A"), camera(scene, "B")
    camera(scene, "twin", a.data)
    scene.camera = camera(scene, "C")

    # When the job starts there is no folder yet; what is shown later does not forget the names.
    early = folder.parent / "later" / "playback-1"
    out = {"nothing": playback.read_cameras(early)}
    playback.write_frames(early, frames, cameras=names)
    playback.write_frames(early, frames)
    out["written"] = [playback.read_frames(early), playback.read_cameras(early)]
    (early / playback.FRAMES_FILE).write_text(json.dumps({"frames": frames}))
    out["early_version"] = [playback.read_frames(early), playback.read_cameras(early)]
    playback.write_frames(Path(__file__) / "no folder", frames, cameras=names)

    playback.write_frames(folder, frames, cameras=names)
    for _ in range(2):
        gone = playback.show_behind_all(scene, names, folder, frames, "run", "Anna")
    out["shown"] = [gone, backgrounds(scene), playback.read_cameras(folder)]
    playback.remove(scene, "run")
    out["removed"] = backgrounds(scene)

    # Renamed while it was rendered; another one has the name now; the third is gone.
    a.name = "Renamed"
    camera(scene, "A")
    bpy.data.objects.remove(b)
    playback.write_frames(folder, frames)
    gone = playback.show_behind_all(scene, names, folder, frames, "run", "Anna")
    out["renamed"] = [gone, backgrounds(scene), playback.read_cameras(folder)]
    playback.remove(scene, "run")

    # Reopened, the folder elsewhere: by the names that the folder says now.
    blend = str(folder / "x.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    bpy.ops.wm.open_mainfile(filepath=blend)
    scene = bpy.context.scene
    moved = folder.rename(folder.with_name("moved"))
    names = playback.read_cameras(moved)
    gone = playback.show_behind_all(scene, names, moved, frames, "run", "Anna")
    out["reopened"] = [gone, backgrounds(scene)]

    # Of an early version: behind the artist's camera of now.
    playback.remove(scene, "run")
    gone = playback.show_behind_all(scene, [], moved, frames, "run", "Anna")
    out["unknown"] = [gone, backgrounds(scene), playback.read_cameras(moved) == names]
    scene.camera = None

    for name in ("Renamed", "twin"):
        bpy.data.objects.remove(bpy.data.objects[name])
    for names in (playback.read_cameras(moved), [], [""]):
        try:
            playback.show_behind_all(scene, names, moved, frames, "run", "Anna")
        except AddonError as error:
            out.setdefault("missing", []).append([error.code, error.problem])
    return out


main(work)
