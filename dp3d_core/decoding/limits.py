"""Limits on pictures: file size, pixels, and the memory that decoding takes.

All are checked by the header of the file, before pixels are decoded.
"""

from __future__ import annotations

from PIL import Image

from dp3d_core.errors import Dp3dError

MAX_FILE_BYTES = 200_000_000
"""Largest picture file."""
MAX_PIXELS = 120_000_000
"""Largest number of pixels of a picture."""
MAX_DECODING_BYTES = 880_000_000
"""Largest memory for the pixels of one picture in its decoder, Pillow and the conversion."""
DECODER_MEMORY_BYTES = 1_000_000_000
"""Memory limit of a decoding process (Linux only)."""

_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes per pixel in Pillow's memory by mode; other modes have 4."""
_DECODER_BYTES = {"WEBP": 13, "AVIF": 11, "HEIF": 9, "JPEG2000": 16}
"""Bytes per pixel in a decoder in addition to Pillow's picture (measured with 10 bit pictures)."""
_RESULT_BYTES = 9
"""Bytes per pixel of the result while its colours are converted and it is sent."""
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
    """Refuse a large WebP before it is opened, because opening allocates its canvas."""
    pixels = size[0] * size[1]
    most = MAX_DECODING_BYTES / (_DECODER_BYTES["WEBP"] + 4)
    if pixels > most:
        raise too_large(f"has {pixels / 1e6:.0f} megapixels, which is much for a WebP", most)


def check_memory(image: Image.Image, file_size: tuple[int, int], longest: int | None) -> None:
    """Refuse a picture whose decoding would exceed :data:`MAX_DECODING_BYTES`.

    Args:
        image: opened, not loaded; a JPEG's draft size is set.
        file_size: width and height in the file, pixels.
        longest: longest side of the result, pixels; None: not scaled.

    Raises:
        Dp3dError: ``portrait.too_large``.

    """
    pixels, in_file = image.width * image.height, file_size[0] * file_size[1]
    scale = 1.0 if longest is None else min(1.0, longest / max(image.size))
    copied = 4 if image.mode in _OPAQUE else 8  # with alpha also the premultiplied colours
    if image.mode in _OPAQUE and scale > 0.5:
        copied = 0
    converting = pixels * (_RESULT_BYTES * scale**2 + copied / int(1 / scale) ** 2)
    decoding = in_file * decoder_bytes(image)  # released before the conversion
    needed = pixels * _PIXEL_BYTES.get(image.mode, 4) + max(decoding, converting)
    if needed > MAX_DECODING_BYTES:
        most = in_file * MAX_DECODING_BYTES / needed
        kind = image.format or "picture"
        raise too_large(
            f"has {in_file / 1e6:.0f} megapixels, which take {needed / 1e9:.1f} GB to decode "
            f"({kind}, {image.mode})",
            min(most, MAX_PIXELS),
        )


def decoder_bytes(image: Image.Image) -> float:
    """Bytes per pixel of the file in a decoder, in addition to Pillow's picture."""
    kind = image.format or ""
    if kind == "JPEG" and image.info.get("progressive"):
        return 2.0 * len(image.getbands())  # all coefficients are kept until the last scan
    if kind == "TIFF" and image.info.get("compression", "raw") != "raw":
        return _tiff_strip_bytes(image)
    return _DECODER_BYTES.get(kind, 0)


def _tiff_strip_bytes(image: Image.Image) -> float:
    """Bytes of the largest unpacked strip or tile of a TIFF, per pixel of the picture."""
    tags = getattr(image, "tag_v2", {})
    bits, samples = tags.get(258, (1,)), tags.get(277, 1)
    pixel = max(bits) * samples / 8
    if 322 in tags:
        part = min(1.0, tags[322] * tags.get(323, 1) / (image.width * image.height))
    else:
        part = min(1.0, tags.get(278, image.height) / image.height)
    return float(1.25 * pixel * part)


def too_large(what: str, most: float) -> Dp3dError:
    """Error for a picture of too many pixels; ``what`` is half a sentence."""
    return Dp3dError(
        "portrait.too_large",
        f"The picture {what}.",
        f"Scale it to at most {max(1, int(most / 1e6))} megapixels first.",
    )
