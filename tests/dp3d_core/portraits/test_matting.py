"""The outline of a head whose outline is known."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.portraits import matting
from dp3d_core.portraits.crop import CROP_FOCAL, CROP_SIZE
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.trajectories import canonical_camera


@pytest.fixture(scope="module")
def crop():
    """A subject before a busy wall, and its true outline."""
    view = SyntheticHead(random_subject(15)).render(
        canonical_camera(10, 0, CROP_SIZE, focal=CROP_FOCAL)
    )
    rng = np.random.default_rng(0)
    tiles = rng.integers(60, 220, (16, 16, 3)).repeat(CROP_SIZE // 16, 0).repeat(CROP_SIZE // 16, 1)
    rgb, alpha = view.rgba[..., :3], view.rgba[..., 3:] / 255
    return np.rint(rgb * alpha + tiles * (1 - alpha)).astype(np.uint8), alpha[..., 0] > 0.5


def likeness(matte, truth):
    found = matte > 127
    return (found & truth).sum() / (found | truth).sum()


def test_the_segmenter_finds_the_outline_before_a_busy_wall(crop):
    image, truth = crop
    matte, confidence = matting.find_matte(image)
    assert confidence > 0.9
    assert likeness(matte, truth) > 0.93
    assert likeness(matte, truth) > likeness(matting.template_matte(CROP_SIZE, 10), truth)


def test_hair_that_the_photo_cuts_goes_on_beyond_it(crop):
    """The border is repeated outside: those rows are hair where hair touches it."""
    image, truth = crop
    first = int(np.flatnonzero(truth.any(1))[0]) + 60
    inside = np.zeros(truth.shape, bool)
    inside[first:] = True
    cut = image.copy()
    cut[:first] = cut[first]
    assert truth[first].sum() > 100
    for mask, least in ((inside, 0.93), (None, 0.0)):
        matte, _ = matting.find_matte(cut, inside=mask)
        at_border = matte[first : first + 12]
        share = likeness(at_border, truth[first : first + 12])
        assert share > least
    assert share < 0.93  # not knowing the border, the rows at it are lost


@pytest.mark.parametrize("kind", ["noise", "plain"])
def test_the_segmenter_is_not_believed_where_it_sees_nobody(kind):
    shape = (CROP_SIZE, CROP_SIZE, 3)
    image = np.full(shape, 140, np.uint8)
    if kind == "noise":
        image = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    matte, confidence = matting.find_matte(image)
    assert confidence <= matting.LEAST_CONFIDENCE
    assert matte.shape == shape[:2]


def test_without_models_there_is_no_matte(crop, no_models):
    with pytest.raises(Dp3dError) as error:
        matting.find_matte(crop[0])
    assert error.value.code == "portrait.model_missing"
