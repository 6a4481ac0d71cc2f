"""Decodes a picture file of any supported format to upright 8 bit sRGB pixels, in this process.

Untrusted files are decoded by :func:`dp3d_core.decoding.outside.decode_outside`, which calls this
module in a child process.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from warnings import catch_warnings

import numpy as np
from PIL import ExifTags, Image

from dp3d_core.arrays import Array32, Pixels
from dp3d_core.decoding.colour_profiles import to_srgb
from dp3d_core.decoding.formats import is_whole_directory, media_brands, recognise, refused
from dp3d_core.decoding.limits import (
    MAX_PIXELS,
    check_canvas,
    check_file_bytes,
    check_memory,
    check_pixels,
    too_large,
)
from dp3d_core.errors import Dp3dError

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that makes a picture upright, by the EXIF tag Orientation."""
_QUARTER_TURNS = (5, 6, 7, 8)
"""Orientations that exchange width and height."""
_PLUGINS = {
    **dict.fromkeys(("JPEG", "PNG", "TIFF", "BMP", "GIF", "PSD", "PPM", "TGA")),
    "WEBP": "webp",
    "AVIF": "avif",
    "JPEG2000": "jpg_2000",
}
"""Formats that Pillow decodes, with the optional feature of Pillow that they need."""
_MODULES = {"WEBP": "WebP", "AVIF": "Avif", "JPEG2000": "Jpeg2K"}
"""Pillow's names of plug-in modules, where they differ from the format's name."""
_ANIMATED = {"GIF", "WEBP", "PNG", "TIFF", "AVIF"}
"""Formats in which several pictures are frames or pages."""
_STRIP_PIXELS = 1 << 21
"""Pixels of a strip that is converted in one piece."""
_DIRECT = {"RGB", "RGBA", "L", "LA", "CMYK"}
"""Modes that Pillow can scale without conversion."""


@dataclass(frozen=True)
class Wanted:
    """Requirements on a decoded picture."""

    longest: int | None = 4096
    """Longest side that larger pictures are scaled down to, pixels; None: not scaled."""
    least_side: int = 1
    """Smallest accepted side, pixels."""
    upright: bool = True
    """Whether the EXIF orientation is applied."""
    srgb: bool = True
    """Whether colours are converted to sRGB; False for masks."""
    indices: bool = False
    """Whether a picture with an opaque palette is decoded to palette indices."""
    white: float | None = None
    """White level of a grey picture of more than 8 bits; None: estimated from its largest value."""


class DecodedPicture(NamedTuple):
    """Pixels of an image file."""

    rgb: Pixels
    """(h, w, 3) uint8, upright, sRGB; transparent pixels keep the file's colours."""
    alpha: Pixels | None
    """(h, w) uint8, straight alpha; None: opaque."""
    scale: float
    """Side over that of the file; below 1 for a picture that was scaled down."""
    notes: list[str]
    """Sentences for the user on what was ignored, omitted or assumed."""
    white: float | None = None
    """White level used for a grey picture of more than 8 bits; None for others."""
    palette: bytes | None = None
    """RGB of the palette where ``rgb`` holds its indices (:attr:`Wanted.indices`), else None."""


class PictureHeader(NamedTuple):
    """Header of a picture file, read without decoding pixels."""

    size: tuple[int, int]
    """Width and height in the file, before EXIF orientation."""
    orientation: int
    """EXIF orientation, 1 to 8; 1: upright."""
    has_alpha: bool
    deep: str
    """Pillow's mode of a grey picture of more than 8 bits; empty for others."""

    @property
    def on_its_side(self) -> bool:
        """Whether the orientation exchanges width and height."""
        return self.orientation in _QUARTER_TURNS


def picture_header(data: bytes) -> PictureHeader:
    """Header of an image file, within the limits of :func:`decode_picture`.

    Raises:
        Dp3dError: as :func:`decode_picture`.

    """
    with _decoder_errors(), catch_warnings(action="ignore"):
        check_file_bytes(len(data))
        kind = recognise(data)
        _check_header(data, kind, Wanted())
        with _open(data, kind) as opened:
            check_pixels(opened.size)
            exif = _exif(opened)
            return PictureHeader(
                opened.size,
                _orientation(exif),
                bool(opened.has_transparency_data),
                opened.mode if _is_deep(opened) else "",
            )


