"""What labels, levels, palettes and voids in masks mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.viewsets.viewset import ViewSet
from tests.support import captures
from tests.support.captures import SIDE, read
from tests.support.scene import trace

Pixels = np.ndarray
RED, GREEN, BLACK, WHITE, BLUE = [(255, 0, 0), (0, 255, 0), (0,) * 3, (255,) * 3, (0, 0, 255)]
LOWEST = np.arange(SIDE)[:, None] >= 25
"""22 % of a picture."""
LOWER = np.arange(SIDE)[:, None] >= SIDE // 2
LEFT = np.arange(SIDE) < SIDE // 2


def heads() -> list[Pixels]:
    return [trace(camera)[1] > 127 for camera in captures.cameras()]


def rims(head: Pixels) -> Pixels:
    """The band around a head that is a pixel wide on each side."""
    wide = np.zeros((SIDE + 2, SIDE + 2), bool)
    narrow = np.ones_like(wide)
    inner = np.pad(head, 1)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            moved = np.roll(inner, (dy, dx), (0, 1))
            wide |= moved
            narrow &= moved
    return (wide & ~narrow)[1:-1, 1:-1]


def levels(head: Pixels, background: int, foreground: int) -> Pixels:
    return np.where(head, foreground, background).astype(np.uint8)


def with_label(values: Pixels, where: Pixels, label: int) -> Pixels:
    return np.where(where, label, values).astype(np.uint8)


def colours(head: Pixels, background: tuple[int, ...], foreground: tuple[int, ...]) -> Pixels:
    return np.where(head[..., None], foreground, background).astype(np.uint8)


def voc(labels: Pixels) -> Image.Image:
    picture = Image.fromarray(labels, "P")
    entries = np.zeros((256, 3), np.uint8)
    for i in range(256):
        for bit in range(8):
            for channel in range(3):
                entries[i, channel] |= (i >> (3 * bit + channel) & 1) << (7 - bit)
    assert tuple(entries[255]) == (224, 224, 192)
    picture.putpalette(entries.ravel().tolist())
    return picture


def with_palette(labels: Pixels, *entries: tuple[int, ...]) -> Image.Image:
    picture = Image.fromarray(labels.astype(np.uint8), "P")
    picture.putpalette([value for entry in entries for value in entry])
    return picture


def soft(camera_alpha: Pixels, dark: int, bright: int) -> Pixels:
    return np.rint(dark + camera_alpha / 255 * (bright - dark)).astype(np.uint8)


def imported(
    tmp_path: Path, mask: Callable[[Pixels], Pixels | Image.Image], suffix: str = ".png"
) -> ViewSet:
    """The base scene with other masks, made of (h, w) bool heads."""

    def change(data) -> None:
        for frame in data["frames"]:
            frame["mask_path"] = frame["mask_path"].replace(".png", suffix)

    captures.write_transforms(tmp_path / "in", alpha=False, change=change)
    for i, head in enumerate(heads()):
        picture = mask(head)
        picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        picture.save(tmp_path / f"in/masks/{i:04d}{suffix}")
    return read(tmp_path / "in", tmp_path / "out")


def check(views: ViewSet, words: str | None, unknown: Callable[[Pixels], Pixels] | None) -> None:
    """Check heads against the true ones at valid pixels, and the valid masks themselves."""
    for i, head in enumerate(heads()):
        mask, valid = views.mask(i), views.valid_mask(i)
        assert mask is not None
        if unknown is None:
            assert valid is None
            np.testing.assert_array_equal(mask > 127, head)
        else:
            np.testing.assert_array_equal(valid, ~unknown(head))
            np.testing.assert_array_equal((mask > 127)[valid], head[valid])
    notes = views.meta.warnings
    assert any(words in note for note in notes) if words else notes == []


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (lambda h: levels(h, 1, 2), "1, which lies along the border, is taken for the background"),
        (lambda h: levels(h, 2, 1), "2, which lies along the border"),
        (lambda h: levels(h, 50, 200), "50, which lies along the border"),
        (lambda h: levels(h, 200, 50), "200, which lies along the border"),
        (lambda h: levels(h, 100, 120), "100, which lies along the border"),
        (lambda h: levels(h, 1, 255), "1, which lies along the border"),
        (lambda h: levels(h, 255, 1), "255, which lies along the border"),
        (lambda h: levels(h, 254, 255), "254, which lies along the border"),
        (lambda h: colours(h, RED, GREEN), "76, which lies along the border"),
        (lambda h: colours(h, GREEN, RED), "150, which lies along the border"),
        (lambda h: colours(h, BLUE, WHITE), "29, which lies along the border"),
        (lambda h: np.roll(levels(h, 1, 2), 0), "and 2 for the head"),
        (lambda h: with_label(levels(h, 1, 3), LOWER & h, 4), "1, which lies along the border"),
        (lambda h: with_label(levels(h, 1, 255), ~h & (np.eye(SIDE) > 0) & ~LOWEST, 1), "no black"),
    ],
)
def test_masks_without_black_have_a_background(tmp_path: Path, mask, words: str) -> None:
    check(imported(tmp_path, mask), words, None)


@pytest.mark.parametrize(("dark", "bright"), [(50, 200), (200, 50)])
@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_two_greys_survive_lossy_files(tmp_path: Path, dark: int, bright: int, suffix: str) -> None:
    views = imported(tmp_path, lambda head: levels(head, dark, bright), suffix)
    for i, head in enumerate(heads()):
        assert ((views.mask(i) > 127) != head).mean() < 0.02
    assert "lies along the border" in views.meta.warnings[0]


def test_soft_greys_are_stretched(tmp_path: Path) -> None:
    alphas = iter([trace(camera)[1] for camera in captures.cameras()])
    views = imported(tmp_path, lambda _: soft(next(alphas), 50, 200))
    for i, camera in enumerate(captures.cameras()):
        difference = views.mask(i).astype(int) - trace(camera)[1]
        assert np.abs(difference).max() <= 2


@pytest.mark.parametrize(
    ("mask", "unknown", "words"),
    [
        # Oxford-IIIT Pet: head, background, edge
        (lambda h: with_label(levels(h, 2, 1), rims(h), 3), rims, "3 for unknown"),
        (lambda h: with_label(levels(h, 1, 3), rims(h), 2), rims, "2 for unknown"),
        (lambda h: with_label(levels(h, 0, 255), rims(h), 128), rims, "between black and white"),
        (lambda h: with_label(levels(h, 0, 1), LOWEST, 255), lambda h: LOWEST | (h & False),
         "255 for unknown"),
        (lambda h: with_label(levels(h, 2, 1), LOWEST, 255), lambda h: LOWEST | (h & False),
         "255 for unknown"),
        (lambda h: with_label(levels(h, 1, 2), LOWEST & (np.arange(SIDE) < 3), 0),
         lambda h: LOWEST & (np.arange(SIDE) < 3), "0 for unknown"),
        (lambda h: voc(with_label(levels(h, 0, 15), rims(h), 255)), rims, "255 for unknown"),
    ],
)  # fmt: skip
def test_void_labels_are_unknown(tmp_path: Path, mask, unknown, words: str) -> None:
    check(imported(tmp_path, mask), words, unknown)


def test_a_grey_between_survives_jpeg(tmp_path: Path) -> None:
    band = (np.arange(SIDE)[:, None] >= 24) & np.ones(SIDE, bool)
    views = imported(tmp_path, lambda h: with_label(levels(h, 0, 255), band, 128), ".jpg")
    for i, head in enumerate(heads()):
        valid = views.valid_mask(i)
        assert (valid == ~band).mean() > 0.93
        assert not valid[26:].any()
        assert ((views.mask(i) > 127) != head)[valid].mean() < 0.02


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (lambda h: with_palette(h, BLACK, WHITE), None),
        (lambda h: with_palette(~h, WHITE, BLACK), None),
        (lambda h: with_palette(~h, BLACK, WHITE), "inverted"),
        (lambda h: with_palette(h, GREEN, RED), "no more than 1"),
        (lambda h: with_palette(2 * h, BLACK, RED, (200, 200, 0)), "no more than 2"),
        (lambda h: voc(levels(h, 0, 15)), "no more than 15"),
        (lambda h: voc(with_label(levels(h, 0, 15), h & LOWER, 200)), "2 labels up to 200"),
    ],
)
def test_palettes(tmp_path: Path, mask, words: str | None) -> None:
    check(imported(tmp_path, mask), words, None)


def test_palettes_that_differ_are_read_by_their_brightness(tmp_path: Path) -> None:
    turns = iter(range(6))

    def mask(head: Pixels) -> Image.Image:
        if next(turns) % 2:
            return with_palette(head, BLACK, GREEN)
        return with_palette(~head, GREEN, BLACK)

    check(imported(tmp_path, mask), "no more than 150", None)


def test_colours_of_a_segmentation_are_the_head(tmp_path: Path) -> None:
    """White counts as one of the colours."""

    def mask(head: Pixels) -> Pixels:
        picture = colours(head, BLACK, RED)
        picture[head & LOWER] = BLUE
        picture[head & LEFT & LOWER] = WHITE
        return picture

    check(imported(tmp_path, mask), "what is not 0 is taken for the head", None)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (lambda h: levels(LEFT ^ (h & False), 1, 2), "no 0"),
        (lambda h: with_label(levels(LEFT, 1, 2), h, 3), "no 0"),
        (lambda h: colours(h, (255, 0, 0), (0, 130, 0)), "colours of one brightness"),
    ],
)
def test_undecided_backgrounds_are_refused(tmp_path: Path, mask, words: str) -> None:
    rows = iter(range(6))

    def different(head: Pixels) -> Pixels:
        values = mask(head)
        values[next(rows), SIDE // 2] = values[0, 0]
        return values

    with pytest.raises(Dp3dError) as caught:
        imported(tmp_path, different)
    assert words in caught.value.problem


def test_masks_of_two_kinds_are_refused(tmp_path: Path) -> None:
    kinds = iter([1, 1, 255, 255, 255, 255])
    with pytest.raises(Dp3dError) as caught:
        imported(tmp_path, lambda head: levels(head, 0, next(kinds)))
    assert "some masks hold 255 and others labels" in caught.value.problem


def test_labels_beside_a_white_head_are_no_head(tmp_path: Path) -> None:
    views = imported(tmp_path, lambda h: with_label(levels(h, 0, 255), LOWEST & ~h, 7))
    check(views, "it alone is taken for the head", None)


def test_specks_of_another_value_are_no_head(tmp_path: Path) -> None:
    speck = np.zeros((SIDE, SIDE), bool)
    speck[3, 3] = True
    views = imported(tmp_path, lambda head: levels(speck, 255, 254) + 0 * head.astype(np.uint8))
    assert views.mask(0) is None
    assert views.meta.warnings
