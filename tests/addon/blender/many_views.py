# SPDX-License-Identifier: GPL-3.0-or-later
"""A long path: one animated camera, no object per view."""

from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor


def work(request):
    enable_addon()
    from addon.scene import sequence, tags
    from addon.scene import views as scene_views

    scene = bpy.context.scene
    scene_views.load(scene, make_anchor("plain"), Path(request["folder"]), "r", "Long")
    (player,) = tags.objects(scene, "r", "player")
    _, curve = next(scene_views._curves(player))
    return {
        "players": 1,
        "views": len(list(tags.objects(scene, "r", "view"))),
        "pictures": len(sequence.frames_of(player.data.background_images[0].image_user)),
        "keys": len(curve.keyframe_points),
    }


main(work)
