"""Strands on hair that no photo shows."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.preview.texture.panorama import Panorama
from dp3d_core.preview.texture.strands import (
    StrandStyle,
    gloss,
    shortened,
    strand_noise,
    with_strands,
)

GRID = Panorama(96, 192)
BROWN = np.array([0.30, 0.20, 0.12], np.float32)


def combed(vertical: float, contrast: float) -> np.ndarray:
    """(r, c, 3) hair whose strands are so many texels long."""
    rng = np.random.default_rng(1)
    noise = strand_noise((GRID.rows, GRID.columns), (0.9, vertical), rng)
    return np.asarray(BROWN * np.exp(contrast * noise)[..., None], np.float32)


def test_the_style_is_that_of_the_seen_hair() -> None:
    everywhere = np.ones((GRID.rows, GRID.columns), bool)
    calm = StrandStyle.of(combed(12.0, 0.05), everywhere)
    wild = StrandStyle.of(combed(12.0, 0.25), everywhere)
    curls = StrandStyle.of(combed(0.9, 0.15), everywhere)
    assert calm.contrast < wild.contrast
    assert curls.length < 0.6 * wild.length


def test_strands_run_down_and_keep_the_colour() -> None:
    flat = np.broadcast_to(BROWN, (GRID.rows, GRID.columns, 3)).astype(np.float32)
    style = StrandStyle(0.15, 20.0, 0.0)
    hair = with_strands(flat, style, GRID, np.random.default_rng(3))
    np.testing.assert_allclose(hair.mean((0, 1)), BROWN, rtol=0.1)
    down, across = np.gradient(hair.mean(-1))
    assert (across**2).mean() > 3 * (down**2).mean()
    # no seam at the back
    jump = np.abs(hair[:, 0] - hair[:, -1]).mean()
    assert jump < 3 * np.abs(np.diff(hair, axis=1)).mean()


def test_a_sheen_lies_around_the_crown() -> None:
    flat = np.broadcast_to(BROWN, (GRID.rows, GRID.columns, 3)).astype(np.float32)
    shiny = with_strands(flat, StrandStyle(0.0, 20.0, 0.5), GRID, np.random.default_rng(3))
    rows = shiny.mean((1, 2))
    assert 0.3 < rows.argmax() / GRID.dome_rows < 0.8
    assert rows.max() > 1.2 * rows[GRID.dome_rows :].mean()


@pytest.mark.parametrize("thickness", [0.0, 3.0, 40.0])
def test_short_hair_has_short_strands(thickness: float) -> None:
    style = StrandStyle(0.15, 30.0, 0.4)
    short = shortened(style, thickness)
    assert short.length <= style.length
    assert (short == style) == (thickness > 30)


def test_black_hair_shines_below_its_crown_and_fair_hair_does_not() -> None:
    black = np.full((GRID.rows, GRID.columns, 3), 0.04, np.float32)
    shine = gloss(black, GRID, np.random.default_rng(0))[..., 0]
    rows = shine.mean(1)
    assert 0.15 * GRID.dome_rows < rows.argmax() < 0.85 * GRID.dome_rows
    assert rows.max() > 0.02
    assert rows[GRID.dome_rows + 10 :].max() < 0.005
    # in strands that run down
    down, across = np.gradient(shine[10:40])
    assert (across**2).mean() > 3 * (down**2).mean()
    assert gloss(black + 0.5, GRID, np.random.default_rng(0)).max() == 0