def decode_picture(data: bytes, wanted: Wanted | None = None) -> DecodedPicture:
    """Decode an image file; of several pictures the first.

    With broken EXIF data the picture is not rotated; a broken colour profile counts as sRGB.

    Raises:
        Dp3dError: ``portrait.unreadable``, ``portrait.too_small``, ``portrait.too_large``,
            ``portrait.package_missing``.

    """
    # Pillow warns about sizes and unusual tags; limits are checked here
    with _decoder_errors(), catch_warnings(action="ignore"):
        return _decode(data, wanted or Wanted())


@contextmanager
def _decoder_errors() -> Iterator[None]:
    """Turn any exception of Pillow's decoders into an error with a code."""
    try:
        yield
    except Dp3dError:
        raise
    except Image.DecompressionBombError as error:
        raise too_large("is far too large", MAX_PIXELS) from error
    except MemoryError as error:
        raise too_large("takes too much memory to decode", MAX_PIXELS / 4) from error
    except Exception as error:
        raise Dp3dError(
            "portrait.unreadable",
            f"The image is damaged and cannot be read ({_reason(error)}).",
            "Save it as PNG or JPEG and try again.",
            repr(error)[:500],
        ) from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "error -9" in text:
        return "its decoder ran out of memory"
    if not text or "<" in text or "b'" in text or 'b"' in text:  # a repr of Python objects
        return "its header is broken"
    return text[:120]


def _decode(data: bytes, wanted: Wanted) -> DecodedPicture:
    check_file_bytes(len(data))
    kind = recognise(data)
    _check_header(data, kind, wanted)
    with _open(data, kind) as opened:
        size = opened.size
        check_pixels(size, wanted.least_side)
        _check_planes(opened)
        scale = 1.0 if wanted.longest is None else min(1.0, wanted.longest / max(size))
        if wanted.longest is not None and scale < 1 and kind == "JPEG":
            opened.draft("RGB", (wanted.longest, wanted.longest))
        check_memory(opened, size, wanted.longest)
        notes = _frame_notes(opened)
        opened.load()  # before EXIF is read: Pillow turns TIFF files here
        exif = _exif(opened)
        palette = _opaque_palette(opened) if wanted.indices else None
        entries = opened if palette is None else _indices(opened)
        white = None
        if _is_deep(opened):
            white = _white(opened) if wanted.white is None else wanted.white
            notes += _notes_on_white(opened, white)
        image = _eight_bit(entries, wanted.longest, exif, white)
        if wanted.upright:
            image = _upright(image, exif)
        if wanted.srgb:
            image, colour_notes = to_srgb(image, exif)
            notes += colour_notes
        else:
            image = image.convert("RGBA" if image.mode in {"RGBA", "LA"} else "RGB")
        alpha = np.array(image.getchannel("A")) if image.mode == "RGBA" else None
        if alpha is not None and alpha.min() == 255:
            alpha = None
        return DecodedPicture(np.array(image.convert("RGB")), alpha, scale, notes, white, palette)


def _opaque_palette(image: Image.Image) -> bytes | None:
    """RGB of a picture's palette entries; None without a palette or with transparent entries."""
    if image.mode != "P" or image.has_transparency_data:
        return None
    return bytes(image.getpalette("RGB") or [])


def _indices(image: Image.Image) -> Image.Image:
    """Palette indices of a picture as a grey image."""
    numbers = Image.frombytes("L", image.size, image.tobytes())
    numbers.info = image.info
    return numbers


def _check_header(data: bytes, kind: str, wanted: Wanted) -> None:
    """Refuse by header what Pillow refuses only after allocating memory or without a reason."""
    if kind == "WEBP" and (size := _webp_size(data)):
        check_pixels(size, wanted.least_side)
        check_canvas(size)
    elif kind == "PSD":
        depth = int.from_bytes(data[22:24], "big")
        if depth in {16, 32}:
            raise refused(
                f"a Photoshop document of {depth} bits a channel",
                "Save a copy of 8 bits a channel in Photoshop, or a PNG or JPEG.",
            )
        if _has_no_composite(data):
            raise refused(
                "a Photoshop document that was saved without its whole picture",
                "Save it again with 'Maximize compatibility', or as PNG or JPEG.",
            )


