"""Folders that need another reading than their files declare, or are refused with a remedy."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.files import TRANSPOSED
from dp3d_core.errors import Dp3dError
from nerf_export.folders.capture_folders import find_capture_folder
from tests.support import captures
from tests.support.captures import check_cameras, read

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")


def refusal(folder: Path, out: Path) -> Dp3dError:
    with pytest.raises(Dp3dError) as caught:
        read(folder, out)
    return caught.value


def transpose(data):
    for frame in data["frames"]:
        frame["transform_matrix"] = np.transpose(frame["transform_matrix"]).tolist()


def test_matrices_that_are_transposed_are_turned_round(tmp_path):
    captures.write_transforms(tmp_path / "in", change=transpose)
    views = read(tmp_path / "in", tmp_path / "out")
    check_cameras(views)
    assert views.meta.warnings == [TRANSPOSED]


def test_one_matrix_that_is_transposed_is_refused(tmp_path):
    def change(data):
        first = data["frames"][0]
        first["transform_matrix"] = np.transpose(first["transform_matrix"]).tolist()

    captures.write_transforms(tmp_path / "in", change=change)
    assert "frame 0" in refusal(tmp_path / "in", tmp_path / "out").problem


def halve(folder: Path, factor: int) -> None:
    """Leave only pictures that are scaled, in a folder of their own."""
    scaled = folder / f"images_{factor}"
    scaled.mkdir()
    for path in sorted((folder / "images").iterdir()):
        side = captures.SIDE // factor
        Image.open(path).resize((side, side), Image.Resampling.BOX).save(scaled / path.name)
        path.unlink()
    (folder / "images").rmdir()


@pytest.mark.parametrize("absolute", [False, True])
def test_reduced_pictures_are_read(tmp_path, absolute):
    def change(data):
        for frame in data["frames"] if absolute else []:
            frame["file_path"] = "/home/me/scene/" + frame["file_path"]

    captures.write_transforms(tmp_path / "in", change=change)
    halve(tmp_path / "in", 2)
    views = read(tmp_path / "in", tmp_path / "out")
    check_cameras(views, [c.resized(16, 16) for c in captures.cameras()])
    assert any("images_2/0000.png" in note for note in views.meta.warnings)
    assert any("lens is scaled" in note for note in views.meta.warnings)


def test_scaled_pictures_of_a_lens_without_a_size_are_refused(tmp_path):
    def change(data):
        for frame in data["frames"]:
            for key in ("w", "h", "cx", "cy"):
                del frame[key]

    captures.write_transforms(tmp_path / "in", change=change)
    halve(tmp_path / "in", 4)
    error = refusal(tmp_path / "in", tmp_path / "out")
    assert "size that the lens is for" in error.problem


@pytest.mark.parametrize("inside", [False, True])
def test_a_zip_is_refused_with_a_remedy(tmp_path, inside):
    path = tmp_path / "in" / "scene.ZIP"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("transforms_train.json", "{}")
    error = refusal(path.parent if inside else path, tmp_path / "out")
    assert error.code == "viewset.invalid"
    assert "Unpack" in error.remedy


@needs_pipes
@pytest.mark.parametrize("name", ["transforms.json", "transforms_train.json"])
def test_a_pipe_for_a_file_of_cameras_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert "is no file" in refusal(tmp_path, tmp_path / "out").problem
    assert "neither" in refusal(tmp_path / name, tmp_path / "out").problem


def test_a_too_long_name_is_not_found(tmp_path):
    with pytest.raises(Dp3dError) as caught:
        find_capture_folder(tmp_path / ("x" * 300))
    assert caught.value.code == "viewset.not_found"


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\x0c", "\x1d"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_colmap_text_is_split_at_line_feeds_only(tmp_path, odd, end):
    captures.write_colmap(tmp_path / "in", binary=False)
    name = f"a{odd}b.png"
    (tmp_path / "in/images/0000.png").rename(tmp_path / "in/images" / name)
    path = tmp_path / "in/sparse/0/images.txt"
    text = path.read_text().replace(" 0000.png", f" {name}")
    path.write_bytes(text.replace("\n", end).encode())
    assert len(read(tmp_path / "in", tmp_path / "out")) == captures.COUNT


@pytest.mark.parametrize("where", ["sparse/geo", "colmap/sparse/my model"])
def test_a_model_of_colmap_with_a_name_for_its_number(tmp_path, where):
    captures.write_colmap(tmp_path / "in", binary=True, where=where)
    check_cameras(read(tmp_path / "in", tmp_path / "out"))


def test_several_models_with_names_are_refused(tmp_path):
    captures.write_colmap(tmp_path / "in", binary=True, where="sparse/geo")
    second_model = tmp_path / "in/sparse/old"
    second_model.mkdir()
    for path in (tmp_path / "in/sparse/geo").iterdir():
        (second_model / path.name).write_bytes(path.read_bytes())
    error = refusal(tmp_path / "in", tmp_path / "out")
    assert "'geo', 'old'" in error.problem


def test_a_lens_of_a_newer_colmap(tmp_path):
    captures.write_colmap(tmp_path / "in", binary=True)
    path = tmp_path / "in/sparse/0/cameras.bin"
    data = bytearray(path.read_bytes())
    data[12:16] = struct.pack("<i", 17)
    path.write_bytes(data)
    error = refusal(tmp_path / "in", tmp_path / "out")
    assert "newer COLMAP" in error.problem
    assert "PINHOLE" in error.remedy


def deepen(folder: Path, white: int) -> list[np.ndarray]:
    """Make the pictures grey with 16 bits, each darker than the last; the expected 8-bit values."""
    expected = []
    for i, path in enumerate(sorted((folder / "images").glob("*.png"))):
        grey = np.asarray(Image.open(path).convert("L"), np.float64) / 255
        values = np.rint(grey * white / (i + 1)).astype(np.uint16)
        if not i:
            values[0, 0] = white
        Image.fromarray(values).save(path)
        expected.append(values.astype(np.float64) * 255 / white)
    return expected


@pytest.mark.parametrize("white", [1023, 4095, 65535])
def test_deep_grey_pictures_have_one_exposure(tmp_path, white):
    captures.write_transforms(tmp_path / "in", alpha=False)
    expected = deepen(tmp_path / "in", white)
    views = read(tmp_path / "in", tmp_path / "out")
    for i, grey in enumerate(expected):
        inside = views.mask(i) == 255
        np.testing.assert_allclose(views.frame(i)[inside, 0], grey[inside], atol=1.01)
    notes = [note for note in views.meta.warnings if f"{white} is taken for white" in note]
    assert len(notes) == (white != 65535)


def test_a_float_beyond_white_keeps_the_exposure(tmp_path):
    def change(data):
        for frame in data["frames"]:
            frame["file_path"] = frame["file_path"].replace(".png", ".tif")

    captures.write_transforms(tmp_path / "in", alpha=False, change=change)
    expected = []
    for i, path in enumerate(sorted((tmp_path / "in/images").glob("*.png"))):
        values = np.asarray(Image.open(path).convert("L")).astype(np.float32) / 255
        expected.append(values * 255)
        values[0, 0] = 1.2 if i == 2 else 1.0
        Image.fromarray(values).save(path.with_suffix(".tif"))
        path.unlink()
    views = read(tmp_path / "in", tmp_path / "out")
    for i, grey in enumerate(expected):
        inside = views.mask(i) == 255
        np.testing.assert_allclose(views.frame(i)[inside, 0], grey[inside], atol=1.01)


def test_a_focal_length_that_contradicts_the_angle_of_view_is_noted(tmp_path):
    def change(data):
        first = data["frames"][0]
        for frame in data["frames"]:
            frame["camera_angle_x"] = 2 * np.arctan(first["w"] / first["fl_x"])

    captures.write_transforms(tmp_path / "in", change=change)
    views = read(tmp_path / "in", tmp_path / "out")
    check_cameras(views)
    assert ["contradict" in note for note in views.meta.warnings] == [True]
    data = json.loads((tmp_path / "in/transforms.json").read_text())
    assert "factor of 2:" in views.meta.warnings[0], data["frames"][0]
