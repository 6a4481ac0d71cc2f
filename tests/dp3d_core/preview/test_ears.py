"""Ears: free, covered, or covered above."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.preview.ears import _NO_EDGE, _end_of_hair

HEIGHT = np.linspace(0.0, 1.0, 100)


def test_hair_that_ends_across_an_ear_has_an_edge() -> None:
    hair = np.where(HEIGHT > 0.6, 0.95, 0.05)
    assert _end_of_hair(HEIGHT, hair) == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize(
    "hair",
    [
        np.full(100, 0.05),
        np.where(HEIGHT > 0.9, 0.95, 0.05),  # a strand at its tip
        np.full(100, 0.5),  # who knows
        np.where(HEIGHT < 0.4, 0.95, 0.05),  # an ear-ring
    ],
    ids=["free", "tip", "unsure", "below"],
)
def test_other_ears_have_none(hair: np.ndarray) -> None:
    assert _end_of_hair(HEIGHT, hair) == _NO_EDGE
