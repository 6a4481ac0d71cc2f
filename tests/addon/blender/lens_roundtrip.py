# SPDX-License-Identifier: GPL-3.0-or-later
"""View sets with many different K into the scene; what Blender then makes of each camera."""

from pathlib import Path

import bpy
from common import ANCHORS, enable_addon, main, make_anchor, rows


def matrix_of(camera, view, depsgraph):
    from addon.scene import views as scene_views

    x, y = scene_views.pixel_aspect(view)
    return rows(
        camera.evaluated_get(depsgraph).calc_matrix_camera(
            depsgraph, x=view.width, y=view.height, scale_x=x, scale_y=y
        )
    )


def work(request):
    enable_addon()
    from addon.scene import tags
    from addon.scene import views as scene_views

    scene = bpy.context.scene
    folder = Path(request["folder"])
    views = scene_views.read_views(folder)
    out = []
    for kind in ANCHORS:
        anchor = make_anchor(kind)
        frames = [3 + 2 * i for i in range(len(views))]
        scene_views.load(scene, anchor, folder, kind, kind, frames)
        scene_views.load(scene, anchor, folder, kind, kind, frames)  # replaces, never doubles
        for role in ("view", "player"):
            cameras = list(tags.objects(scene, kind, role))
            for index, (view, frame) in enumerate(zip(views, frames, strict=True)):
                scene.frame_set(frame)
                depsgraph = bpy.context.view_layer.depsgraph
                camera = cameras[0] if role == "player" else cameras[index]
                evaluated = camera.evaluated_get(depsgraph)
                background = camera.data.background_images[0]
                out.append(
                    {
                        "label": [kind, role, index],
                        "index": index,
                        "count": len(cameras),
                        "camera_world": rows(evaluated.matrix_world),
                        "anchor_world": rows(anchor.evaluated_get(depsgraph).matrix_world),
                        "projection": matrix_of(camera, view, depsgraph),
                        "image": bpy.path.abspath(background.image.filepath),
                        "source": background.image.source,
                        "parent_is_anchor": camera.parent == anchor,
                        "marked": (camera.get("dp3d_view"), camera.get("dp3d_frame")),
                    }
                )
    return {"out": out, "objects": len(bpy.data.objects), "images": len(bpy.data.images)}


main(work)
