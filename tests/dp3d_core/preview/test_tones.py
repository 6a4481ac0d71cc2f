"""Tones: skin in another light is skin, cloth is not."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.preview.tones import lab, skin_in_other_light

TONE = np.array([0.78, 0.58, 0.47])


@pytest.mark.parametrize(
    ("colour", "skin"),
    [
        (TONE, True),
        (TONE * 1.2, True),
        (TONE * 0.8, True),
        (np.array([0.95, 0.93, 0.90]), False),  # a white shirt in warm light
        (np.array([0.05, 0.05, 0.06]), False),
        (np.array([0.2, 0.3, 0.6]), False),
        (TONE * 0.3, False),  # so dark that it may be anything
    ],
)
def test_light_changes_skin_and_not_its_hue(colour: np.ndarray, skin: bool) -> None:
    chance = skin_in_other_light(lab(colour[None]), lab(TONE[None])[0])
    assert (chance[0] > 0.7) if skin else (chance[0] < 0.3)


def test_without_colours_hue_says_nothing() -> None:
    grey = np.array([[0.6, 0.6, 0.6], [0.5, 0.5, 0.5]])
    assert skin_in_other_light(lab(grey), lab(grey)[0]).max() == 0
