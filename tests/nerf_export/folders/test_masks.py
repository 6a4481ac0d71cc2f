"""What masks and alpha of other tools mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from dp3d_core.errors import Dp3dError
from tests.support import captures
from tests.support.captures import SIDE, read
from tests.support.scene import trace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures without alpha, masks beside them."""
    captures.write_transforms(tmp_path / "in", alpha=False)
    return tmp_path / "in"


def masks(folder: Path) -> list[Path]:
    return sorted((folder / "masks").iterdir())


def rewrite(folder: Path, change) -> None:
    for path in masks(folder):
        change(np.asarray(Image.open(path)).copy()).save(path)


def alphas() -> list[np.ndarray]:
    return [trace(camera)[1] for camera in captures.cameras()]


def binary(values: np.ndarray) -> np.ndarray:
    return np.where(values > 127, 255, 0).astype(np.uint8)


def in_alpha(values: np.ndarray, colour: int) -> Image.Image:
    return Image.fromarray(np.dstack([np.full((*values.shape, 3), colour, np.uint8), values]))


def palette(values: np.ndarray) -> Image.Image:
    picture = Image.fromarray((values > 127).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    return picture


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: Image.fromarray(binary(v)), None),
        (lambda v: Image.fromarray((v > 127).astype(np.uint8)), "no more than 1"),
        (lambda v: Image.fromarray((v > 127).astype(np.uint16)), "no more than 1"),
        (lambda v: Image.fromarray(np.where(v > 127, 65535, 0).astype(np.uint16)), None),
        (lambda v: Image.fromarray(np.where(v > 127, 1, 0).astype(np.float32)), None),
        (lambda v: Image.fromarray(v > 127), None),
        (lambda v: Image.fromarray(np.dstack([binary(v)] * 3)), None),
        (lambda v: Image.fromarray(np.dstack([(v > 127).astype(np.uint8)] * 3)), "more than 1"),
        (lambda v: in_alpha(binary(v), 255), None),
        (lambda v: in_alpha(binary(v), 0), None),
        (lambda v: Image.fromarray(np.dstack([*[binary(v)] * 3, v * 0 + 255])), None),
        (palette, "no more than 1"),
        (lambda v: Image.fromarray(255 - binary(v)), "inverted"),
        (lambda v: Image.fromarray((v <= 127).astype(np.uint8)), "inverted"),
        (lambda v: Image.fromarray(np.kron(binary(v), np.full((2, 2), 1, np.uint8))), None),
    ],
)
def test_spellings_of_a_mask(folder: Path, tmp_path: Path, change, words: str | None) -> None:
    for path in masks(folder):
        change(np.asarray(Image.open(path)).copy()).save(path.with_suffix(".tif"))
        path.with_suffix(".tif").rename(path)
    views = read(folder, tmp_path / "out")
    for i, alpha in enumerate(alphas()):
        np.testing.assert_array_equal(binary(views.mask(i)), binary(alpha))
        assert views.valid_mask(i) is None
    warnings = views.meta.warnings
    assert any(words in w for w in warnings) if words else warnings == []


def test_soft_masks_stay_soft(folder: Path, tmp_path: Path) -> None:
    views = read(folder, tmp_path / "out")
    np.testing.assert_array_equal(views.mask(2), alphas()[2])


def test_inverted_masks_of_heads_with_shoulders(folder: Path, tmp_path: Path) -> None:
    """These reach the sides, so that less of the border is white."""
    v, u = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE * 2 - 1
    heads = []
    for i, path in enumerate(masks(folder)):
        head = np.hypot(v, u - 0.04 * i) < 0.4
        heads.append(head | (v > 0.3))
        Image.fromarray(np.where(heads[-1], 0, 255).astype(np.uint8)).save(path)
    views = read(folder, tmp_path / "out")
    for i, head in enumerate(heads):
        np.testing.assert_array_equal(views.mask(i) > 127, head)
    assert "inverted" in views.meta.warnings[0]


def test_one_mask_for_all_frames_is_a_valid_mask(folder: Path, tmp_path: Path) -> None:
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    mask[-5:] = 0
    rewrite(folder, lambda _: Image.fromarray(mask))
    views = read(folder, tmp_path / "out")
    assert views.mask(0) is None
    np.testing.assert_array_equal(views.valid_mask(0), mask > 127)
    assert "unknown" in views.meta.warnings[0]


def test_masks_of_a_rig_are_valid_masks(folder: Path, tmp_path: Path) -> None:
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    mask[-5:] = 0
    for i, path in enumerate(masks(folder)):
        Image.fromarray(mask if i % 2 else mask[::-1]).save(path)
    views = read(folder, tmp_path / "out")
    assert views.mask(0) is None
    np.testing.assert_array_equal(views.valid_mask(1), mask > 127)


def test_white_masks_are_not_used(folder: Path, tmp_path: Path) -> None:
    rewrite(folder, lambda v: Image.fromarray(v | 255))
    views = read(folder, tmp_path / "out")
    assert views.mask(0) is None
    assert views.valid_mask(0) is None
    assert "one value all over, and are not used" in views.meta.warnings[0]


