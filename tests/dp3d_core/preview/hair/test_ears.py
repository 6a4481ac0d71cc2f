"""Ears: free, covered, or covered above."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dp3d_core.heads.bust import BustRegion, bust
from dp3d_core.heads.space import MM
from dp3d_core.preview.hair.ears import (
    _MAX_MOVE_MM,
    _NO_EDGE,
    _end_of_hair,
    _hair_by_colour,
    move_ears_as_wholes,
)
from dp3d_core.preview.photo.parsing import PARSING_SIDE, Kind

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


def test_ears_are_moved_as_wholes() -> None:
    rest = bust().rest * MM
    ear = bust().region == BustRegion.EAR
    left = ear & (rest[:, 0] < 0)
    pulled = rest.copy()
    pulled[left, 0] -= 0.01
    tip = np.flatnonzero(left)[rest[left, 1].argmax()]
    pulled[tip] += [-0.05, 0.05, 0.0]
    even = move_ears_as_wholes(rest, pulled)
    moved = np.linalg.norm(even - rest, axis=1)
    assert moved.max() < 1.25 * _MAX_MOVE_MM * MM
    assert moved[left].max() > 0.008
    assert moved[~left].max() == 0
    # roots stay, rims move
    aside = -rest[left, 0]
    assert moved[left][aside.argmin()] == 0
    assert np.corrcoef(aside, moved[left])[0, 1] > 0.9


def test_hair_on_an_ear_is_told_by_the_colours_beside_it() -> None:
    brown, skin = (70, 50, 30), (210, 170, 150)
    image = np.full((640, 640, 3), skin, np.uint8)
    image[:320] = brown
    probabilities = np.zeros((PARSING_SIDE, PARSING_SIDE, 4), np.float32)
    # the parsing is sure beside the ear and in doubt on it
    probabilities[: PARSING_SIDE // 2, :, Kind.HAIR] = 0.95
    probabilities[PARSING_SIDE // 2 :, :, Kind.SKIN] = 0.95
    probabilities[140:180, 150:170] = [0, 0.5, 0.5, 0]
    portrait = SimpleNamespace(image=image, camera=SimpleNamespace(width=640))
    parsing = SimpleNamespace(probabilities=probabilities)
    uv = np.stack([np.full(40, 320.0), np.linspace(282, 358, 40)], -1)
    likeness = _hair_by_colour(portrait, parsing, uv)
    assert likeness is not None
    assert likeness[uv[:, 1] < 314].min() > 0.9
    assert likeness[uv[:, 1] > 326].max() < 0.1
    image[:320] = skin  # blond hair beside pale skin
    assert _hair_by_colour(portrait, parsing, uv) is None
