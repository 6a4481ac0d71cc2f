"""The window of the head crop."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.portraits.crop import CROP_FOCAL, CROP_SIZE, Crop, canonical_crop, cut


def test_a_crop_pixel_is_a_photo_pixel():
    crop = Crop(10, 20, 128)
    uv = np.array([[0.0, 0.0], [64, 32]])
    np.testing.assert_allclose(crop.to_photo(uv, 64), [[10, 20], [138, 84]])
    np.testing.assert_allclose(crop.from_photo(crop.to_photo(uv)), uv)


def test_a_canonical_crop_shows_the_head_as_its_camera_would():
    window = Crop(40, 60, 320)
    camera = canonical_camera(20, 5, CROP_SIZE, focal=2 * CROP_FOCAL)
    # the head is twice as large as it should be: the new window is twice as large
    around = canonical_crop(window, camera)
    assert (around.x, around.y, around.side) == pytest.approx((-120, -100, 640))


def test_the_border_is_repeated_outside_the_photo():
    photo = np.zeros((100, 100, 3), np.uint8)
    photo[:, 0] = 200
    image, inside = cut(photo, Crop(-50, 0, 100))
    assert image.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert (image[:, : CROP_SIZE // 2 - 8] == 200).all()
    assert inside.mean() == pytest.approx(0.5)
    assert not inside[:, : CROP_SIZE // 2].any()
