"""Hair above a fringe that is painted on the forehead comes down to it; other hair stays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import MM
from dp3d_core.preview.hair.outline_marks import GRID, SHELL
from dp3d_core.preview.parts import Part
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


def test_a_fringe_beside_hanging_hair_leaves_no_step(fitted, height, monkeypatch) -> None:
    """The hanging hair reaches below the grid, or to the shoulders."""
    painted = (np.arange(GRID.columns) < COLUMN + 20).astype(float)
    monkeypatch.setattr(fringe, "_painted_below", lambda head, ends: painted)
    even = moved_mm(fitted, height)
    for last in (GRID.rows, GRID.rows - 4):
        hanging = height[:-1].reshape(GRID.rows, GRID.columns).copy()
        hanging[:last, COLUMN + 20 :] = 14.0
        moves = moved_mm(fitted, np.append(hanging.ravel(), 14.0))
        above = moves[: ROW + 1]
        assert np.abs(np.diff(above, axis=1)).max() < 2.5, "a seventh of the height"
        np.testing.assert_allclose(moves[:, COLUMN], even[:, COLUMN], atol=0.1)
        assert not moves[:, COLUMN + 20 :].any()
        assert not moves[: ROW - 25].any()


def test_hats_stay(fitted, height, monkeypatch) -> None:
    monkeypatch.setattr(fringe, "likeness_to_hair", lambda head, colours: np.ones(len(colours)))
    first = len(bust().rest)
    assert moved_mm(fitted, height)[ROW - 2, COLUMN] > 5
    own = fitted.mesh
    for rows, hair_moves in ((GRID.rows, False), (ROW - 4, True)):  # a hat alone, and over hair
        parts = own.parts.copy()
        parts[first : first + rows * GRID.columns] = Part.HAT
        monkeypatch.setattr(fitted, "mesh", dataclasses.replace(own, parts=parts))
        moves = moved_mm(fitted, height)
        assert not moves[:rows].any()
        assert moves[rows:].any() == hair_moves


def test_lowered_hair_stays_over_the_skin(fitted, rig) -> None:
    shell = Shell.of(fitted)
    assert shell is not None
    moves = moved_mm(fitted, shell.height_mm)
    covers = shell.height_mm[:-1].reshape(moves.shape) > 1.0
    assert (shell.height_mm[:-1].reshape(moves.shape) - moves)[covers].min() > 0.1
