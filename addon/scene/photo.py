# SPDX-License-Identifier: GPL-3.0-or-later
"""EXIF orientation of a photo, its thumbnail with boxes, and the server's report.  No bpy here.

Cameras store a photo in sensor orientation and its rotation in EXIF.  The server applies the
rotation and Blender does not, so thumbnails are rotated here before the report's boxes are drawn.

A picture is an ``array('f')`` of RGBA values, 0 to 1, rows from the top.
"""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

CROP_COLOUR = (0.90, 0.24, 0.24, 1.0)
"""Crop that the server decided on; the same red as in its report picture."""
FACE_COLOUR = (0.24, 0.78, 0.35, 1.0)
"""Face that was used."""
OTHER_FACE_COLOUR = (0.78, 0.63, 0.24, 1.0)
"""Faces that were seen but not used."""
MANUAL_COLOUR = (1.0, 0.75, 0.10, 1.0)
"""Crop given by hand."""

_ORIENTATION_TAG = 0x0112
_HEAD_BYTES = 256 * 1024
"""Bytes of a file that are searched for EXIF."""
_STRAIGHT_DEG = 3.0
"""Angles below this are called straight."""


class Picture(NamedTuple):
    """A small upright picture of a photo, and the size of the photo itself."""

    width: int
    height: int
    pixels: array[float]
    photo_width: int
    """Of the upright photo, pixels."""
    photo_height: int


class Box(NamedTuple):
    """A square in pixels of the upright photo."""

    left: float
    top: float
    side: float
    colour: tuple[float, float, float, float]


# -- EXIF --------------------------------------------------------------------------------------


def orientation_of(path: Path) -> int:
    """EXIF orientation of a file, 1 to 8; 1 (upright) where it has none or cannot be read."""
    try:
        with path.open("rb") as file:
            return orientation(file.read(_HEAD_BYTES))
    except OSError:
        return 1


def orientation(data: bytes) -> int:
    """EXIF orientation in the beginning of a JPEG, PNG, WebP or TIFF file, 1 to 8."""
    try:
        value = _tiff_orientation(_exif(data))
    except (struct.error, IndexError):
        value = 1
    return value if 1 <= value <= 8 else 1


def _exif(data: bytes) -> bytes:
    """The TIFF structure that holds a file's EXIF fields; empty where there is none."""
    if data[:2] == b"\xff\xd8":
        return _exif_of_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _chunk(data, 8, b"eXIf", big_endian=True)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        exif = _chunk(data, 12, b"EXIF", big_endian=False)
        return exif.removeprefix(b"Exif\0\0")
    return data if data[:4] in (b"II*\0", b"MM\0*") else b""


def _exif_of_jpeg(data: bytes) -> bytes:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in (0xD9, 0xDA):  # end of picture, start of scan
            return b""
        (length,) = struct.unpack_from(">H", data, at + 2)
        segment = data[at + 4 : at + 2 + length]
        if marker == 0xE1 and segment[:6] == b"Exif\0\0":
            return segment[6:]
        at += 2 + length
    return b""


def _chunk(data: bytes, at: int, name: bytes, *, big_endian: bool) -> bytes:
    """Contents of a chunk of a PNG (length, name) or a RIFF file (name, length, even size)."""
    while at + 8 <= len(data):
        if big_endian:
            length, kind = struct.unpack_from(">I4s", data, at)
            following = at + 12 + length
        else:
            kind, length = struct.unpack_from("<4sI", data, at)
            following = at + 8 + length + length % 2
        if kind == name:
            return data[at + 8 : at + 8 + length]
        at = following
    return b""


def _tiff_orientation(tiff: bytes) -> int:
    if tiff[:2] not in (b"II", b"MM"):
        return 1
    order = "<" if tiff[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for entry in range(count):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * entry)
        if tag == _ORIENTATION_TAG:
            return int(value)
    return 1


