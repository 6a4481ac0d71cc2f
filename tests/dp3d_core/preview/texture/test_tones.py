"""Tones: skin in another light is skin, cloth is not."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.preview.texture.tones import lab, mean_colour, other_surface, skin_in_other_light

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


@pytest.mark.parametrize(
    ("colour", "skin"),
    [
        (np.array([0.80, 0.74, 0.63]), True),  # its own shoulders, yellower
        (np.array([0.90, 0.89, 0.88]), False),  # a white shirt
        (np.array([0.60, 0.62, 0.66]), False),
    ],
)
def test_pale_skin_has_more_colour_than_white_cloth(colour: np.ndarray, skin: bool) -> None:
    pale = lab(np.array([[0.89, 0.83, 0.78]]))[0]
    chance = skin_in_other_light(lab(colour[None]), pale)
    assert (chance[0] > 0.7) if skin else (chance[0] < 0.3)


def test_the_colour_of_hair_is_neither_its_gaps_nor_its_highlights() -> None:
    rng = np.random.default_rng(0)
    brown = np.array([0.4, 0.28, 0.2]) * rng.uniform(0.9, 1.1, (700, 1))
    dark = np.full((150, 3), 0.05) + rng.uniform(0, 0.01, (150, 3))
    light = np.full((150, 3), 0.95)
    colour = mean_colour(np.concatenate([brown, dark, light]), np.zeros(3))
    np.testing.assert_allclose(colour, [0.4, 0.28, 0.2], atol=0.03)


def test_hair_on_a_hat_is_nearer_to_the_hair() -> None:
    rng = np.random.default_rng(0)
    felt = np.array([0.5, 0.4, 0.5]) * rng.uniform(0.6, 1.0, (400, 1))
    hair = np.array([0.5, 0.2, 0.1]) * rng.uniform(0.6, 1.0, (400, 1))
    worn = np.concatenate([felt, hair[:60]])
    strange = other_surface(worn, worn, hair)
    assert strange[:400].max() < 0.1
    assert strange[400:].min() > 0.9
    # where they cannot be told apart, or nothing is seen of one, all is its own
    assert other_surface(worn, felt, felt).max() == 0
    assert other_surface(worn, worn, hair[:10]).max() == 0
