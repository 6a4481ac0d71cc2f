"""Pictures for people: contact sheets and animations."""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dp3d_core.files import write_atomic
from dp3d_core.videos import video_codec, video_not_writable
from dp3d_core.viewset import ViewSet

Pixels = NDArray[np.uint8]


def contact_sheet(
    images: Sequence[Pixels],
    columns: int = 8,
    labels: Sequence[str] | None = None,
    tile: int = 192,
    background: int = 255,
) -> Pixels:
    """Pictures in rows, each scaled to fit a square tile, with an optional line of text.

    Args:
        images: (h, w, 3) or (h, w) uint8 each, any sizes.
        columns: tiles in a row.
        labels: one per picture.
        tile: side of a tile, pixels.
        background: grey value between the pictures.

    Returns:
        (rows * (tile + text), columns * tile, 3) uint8.

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
    """A picture at another size, every pixel the mean of those that it covers."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def viewset_sheet(views: ViewSet, columns: int = 8, tile: int = 192) -> Pixels:
    """Contact sheet of a view set, each view labelled with its yaw and pitch."""
    labels = []
    for i, camera in enumerate(views.cameras):
        yaw, pitch = camera.yaw_pitch_deg
        labels.append(f"{i}: yaw {yaw:.0f}, pitch {pitch:.0f}")
    return contact_sheet([views.frame(i) for i in range(len(views))], columns, labels, tile)


def save_png(path: Path, pixels: Pixels) -> None:
    """Write a PNG atomically."""
    from dp3d_core.viewset import encode_png

    write_atomic(path, encode_png(pixels))


@contextmanager
def _silenced() -> Iterator[None]:
    """Nothing on standard error: OpenCV's FFmpeg remarks there that WebM has no codec tags."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def save_video(path: Path, frames: Iterable[Pixels], fps: float = 24.0) -> None:
    """Write a WebM (VP9) or MP4 (MPEG-4) atomically, by the ending of its name.

    Args:
        path: ``.webm`` plays in browsers and Blender, ``.mp4`` in older players, too.
        frames: (h, w, 3) uint8 of one size; an odd row or column is left out.
        fps: frames a second.

    Raises:
        Dp3dError: ``engine.bad_option`` for another ending, ``output.not_writable``.

    """
    codec = video_codec(path)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    writer, written = None, 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise video_not_writable(path) from error
    try:
        for frame in frames:
            height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
            if writer is None:
                with _silenced():
                    writer = cv2.VideoWriter(
                        str(temporary), cv2.VideoWriter.fourcc(*codec), fps, (width, height)
                    )
                if not writer.isOpened():
                    raise video_not_writable(path)
            writer.write(np.ascontiguousarray(frame[:height, :width, ::-1]))
            written += 1
        if writer is not None:
            writer.release()
            # OpenCV does not say that a disk was full
            if _frames_in(temporary) != written:
                raise video_not_writable(path)
            try:
                temporary.replace(path)
            except OSError as error:  # a folder, or on Windows a video that is being watched
                raise video_not_writable(path) from error
    except BaseException:
        if writer is not None:
            writer.release()
        temporary.unlink(missing_ok=True)
        raise


def _frames_in(path: Path) -> int:
    """Frames of a video that can be read."""
    with _silenced():
        reader, count = cv2.VideoCapture(str(path)), 0
        try:
            while reader.grab():
                count += 1
        finally:
            reader.release()
    return count


def save_gif(path: Path, frames: Sequence[Pixels], fps: float = 12.0) -> None:
    """Write an endless GIF atomically; all frames share one palette, so nothing flickers."""
    images = [Image.fromarray(np.asarray(frame, np.uint8)).convert("RGB") for frame in frames]
    # palette from a strip of all frames, thinned
    strip = contact_sheet(
        [np.asarray(i) for i in images[:: max(1, len(images) // 12)]], 6, tile=128
    )
    palette = Image.fromarray(strip).quantize(255, method=Image.Quantize.MEDIANCUT)
    indexed = [i.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for i in images]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=round(1000 / fps),
        loop=0,
    )
    write_atomic(path, buffer.getvalue())
