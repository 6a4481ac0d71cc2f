"""Clothes: one line around the body, across the shoulders too."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads.space import MM
from dp3d_core.preview.choices import Choice
from dp3d_core.preview.clothing.neckline import Clothes, _combined


def clothes(line_mm: float) -> Clothes:
    return Clothes(np.full(384, line_mm, np.float32), True, Choice("crew", 1.0))


def test_a_level_line_crosses_a_shoulder_and_no_neck() -> None:
    places = np.array([[45.0, -110.0, -10.0], [90.0, -122.0, -20.0], [150.0, -128.0, -40.0]]) * MM
    assert clothes(-128.0).cover(places) == pytest.approx([0, 1, 1])


def test_all_around_it_is_continuous() -> None:
    angle = np.linspace(0, 2 * np.pi, 721)
    ring = np.stack([60 * np.sin(angle), np.full(721, -120.0), 60 * np.cos(angle)], -1) * MM
    line = (-120 + 10 * np.cos(np.linspace(-np.pi, np.pi, 384))).astype(np.float32)
    cover = Clothes(line, True, Choice("crew", 1.0)).cover(ring)
    assert np.abs(np.diff(cover)).max() < 0.1


def test_nothing_covers_a_face() -> None:
    assert clothes(200.0).cover(np.array([[0.0, 0.0, 100.0]]) * MM)[0] == 0


def test_photos_count_by_their_squared_weight_in_any_order() -> None:
    bare, half, clothed = ((np.full(3, p), np.full(3, w)) for p, w in ((0, 1), (0, 0.5), (1, 1)))
    for photos in ([bare, bare, bare, clothed], [clothed, bare, bare, bare]):
        assert _combined(photos)[0] == pytest.approx(np.full(3, 0.25))
    for photos in ([half, clothed, half], [half, half, clothed], [clothed, half, half]):
        probability, weight = _combined(photos)
        assert probability == pytest.approx(np.full(3, 1 / 1.5))
        assert weight == pytest.approx(np.ones(3))


def test_a_place_that_no_photo_shows_has_no_weight() -> None:
    hidden = np.zeros(2), np.zeros(2)
    for values in _combined([hidden, hidden]):
        np.testing.assert_array_equal(values, np.zeros(2))
