"""How large a picture may be: by its file, by its pixels, and by the memory that decoding takes.

The sizes stand in the headers of the files and are looked at before anything is decoded.
"""

from __future__ import annotations

from PIL import Image

from dp3d_core.errors import Dp3dError

MAX_FILE_BYTES = 200_000_000
MAX_PIXELS = 120_000_000
MAX_DECODING_BYTES = 880_000_000
"""Memory for the pixels of one picture, all that its decoder and their conversion hold at once."""
DECODER_MEMORY_BYTES = 1_000_000_000
"""Memory that the system grants a decoding process where it can limit that (Linux)."""

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes of a pixel in Pillow's memory, 4 for all modes that are not named."""
_BESIDE = {"WEBP": 13, "AVIF": 11, "HEIF": 9, "JPEG2000": 16}
"""Bytes of a pixel that a decoder holds beside Pillow's picture (measured; 10 bits counted)."""
_RESULT = 9
"""Bytes of a pixel of the result while its colours are converted and it is sent."""
_OPAQUE = {"RGB", "L", "CMYK"}
"""Modes that are scaled without a copy."""


def check_file_bytes(size: int) -> None:
    """Refuse a file of too many bytes; raises ``portrait.too_large``."""
    if size > MAX_FILE_BYTES:
        raise Dp3dError(
            "portrait.too_large",
            f"The file has {size / 1e6:.0f} MB.",
            f"Save the picture as JPEG; a file may have {MAX_FILE_BYTES / 1e6:.0f} MB.",
        )


def check_pixels(size: tuple[int, int], least_side: int = 1) -> None:
    """Refuse a picture by its width and height.

    Raises:
        Dp3dError: ``portrait.too_large``, ``portrait.too_small``.

    """
    width, height = size
    if width * height > MAX_PIXELS:
        raise too_large(f"has {width * height / 1e6:.0f} megapixels", MAX_PIXELS)
    if min(width, height) < least_side:
        raise Dp3dError(
            "portrait.too_small",
            f"The picture is {width} x {height} pixels.",
            "Use a photo whose face is at least 100 pixels wide.",
        )


def check_canvas(size: tuple[int, int]) -> None:
    """Refuse a WebP before it is opened: its decoder takes its memory then."""
    pixels = size[0] * size[1]
    most = MAX_DECODING_BYTES / (_BESIDE["WEBP"] + 4)
    if pixels > most:
        raise too_large(f"has {pixels / 1e6:.0f} megapixels, which is much for a WebP", most)


def check_memory(image: Image.Image, file_size: tuple[int, int], longest: int | None) -> None:
    """Refuse a picture whose decoding would take too much memory.

    Args:
        image: opened, not loaded, a JPEG's draft size set.
        file_size: width and height in the file.
        longest: longest side of the result, None: as it is.

    Raises:
        Dp3dError: ``portrait.too_large``.

    """
    pixels, in_file = image.width * image.height, file_size[0] * file_size[1]
    scale = 1.0 if longest is None else min(1.0, longest / max(image.size))
    copied = 4 if image.mode in _OPAQUE else 8  # with alpha, the colours times it, too
    if image.mode in _OPAQUE and scale > 0.5:
        copied = 0
    converting = pixels * (_RESULT * scale**2 + copied / int(1 / scale) ** 2)
    decoding = in_file * decoder_bytes(image)  # over when the conversion begins
    needed = pixels * _STORED.get(image.mode, 4) + max(decoding, converting)
    if needed > MAX_DECODING_BYTES:
        most = in_file * MAX_DECODING_BYTES / needed
        kind = image.format or "picture"
        raise too_large(
            f"has {in_file / 1e6:.0f} megapixels, which take {needed / 1e9:.1f} GB to decode "
            f"({kind}, {image.mode})",
            min(most, MAX_PIXELS),
        )


def decoder_bytes(image: Image.Image) -> float:
    """Bytes that a decoder holds for a pixel of the file, beside Pillow's own picture."""
    kind = image.format or ""
    if kind == "JPEG" and image.info.get("progressive"):
        return 2.0 * len(image.getbands())  # all coefficients until the last scan
    if kind == "TIFF" and image.info.get("compression", "raw") != "raw":
        return _tiff_strip_bytes(image)
    return _BESIDE.get(kind, 0)


def _tiff_strip_bytes(image: Image.Image) -> float:
    """Bytes for a pixel of the picture that the largest strip or tile takes when unpacked."""
    tags = getattr(image, "tag_v2", {})
    bits, samples = tags.get(258, (1,)), tags.get(277, 1)
    pixel = max(bits) * samples / 8
    if 322 in tags:
        part = min(1.0, tags[322] * tags.get(323, 1) / (image.width * image.height))
    else:
        part = min(1.0, tags.get(278, image.height) / image.height)
    return float(1.25 * pixel * part)


def too_large(what: str, most: float) -> Dp3dError:
    """The error for a picture of too many pixels; ``what`` is half a sentence."""
    return Dp3dError(
        "portrait.too_large",
        f"The picture {what}.",
        f"Scale it to at most {max(1, int(most / 1e6))} megapixels first.",
    )
