"""Recognition of file formats by content: supported pictures, and names for all other files.

File names are ignored, because phones and messengers name any picture like a JPEG.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from dp3d_core.errors import Dp3dError

READABLE = (
    *("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF"),
    *("PSD", "JPEG2000", "PPM", "TGA"),
)
"""Pillow's names of the supported formats; no other decoder is started."""

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"8BPS\0\1", "PSD"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
"""First bytes of supported formats."""
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_BITMAP_HEADERS = {12, 40, 52, 56, 64, 108, 124}

_AS_PICTURE = "Save one picture of it as PNG or JPEG and try again."
_AS_EXPORT = "Open it in the program that made it, export it as PNG or JPEG, and use that."
_AS_JPEG = (
    "Export the photo as JPEG in the camera's program or a photo editor, or take the JPEG that "
    "the camera wrote beside it."
)
_FETCH_AGAIN = "Fetch or save the photo again."


class _Other(NamedTuple):
    """A kind of file that is not supported as a picture."""

    start: bytes
    name: str
    remedy: str = _AS_PICTURE


_RAW = "a camera's raw file"
_OTHERS = (
    _Other(b"version https://git-lfs", "a Git LFS pointer", "Fetch the photo with git lfs pull."),
    _Other(b"%!PS-Adobe-3.1 EPSF-3.0\r%%Creator: Adobe Ill", "an Illustrator drawing", _AS_EXPORT),
    _Other(b"%!PS", "a PostScript file", _AS_EXPORT),
    _Other(b"\xc5\xd0\xd3\xc6", "a PostScript file", _AS_EXPORT),
    _Other(b"\x04%!PS", "a PostScript file", _AS_EXPORT),
    _Other(b"%PDF", "a PDF document"),
    _Other(b"<svg", "an SVG drawing"),
    _Other(b"\x1f\x8b", "a compressed file", "Unpack it, and use the photo that is in it."),
    _Other(b"PK\x03\x04", "a ZIP archive", "Unpack it, and use the photo that is in it."),
    _Other(b"PK\x05\x06", "a ZIP archive", "Unpack it, and use the photo that is in it."),
    _Other(b"Rar!", "a RAR archive", "Unpack it, and use the photo that is in it."),
    _Other(b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it, and use the photo that is in it."),
    _Other(b"BZh", "a compressed file", "Unpack it, and use the photo that is in it."),
    _Other(b"\xfd7zXZ\0", "a compressed file", "Unpack it, and use the photo that is in it."),
    _Other(b"\x28\xb5\x2f\xfd", "a compressed file", "Unpack it, and use the photo that is in it."),
    _Other(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Microsoft Office document"),
    _Other(b"{\\rtf", "a text document"),
    _Other(b"8BPS\0\2", "a large Photoshop document (PSB)", _AS_EXPORT),
    _Other(b"gimp xcf", "a GIMP document (XCF)", _AS_EXPORT),
    _Other(b"BLENDER", "a Blender file", "Render a picture with Blender, and use that."),
    _Other(b"glTF", "a 3D model (GLB)", "Render a picture of it, and use that."),
    _Other(b"ply\n", "a 3D model (PLY)", "Render a picture of it, and use that."),
    _Other(b"ply\r", "a 3D model (PLY)", "Render a picture of it, and use that."),
    _Other(b"\0\0\1\0", "an icon (ICO)", _AS_EXPORT),
    _Other(b"\0\0\2\0", "a mouse pointer (CUR)", _AS_EXPORT),
    _Other(b"icns", "an icon (ICNS)", _AS_EXPORT),
    _Other(b"\x76\x2f\x31\x01", "an OpenEXR picture", _AS_EXPORT),
    _Other(b"#?RADIANCE", "a Radiance HDR picture", _AS_EXPORT),
    _Other(b"#?RGBE", "a Radiance HDR picture", _AS_EXPORT),
    _Other(b"DDS ", "a DirectDraw texture (DDS)", _AS_EXPORT),
    _Other(b"\xabKTX ", "a GPU texture (KTX)", _AS_EXPORT),
    _Other(b"qoif", "a QOI picture", _AS_EXPORT),
    _Other(b"farbfeld", "a farbfeld picture", _AS_EXPORT),
    _Other(b"\xff\x0a", "a JPEG XL picture", _AS_EXPORT),
    _Other(b"\0\0\0\x0cJXL ", "a JPEG XL picture", _AS_EXPORT),
    _Other(b"II\xbc\x01", "a JPEG XR picture", _AS_EXPORT),
    _Other(b"BPG\xfb", "a BPG picture", _AS_EXPORT),
    _Other(b"FLIF", "a FLIF picture", _AS_EXPORT),
    _Other(b"\x01\xda", "an SGI picture", _AS_EXPORT),
    _Other(b"\x59\xa6\x6a\x95", "a Sun raster picture", _AS_EXPORT),
    _Other(b"/* XPM", "an XPM icon", _AS_EXPORT),
    _Other(b"AT&TFORM", "a DjVu document"),
    _Other(b"\xd7\xcd\xc6\x9a", "a Windows metafile", _AS_EXPORT),
    _Other(b"SIMPLE  =", "a FITS picture of astronomy", _AS_EXPORT),
    _Other(b"\x93NUMPY", "a NumPy array", _AS_EXPORT),
    _Other(b"SQLite format 3\0", "a database"),
    _Other(b"FUJIFILMCCD-RAW", _RAW, _AS_JPEG),
    _Other(b"IIU\0", _RAW, _AS_JPEG),
    _Other(b"IIRO", _RAW, _AS_JPEG),
    _Other(b"IIRS", _RAW, _AS_JPEG),
    _Other(b"MMOR", _RAW, _AS_JPEG),
    _Other(b"II\x1a\0\0\0HEAP", _RAW, _AS_JPEG),
    _Other(b"\0MRM", _RAW, _AS_JPEG),
    _Other(b"FOVb", _RAW, _AS_JPEG),
    _Other(b"\x1aE\xdf\xa3", "a video"),
    _Other(b"\0\0\1\xba", "a video"),
    _Other(b"\0\0\1\xb3", "a video"),
    _Other(b"FLV\1", "a video"),
    _Other(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video"),
    _Other(b"OggS", "a sound or video file"),
    _Other(b"ID3", "a sound file"),
    _Other(b"fLaC", "a sound file"),
    _Other(b"\x7fELF", "a program"),
    _Other(b"MZ", "a program"),
    _Other(b"\xcf\xfa\xed\xfe", "a program"),
    _Other(b"\0\5\x16\7", "a side file of macOS (AppleDouble)", "Use the file without '._'."),
    _Other(b"bplist00", "a property list"),
    _Other(b"[InternetShortcut]", "a link to a web page", "Open it, and save the photo itself."),
)  # fmt: skip
"""First bytes of files that users may mistake for photos; longer patterns come first."""
_TEXTS = (
    (b"<!doctype html", "a web page", "Open the page, and save the photo itself."),
    (b"<html", "a web page", "Open the page, and save the photo itself."),
    (b"<svg", "an SVG drawing", _AS_PICTURE),
    (b"<?xml", "an XML document", _AS_PICTURE),
    (b"{", "a JSON document", "Name the photo instead."),
    (b"data:image/", "a picture written as text", "Save the photo itself as PNG or JPEG."),
)
"""First characters, in lower case without leading white space, of texts mistaken for photos."""
_PREAMBLE = re.compile(
    rb"\A(?:\s++|<!--(?:(?!-->).)*+-->|<\?(?:(?!\?>).)*+\?>|<!doctype\s+svg[^>]*+>)++",
    re.DOTALL,
)
"""Comments and declarations at the beginning of an XML text."""


def recognise(data: bytes) -> str:
    """Pillow's name of the format of a picture file: one of :data:`READABLE`.

    Raises:
        Dp3dError: ``portrait.unreadable`` for any other file; the message names its kind.

    """
    kind = _picture_format(data)
    if kind is None:
        raise _refusal(data)
    return kind


def refused(name: str, remedy: str = _AS_EXPORT) -> Dp3dError:
    """Error for a file of an unsupported kind."""
    return Dp3dError("portrait.unreadable", f"The file is {name}, not a photo.", remedy)


def _picture_format(data: bytes) -> str | None:
    for start, name in _STARTS:
        if data.startswith(start):
            if name == "TIFF" and is_raw_photo(data):
                raise refused(_RAW, _AS_JPEG)
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS:
        return "BMP"
    if re.match(rb"P[1-6][\s#]|Pf\s", data):
        return "PPM"
    if brands := media_brands(data):
        return _media_format(brands, data)
    return "TGA" if _is_targa(data) else None


def media_brands(data: bytes) -> set[bytes]:
    """Major and compatible brands of a file in the ISO base media format (HEIC, AVIF, MP4)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12], *(data[i : i + 4] for i in range(16, end - 3, 4))}


def _media_format(brands: set[bytes], data: bytes) -> str:
    if brands & _HEIC_BRANDS:
        return "HEIF"
    if brands & _AVIF_BRANDS:
        return "AVIF"
    if b"crx " in brands:
        raise refused(_RAW, _AS_JPEG)
    if brands & {b"mif1", b"msf1"}:  # generic brands of still pictures do not name the codec
        return "AVIF" if b"av01" in data[:4096] else "HEIF"
    raise refused("a video", _AS_PICTURE)


def _is_targa(data: bytes) -> bool:
    """Whether the header is one of a Truevision TGA, which has no signature at its start."""
    if len(data) < 18:
        return False
    colour_map, kind = data[1], data[2]
    width, height, depth, flags = struct.unpack_from("<HHBB", data, 12)
    return (
        (colour_map, kind) in {(0, 2), (0, 3), (0, 10), (0, 11), (1, 1), (1, 9)}
        and depth in {8, 15, 16, 24, 32}
        and min(width, height) > 0
        and flags & 0xC0 == 0
        and (colour_map == 1 or data[3:8] == bytes(5))
    )


_DNG_VERSION, _SUB_DIRECTORIES, _SUBFILE, _COMPRESSION = 50706, 330, 254, 259
_RAW_COMPRESSIONS = {32767, 32769, 32770, 34713, 65535}


def is_raw_photo(data: bytes) -> bool:
    """Whether a TIFF is a raw photo (DNG, NEF, CR2, ARW, PEF ...).

    The first picture of a raw photo is a thumbnail; the sensor's values are in a sub-directory.
    """
    if data[8:10] == b"CR":
        return True
    tags = _first_directory(data)
    thumbnail = tags.get(_SUBFILE, 0) & 1
    return (
        _DNG_VERSION in tags
        or tags.get(_COMPRESSION) in _RAW_COMPRESSIONS
        or bool(thumbnail and _SUB_DIRECTORIES in tags)
    )


def _first_directory(data: bytes) -> dict[int, int]:
    """Values of the tags in a classic TIFF's first directory; for long values their offset."""
    order = "<" if data[:2] == b"II" else ">"
    tags: dict[int, int] = {}
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", data, entry)
            tags[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)[0]
    except struct.error:  # the directory is truncated, which the decoder reports
        pass
    return tags


def is_whole_directory(data: bytes) -> bool:
    """Whether a TIFF's first directory has the size and the offsets of the pixels."""
    tags = _first_directory(data)
    return min(tags.get(256, 0), tags.get(257, 0)) > 0 and bool({273, 324} & set(tags))


def _refusal(data: bytes) -> Dp3dError:
    """Error for a file that is not a supported picture; names its kind if it is recognised."""
    if not data:
        return Dp3dError("portrait.unreadable", "The file is empty.", _FETCH_AGAIN)
    if not data.strip(b"\0"):
        return Dp3dError(
            "portrait.unreadable",
            "The file holds nothing but zeros: it was never wholly written.",
            _FETCH_AGAIN,
        )
    for other in _OTHERS:
        if data.startswith(other.start):
            return refused(other.name, other.remedy)
    text = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning in (_PREAMBLE.sub(b"", text), text):
        for start, name, remedy in _TEXTS:
            if beginning.startswith(start):
                return refused(name, remedy)
    if data[:4] == b"RIFF" and data[8:12] in {b"AVI ", b"WAVE"}:
        return refused("a video" if data[8:12] == b"AVI " else "a sound file", _AS_PICTURE)
    if data[128:132] == b"DICM":
        return refused("a medical picture (DICOM)")
    if data[257:262] == b"ustar":
        return refused("an archive (TAR)", "Unpack it, and use the photo that is in it.")
    if _is_text(data[:1024]):
        return refused("a text", "Name a photo: a PNG or JPEG file.")
    return Dp3dError(
        "portrait.unreadable",
        "The file is not an image of a kind that can be read.",
        "Save it as PNG or JPEG and try again.",
    )


def _is_text(start: bytes) -> bool:
    printable = sum(byte in b"\t\r\n\f" or byte >= 32 for byte in start)
    try:
        start.decode("utf-8", "strict" if len(start) < 1024 else "ignore")
    except UnicodeDecodeError:
        return False
    return printable == len(start)
