# SPDX-License-Identifier: GPL-3.0-or-later
"""The portrait in Blender: any file or image becomes a file that the server reads, and a picture
with boxes in the panel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def chosen(blender, tmp_path: Path) -> dict:
    """What the script reports for a turned photo of 600 x 900 pixels, green at its upright top."""
    stored = np.zeros((600, 900, 3), np.uint8)
    stored[:, :100] = (0, 255, 0)  # the camera lay on its side: EXIF 6 turns the left side up
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(stored[::4, ::4]).save(tmp_path / "plain.png")
    report = {
        "width": 600, "height": 900, "scale": 1.0, "faces": [], "chosen": None,
        "confidence": 0.0, "crop": [150.2, 60.4, 300.1], "crop_source": "centre",
        "yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, "warnings": [],
    }  # fmt: skip
    result = blender(
        "portrait_choice",
        turned=tmp_path / "turned.jpg",
        plain=tmp_path / "plain.png",
        exr=tmp_path / "x.exr",
        folder=tmp_path / "run",
        report=json.dumps(report),
        env={"TMPDIR": str(tmp_path)},
    )
    return {**result, "folder": tmp_path}


@pytest.mark.bpy
def test_the_portrait(chosen) -> None:
    folder = chosen["folder"]
    assert chosen["nothing"] == chosen["absent"] == "portrait.not_found"
    assert "/nowhere/x.png" in chosen["absent_error"]
    assert chosen["chosen"] == [str(folder / "turned.jpg")] * 2

    # upright, with a box where the numbers say
    assert chosen["upright"]["size"] == chosen["cropped"]["size"] == [128, 192]
    assert np.allclose(chosen["upright"]["corner"][:3], (0, 1, 0), atol=0.05)
    scale = 192 / 900
    expected = np.array([100, 200, 400, 500]) * scale
    assert np.abs(np.array(chosen["cropped"]["box"]) - expected).max() <= 1.5
    assert chosen["upright"]["box"] is None
    assert chosen["images_left"] == 0  # the picture leaves no image in the .blend
    assert chosen["drag_ms"] < 100

    # the report fills the numbers, but only for the photo it is about
    assert "No crop was found" in chosen["no_report"]
    assert chosen["from_report"] == [150, 60, 300]
    assert chosen["words"] == [
        "No face found: the middle of the photo is used",
        "Straight into the camera",
    ]
    assert "No crop was found" in chosen["other_photo"]

    assert chosen["written_while_dragging"] == 0
    check_images(chosen["images"], folder)
    path, format_after, no_pointer = chosen["render"]
    assert Image.open(path).size == (64, 40)
    assert Image.open(path).format == "PNG"
    assert (format_after, no_pointer) == ("JPEG", True)
    assert chosen["tiles"] == "addon.portrait_image"
    assert chosen["kept"][1] == 96  # thumbnails, and no more
    assert chosen["draw_ms"] < 16
    assert chosen["released"]
    assert chosen["further"] == [False, {}, True, {"left": str(folder / "plain.png")}]


def check_images(images: dict, folder: Path) -> None:
    """Each image became a file that shows what the image shows, and stayed as it was."""
    assert all(stable for _, stable, *_ in images.values())
    for name in ("dirty", "float", "exr"):
        pixels = np.asarray(Image.open(images[name][0]).convert("RGB"))
        assert pixels.shape == (40, 64, 3)
        assert tuple(pixels[5, 5]) == RED
        assert tuple(pixels[5, 60]) == BLUE
    assert images["dirty"][3], "writing a file must not look like saving the image"
    assert images["dirty"][4] == ""
    assert not np.asarray(Image.open(images["generated"][0]).convert("RGB")).any()
    plain = folder / "plain.png"
    assert images["loaded"][0] == str(plain)
    assert Path(images["packed"][0]).read_bytes() == plain.read_bytes()
    assert images["packed"][4] == "//gone.jpg"
    touched = np.asarray(Image.open(images["touched"][0]).convert("RGB"))
    original = np.asarray(Image.open(plain).convert("RGB"))
    assert abs(int(touched[-1, 0, 0]) - 64) <= 1  # Blender's first pixel is the lowest row's
    assert np.array_equal(touched[:-1], original[:-1])


@pytest.mark.parametrize("count", [0, 1, 11, 12, 13, 32, 360])
def test_the_strip_shows_an_even_choice(addon, count: int) -> None:
    indices = addon("ui.grid").chosen_indices(count)
    assert len(indices) == len(set(indices)) == min(count, len(indices)) <= 12
    if count:
        assert (indices[0], indices[-1]) == (0, count - 1)
    if count > 12:
        gaps = np.diff(indices)
        assert gaps[:-1].min() == gaps[:-1].max() >= gaps[-1]
        assert len(indices) > 6


def test_the_strip_fits_the_sidebar(addon) -> None:
    columns = addon("ui.grid").columns_for
    assert columns(1, 10) == 1
    assert [columns(n, 12) for n in (2, 4, 5, 12)] == [2, 2, 3, 3]
    assert columns(12, 20) == 4
    assert columns(12, 6) == 2
