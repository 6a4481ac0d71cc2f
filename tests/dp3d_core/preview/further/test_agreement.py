"""A photo of somebody else is named and left out."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.evaluation.photos_benchmark import photograph_person
from dp3d_core.portraits.references import PhotoSource, load_person
from dp3d_core.preview.further.agreement import _light, stranger_note, stranger_reason
from dp3d_core.preview.further.photos import fit_photos
from tests.support.photos import encode

ALIKE = {"pattern": 2.0, "skin": 2.0, "hair": 2.0, "clothes": 2.0, "shape": 0.45}
"""Measures of two photos of one person."""
UNLIKE = {"pattern": 15.0, "skin": 20.0, "hair": 25.0, "clothes": 40.0, "shape": 1.1}
"""Measures of photos of two people."""


def test_alike_photos_are_used_and_unlike_ones_named() -> None:
    assert stranger_reason(ALIKE, False, "front", 10.0) == ""
    reason = stranger_reason(UNLIKE, False, "left", 10.0)
    assert reason == (
        "It seems to show somebody else, by the hair and the clothes. If it is the same "
        "person, name the side that it shows: left."
    )


def test_other_clothes_alone_do_not_make_a_stranger() -> None:
    assert stranger_reason(ALIKE | {"clothes": 60.0}, False, "front", 10.0) == ""


def test_the_user_may_insist() -> None:
    doubtful = {"pattern": 10.0, "hair": 20.0, "clothes": 8.0}
    assert stranger_reason(doubtful, False, "front", 90.0)
    assert stranger_reason(doubtful, True, "front", 90.0) == ""
    assert stranger_note(doubtful, 90.0).startswith("It may show somebody else, by ")
    assert stranger_note(ALIKE, 10.0) == ""


def test_a_clear_stranger_is_left_out_whatever_side_is_named() -> None:
    reason = stranger_reason(UNLIKE, True, "front", 10.0)
    assert "somebody else" in reason
    assert "name the side" not in reason, "it is named already"


def test_shapes_seen_from_other_sides_count_less() -> None:
    doubtful = {"pattern": 7.5, "skin": 2.0, "hair": 3.0, "shape": 1.1}
    assert stranger_reason(doubtful, False, "front", 5.0)
    assert stranger_reason(doubtful, False, "front", 40.0) == ""


def test_light_is_taken_out_and_changed_clothes_are_not_taken_for_it() -> None:
    shift = np.array([6.0, 4.0, -3.0])
    same_light = np.stack([shift, shift + 1, shift - 1])
    assert np.linalg.norm(_light(same_light) - shift) < 2
    other_clothes = np.stack([shift, shift + 1, shift + np.array([40, 20, 0])])
    assert np.linalg.norm(_light(other_clothes) - shift) < 4
    assert np.linalg.norm(_light(same_light)) < np.linalg.norm(shift)


@pytest.mark.slow
def test_a_stranger_among_own_photos(person_pngs: list[bytes]) -> None:
    stranger = encode(photograph_person(2)[2][0].image)
    further = [PhotoSource(person_pngs[3], name="own"), PhotoSource(stranger, name="stranger")]
    uses, photos = fit_photos(load_person(person_pngs[0], further))
    assert [use.used for use in uses] == [True, False]
    assert len(photos) == 1
    assert "somebody else" in uses[1].reason
