# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered pictures over scene frames: behind cameras, on the playback's plane, after reopening."""

from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor


def number_behind(camera, image):
    """Number of the file that Blender opens behind a camera at the present frame."""
    evaluated = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    background = next(b for b in evaluated.background_images if b.image.name == image)
    user = background.image_user
    length, place = user.frame_duration, bpy.context.scene.frame_current - user.frame_start + 1
    place = (place - 1) % length + 1 if user.use_cyclic else min(max(place, 0), length)
    return place + user.frame_offset


def number_rendered(folder):
    """Number of the picture on the plane: its red is 20 times the number."""
    scene = bpy.context.scene
    scene.render.filepath = str(folder / "rendered.png")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath, check_existing=False)
    width, height = image.size
    at = 4 * (height // 2 * width + width // 2)
    red, alpha = image.pixels[at] * 255 / 20, image.pixels[at + 3]
    bpy.data.images.remove(image)
    return round(red, 1) if alpha > 0.9 else None


def set_render(scene, engine, size):
    render = scene.render
    render.engine, render.film_transparent = engine, True
    render.resolution_x, render.resolution_y = size
    render.image_settings.color_mode = "RGBA"
    scene.view_settings.view_transform = "Standard"
    if engine == "CYCLES":
        scene.cycles.samples, scene.cycles.use_denoising = 1, False
    else:
        scene.display.shading.light, scene.display.shading.color_type = "FLAT", "TEXTURE"
        scene.display.render_aa = "OFF"


def work(request):
    enable_addon()
    from addon.scene import playback, tags
    from addon.scene import views as scene_views

    folder, frames = Path(request["folder"]), request["frames"]
    scene = bpy.context.scene
    anchor = make_anchor("animated")
    scene_views.load(scene, anchor, folder, "run", "Anna", frames)
    own = bpy.data.objects.new("own", bpy.data.cameras.new("own"))
    scene.collection.objects.link(own)
    theirs = own.data.background_images.new()
    theirs.image = bpy.data.images.load(str(folder / "frames" / "0000.png"), check_existing=False)
    for _ in range(2):
        playback.show_behind(scene, own, folder, frames, "run", "Anna")
        playback.show_plane(scene, anchor, folder, frames, "run", "Anna")
    playback.show_behind(scene, own, folder, [f + 1 for f in frames], "other", "Berta")
    out = {"before": [b.image.name for b in own.data.background_images]}
    # The artist removes a background of their own: ours move up, and their drivers with them.
    own.data.background_images.remove(own.data.background_images[0])
    playback.realign(scene)
    out["after"] = [b.image.name for b in own.data.background_images]
    out["drivers"] = sorted(c.data_path for c in own.data.animation_data.drivers)
    for round_ in ("live", "reopened"):
        scene = bpy.context.scene
        own = bpy.data.objects["own"]
        player = tags.originals(scene, "run", "player")[0]
        scene.camera = player
        rows = []
        for frame in request["visits"]:
            scene.frame_set(frame)
            row = {
                "frame": frame,
                "player": number_behind(player, player.data.background_images[0].image.name),
                "own": number_behind(own, "Anna · Playback"),
                "other": number_behind(own, "Berta · Playback"),
            }
            if frame in request["rendered"]:
                for engine in ("CYCLES", "BLENDER_WORKBENCH"):
                    set_render(scene, engine, request["size"])
                    row[engine] = number_rendered(folder)
            rows.append(row)
        out[round_] = rows
        if round_ == "live":
            blend = str(folder / "x.blend")
            bpy.ops.wm.save_as_mainfile(filepath=blend)
            bpy.ops.wm.open_mainfile(filepath=blend, use_scripts=False)
    scene = bpy.context.scene
    own = bpy.data.objects["own"]
    out["read"] = playback.read_frames(folder)
    out["removed"] = [playback.remove(scene, "run"), playback.remove(scene, "other")]
    player = tags.originals(scene, "run", "player")[0]
    scene.frame_set(frames[2])
    out["player_still"] = number_behind(player, player.data.background_images[0].image.name)
    out["left"] = {
        "backgrounds": len(own.data.background_images),
        "drivers": len(own.data.animation_data.drivers) if own.data.animation_data else 0,
        "images": sorted(i.name for i in bpy.data.images if "Playback" in i.name),
        "meshes": sorted(m.name for m in bpy.data.meshes),
        "actions": sorted(a.name for a in bpy.data.actions),
    }
    return out


main(work)
