"""Hair above a fringe that is painted on the forehead comes down to it; other hair stays."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import MM
from dp3d_core.preview.hair.outline_marks import GRID, SHELL
from dp3d_core.rigged import fringe
from dp3d_core.rigged.fringe import lowered_fringe
from dp3d_core.rigged.shell import Shell

ROW, COLUMN = 40, GRID.columns // 2
"""Last row above the hairline, and the column in front."""


@pytest.fixture
def height() -> np.ndarray:
    """Hair 14 mm over the skin that ends at one row all around."""
    over = np.full((GRID.rows, GRID.columns), 14.0)
    over[ROW + 1 :] = -7.0
    return np.append(over.ravel(), 14.0)


def moved_mm(fitted, height: np.ndarray) -> np.ndarray:
    """(rows, columns) moves inwards."""
    first = len(bust().rest)
    before = fitted.mesh.vertices[first : first + SHELL]
    moved = lowered_fringe(fitted, height) - before
    assert not moved[-1].any()
    _, inwards = GRID.inward_rays()
    return (np.einsum("ni,ni->n", moved[:-1], inwards) / MM).reshape(GRID.rows, GRID.columns)


def test_hair_over_bare_skin_stays(fitted, height, monkeypatch) -> None:
    monkeypatch.setattr(fringe, "likeness_to_hair", lambda head, colours: np.zeros(len(colours)))
    assert not moved_mm(fitted, height).any()


def test_a_fringe_comes_down_to_the_skin_in_a_slow_curve(fitted, height, monkeypatch) -> None:
    monkeypatch.setattr(fringe, "likeness_to_hair", lambda head, colours: np.ones(len(colours)))
    moves = moved_mm(fitted, height)
    left = (height[:-1].reshape(moves.shape) - moves)[:, COLUMN]
    assert left[ROW] < 1.5
    assert left[ROW + 1] == pytest.approx(0.2, abs=0.05)
    assert (np.diff(left[: ROW + 1]) <= 1e-9).all()
    assert np.abs(np.diff(left[: ROW + 1])).max() < 5
    assert not moves[: ROW - 25, COLUMN].any()
    assert not moves[ROW + 2 :].any()
    assert not moves[:, 0].any()  # the back of the head


def test_an_uneven_hairline_leaves_the_strands_straight(fitted, height, monkeypatch) -> None:
    monkeypatch.setattr(fringe, "likeness_to_hair", lambda head, colours: np.ones(len(colours)))
    even = moved_mm(fitted, height)
    jagged = height[:-1].reshape(GRID.rows, GRID.columns).copy()
    jagged[ROW, ::2] = -3.0  # every second column ends a row higher
    uneven = moved_mm(fitted, np.append(jagged.ravel(), 14.0))
    front = slice(COLUMN - 20, COLUMN + 20)
    above = uneven[ROW - 6 : ROW - 1, front]
    assert above.min() > 1
    kinks = np.abs(np.diff(above - even[ROW - 6 : ROW - 1, front], axis=1))
    assert kinks.max() < 0.2


def test_lowered_hair_stays_over_the_skin(fitted, rig) -> None:
    shell = Shell.of(fitted)
    assert shell is not None
    moves = moved_mm(fitted, shell.height_mm)
    covers = shell.height_mm[:-1].reshape(moves.shape) > 1.0
    assert (shell.height_mm[:-1].reshape(moves.shape) - moves)[covers].min() > 0.1
