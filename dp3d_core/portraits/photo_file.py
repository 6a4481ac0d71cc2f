"""Image files of any kind to upright 8 bit pixels."""

from __future__ import annotations

import io
from pathlib import Path
from warnings import catch_warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dp3d_core.errors import Dp3dError

Pixels = NDArray[np.uint8]

MAX_SIDE = 4096
"""A larger photo is scaled down to this longest side."""
MAX_PIXELS = 120_000_000
MIN_SIDE = 32


def read_photo(source: Path | bytes) -> bytes:
    """Bytes of a photo file; raises ``portrait.not_found`` or ``portrait.unreadable``."""
    if isinstance(source, bytes):
        return source
    path = Path(source)
    if path.is_dir():
        raise Dp3dError(
            "portrait.unreadable",
            f"{path} is a folder, not a photo.",
            "Give one image file: a PNG or JPEG.",
        )
    if not path.is_file():
        raise Dp3dError(
            "portrait.not_found",
            f"There is no photo at {path}.",
            "Check the path; it must be an image file.",
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise Dp3dError(
            "portrait.unreadable",
            f"{path.name} cannot be opened ({error.strerror}).",
            "Check the rights of the file.",
        ) from error


def decode_photo(data: bytes) -> tuple[Pixels, Pixels | None, float]:
    """Decode an image file.

    Returns:
        (h, w, 3) uint8 upright RGB (transparent parts on mid grey), (h, w) uint8 alpha when
        the file has real transparency, and the scale applied to a huge photo.

    Raises:
        Dp3dError: ``portrait.unreadable``, ``portrait.too_small``, ``portrait.too_large``.

    """
    try:
        # Pillow warns of sizes and odd tags; we have limits of our own
        with catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise _too_large(f"The photo has {width * height / 1e6:.0f} megapixels.")
            if min(width, height) < MIN_SIDE:
                raise Dp3dError(
                    "portrait.too_small",
                    f"The photo is {width} x {height} pixels.",
                    "Use a photo whose face is at least 100 pixels wide.",
                )
            opened.seek(0)
            scale = min(1.0, MAX_SIDE / max(width, height))
            if scale < 1 and opened.format == "JPEG":
                opened.draft("RGB", (MAX_SIDE, MAX_SIDE))
            image = _to_eight_bit(ImageOps.exif_transpose(opened))
    except Dp3dError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("The photo is far too large.") from error
    except UnidentifiedImageError as error:
        raise Dp3dError(
            "portrait.unreadable",
            "The file is not an image of a kind that can be read.",
            "Save it as PNG or JPEG and try again.",
        ) from error
    except Exception as error:
        # Pillow's decoders fail on broken files with whatever their inside meets.
        raise Dp3dError(
            "portrait.unreadable",
            f"The image is damaged and cannot be read ({error or type(error).__name__}).",
            "Save it as PNG or JPEG and try again.",
        ) from error
    if scale < 1:
        size = (max(1, round(image.width * MAX_SIDE / max(image.size))),
                max(1, round(image.height * MAX_SIDE / max(image.size))))  # fmt: skip
        image = image.resize(size, Image.Resampling.BOX)
    alpha = None
    if image.mode == "RGBA":
        channel = np.asarray(image.getchannel("A"))
        if (channel < 128).mean() > 0.01:
            alpha = channel.copy()
        grey = Image.new("RGBA", image.size, (128, 128, 128, 255))
        image = Image.alpha_composite(grey, image)
    return np.array(image.convert("RGB")), alpha, scale


def _too_large(problem: str) -> Dp3dError:
    return Dp3dError(
        "portrait.too_large",
        problem,
        f"Scale it to at most {MAX_PIXELS / 1e6:.0f} megapixels first.",
    )


def _to_eight_bit(image: Image.Image) -> Image.Image:
    """RGB or RGBA, 8 bit, from any mode Pillow knows."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        values = np.asarray(image, np.float64)
        # "I" holds 16 bit PNGs; a float TIFF usually holds 0..1
        top = 1.0 if values.max() <= 1.0 else 255.0 if values.max() <= 255 else 65535.0
        image = Image.fromarray(np.clip(values / top * 255, 0, 255).astype(np.uint8))
    if image.mode in {"P", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        return image.convert("RGBA")
    return image if image.mode == "RGBA" else image.convert("RGB")


def default_photo() -> Path:
    """Astronaut Eileen Collins (NASA, public domain), from scikit-image's sample data.

    Raises:
        Dp3dError: ``portrait.not_found`` without scikit-image.

    """
    try:
        import skimage
    except ImportError as error:
        raise Dp3dError(
            "portrait.not_found",
            "The default photo comes with scikit-image, which is not installed.",
            "Name a photo of your own, or install the extra: pip install 'dp3d[core]'.",
        ) from error
    return Path(skimage.__file__).parent / "data" / "astronaut.png"
