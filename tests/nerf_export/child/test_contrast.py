"""What a picture says where its brightness says little."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nerf_export.child.contrast import CONTRAST_STEPS, local_contrast


def cloth(strength: float, size: int = 128) -> np.ndarray:
    """(size, size, 4) opaque grey with a soft pattern, the same for every strength."""
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(size, size)), 1.5)
    grey = 0.5 + strength * noise / noise.std()
    rgb = np.repeat((255 * grey.clip(0, 1)).round()[..., None], 3, -1)
    return np.concatenate([rgb, np.full((size, size, 1), 255)], -1).astype(np.uint8)


def test_a_faint_pattern_says_what_a_strong_one_says() -> None:
    faint, strong = (local_contrast(cloth(s)).astype(float) for s in (0.04, 0.15))
    assert np.corrcoef(faint.ravel(), strong.ravel())[0, 1] > 0.98
    assert 0.6 < faint.std() / strong.std() < 1  # of brightness it is .27


def test_exposure_and_plain_colour_say_nothing() -> None:
    darker = cloth(0.1)
    darker[..., :3] //= 2
    same = local_contrast(cloth(0.1)).astype(float), local_contrast(darker).astype(float)
    assert np.corrcoef(same[0].ravel(), same[1].ravel())[0, 1] > 0.98
    plain = np.full((64, 64, 4), 255, np.uint8)
    assert not local_contrast(plain).any()


def test_what_is_behind_the_head_takes_no_part() -> None:
    head = cloth(0.1)
    head[:, 64:, 3] = 0
    painted = head.copy()
    painted[:, 64:, :3] = np.random.default_rng(0).integers(0, 255, (128, 64, 3))
    found = local_contrast(head)
    assert (found == local_contrast(painted)).all()
    assert not found[:, 64:].any()
    assert np.abs(found).max() <= CONTRAST_STEPS
