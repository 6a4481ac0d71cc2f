"""Thickness of hair from the radii of its outline."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads.space import MM
from dp3d_core.preview.hair.outline_marks import GRID, Marks
from dp3d_core.preview.hair.thickness import fit_thickness

SHAPE = GRID.rows, GRID.columns
BASE = np.full(SHAPE, 100 * MM)
ROWS = np.arange(20, GRID.dome_rows)


def at(longitude: int, thickness_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, rows and radii of an outline at a longitude, degrees from the face."""
    column = int((0.5 + longitude / 360) * GRID.columns) % GRID.columns
    radius = np.full(len(ROWS), (100 + thickness_mm) * MM)
    return np.full(len(ROWS), float(column)), ROWS.astype(float), radius


def thickness_at(longitude: int, behind_shown: bool) -> float:
    """Thickness, millimetres, at half height of hair of 12 mm at the sides and 40 mm behind."""
    outlines = [at(-90, 12), at(90, 12), at(180, 40)]
    marks = Marks(*(np.concatenate(parts) for parts in zip(*outlines, strict=True)))
    free = np.zeros(GRID.columns, bool)
    fitted = fit_thickness(marks, BASE, np.ones(SHAPE), 14 * MM, free, behind_shown)
    column = int((0.5 + longitude / 360) * GRID.columns) % GRID.columns
    return float(fitted[GRID.dome_rows // 2, column] / MM)


def test_an_outline_behind_is_no_crest() -> None:
    assert thickness_at(160, behind_shown=True) == pytest.approx(40, abs=5)
    assert thickness_at(160, behind_shown=False) < 30


def test_an_outline_behind_does_not_move_the_sides() -> None:
    for longitude in (-90, 90):
        assert thickness_at(longitude, behind_shown=True) == pytest.approx(12, abs=2)