def upright(pixels: array[float], width: int, height: int, orientation: int) -> Picture:
    """A stored picture turned as its EXIF orientation asks; ``photo_width`` is the picture's."""
    right, down, start = {
        1: (1, width, 0),
        2: (-1, width, width - 1),
        3: (-1, -width, width * height - 1),
        4: (1, -width, width * (height - 1)),
        5: (width, 1, 0),
        6: (-width, 1, width * (height - 1)),
        7: (-width, -1, width * height - 1),
        8: (width, -1, width - 1),
    }[orientation]
    if orientation > 4:
        width, height = height, width
    turned = array("f", bytes(len(pixels) * pixels.itemsize))
    for y in range(height):
        for channel in range(4):
            first = 4 * (start + y * down) + channel
            end: int | None = first + 4 * right * width
            row = 4 * y * width
            turned[row + channel : row + 4 * width : 4] = pixels[
                first : end if end is not None and end >= 0 else None : 4 * right
            ]
    return Picture(width, height, turned, width, height)


def rows_swapped(pixels: array[float], width: int) -> array[float]:
    """Rows from the top instead of from the bottom, as Blender counts them, or back."""
    row = 4 * width
    swapped = array("f")
    for start in range(len(pixels) - row, -1, -row):
        swapped.extend(pixels[start : start + row])
    return swapped


# -- boxes -------------------------------------------------------------------------------------


def with_boxes(picture: Picture, boxes: Sequence[Box]) -> Picture:
    """A copy with squares drawn on it, grown where one reaches outside of the photo.

    The picture grows to at most three times its width and height; a box that is larger runs
    along the border.
    """
    if not boxes:
        return picture
    scale = picture.width / picture.photo_width
    edges = [
        (round(b.left * scale), round(b.top * scale),
         round((b.left + b.side) * scale), round((b.top + b.side) * scale))
        for b in boxes
    ]  # fmt: skip
    width, height = picture.width, picture.height
    left = max(-width, min(0, *(e[0] for e in edges)))
    top = max(-height, min(0, *(e[1] for e in edges)))
    right = min(2 * width, max(width, *(e[2] for e in edges)))
    bottom = min(2 * height, max(height, *(e[3] for e in edges)))
    canvas = _canvas(picture, left, top, right - left, bottom - top)
    thickness = max(1, round(max(canvas.width, canvas.height) / 110))
    for (x0, y0, x1, y1), box in zip(edges, boxes, strict=True):
        _rectangle(canvas, (x0 - left, y0 - top, x1 - left, y1 - top), box.colour, thickness)
    return canvas


def _canvas(picture: Picture, left: int, top: int, width: int, height: int) -> Picture:
    """The picture with transparent space around it."""
    pixels = array("f", bytes(16 * width * height))
    for y in range(picture.height):
        at = 4 * ((y - top) * width - left)
        row = 4 * picture.width
        pixels[at : at + row] = picture.pixels[y * row : (y + 1) * row]
    return Picture(width, height, pixels, picture.photo_width, picture.photo_height)


def _rectangle(
    canvas: Picture,
    edges: tuple[int, int, int, int],
    colour: tuple[float, float, float, float],
    thickness: int,
) -> None:
    width, height = canvas.width, canvas.height
    x0, x1 = (min(width, max(0, x)) for x in (edges[0], edges[2]))
    y0, y1 = (min(height, max(0, y)) for y in (edges[1], edges[3]))
    if x1 - x0 < 1 or y1 - y0 < 1:
        return
    across, down = min(thickness, x1 - x0), min(thickness, y1 - y0)
    full, side = array("f", colour * (x1 - x0)), array("f", colour * across)
    for y in range(y0, y1):
        row = 4 * y * width
        if y < y0 + down or y >= y1 - down:
            canvas.pixels[row + 4 * x0 : row + 4 * x1] = full
        else:
            canvas.pixels[row + 4 * x0 : row + 4 * (x0 + across)] = side
            canvas.pixels[row + 4 * (x1 - across) : row + 4 * x1] = side


# -- the server's report -------------------------------------------------------------------------


