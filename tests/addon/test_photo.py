# SPDX-License-Identifier: GPL-3.0-or-later
"""A photo upright, boxes on its small picture, the report in words."""

from __future__ import annotations

import io
import json
import struct
from array import array

import numpy as np
import pytest
from PIL import Image, ImageOps

from dp3d_core.portraits.crop import Crop
from dp3d_core.portraits.detection import Face
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import PortraitReport

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")


def saved(image: Image.Image, kind: str, orientation: int | None) -> bytes:
    out = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x010F] = "a maker before it"
        exif[0x0112] = orientation
    image.save(out, kind, **({"exif": exif} if orientation is not None else {}))
    return out.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8])
def test_orientation_is_read(addon, kind: str, orientation: int | None) -> None:
    data = saved(Image.new("RGB", (40, 30)), kind, orientation)
    assert addon("scene.photo").orientation(data) == (orientation or 1)


def test_orientation_of_a_motorola_order(addon) -> None:
    tiff = struct.pack(">2sHIH", b"MM", 42, 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    jpeg = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    assert addon("scene.photo").orientation(jpeg) == 6


def test_broken_files_are_upright(addon) -> None:
    orientation = addon("scene.photo").orientation
    intact_file = saved(Image.new("RGB", (40, 30)), "JPEG", 6)
    for data in (b"", b"GIF89a", intact_file[:3], *(intact_file[:n] for n in range(2, 60))):
        assert orientation(data) in (1, 6)
    for at in range(4, 60):
        assert 1 <= orientation(intact_file[:at] + b"\xff" + intact_file[at + 1 :]) <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_as_the_server_turns(addon, orientation: int) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    tagged = Image.open(io.BytesIO(saved(Image.fromarray(stored), "PNG", orientation)))
    expected = np.asarray(ImageOps.exif_transpose(tagged)).astype(np.float32)
    picture = addon("scene.photo").upright(
        array("f", stored.astype(np.float32).ravel()), 7, 5, orientation
    )
    np.testing.assert_array_equal(
        np.array(picture.pixels).reshape(picture.height, picture.width, 4), expected
    )


def test_rows_swapped_twice_is_nothing(addon) -> None:
    swapped = addon("scene.photo").rows_swapped
    pixels = array("f", range(4 * 3 * 2))
    assert list(swapped(pixels, 3)) == [*range(12, 24), *range(12)]
    assert swapped(swapped(pixels, 3), 3) == pixels


def grey(photo, width: int, height: int, scale: int = 1):
    return photo.Picture(
        width, height, array("f", [0.5] * 4 * width * height), width * scale, height * scale
    )


def image_of(picture) -> np.ndarray:
    return np.array(picture.pixels).reshape(picture.height, picture.width, 4)


def test_a_box_lies_where_the_photo_says(addon) -> None:
    photo = addon("scene.photo")
    picture = grey(photo, 100, 80, scale=10)
    drawn = photo.with_boxes(picture, [photo.Box(200, 100, 500, (1, 0, 0, 1))])
    image = image_of(drawn)
    assert image.shape == (80, 100, 4)
    ys, xs = np.nonzero((image == (1, 0, 0, 1)).all(-1))
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (20, 69, 10, 59)
    assert (image[30, 40] == 0.5).all()  # a frame, not a filled square
    assert set(picture.pixels) == {0.5}  # the picture itself is kept


def test_the_picture_grows_for_a_crop_that_reaches_outside(addon) -> None:
    photo = addon("scene.photo")
    boxes = [photo.Box(-20, -10, 130, (1, 0, 0, 1)), photo.Box(10, 10, 20, (0, 1, 0, 1))]
    drawn = photo.with_boxes(grey(photo, 100, 80), boxes)
    image = image_of(drawn)
    assert image.shape == (10 + 120, 20 + 110, 4)
    assert (image[5, 5] == 0).all()
    assert (image[50, 60] == 0.5).all()
    ys, xs = np.nonzero((image == (0, 1, 0, 1)).all(-1))
    assert (xs.min(), ys.min()) == (30, 20)


def test_boxes_from_anywhere_do_no_harm(addon) -> None:
    photo = addon("scene.photo")
    for left, top, side in ((1e6, 1e6, 5), (-1e6, -1e6, 5), (-1e6, -1e6, 3e6), (5, 5, 0)):
        drawn = photo.with_boxes(grey(photo, 20, 10), [photo.Box(left, top, side, (1, 0, 0, 1))])
        assert len(drawn.pixels) == 4 * drawn.width * drawn.height <= 4 * 60 * 30


def report(scale: float = 1.0, **changes: object) -> str:
    face = Face(300.0, 200.0, 100.0, 0.93, 3.0, "landmarks")
    other = Face(700.0, 220.0, 60.0, 0.7, 3.0, "landmarks")
    fields: dict = {
        "width": 1000, "height": 800, "scale": scale, "faces": [other, face], "chosen": face,
        "confidence": 0.934, "crop": Crop(150.0, 60.0, 300.0), "crop_source": "face",
        "yaw_deg": 12.2, "pitch_deg": -1.0, "roll_deg": -7.6, "alignment": 3.0, "shape": {},
        "matte_source": "segmenter", "matte_confidence": 0.9, "warnings": ["Soft."],
    }  # fmt: skip
    return json.dumps(PortraitReport(**{**fields, **changes}).to_dict())


def test_the_report_counts_in_the_photos_own_pixels(addon) -> None:
    photo = addon("scene.photo")
    read = photo.read_report(report(scale=0.5))
    assert (read.width, read.height) == (2000, 1600)
    assert photo.crop_numbers(read) == (300, 120, 600)
    boxes = photo.report_boxes(read)
    assert [tuple(box[:3]) for box in boxes] == [
        (1340, 380, 120),
        (500, 300, 200),
        (300, 120, 600),
    ]
    assert boxes[1].colour == photo.FACE_COLOUR
    assert photo.is_of(read, 2000, 1600)
    assert photo.is_of(read, 2001, 1599)
    assert not photo.is_of(read, 1600, 2000)


def test_the_report_in_words(addon) -> None:
    photo = addon("scene.photo")

    def words(**changes: object) -> list[str]:
        return photo.in_words(photo.read_report(report(**changes)))

    assert words() == [
        "Face found, confidence 0.93",
        "Turned 12° to the picture's left, leaning 8° to the right",
    ]
    assert words(yaw_deg=-1.0, roll_deg=0.4)[1] == "Straight into the camera"
    assert words(yaw_deg=-20, pitch_deg=5)[1].startswith("Turned 20° to its right, seen from 5°")
    assert words(chosen=None, crop_source="centre")[0].startswith("No face found")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", report()[:-9], '{"scale": 0}'])
def test_a_report_that_is_none(addon, text: str) -> None:
    assert addon("scene.photo").read_report(text) is None


def test_a_turned_photo_is_measured_as_the_server_measures(addon, portrait, tmp_path) -> None:
    photo = addon("scene.photo")
    picture = Image.open(portrait).convert("RGB").resize((300, 360))
    path = tmp_path / "turned.jpg"
    path.write_bytes(saved(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", 6))
    cropped_portrait = load_portrait(path, crop=(40, 50, 200))
    read = photo.read_report(json.dumps(cropped_portrait.report.to_dict()))
    stored = np.ones((300, 360, 4), np.float32)
    upright = photo.upright(array("f", stored.ravel()), 360, 300, photo.orientation_of(path))
    assert (upright.photo_width, upright.photo_height) == (300, 360)
    assert photo.is_of(read, upright.photo_width, upright.photo_height)
    assert photo.crop_numbers(read) == (40, 50, 200)
