"""Quilting: hair is continued by the hair that is seen, its strands in their direction."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.preview.texture.panorama import Panorama
from dp3d_core.preview.texture.quilting import coherence, quilt
from dp3d_core.preview.texture.strands import strand_noise

GRID = Panorama(192, 384)
FRONT = slice(112, 272)


@pytest.fixture(scope="module")
def strands() -> np.ndarray:
    """(rows, columns, 3) locks that run down."""
    noise = strand_noise((GRID.rows, GRID.columns), (2.0, 14.0), np.random.default_rng(3))
    return np.repeat(0.2 * noise[..., None], 3, axis=-1).astype(np.float32)


def seen(columns: slice, rows: slice = slice(20, 180)) -> np.ndarray:
    """(rows, columns) texels of a front."""
    known = np.zeros((GRID.rows, GRID.columns), bool)
    known[rows, columns] = True
    return known


def everywhere() -> np.ndarray:
    """(rows, columns) hair all round."""
    return np.ones((GRID.rows, GRID.columns), bool)


def laid(strands: np.ndarray, seed: int = 0) -> np.ndarray:
    """The texture that continues the front."""
    result = quilt(strands, seen(FRONT), everywhere(), GRID, np.random.default_rng(seed))
    assert result is not None
    return result


def test_the_back_varies_like_the_front_and_runs_down_like_it(strands: np.ndarray) -> None:
    result = laid(strands)
    back = result[90:180, :60, 0]
    front = strands[90:180, FRONT, 0]
    assert 0.7 < back.std() / front.std() < 1.3
    across, down = (np.abs(np.diff(back, axis=axis)).mean() for axis in (1, 0))
    assert across > 2.5 * down


def test_what_is_seen_stays_and_seams_are_no_steps(strands: np.ndarray) -> None:
    result = laid(strands)
    known = seen(FRONT)
    np.testing.assert_array_equal(result[known], strands[known])
    step = np.abs(np.diff(result[90:180, :, 0], axis=1)).mean(0)
    assert step[FRONT.start - 1] < 2.5 * np.median(step)
    assert step[FRONT.stop - 1] < 2.5 * np.median(step)
    assert step.max() < 4 * np.median(step)


def test_one_seed_gives_one_texture(strands: np.ndarray) -> None:
    np.testing.assert_array_equal(laid(strands), laid(strands))
    assert np.abs(laid(strands) - laid(strands, seed=1)).max() > 0.05


def test_strands_that_run_aside_are_turned_down_behind(strands: np.ndarray) -> None:
    """A fringe is combed aside; hair behind still hangs."""
    aside = np.ascontiguousarray(
        np.repeat(
            0.2
            * strand_noise((GRID.rows, GRID.columns), (14.0, 2.0), np.random.default_rng(4))[
                ..., None
            ],
            3,
            axis=-1,
        ),
        np.float32,
    )
    result = quilt(aside, seen(FRONT), everywhere(), GRID, np.random.default_rng(0))
    assert result is not None
    back = result[100:170, :40, 0]
    across, down = (np.abs(np.diff(back, axis=axis)).mean() for axis in (1, 0))
    assert across > 1.3 * down


def test_too_little_hair_is_no_example(strands: np.ndarray) -> None:
    known = seen(slice(180, 200), slice(60, 80))
    assert quilt(strands, known, everywhere(), GRID, np.random.default_rng(0)) is None


def test_strands_are_coherent_and_curls_are_not(strands: np.ndarray) -> None:
    noise = strand_noise((GRID.rows, GRID.columns), (1.6, 1.6), np.random.default_rng(4))
    curls = np.repeat(0.2 * noise[..., None], 3, axis=-1).astype(np.float32)
    known = seen(slice(150, 240), slice(60, 140))
    assert coherence(strands, known, GRID) > 0.7
    assert coherence(curls, known, GRID) < 0.4


def test_a_narrow_band_of_cropped_curls_is_continued() -> None:
    noise = strand_noise((GRID.rows, GRID.columns), (1.2, 1.2), np.random.default_rng(4))
    curls = np.repeat(0.2 * noise[..., None], 3, axis=-1).astype(np.float32)
    band = seen(FRONT, slice(60, 84))
    rng = np.random.default_rng(0)
    result = quilt(curls, band, everywhere(), GRID, rng, cropped=True)
    assert result is not None
    assert 0.6 < result[90:180, :60].std() / curls[band].std() < 1.4
