"""What the alpha of other tools' pictures means."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.viewsets.viewset import ViewSet
from nerf_export.folders.alpha import is_whole_picture
from nerf_export.folders.writing import export_views
from tests.support import captures
from tests.support.captures import CALLS, SIDE, cameras, read
from tests.support.scene import trace, write_views

Opaque = np.ndarray
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def turned_square(angle_deg: float, side: float) -> Opaque:
    """A square around the middle of a picture."""
    angle = np.radians(angle_deg)
    v, u = ROWS - SIDE / 2 + 0.5, COLUMNS - SIDE / 2 + 0.5
    along, across = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    return (np.abs(along) <= side / 2) & (np.abs(across) <= side / 2)


def with_hole(i: int, top: int = 6, left: int = 12) -> Opaque:
    opaque = np.ones((SIDE, SIDE), bool)
    opaque[top + i : top + i + 6, left : left + 9] = False
    return opaque


def corners(i: int) -> Opaque:
    """Without the corners of an undistorted picture."""
    return np.hypot(ROWS - 15.5, COLUMNS - 15.5) < 17 + i / 2


def one_pixel(i: int) -> Opaque:
    return ~((ROWS == 9) & (COLUMNS == 20) & (i == 2))


def imported(tmp_path: Path, opaque: Callable[[int], Opaque]) -> ViewSet:
    captures.write_transforms(tmp_path / "in")
    for i, path in enumerate(sorted((tmp_path / "in/images").iterdir())):
        picture = Image.open(path).convert("RGB")
        picture.putalpha(Image.fromarray(np.where(opaque(i), 255, 0).astype(np.uint8)))
        picture.save(path)
    return read(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    "opaque",
    [
        with_hole,
        lambda i: with_hole(i, 20),  # through the lower border
        lambda i: with_hole(i, 5, 0),
        lambda i: with_hole(i, 26 - 2 * i, 25),
        corners,
        lambda i: corners(i) & with_hole(i),
        lambda i: turned_square(i + 3, SIDE),
        lambda i: turned_square(5 * i + 5, SIDE / (np.cos(0.5) + np.sin(0.5))),
        lambda i: ROWS - i > 0,  # a strip that a stabiliser leaves
        one_pixel,
        lambda i: with_hole(i) if i % 3 else ROWS >= 0,
    ],
)
def test_alpha_that_outlines_no_head_is_unknown(tmp_path: Path, opaque) -> None:
    views = imported(tmp_path, opaque)
    for i in range(len(views)):
        assert views.mask(i) is None
        expected, valid = opaque(i), views.valid_mask(i)
        np.testing.assert_array_equal(expected if valid is None else valid, expected)
    assert any("outlines no head" in note for note in views.meta.warnings) or (
        any("transparent in the same places" in note for note in views.meta.warnings)
    )


@pytest.mark.parametrize("expand", [True, False])
@pytest.mark.parametrize("size", [(270, 480), (720, 405), (96, 96)])
@pytest.mark.parametrize("angle", [2, -7, 15, -31])
def test_rotated_pictures_are_whole_pictures(
    expand: bool, size: tuple[int, int], angle: float
) -> None:
    picture = Image.fromarray(np.full(size, 255, np.uint8)).rotate(angle, expand=expand)
    assert is_whole_picture(np.asarray(picture) > 127)


@pytest.mark.parametrize(
    "opaque",
    [
        lambda v, u: np.hypot(v, u) < 0.9,
        lambda v, u: np.hypot(v / 0.97, u / 0.8) < 1,
        lambda v, u: (np.hypot(v, u / 0.8) < 0.7) | ((v > 0.5) & (np.abs(u) < 0.9)),
        lambda v, u: (np.hypot(v + 0.2, u) < 0.9) | (v > 0.4),  # with shoulders
        lambda v, u: (np.hypot(v, u) < 0.9) & (np.hypot(v, u - 0.3) > 0.2),
        lambda v, u: np.hypot(v, u) < 0,
    ],
)
def test_heads_are_no_whole_pictures(opaque) -> None:
    v, u = (np.mgrid[:96, :96] + 0.5) / 48 - 1
    assert not is_whole_picture(opaque(v, u))


def test_opaque_pictures_with_an_alpha_channel_are_opaque(tmp_path: Path) -> None:
    truth = [trace(camera)[1] > 127 for camera in cameras()]
    with pytest.raises(Dp3dError) as caught:
        imported(tmp_path, lambda i: truth[i] if i < 3 else ROWS >= 0)
    assert "3 of 6 pictures have no alpha" in caught.value.problem


def test_pictures_that_are_transparent_all_over_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Dp3dError) as caught:
        imported(tmp_path, lambda _: ROWS < 0)
    assert "transparent all over" in caught.value.problem


@pytest.mark.parametrize("to", ["nerfstudio", "instant-ngp", "blender", "colmap"])
@pytest.mark.parametrize("says", [True, False])
def test_cameras_that_stand_still_keep_their_heads(tmp_path: Path, to: str, says: bool) -> None:
    """Each camera occurs three times, as in an animation on threes."""
    views = write_views(tmp_path / "views", [camera for camera in cameras() for _ in range(3)])
    folder = tmp_path / "out"
    export_views(views, folder, to, **CALLS)
    for path in [*folder.glob("*.json"), *folder.glob("sparse/0/cameras.txt")]:
        text = path.read_text()
        if path.name != "dp3d-export.json":
            assert "dp3d_alpha" in text
        path.write_text(text if says else text.replace("dp3d_alpha", "another"))
    back = read(folder, tmp_path / "back")
    assert len(back) == len(views)
    assert all(back.valid_mask(i) is None for i in range(len(back)))
    masks = sorted(back.mask(i).tobytes() for i in range(len(back)))
    assert masks == sorted(views.mask(i).tobytes() for i in range(len(views)))


def test_masks_of_cameras_that_stand_still_are_heads(tmp_path: Path) -> None:
    def change(data) -> None:
        frames = data["frames"]
        data["frames"] = [
            {**frame, "file_path": frame["file_path"].replace("images/", f"images/{k}_")}
            for frame in frames
            for k in range(3)
        ]

    captures.write_transforms(tmp_path / "in", alpha=False, change=change)
    for path in list((tmp_path / "in/images").iterdir()):
        for k in range(3):
            Image.open(path).save(path.with_name(f"{k}_{path.name}"))
    views = read(tmp_path / "in", tmp_path / "out")
    assert len(views) == 18
    np.testing.assert_array_equal(views.mask(4), trace(cameras()[1])[1])


def test_our_files_declare_alpha(tmp_path: Path) -> None:
    """Alpha that is equal in all pictures is the head where the file declares it to be."""
    ball = np.where(np.hypot(ROWS - 15.5, COLUMNS - 15.5) < 9, 255, 0).astype(np.uint8)
    captures.write_transforms(tmp_path / "in", change=lambda data: data.update(dp3d_alpha="head"))
    for path in (tmp_path / "in/images").iterdir():
        picture = Image.open(path).convert("RGB")
        picture.putalpha(Image.fromarray(ball))
        picture.save(path)
    views = read(tmp_path / "in", tmp_path / "says")
    np.testing.assert_array_equal(views.mask(3), ball)
    file = tmp_path / "in/transforms.json"
    data = json.loads(file.read_text())
    del data["dp3d_alpha"]
    file.write_text(json.dumps(data))
    assert read(tmp_path / "in", tmp_path / "silent").mask(3) is None


def test_views_without_masks_declare_no_alpha(tmp_path: Path) -> None:
    views = write_views(tmp_path / "views", cameras(), masks=False)
    export_views(views, tmp_path / "out", "nerfstudio", **CALLS)
    assert "dp3d_alpha" not in (tmp_path / "out/transforms.json").read_text()
