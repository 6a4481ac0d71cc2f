"""The photo as a texture: what lies below its crop, and what of it is known."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.photo.projection import Projection
from dp3d_core.synthetic.sample_photos import sample_photos
from dp3d_core.viewsets.viewset import encode_png


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(sample_photos()["astronaut"]())).convert("RGB"))


@pytest.fixture(scope="module")
def opaque(rgb: np.ndarray) -> Portrait:
    return load_portrait(encode_png(rgb))


def rows_of(portrait: Portrait) -> int:
    return len(Projection.of(portrait, BareHead.of(np.zeros(0), {}).caster).colours)


def test_the_photo_below_the_crop_is_known(opaque: Portrait) -> None:
    assert rows_of(opaque) > 640
    side = opaque.camera.width
    assert opaque.reaches(np.array([[side / 2, side + 20.0]]))[0]
    assert not opaque.shows(np.array([[side / 2, side + 20.0]]))[0]


def test_a_photo_that_ends_with_its_crop_has_nothing_below(
    rgb: np.ndarray, opaque: Portrait
) -> None:
    crop = opaque.report.crop
    end = int(crop.y + crop.side)
    short = load_portrait(encode_png(rgb[:end]), crop=(crop.x, crop.y, crop.side))
    assert rows_of(short) <= 641


def test_what_a_cut_out_leaves_transparent_is_not_known(rgb: np.ndarray, opaque: Portrait) -> None:
    crop = opaque.report.crop
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    alpha[: int(crop.y + crop.side) + 3] = 255
    cut = load_portrait(encode_png(np.dstack([rgb, alpha])), crop=(crop.x, crop.y, crop.side))
    assert not cut.opaque
    assert rows_of(cut) == 640
    assert not cut.reaches(np.array([[320.0, 660.0]]))[0]
