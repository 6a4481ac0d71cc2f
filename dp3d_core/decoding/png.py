"""PNG files of view sets and fits, possibly from clients or other programs.

They are decoded in this process by Pillow's PNG decoder alone.  Its time and memory are
proportional to the pixels, whose number is checked in the header.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dp3d_core.arrays import Pixels

MAX_FRAME_PIXELS = 50_000_000
"""Largest number of pixels of a frame; 8K has 33 million."""
_DEEP = {"I", "I;16", "I;16B", "I;16L"}
"""Pillow's modes of grey pictures of 16 bits."""


def read_png(path: Path, mode: str, size: tuple[int, int] | None = None) -> Pixels:
    """Pixels of a PNG.

    Args:
        path: the file.
        mode: Pillow's mode of the result: ``L``, ``RGB`` or ``RGBA`` as uint8, ``I;16`` as uint16.
        size: required width and height, checked before decoding; None: any.

    Raises:
        ValueError: half a sentence on what is wrong with it.

    """
    problem = None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            problem = _size_problem(image.size, size)
            if problem is None:
                if image.mode in _DEEP and mode not in _DEEP:
                    return _eight_bit(image, mode)
                return np.asarray(image.convert(mode))
    except Exception as error:  # broken files may raise anything in Pillow
        raise ValueError(f"cannot be read ({_reason(error)})") from error
    raise ValueError(problem)


def has_alpha(path: Path) -> bool:
    """Whether a PNG has an alpha channel; False for an unreadable file."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.mode in {"RGBA", "LA"} or "transparency" in image.info
    except Exception:  # as above
        return False


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG from its header, pixels.

    Raises:
        ValueError: half a sentence on what is wrong with it.

    """
    try:
        with path.open("rb") as file:
            start = file.read(24)
    except OSError as error:
        raise ValueError(f"cannot be opened ({error.strerror})") from error
    if len(start) < 24 or not start.startswith(b"\x89PNG\r\n\x1a\n") or start[12:16] != b"IHDR":
        raise ValueError("is not a PNG picture")
    size = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    if problem := _size_problem(size, None):
        raise ValueError(problem)
    return size


def _size_problem(size: tuple[int, int], wanted: tuple[int, int] | None) -> str | None:
    width, height = size
    if wanted is not None and size != wanted:
        return f"is {width} x {height} pixels, its camera {wanted[0]} x {wanted[1]}"
    if not 0 < width * height <= MAX_FRAME_PIXELS:
        most = MAX_FRAME_PIXELS // 1_000_000
        return f"has {width * height / 1e6:.0f} megapixels, and a frame may have {most}"
    return None


def _eight_bit(image: Image.Image, mode: str) -> Pixels:
    values = np.asarray(image).astype(np.uint16) >> 8
    return np.asarray(Image.fromarray(values.astype(np.uint8)).convert(mode))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return "it is not a PNG picture, or a broken one" if "<" in text or not text else text[:120]
