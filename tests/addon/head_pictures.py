# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of docs/images that show the rigged head of the sample photo.

    python -m tests.addon.head_pictures docs/images

``rigged_head.jpg`` shows the photo and the GLB in Blender under three lamps, by Cycles, and
``head_capture.gif`` the example take as ``dp3d head --clip`` draws it.  Needs the bpy wheel
(``make env-bpy``, or DP3D_BPY_PYTHON) and takes five minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.photo_file import default_photo
from dp3d_core.preview.head import PreviewHead
from dp3d_core.rigged.asset import rigged_head, write_rig
from dp3d_core.rigged.clip import write_clip
from dp3d_core.rigged.example_take import example_take
from dp3d_core.rigged.rig import PHOTO_EXPRESSION
from tests.addon.build import find_bpy_python

SIZE = (420, 480)
"""Width and height of a tile, pixels."""
CROP = (102, 3, 346, 282)
"""Part of the sample photo that is shown: left, top, right and bottom, pixels."""
VIEWS: tuple[dict[str, Any], ...] = (
    {"yaw_deg": 0, "pitch_deg": 1, "weights": {PHOTO_EXPRESSION: 1.0}},
    {
        "yaw_deg": 30,
        "pitch_deg": 3,
        "weights": {PHOTO_EXPRESSION: 1.0, "eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.4},
    },
    {
        "yaw_deg": -26,
        "pitch_deg": 2,
        "weights": {
            **{"browInnerUp": 0.9, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8},
            **{"eyeWideLeft": 0.5, "eyeWideRight": 0.5, "jawOpen": 0.4, "mouthFunnel": 0.3},
        },
    },
)
"""Direction of the camera and weights of the blend shapes: a smile, a wink, a surprise."""
LENS_MM = 146
"""Focal length of the camera, whose sensor is 36 mm wide and 1.5 m away."""
SCRIPT = Path(__file__).parent / "blender" / "head_pictures.py"
CLIP_SIDE = 236
"""Side of the clip of the documentation, pixels: a file below 1.5 MB."""


def take_pictures(images: Path, samples: int = 64) -> None:
    """Write the pictures.

    Args:
        images: folder of the pictures.
        samples: paths of light per pixel.

    """
    interpreter = find_bpy_python()
    if interpreter is None:
        raise SystemExit("no bpy: 'make env-bpy', or set DP3D_BPY_PYTHON")
    portrait = load_portrait(default_photo())
    head = rigged_head(PreviewHead(portrait), photo_sha256=portrait.sha256)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (glb,) = write_rig(head, folder / "head.glb")
        views = [{**view, "png": str(folder / f"{i}.png")} for i, view in enumerate(VIEWS)]
        request = {
            "glb": str(glb),
            "samples": samples,
            "size": SIZE,
            "lens": LENS_MM,
            "views": views,
        }
        (folder / "request.json").write_text(json.dumps(request))
        command = [str(interpreter), str(SCRIPT), str(folder / "request.json")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        tiles = [Image.open(default_photo()).convert("RGB").crop(CROP).resize(SIZE, 1)]
        tiles += [before_backdrop(Image.open(view["png"])) for view in views]
        strip = Image.fromarray(np.concatenate([np.asarray(tile) for tile in tiles], 1))
    strip.save(images / "rigged_head.jpg", quality=88, optimize=True)
    write_clip(head, example_take(), images / "head_capture.gif", side=CLIP_SIDE)


def before_backdrop(picture: Image.Image) -> Image.Image:
    """A picture with alpha before a backdrop that grows darker downwards."""
    width, height = picture.size
    down = np.linspace(0, 1, height)[:, None, None]
    colours = np.array([186, 194, 204]) * (1 - down) + np.array([104, 114, 128]) * down
    colours = np.broadcast_to(colours, (height, width, 3))
    backdrop = Image.fromarray(np.rint(colours).astype(np.uint8))
    backdrop.paste(picture, (0, 0), picture)
    return backdrop


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--samples", type=int, default=64)
    options = parser.parse_args()
    take_pictures(options.images, options.samples)
