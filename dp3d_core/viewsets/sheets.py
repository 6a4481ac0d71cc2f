"""Contact sheets and animated GIFs.  numpy and Pillow only."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dp3d_core.arrays import Pixels
from dp3d_core.storage.files import write_atomic
from dp3d_core.storage.results import MADE_BY
from dp3d_core.viewsets.viewset import ViewSet, encode_png


def contact_sheet(
    images: Sequence[Pixels],
    columns: int = 8,
    labels: Sequence[str] | None = None,
    tile: int = 192,
    background: int = 255,
) -> Pixels:
    """Pictures in rows, each scaled into a square tile, with an optional label below.

    Args:
        images: (h, w, 3) or (h, w) uint8 each, any sizes.
        columns: tiles in a row.
        labels: one line per picture; None: no labels.
        tile: side of a tile, pixels.
        background: grey value between the pictures.

    Returns:
        (rows * (tile + text), columns * tile, 3) uint8; text is 16 with labels, else 0.

    """
    text = 16 if labels is not None else 0
    columns = max(1, min(columns, len(images)))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * tile, rows * (tile + text)), (background,) * 3)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for i, pixels in enumerate(images):
        image = Image.fromarray(np.asarray(pixels, np.uint8)).convert("RGB")
        image.thumbnail((tile, tile), Image.Resampling.LANCZOS)
        x, y = (i % columns) * tile, (i // columns) * (tile + text)
        sheet.paste(image, (x + (tile - image.width) // 2, y + (tile - image.height) // 2))
        if labels is not None:
            draw.text((x + 4, y + tile + 1), labels[i], fill=(40, 40, 40), font=font)
    return np.asarray(sheet)


def resized(picture: Pixels, width: int, height: int) -> Pixels:
    """A picture scaled to another size with a box filter."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def viewset_sheet(views: ViewSet, columns: int = 8, tile: int = 192) -> Pixels:
    """Contact sheet of a view set; labels state index, yaw and pitch."""
    labels = []
    for i, camera in enumerate(views.cameras):
        yaw, pitch = camera.yaw_pitch_deg
        labels.append(f"{i}: yaw {yaw:.0f}, pitch {pitch:.0f}")
    return contact_sheet([views.frame(i) for i in range(len(views))], columns, labels, tile)


def save_png(path: Path, pixels: Pixels) -> None:
    """Write a PNG atomically, which names dp3d as its program."""
    write_atomic(path, encode_png(pixels, MADE_BY))


def save_gif(path: Path, frames: Sequence[Pixels], fps: float = 12.0, dither: bool = True) -> None:
    """Write a looping GIF atomically; all frames share one palette, which avoids flicker.

    Args:
        path: of the file.
        frames: (h, w, 3) uint8 each, of one size.
        fps: frames per second, to a hundredth of a second per frame.
        dither: noise in place of bands, for files about twice as large.

    """
    images = [Image.fromarray(np.asarray(frame, np.uint8)).convert("RGB") for frame in frames]
    # palette of a contact sheet of about 12 frames
    strip = contact_sheet(
        [np.asarray(i) for i in images[:: max(1, len(images) // 12)]], 6, tile=128
    )
    # an octree keeps rare colours, such as that of lips, which a median cut loses
    octree = Image.Quantize.FASTOCTREE
    palette = Image.fromarray(strip).quantize(255, method=octree, kmeans=8)
    noise = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE
    indexed = [i.quantize(palette=palette, dither=noise) for i in images]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=round(1000 / fps),
        loop=0,
        optimize=True,
        comment=MADE_BY,
    )
    write_atomic(path, buffer.getvalue())