_BITS, _PLANES, _SAMPLES = 258, 284, 339
"""TIFF tags BitsPerSample, PlanarConfiguration and SampleFormat."""
_SEPARATE, _UNSIGNED = 2, 1
"""Values of PlanarConfiguration (plane by plane) and SampleFormat (unsigned integers)."""


def _check_planes(image: Image.Image) -> None:
    """Refuse a TIFF of more than 8 bits in separate planes, which Pillow reads wrongly."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANES) == _SEPARATE and max(tags.get(_BITS, (1,))) > 8:
        raise refused(
            "a TIFF that stores deep colours plane by plane",
            "Save it as PNG or JPEG, or as a TIFF of 8 bits a channel, and try again.",
        )


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP's canvas, which its decoder allocates on opening."""
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return (
            int.from_bytes(data[26:28], "little") & 0x3FFF,
            int.from_bytes(data[28:30], "little") & 0x3FFF,
        )
    return None


_VERSION_INFO = b"8BIM\x04\x21"
"""Start of a PSD's version resource."""


def _has_no_composite(data: bytes) -> bool:
    """Whether a PSD's version resource states that it has no merged picture."""
    place = data.find(_VERSION_INFO, 26, 1 << 20)
    # after the name (empty, padded to 2 bytes) and the length: a version of 4 bytes, a flag
    return place > 0 and data[place + 6 : place + 8] == b"\0\0" and data[place + 16] == 0


def _open(data: bytes, kind: str) -> Image.Image:
    """The opened image of a file of a known format; no other decoder is tried."""
    if kind == "HEIF":
        _register_heif()
    else:
        from PIL import features

        feature = _PLUGINS[kind]
        if feature is not None and not features.check(feature):
            raise Dp3dError(
                "portrait.package_missing",
                f"The photo is in the format {kind}, which the installed Pillow does not read.",
                "Install a newer Pillow, or save the photo as JPEG.",
            )
        importlib.import_module(f"PIL.{_MODULES.get(kind, kind.title())}ImagePlugin")
    try:
        return Image.open(io.BytesIO(data), formats=[kind])
    except Dp3dError:
        raise
    except Exception:
        # Pillow cannot open an AVIF with broken EXIF, so its item is given another type.
        brands = media_brands(data)
        hidden = re.sub(rb"(infe.{8})Exif", rb"\1none", data, flags=re.DOTALL) if brands else data
        if hidden == data and kind == "TIFF" and is_whole_directory(data):
            raise refused(
                "a TIFF whose pixels are of a kind that is not read (such as floating point "
                "colours)",
                "Save it as PNG or JPEG, or as a TIFF of 8 or 16 bits a channel, and try again.",
            ) from None
        if hidden == data:
            raise
        return Image.open(io.BytesIO(hidden), formats=[kind])


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise Dp3dError(
            "portrait.package_missing",
            "The photo is in Apple's HEIC format, whatever its name ends in, and the package "
            "that reads it is not installed.",
            "Install it with pip install 'dp3d[heic]', or save the photo as JPEG.",
        ) from error
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def _exif(image: Image.Image) -> Image.Exif | None:
    """EXIF data of an image; None if they are broken."""
    try:
        return image.getexif()
    except Exception:  # a broken block may raise anything
        return None


def _orientation(exif: Image.Exif | None) -> int:
    """EXIF orientation, 1 to 8; 1 where it is absent or invalid."""
    orientation = None if exif is None else exif.get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def _upright(image: Image.Image, exif: Image.Exif | None) -> Image.Image:
    """An image with its EXIF orientation applied."""
    orientation = _orientation(exif)
    if orientation == 1:
        return image
    turned = image.transpose(_TURNS[orientation])
    turned.info = image.info
    return turned


def _frame_notes(image: Image.Image) -> list[str]:
    # further pictures of MPO and HEIC are depth maps and the like; counting them could take minutes
    several = image.format in _ANIMATED and getattr(image, "is_animated", False)
    return ["The file holds several pictures; the first is used."] if several else []