def test_black_masks_are_refused(folder: Path, tmp_path: Path) -> None:
    rewrite(folder, lambda v: Image.fromarray(v * 0))
    with pytest.raises(Dp3dError) as caught:
        read(folder, tmp_path / "out")
    assert "all masks are black" in caught.value.problem


def test_masks_of_another_shape_are_refused(folder: Path, tmp_path: Path) -> None:
    path = masks(folder)[3]
    Image.open(path).crop((0, 0, SIDE, SIDE // 2)).save(path)
    with pytest.raises(Dp3dError) as caught:
        read(folder, tmp_path / "out")
    assert "0003.png" in caught.value.problem
    assert not (tmp_path / "out").exists()


def test_one_alpha_for_all_frames_is_a_valid_mask(tmp_path: Path) -> None:
    captures.write_transforms(tmp_path / "in")
    hole = np.full((SIDE, SIDE), 255, np.uint8)
    hole[:4] = 0
    for path in (tmp_path / "in/images").iterdir():
        picture = Image.open(path).convert("RGB")
        picture.putalpha(Image.fromarray(hole))
        picture.save(path)
    views = read(tmp_path / "in", tmp_path / "out")
    assert views.mask(0) is None
    np.testing.assert_array_equal(views.valid_mask(0), hole > 127)


@pytest.mark.parametrize(
    "name", ["images/dynamic_mask_{}.png", "images/{}.mask.png", "masks/{}.png", "mask/{}.png",
             "masks/{}.png.png", "images/{}_mask.png"],
)  # fmt: skip
def test_unnamed_masks_are_noted(tmp_path: Path, name: str) -> None:
    captures.write_transforms(tmp_path / "in")
    for i, path in enumerate(sorted((tmp_path / "in/images").iterdir())):
        picture = Image.open(path).convert("RGB")
        picture.save(path)
        beside = tmp_path / "in" / name.format(f"{i:04d}")
        beside.parent.mkdir(exist_ok=True)
        picture.convert("L").save(beside)
    views = read(tmp_path / "in", tmp_path / "out")
    assert views.mask(0) is None
    assert "6 files look like masks" in views.meta.warnings[0]


@pytest.mark.parametrize("name", ["masks/cam{}/{}.png.png", "mask/cam{}/{}.png",
                                  "masks/images/cam{}/{}.png"])  # fmt: skip
def test_unnamed_masks_of_several_cameras_are_noted(tmp_path: Path, name: str) -> None:
    """As COLMAP has them: below masks/ as the pictures lie below images/."""
    captures.write_colmap(tmp_path / "in", binary=False)
    model = tmp_path / "in/sparse/0/images.txt"
    text = model.read_text()
    for i, path in enumerate(sorted((tmp_path / "in/images").iterdir())):
        picture = Image.open(path).convert("RGB")
        inside = path.parent / f"cam{i % 2}" / path.name
        inside.parent.mkdir(exist_ok=True)
        picture.save(inside)
        path.unlink()
        text = text.replace(path.name, f"cam{i % 2}/{path.name}")
        mask = tmp_path / "in" / name.format(i % 2, path.stem)
        mask.parent.mkdir(exist_ok=True, parents=True)
        picture.convert("L").save(mask)
    model.write_text(text)
    note = read(tmp_path / "in", tmp_path / "out").meta.warnings[0]
    assert "6 files look like masks" in note
    assert name.format(0, "0000") in note


def turned(path: Path, orientation: int) -> None:
    """Have EXIF data turn a picture."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.open(path).save(path, exif=exif)


@pytest.mark.parametrize(("picture", "mask"), [(1, 6), (1, 3), (6, 1), (3, 6)])
def test_masks_turned_in_another_way_are_noted(
    folder: Path, tmp_path: Path, picture: int, mask: int
) -> None:
    if picture != 1:
        turned(folder / "images/0002.png", picture)
    if mask != 1:
        turned(folder / "masks/0002.png", mask)
    views = read(folder, tmp_path / "out")
    assert any("EXIF data turn a mask" in w and "0002" in w for w in views.meta.warnings)
    np.testing.assert_array_equal(views.mask(2), alphas()[2])


def test_masks_turned_as_their_pictures_are_not_noted(folder: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        turned(folder / kind / "0002.png", 6)
    assert read(folder, tmp_path / "out").meta.warnings == []


@pytest.mark.parametrize(("key", "label"), [("mask_path", "the mask_path of frame 4"),
                                            ("file_path", "the file_path of frame 4")])  # fmt: skip
@pytest.mark.parametrize("name", ["", " ", "a\0b"])
def test_an_invalid_mask_name_is_quoted(tmp_path: Path, key: str, label: str, name: str) -> None:
    def change(data) -> None:
        data["frames"][4][key] = name

    captures.write_transforms(tmp_path / "in", alpha=False, change=change)
    with pytest.raises(Dp3dError) as caught:
        read(tmp_path / "in", tmp_path / "out")
    assert label in caught.value.problem
    assert "no name of a file" in caught.value.problem


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_missing_mask_is_not_replaced_by_a_picture(tmp_path: Path, suffix: str) -> None:
    """Neither the picture in images/ nor the one with another ending is a mask."""
    place = "masks" if suffix == ".png" else "images"

    def change(data) -> None:
        for i, frame in enumerate(data["frames"]):
            frame["mask_path"] = f"{place}/{i:04d}{suffix}"

    captures.write_transforms(tmp_path / "in", alpha=False, change=change)
    for path in masks(tmp_path / "in"):
        path.unlink()
    with pytest.raises(Dp3dError) as caught:
        read(tmp_path / "in", tmp_path / "out")
    assert "the mask of" in caught.value.problem
    assert "is not in the folder" in caught.value.problem
    assert "Copy the masks" in caught.value.remedy


def test_masks_of_another_machine_are_read(tmp_path: Path) -> None:
    def change(data) -> None:
        for i, frame in enumerate(data["frames"]):
            frame["mask_path"] = f"/home/me/scene/masks/{i:04d}.png"

    captures.write_transforms(tmp_path / "in", alpha=False, change=change)
    views = read(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(views.mask(2), alphas()[2])


def test_excluding_masks_are_valid_masks(folder: Path, tmp_path: Path) -> None:
    for i, path in enumerate(masks(folder)):
        mask = np.full((SIDE, SIDE), 255, np.uint8)
        mask[4 + i : 10 + i, 5:9] = 0
        Image.fromarray(mask).save(path)
    views = read(folder, tmp_path / "out")
    assert views.mask(0) is None
    np.testing.assert_array_equal(
        views.valid_mask(0), np.asarray(Image.open(masks(folder)[0])) > 127
    )
    assert "white all along the border" in views.meta.warnings[0]


def halves(values: np.ndarray, upper: int, lower: int) -> np.ndarray:
    labels = np.where(np.arange(SIDE)[:, None] < SIDE // 2, upper, lower)
    return np.where(values > 127, labels, 0).astype(np.uint8)


@pytest.mark.parametrize(("upper", "lower"), [(17, 1), (1, 2), (147, 90)])
def test_labels_are_the_head(folder: Path, tmp_path: Path, upper: int, lower: int) -> None:
    rewrite(folder, lambda v: Image.fromarray(halves(v, upper, lower)))
    views = read(folder, tmp_path / "out")
    for i, alpha in enumerate(alphas()):
        np.testing.assert_array_equal(views.mask(i), binary(alpha))
    assert f"2 labels up to {max(upper, lower)}" in views.meta.warnings[0]


def test_the_rim_of_a_segmentation_is_unknown(folder: Path, tmp_path: Path) -> None:
    def change(values: np.ndarray) -> Image.Image:
        labels = (values > 127).astype(np.uint8)
        labels[SIDE // 2, labels[SIDE // 2] > 0] = 255
        return Image.fromarray(labels)

    rewrite(folder, change)
    views = read(folder, tmp_path / "out")
    rim = np.asarray(Image.open(masks(folder)[1])) == 255
    assert rim.any()
    np.testing.assert_array_equal(views.valid_mask(1), ~rim)
    np.testing.assert_array_equal(views.mask(1), np.where(rim, 0, binary(alphas()[1])))
    assert "255 for unknown" in views.meta.warnings[0]


def test_labels_of_0_and_1_survive_jpeg(tmp_path: Path) -> None:
    def change(data) -> None:
        for frame in data["frames"]:
            frame["mask_path"] = frame["mask_path"].replace(".png", ".jpg")

    captures.write_transforms(tmp_path / "in", alpha=False, change=change)
    for path in masks(tmp_path / "in"):
        values = (np.asarray(Image.open(path)) > 127).astype(np.uint8)
        values[SIDE // 2, SIDE // 2] = 2
        Image.fromarray(values).save(path.with_suffix(".jpg"), quality=100)
        path.unlink()
    views = read(tmp_path / "in", tmp_path / "out")
    differing = binary(views.mask(0)) != binary(alphas()[0])
    assert differing.mean() < 0.02
    assert "no more than 1" in views.meta.warnings[0]


def test_alpha_that_some_pictures_lack_is_refused(tmp_path: Path) -> None:
    captures.write_transforms(tmp_path / "in")
    for path in sorted((tmp_path / "in/images").iterdir())[2:]:
        Image.open(path).convert("RGB").save(path)
    with pytest.raises(Dp3dError) as caught:
        read(tmp_path / "in", tmp_path / "out")
    assert "4 of 6 pictures have no alpha" in caught.value.problem
    assert "0002.png" in caught.value.problem


def test_the_head_fills_the_few_pictures_that_lack_alpha(tmp_path: Path) -> None:
    captures.write_transforms(tmp_path / "in")
    path = sorted((tmp_path / "in/images").iterdir())[1]
    Image.open(path).convert("RGB").save(path)
    views = read(tmp_path / "in", tmp_path / "out")
    assert (views.mask(1) == 255).all()
    assert "1 of 6 pictures have no alpha" in views.meta.warnings[0]
