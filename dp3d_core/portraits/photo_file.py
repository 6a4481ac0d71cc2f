"""Image files of any kind to upright 8 bit pixels."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import NamedTuple
from warnings import catch_warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from dp3d_core.errors import Dp3dError
from dp3d_core.portraits.colour_profiles import to_srgb

Pixels = NDArray[np.uint8]

MAX_SIDE = 4096
"""A larger photo is scaled down to this longest side."""
MAX_PIXELS = 120_000_000
MIN_SIDE = 32
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the EXIF tag Orientation, what makes a picture upright."""
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_ANIMATED = {"GIF", "WEBP", "PNG", "TIFF", "AVIF"}
_LFS_POINTER = "a Git LFS pointer"
_OTHER_FILES = (
    (b"version https://git-lfs", _LFS_POINTER),
    (b"%pdf", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML document"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"fujifilmccd-raw", "a camera's raw file"),
)
"""First bytes, in small letters, of files that are taken for photos."""


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


class DecodedPhoto(NamedTuple):
    """Pixels of an image file."""

    rgb: Pixels
    """(h, w, 3) uint8, upright, sRGB; transparent parts on mid grey."""
    alpha: Pixels | None
    """(h, w) uint8, when the file has real transparency."""
    scale: float
    """Pixels over those of the file: below 1 for a huge photo."""
    notes: list[str]
    """What was ignored or left out of the file, sentences for a person."""


def decode_photo(data: bytes) -> DecodedPhoto:
    """Decode an image file: upright, colours in sRGB, the first of several pictures.

    Broken EXIF data means not rotated, a broken colour profile means sRGB.

    Raises:
        Dp3dError: ``portrait.unreadable``, ``portrait.too_small``, ``portrait.too_large``,
            ``portrait.package_missing``.

    """
    try:
        # Pillow warns of sizes and odd tags; we have limits of our own
        with catch_warnings(action="ignore"), _open(data) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise _too_large(f"The photo has {width * height / 1e6:.0f} megapixels.")
            if min(width, height) < MIN_SIDE:
                raise Dp3dError(
                    "portrait.too_small",
                    f"The photo is {width} x {height} pixels.",
                    "Use a photo whose face is at least 100 pixels wide.",
                )
            scale = min(1.0, MAX_SIDE / max(width, height))
            if scale < 1 and opened.format == "JPEG":
                opened.draft("RGB", (MAX_SIDE, MAX_SIDE))
            notes = _frame_notes(opened)
            opened.load()  # before EXIF is read: Pillow turns TIFF files here
            exif = _exif(opened)
            image = _upright(_to_eight_bit(opened), exif)
            image, colour_notes = to_srgb(_fitted(image), exif)
            notes += colour_notes
    except Dp3dError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("The photo is far too large.") from error
    except UnidentifiedImageError as error:
        raise _unknown(data) from error
    except Exception as error:
        # Pillow's decoders fail on broken files with whatever their inside meets.
        raise Dp3dError(
            "portrait.unreadable",
            f"The image is damaged and cannot be read ({error or type(error).__name__}).",
            "Save it as PNG or JPEG and try again.",
        ) from error
    alpha = None
    if image.mode == "RGBA":
        channel = np.asarray(image.getchannel("A"))
        if (channel < 128).mean() > 0.01:
            alpha = channel.copy()
        grey = Image.new("RGBA", image.size, (128, 128, 128, 255))
        image = Image.alpha_composite(grey, image)
    return DecodedPhoto(np.array(image.convert("RGB")), alpha, scale, notes)


def _open(data: bytes) -> Image.Image:
    """The image of a file, whatever the file is called."""
    brands = _brands(data)
    if brands & _HEIC_BRANDS:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise Dp3dError(
                "portrait.package_missing",
                "The photo is in Apple's HEIC format, whatever its name ends in, and the package "
                "that reads it is not installed.",
                "Install it with pip install 'dp3d[heic]', or save the photo as JPEG.",
            ) from error
        register_heif_opener()
    try:
        return Image.open(io.BytesIO(data))
    except Exception:
        # An AVIF with broken EXIF does not open in Pillow: the item is given another type.
        hidden = re.sub(rb"(infe.{8})Exif", rb"\1none", data, flags=re.DOTALL) if brands else data
        if hidden == data:
            raise
        return Image.open(io.BytesIO(hidden))


def _brands(data: bytes) -> set[bytes]:
    """Major and compatible brands of a file in the ISO base media format (HEIC, AVIF, MP4)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12], *(data[i : i + 4] for i in range(16, end - 3, 4))}


def _exif(image: Image.Image) -> Image.Exif | None:
    """EXIF data of an image; None where they are broken."""
    try:
        return image.getexif()
    except Exception:  # whatever the inside of a broken block meets
        return None


def _upright(image: Image.Image, exif: Image.Exif | None) -> Image.Image:
    """An image turned as EXIF says; not turned where it says nothing that can be used."""
    orientation = None if exif is None else exif.get(ExifTags.Base.Orientation)
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = image.info
    return turned


def _fitted(image: Image.Image) -> Image.Image:
    """An image of at most :data:`MAX_SIDE` pixels."""
    longest = max(image.size)
    if longest <= MAX_SIDE:
        return image
    width, height = (max(1, round(side * MAX_SIDE / longest)) for side in image.size)
    fitted = image.resize((width, height), Image.Resampling.BOX)
    fitted.info = image.info
    return fitted


def _frame_notes(image: Image.Image) -> list[str]:
    # the further pictures of MPO and HEIC are depth maps and the like
    count = getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1
    return [f"The file holds {count} pictures; the first is used."] if count > 1 else []


def _too_large(problem: str) -> Dp3dError:
    return Dp3dError(
        "portrait.too_large",
        problem,
        f"Scale it to at most {MAX_PIXELS / 1e6:.0f} megapixels first.",
    )


def _unknown(data: bytes) -> Dp3dError:
    """The refusal of a file that is no image, with its kind where its first bytes tell."""
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    kinds = [kind for first, kind in _OTHER_FILES if start.startswith(first)]
    if not data:
        problem, remedy = "The file is empty.", "Fetch or save the photo again."
    elif kinds == [_LFS_POINTER]:
        problem = f"The file is {_LFS_POINTER}, not the photo itself."
        remedy = "Fetch the photo with git lfs pull."
    elif kinds or _brands(data):
        problem = f"The file is {kinds[0] if kinds else 'a video'}, not a photo."
        remedy = "Save one picture of it as PNG or JPEG and try again."
    else:
        problem = "The file is not an image of a kind that can be read."
        remedy = "Save it as PNG or JPEG and try again."
    return Dp3dError("portrait.unreadable", problem, remedy)


def _to_eight_bit(image: Image.Image) -> Image.Image:
    """RGB, RGBA, L, LA, CMYK or LAB, 8 bit, from any mode Pillow knows, with the file's info."""
    info = image.info
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        values = np.asarray(image, np.float64)
        # "I" holds 16 bit PNGs; a float TIFF usually holds 0..1
        top = 1.0 if values.max() <= 1.0 else 255.0 if values.max() <= 255 else 65535.0
        eight_bit = Image.fromarray(np.clip(values / top * 255, 0, 255).astype(np.uint8))
    elif image.mode in {"P", "PA", "La", "RGBa"} or "transparency" in info:
        eight_bit = image.convert("RGBA")
    elif image.mode in {"RGB", "RGBA", "L", "LA", "CMYK", "LAB"}:
        eight_bit = image
    else:
        eight_bit = image.convert("L" if image.mode == "1" else "RGB")
    eight_bit.info = info
    return eight_bit


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
