# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of docs/images that show Blender, taken in a real window.

    python -m tests.addon.gui.pictures OUT --photo PHOTO --zip ZIP --images docs/images -- BLENDER

Arguments and needs are those of ``walk``; DP3D_NERF_PYTHON must name the NeRF environment.  The
preset ``draft`` is fitted, which takes five minutes on two cores.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from PIL import Image

from tests.addon.gui.steps import (
    SETTINGS,
    Walk,
    add_anchor,
    animate_camera,
    choose_portrait,
    install,
    set_server,
)
from tests.addon.gui.walk import parser_of_walks, split_arguments
from tests.addon.gui.window import Window
from tests.addon.support import ServerProcess

_LOOK_AT_HEAD = """
import mathutils as m
from math import radians
view = area('VIEW_3D').spaces.active.region_3d
view.view_perspective = 'PERSP'
view.view_rotation = m.Euler((radians(84), 0, radians(28))).to_quaternion()
view.view_distance = 1.0
right = view.view_rotation @ m.Vector((1, 0, 0))
view.view_location = scene().dp3d.anchor.matrix_world.translation + 0.12 * right
[o.select_set(False) for o in scene().objects]
redraw(3)
"""
_REMOVE_CUBE = "bpy.data.objects.remove(bpy.data.objects['Cube']); redraw(2)"


def take(walk: Walk, images: Path) -> None:
    """Go through a first session and write ``blender_{views,mesh,playback}.jpg``."""
    w = walk.w
    for step in (install, set_server, choose_portrait, add_anchor):
        step(walk)
    w.do(_REMOVE_CUBE)
    w.do(f"{SETTINGS}.output = {str(w.out / 'results')!r}")
    w.do(f"{SETTINGS}.preset, {SETTINGS}.views, {SETTINGS}.size = 'CAPTURE', 32, 512")
    w.press("dp3d.generate")
    walk.finish(200)
    w.do(_LOOK_AT_HEAD)
    _save(w, images / "blender_views.jpg")
    w.press("dp3d.fit")
    walk.finish(1500)
    w.press("dp3d.import_mesh")
    walk.finish(300)
    w.do(_LOOK_AT_HEAD)
    _save(w, images / "blender_mesh.jpg")
    animate_camera(w, last_frame=12, across=0.5, before=1.3, resolution=(640, 480))
    w.press("dp3d.playback")
    walk.finish(900)
    w.do("area('VIEW_3D').spaces.active.region_3d.view_perspective = 'CAMERA'")
    w.do("scene().frame_set(9); redraw(3)")
    _save(w, images / "blender_playback.jpg")


def _save(window: Window, path: Path) -> None:
    """Write the 3D view with its sidebar, scrolled to the top, as JPEG."""
    window.scroll_up(40)
    window.pointer("mousemove", 300, 780)
    time.sleep(1)
    window.do("redraw_panels(); redraw(2)")
    screen = window.picture(path.stem).astype("uint8")
    x, y, width, height = window.value(
        "(lambda a: (a.x, window().height - a.y - a.height, a.width, a.height))(area('VIEW_3D'))"
    )
    Image.fromarray(screen[y : y + height, x : x + width]).save(path, quality=86, optimize=True)


def main() -> int:
    """Command line."""
    parser = parser_of_walks(__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    options, blender = split_arguments(parser)
    options.out.mkdir(parents=True, exist_ok=True)
    server = ServerProcess(options.out / "server")
    server.extra_env["DP3D_NERF_PYTHON"] = os.environ["DP3D_NERF_PYTHON"]
    server.start()
    window = Window(options.out, blender, options.display)
    try:
        take(Walk(window, server, options.photo, options.zip, {}), options.images)
    finally:
        window.close()
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
