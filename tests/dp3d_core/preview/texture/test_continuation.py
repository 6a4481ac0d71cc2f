"""Continuation of textures, main colours and the panorama's geometry."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.preview.texture.continuation import detail_of, fade_to, pull_push, texture_by_example
from dp3d_core.preview.texture.panorama import AXIS, CYLINDER_HEIGHT, Panorama
from dp3d_core.preview.texture.tones import main_colour, skin_tone

GRID = Panorama(48, 96)


def test_a_ray_comes_back_to_its_own_texel() -> None:
    origin, outward = GRID.rays()
    points = origin + 0.3 * outward
    column, row = GRID.project(points)
    expected = np.indices((GRID.rows, GRID.columns)).reshape(2, -1)
    np.testing.assert_allclose(row, expected[0], atol=1e-6)
    np.testing.assert_allclose(column, expected[1], atol=1e-6)
    np.testing.assert_allclose(GRID.radius(points), 0.3, atol=1e-9)


def test_the_panorama_crosses_the_back_without_a_seam() -> None:
    picture = np.zeros((GRID.rows, GRID.columns, 1), np.float32)
    picture[:, 0], picture[:, -1] = 1.0, 0.0
    behind = AXIS + np.array([[0.0, -0.5 * CYLINDER_HEIGHT, -0.3]])
    assert GRID.look_up(picture, behind)[0, 0] == pytest.approx(0.5, abs=1e-6)


def test_known_texels_keep_their_colour_and_far_ones_take_the_main_one() -> None:
    rng = np.random.default_rng(0)
    colours = rng.random((48, 96, 3)).astype(np.float32)
    weight = np.zeros((48, 96), np.float32)
    weight[10:20, 40:60] = 1
    far = np.array([0.2, 0.3, 0.4], np.float32)
    smooth = pull_push(colours, weight, far)
    np.testing.assert_allclose(smooth[weight == 1], colours[weight == 1], atol=1e-5)
    faded = fade_to(smooth, weight > 0.5, far, half_life=2.0)
    np.testing.assert_allclose(faded[40, 0], far, atol=1e-3)
    np.testing.assert_allclose(faded[weight == 1], smooth[weight == 1], atol=1e-5)


def test_detail_by_example_is_as_rough_as_its_example_and_has_no_blocks() -> None:
    rng = np.random.default_rng(1)
    colours = (0.5 + 0.05 * rng.normal(size=(96, 192, 3))).astype(np.float32)
    known = np.zeros((96, 192), bool)
    known[20:80, 60:140] = True
    detail = detail_of(colours, known)
    laid = texture_by_example(detail, known, np.random.default_rng(2))
    assert laid is not None
    assert laid.shape == colours.shape
    assert laid.std() == pytest.approx(detail[known].std(), rel=0.12)
    columns = laid[..., 0].std(0)
    assert columns.min() > 0.6 * columns.max()
    again = texture_by_example(detail, known, np.random.default_rng(2))
    np.testing.assert_array_equal(laid, again)


def test_without_a_whole_patch_there_is_no_example() -> None:
    known = np.zeros((96, 192), bool)
    known[::2] = True
    assert (
        texture_by_example(np.zeros((96, 192, 3), np.float32), known, np.random.default_rng(0))
        is None
    )


def test_the_tone_of_skin_leaves_out_glasses_shade_and_highlights() -> None:
    rng = np.random.default_rng(3)
    skin = np.array([0.75, 0.58, 0.48])
    colours = skin + 0.01 * rng.normal(size=(1000, 3))
    colours[:150] = 0.05
    colours[150:220] = 0.98
    np.testing.assert_allclose(skin_tone(colours), skin, atol=0.01)
    assert skin_tone(colours[:20]) is None


def test_the_main_colour_is_that_of_the_coat_and_not_a_mix_with_the_lapel() -> None:
    coat, lapel = np.array([0.1, 0.15, 0.3]), np.array([0.9, 0.9, 0.88])
    colours = np.concatenate([np.tile(coat, (700, 1)), np.tile(lapel, (300, 1))])
    colours += 0.005 * np.random.default_rng(0).normal(size=colours.shape)
    np.testing.assert_allclose(main_colour(colours, np.zeros(3)), coat, atol=0.02)
    np.testing.assert_allclose(main_colour(np.zeros((0, 3)), lapel), lapel)