class Report(NamedTuple):
    """What the server decided on a portrait; lengths in pixels of the upright photo as stored."""

    width: float
    height: float
    crop: tuple[float, float, float]
    """Left, top, side."""
    crop_source: str
    """``face``, ``manual`` or ``centre``."""
    confidence: float
    faces: tuple[tuple[float, float, float], ...]
    """Left, top, side of each face; the used one first."""
    face_used: bool
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    warnings: tuple[str, ...]


def read_report(text: str) -> Report | None:
    """The report in a ``PortraitReport.to_dict`` as JSON; None where there is none or it is odd.

    The server may have scaled a huge photo down; all lengths here count in the photo's own
    pixels.
    """
    try:
        data = json.loads(text)
        scale = float(data["scale"])
        if not scale > 0:
            return None
        chosen = data["chosen"]
        faces = [chosen] if chosen else []
        faces += [face for face in data["faces"] if face != chosen]
        left, top, side = (float(value) / scale for value in data["crop"])
        yaw, pitch, roll = (float(data[f"{angle}_deg"]) for angle in ("yaw", "pitch", "roll"))
        report = Report(
            float(data["width"]) / scale,
            float(data["height"]) / scale,
            (left, top, side),
            str(data["crop_source"]),
            float(data["confidence"]),
            tuple(_face_square(face, scale) for face in faces),
            bool(chosen),
            yaw,
            pitch,
            roll,
            tuple(str(warning) for warning in data["warnings"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
    numbers = [report.width, report.height, report.confidence, *report.crop]
    numbers += [value for face in report.faces for value in face]
    numbers += [report.yaw_deg, report.pitch_deg, report.roll_deg]
    return report if all(math.isfinite(number) for number in numbers) else None


def _face_square(face: dict[str, Any], scale: float) -> tuple[float, float, float]:
    x, y, side = (float(face[name]) / scale for name in ("x", "y", "side"))
    return x - side / 2, y - side / 2, side


def report_boxes(report: Report) -> list[Box]:
    """Faces and crop of a report, the crop on top."""
    boxes = [Box(*face, OTHER_FACE_COLOUR) for face in report.faces[int(report.face_used) :]]
    if report.face_used:
        boxes.append(Box(*report.faces[0], FACE_COLOUR))
    boxes.append(Box(*report.crop, CROP_COLOUR))
    return boxes


def is_of(report: Report, width: int, height: int) -> bool:
    """Whether a report can be about a photo of this size (scaling rounds by a pixel)."""
    slack = 1.5 * max(1.0, max(width, height) / 4096)
    return abs(report.width - width) <= slack and abs(report.height - height) <= slack


def crop_numbers(report: Report) -> tuple[int, int, int]:
    """The report's crop as whole pixels: left, top, side."""
    left, top, side = report.crop
    return round(left), round(top), max(16, round(side))


def in_words(report: Report) -> list[str]:
    """What was found, a line each: face, angles."""
    percent = f"confidence {report.confidence:.2f}"
    if report.crop_source == "manual":
        first = "Manual crop, face found" if report.face_used else "Manual crop, no face found"
    elif report.crop_source == "face":
        first = f"Face found, {percent}" if report.face_used else f"Head found, {percent}"
    else:
        first = "No face found: the middle of the photo is used"
    angles = [
        _angle(report.yaw_deg, "turned {} to the picture's left", "turned {} to its right"),
        _angle(report.pitch_deg, "seen from {} above", "seen from {} below"),
        _angle(report.roll_deg, "leaning {} to the left", "leaning {} to the right"),
    ]
    words = [angle for angle in angles if angle]
    second = ", ".join(words) if words else "straight into the camera"
    return [first, second[0].upper() + second[1:]]


def _angle(degrees: float, positive: str, negative: str) -> str:
    if abs(degrees) < _STRAIGHT_DEG:
        return ""
    return (positive if degrees > 0 else negative).format(f"{abs(degrees):.0f}\N{DEGREE SIGN}")
