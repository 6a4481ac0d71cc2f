"""Picture for the user: the photo with faces and crop, the crop, and the matted crop."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from dp3d_core.arrays import Pixels
from dp3d_core.portraits.crop import CROP_SIZE
from dp3d_core.portraits.portrait import Portrait


def report_picture(portrait: Portrait, height: int = 512) -> Pixels:
    """Draw photo with faces and crop, crop, and matted crop side by side.

    Returns:
        (height, w, 3) uint8.

    """
    scale = height / portrait.photo.shape[0]
    width = max(1, round(portrait.photo.shape[1] * scale))
    resampling = Image.Resampling.LANCZOS
    photo = np.array(Image.fromarray(portrait.photo).resize((width, height), resampling))

    def draw(x: float, y: float, side: float, colour: tuple[int, int, int]) -> None:
        # a crop larger than the photo is drawn along the photo's border
        left, right = (int(np.clip(v * scale, 1, width - 2)) for v in (x, x + side))
        top, bottom = (int(np.clip(v * scale, 1, height - 2)) for v in (y, y + side))
        cv2.rectangle(photo, (left, top), (right, bottom), colour, 2)

    for face in portrait.report.faces:
        colour = (60, 200, 90) if face is portrait.report.chosen else (200, 160, 60)
        draw(face.x - face.side / 2, face.y - face.side / 2, face.side, colour)
    crop = portrait.report.crop
    draw(crop.x, crop.y, crop.side, (230, 60, 60))
    alpha = portrait.matte[..., None] / 255.0
    checker = (np.indices((CROP_SIZE, CROP_SIZE)) // 32).sum(0)[..., None] % 2 * 30 + 200
    matted = np.rint(portrait.image * alpha + checker * (1 - alpha)).astype(np.uint8)
    tiles = [
        np.asarray(
            Image.fromarray(t).resize(
                (max(1, round(t.shape[1] * height / t.shape[0])), height), Image.Resampling.LANCZOS
            )
        )
        for t in (photo, portrait.image, matted)
    ]
    return np.concatenate(tiles, axis=1)