def _eight_bit(
    image: Image.Image, longest: int | None, exif: Image.Exif | None, white: float | None
) -> Image.Image:
    """8 bit RGB, RGBA, L, LA or CMYK image, scaled down, with the file's info.

    Strips are converted and shrunk one by one, which avoids a copy of the whole picture.
    """
    info = image.info
    scale = 1.0 if longest is None else min(1.0, longest / max(image.size))
    convert = _converter(image, exif, white)
    if convert is None and scale > 0.5:
        whole, box = image, None
    else:
        factor = max(1, int(1 / scale))
        whole = _reduced(image, convert, factor)
        box = (0.0, 0.0, image.width / factor, image.height / factor)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        whole = whole.resize(size, Image.Resampling.BOX, box)
    whole.info = info
    return whole


def _reduced(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image] | None, factor: int
) -> Image.Image:
    """A picture converted and shrunk by an integer factor, strip by strip."""
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // (width * factor)) * factor
    shrunk = None
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        strip = strip if convert is None else convert(strip)
        strip = strip.reduce(factor) if factor > 1 else strip
        if shrunk is None:
            shrunk = Image.new(strip.mode, (strip.width, -(-height // factor)))
        shrunk.paste(strip, (0, top // factor))
    assert shrunk is not None
    return shrunk


def _is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey, of more than 8 bits."""
    return image.mode in {"I", "F"} or image.mode.startswith("I;16")


def _notes_on_white(image: Image.Image, white: float) -> list[str]:
    """Note on a grey picture that is assumed to use fewer bits than its file stores."""
    bits = ASSUMED_BITS.get(white)
    if bits is None or image.mode == "F":
        return []
    return [f"The grey picture uses {bits} bits at most: {white:.0f} is taken for white."]


def _converter(
    image: Image.Image, exif: Image.Exif | None, white: float | None
) -> Callable[[Image.Image], Image.Image] | None:
    """Function that converts a strip to a mode that can be scaled; None: not needed."""
    mode = image.mode
    if white is not None:
        wraps = _wraps(image)
        return lambda strip: _from_values(_values(strip, wraps), white)
    if mode in {"P", "PA", "La", "RGBa"} or "transparency" in image.info:
        return lambda strip: strip.convert("RGBA")
    if mode in _DIRECT:
        return None
    if mode == "LAB":  # Pillow cannot average a and b, which are signed
        return lambda strip: to_srgb(_with_info(strip, image), exif)[0]
    return lambda strip: strip.convert("L" if mode == "1" else "RGB")


def _with_info(strip: Image.Image, image: Image.Image) -> Image.Image:
    strip.info = image.info
    return strip


def _white(image: Image.Image) -> float:
    """Estimated white level: 1 for floats up to 1, else that of the smallest fitting bit depth."""
    largest = -np.inf
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        values = _values(strip, _wraps(image))
        largest = max(largest, values.max(initial=-np.inf, where=np.isfinite(values)))
    if largest <= 1.0 and image.mode == "F":
        return 1.0
    if largest > 2.0**28:  # 32 bits are used
        return max(2.0**32 - 1, float(largest)) if image.mode == "I" else float(largest)
    return next((top for top in _WHITES if largest <= top), float(largest))


_WHITES = (255.0, 1023.0, 4095.0, 65535.0)
"""White levels of 8, 10, 12 and 16 bits; scientific cameras store 10 and 12 bits unscaled in 16."""
ASSUMED_BITS = {1023.0: 10, 4095.0: 12}
"""Bit depth of white levels that a file does not state."""


def _wraps(image: Image.Image) -> bool:
    """Whether the file has unsigned 32 bit values, which Pillow reads as signed."""
    tags = getattr(image, "tag_v2", {})
    return (
        image.mode == "I"
        and tags.get(_BITS) == (32,)
        and tags.get(_SAMPLES, (_UNSIGNED,)) == (_UNSIGNED,)
    )


def _values(strip: Image.Image, wraps: bool) -> Array32:
    values = np.asarray(strip)
    return (values.view(np.uint32) if wraps else values).astype(np.float32)


def _from_values(values: Array32, white: float) -> Image.Image:
    values = np.nan_to_num(values, nan=0.0, posinf=white, neginf=0.0)
    return Image.fromarray(np.clip(values * (255 / white), 0, 255).astype(np.uint8))
