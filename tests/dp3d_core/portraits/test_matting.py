"""The outline of a head whose outline is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Dp3dError
from dp3d_core.portraits import matting
from dp3d_core.portraits.crop import CROP_FOCAL, CROP_SIZE
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject


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
    person = matte > 127
    return (person & truth).sum() / (person | truth).sum()


def test_the_segmenter_finds_the_outline_before_a_busy_wall(crop):
    image, truth = crop
    matte, confidence = matting.find_matte(image)
    assert confidence > 0.9
    assert likeness(matte, truth) > 0.93
    assert likeness(matte, truth) > likeness(matting.template_matte(CROP_SIZE, 10), truth)


WINDOWS = {
    "top": np.s_[250:, :], "left": np.s_[:, 250:], "right": np.s_[:, :390], "bottom": np.s_[:400],
    "sides": np.s_[:, 220:420], "all": np.s_[180:470, 200:440],
}  # fmt: skip


@pytest.mark.parametrize("window", WINDOWS)
def test_what_lies_beyond_a_photo_is_no_evidence(crop, window):
    """Within the photo the outline is that of the whole picture; beyond it there is none."""
    image, truth = crop
    inside = np.zeros(truth.shape, bool)
    inside[WINDOWS[window]] = True
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    shown = image[np.ix_(rows, columns)]
    margins = (rows[0], 639 - rows[-1], columns[0], 639 - columns[-1])
    smeared = cv2.copyMakeBorder(shown, *map(int, margins), cv2.BORDER_REPLICATE)
    matte, confidence = matting.find_matte(smeared, inside)
    assert confidence > 0.9
    assert not matte[~inside].any()
    assert likeness(matte, truth & inside) > 0.93


def test_hair_that_the_photo_cuts_reaches_its_border(crop):
    image, truth = crop
    first = int(np.flatnonzero(truth.any(1))[0]) + 60
    inside = np.zeros(truth.shape, bool)
    inside[first:] = True
    cut = image.copy()
    cut[:first] = cut[first]
    assert truth[first].sum() > 100
    at_border = matting.find_matte(cut, inside)[0][first : first + 12]
    assert likeness(at_border, truth[first : first + 12]) > 0.93


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
