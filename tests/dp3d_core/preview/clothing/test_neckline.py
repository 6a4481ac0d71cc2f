"""Clothes: one line around the body, across the shoulders too."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads.space import MM
from dp3d_core.preview.choices import Choice
from dp3d_core.preview.clothing.neckline import Clothes


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
