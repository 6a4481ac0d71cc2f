"""Clothes that go on around the body in bands."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.preview.clothing.bands import cloth_bands
from dp3d_core.preview.texture.panorama import Panorama

GRID = Panorama(192, 384)
SHIRT, COAT, MAIN = (np.array(c) for c in ([0.9, 0.9, 0.88], [0.1, 0.2, 0.15], [0.1, 0.2, 0.15]))


def dressed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours, weights and depths of a coat above which a shirt's collar shows, seen in front."""
    rng = np.random.default_rng(0)
    depth = np.full((GRID.rows, GRID.columns), np.nan)
    depth[120:] = np.arange(GRID.rows - 120)[:, None] * 2.0
    colours = np.where((depth < 16)[..., None], SHIRT, COAT)
    image = (colours + rng.normal(0, 0.02, colours.shape)).astype(np.float32)
    weight = (np.isfinite(depth) & (GRID.longitude_deg() < 90)[None]).astype(np.float32)
    return image, weight, depth


def test_a_collar_goes_on_behind_with_its_edge():
    image, weight, depth = dressed()
    back = cloth_bands(image, weight, depth, GRID, MAIN)[:, 0]
    assert back[122] == pytest.approx(SHIRT, abs=0.06)
    assert back[135] == pytest.approx(COAT, abs=0.06)
    grey = back[120:140].mean(-1)
    mixed = (grey > 0.3) & (grey < 0.75)
    assert mixed.sum() <= 3


def test_below_what_is_seen_goes_on_what_is_seen_last():
    image, weight, depth = dressed()
    weight[140:] = 0
    back = cloth_bands(image, weight, depth, GRID, np.array([1.0, 0, 0]))
    assert back[-1, 0] == pytest.approx(COAT, abs=0.06)


def test_a_tie_is_in_front_alone():
    image, weight, depth = dressed()
    image[:, np.abs(np.arange(GRID.columns) - GRID.columns / 2) < 20] = [0.8, 0.1, 0.1]
    back = cloth_bands(image, weight, depth, GRID, MAIN)[:, 0]
    assert back[135] == pytest.approx(COAT, abs=0.06)


def test_of_clothes_that_are_not_seen_the_main_colour_is_known():
    image, weight, depth = dressed()
    plain = cloth_bands(image, weight * 0, depth, GRID, MAIN)
    assert plain == pytest.approx(np.broadcast_to(MAIN, plain.shape))


def test_a_strap_over_one_shoulder_does_not_go_around():
    image, weight, depth = dressed()
    image[130:140, : GRID.columns // 2] = [0.9, 0.1, 0.1]
    back = cloth_bands(image, weight, depth, GRID, MAIN)[:, 0]
    assert back[135] == pytest.approx(COAT, abs=0.06)
    # of one side alone, nothing else is known
    weight[:, GRID.columns // 2 :] = 0
    back = cloth_bands(image, weight, depth, GRID, MAIN)[:, 0]
    assert back[135] == pytest.approx([0.9, 0.1, 0.1], abs=0.06)


def test_a_few_texels_of_another_colour_are_no_band():
    image, weight, depth = dressed()
    image[150, 80:84] = image[150, 300:304] = [0.9, 0.1, 0.1]
    weight[148:153] = 0
    weight[150, 80:84] = weight[150, 300:304] = 1
    back = cloth_bands(image, weight, depth, GRID, MAIN)[:, 0]
    assert back[150] == pytest.approx(COAT, abs=0.06)


def test_behind_nothing_is_evidence():
    image, weight, depth = dressed()
    behind = GRID.longitude_deg() > 155
    weight[:, behind] = np.isfinite(depth)[:, behind]
    image[:, behind] = [0.9, 0.1, 0.1]
    plain = cloth_bands(image, weight * behind, depth, GRID, MAIN)
    assert plain == pytest.approx(np.broadcast_to(MAIN, plain.shape))
