"""Pictures of a rigged head."""

from __future__ import annotations

import numpy as np

from dp3d_core.rigged.sheet import sample_sheet

SIZE = 96


def test_the_sample_shows_expressions_and_all_sides(rig) -> None:
    sheet = sample_sheet(rig, SIZE)
    assert sheet.shape == (2 * SIZE, 4 * SIZE, 3)
    tiles = sheet.reshape(2, SIZE, 4, SIZE, 3).swapaxes(1, 2).reshape(8, SIZE, SIZE, 3)
    pictures = tiles[:, : SIZE - 20].astype(int)
    for first in range(8):
        assert (pictures[first] != 228).any(-1).mean() > 0.2
        for second in range(first):
            assert np.abs(pictures[first] - pictures[second]).max() > 30
