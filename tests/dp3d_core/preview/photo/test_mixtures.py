"""Colours of a person's surfaces in one photo, shifted to the light of another."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.preview.photo.mixtures import Mixture, Palette

SKIN, HAIR, CLOTH = [60.0, 15, 18, 5], [20.0, 4, 8, 20], [45.0, -10, 25, 10]


def pixels(*means: list[float], count: int = 300) -> np.ndarray:
    """Features of pixels around each mean, one after the other."""
    rng = np.random.default_rng(1)
    return np.concatenate([mean + rng.normal(0, 1.5, (count, 4)) for mean in means])


def thirds(count: int = 300) -> list[np.ndarray]:
    """Masks of the first, second and last third."""
    return list(np.repeat(np.eye(3, dtype=bool), count, 1))


@pytest.fixture
def palette() -> Palette:
    return Palette.of(pixels(SKIN, HAIR, CLOTH), *(mask.astype(float) for mask in thirds()))


def test_each_surface_is_likely_in_its_own_colour(palette: Palette) -> None:
    likelihoods = palette.likelihoods(np.array([SKIN, HAIR, CLOTH]))
    assert (np.diag(likelihoods) > 0.3).all()
    assert (likelihoods - np.diag(np.diag(likelihoods)) < 0.01).all()


def test_other_light_shifts_all_surfaces(palette: Palette) -> None:
    shift = np.array([-8.0, 3, -4, 0])
    shifted = palette.in_light_of(pixels(SKIN, HAIR, CLOTH) + shift, *thirds())
    for before, after in ((palette.skin, shifted.skin), (palette.hair, shifted.hair)):
        assert before is not None
        assert after is not None
        np.testing.assert_allclose(after.mean - before.mean, shift, atol=2)


def test_a_surface_that_another_covers_does_not_shift_the_light(palette: Palette) -> None:
    # hair hangs over the clothes
    shifted = palette.in_light_of(pixels(SKIN, HAIR, HAIR), *thirds())
    assert palette.skin is not None
    assert shifted.skin is not None
    assert np.abs(shifted.skin.mean - palette.skin.mean).max() < 5


def test_a_surface_that_the_photo_lacks_is_unlikely() -> None:
    masks = [mask.astype(float) for mask in thirds()]
    palette = Palette.of(pixels(SKIN, HAIR, CLOTH), masks[0], masks[1], np.zeros(900))
    assert palette.cloth is None
    assert palette.likelihoods(np.array([CLOTH]))[0, 2] == 0


def test_a_mixture_needs_some_pixels() -> None:
    assert Mixture.of(pixels(SKIN), np.full(300, 0.05), 3) is None
