"""Further photos are placed against the head of the portrait."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import rotation_error_deg
from dp3d_core.evaluation.photos_benchmark import Shot
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.portraits.references import PhotoSource, load_person
from dp3d_core.preview.further.photos import PhotoUse, fit_photos, photo_steps
from dp3d_core.preview.shape.placement import place_head
from tests.support.photos import encode


@pytest.fixture(scope="module")
def person(person_pngs: list[bytes]) -> Portrait:
    """The portrait with a profile, a back and a picture without anybody."""
    nobody = np.full((300, 240, 3), (90, 140, 60), np.uint8)
    nobody[::20] = 40
    further = [*person_pngs[1:3], encode(nobody)]
    return load_person(person_pngs[0], [PhotoSource(png) for png in further])


@pytest.fixture(scope="module")
def placed(person: Portrait) -> tuple[tuple[PhotoUse, ...], list[Portrait], list[str]]:
    steps: list[str] = []
    uses, photos = fit_photos(person, steps.append)
    return uses, photos, steps


def test_profile_and_back_are_found(
    placed: tuple[tuple[PhotoUse, ...], list[Portrait], list[str]], person_shots: list[Shot]
) -> None:
    uses, photos, _ = placed
    for use, shot in zip(uses[:2], person_shots[1:3], strict=True):
        assert use.used
        assert rotation_error_deg(use.camera.c2w, shot.camera.c2w) < 20
    assert {uses[0].side} <= {"left", "right"}
    assert uses[1].side == "back"
    assert len(photos) == 2


def test_a_picture_without_anybody_is_named_and_left_out(
    placed: tuple[tuple[PhotoUse, ...], list[Portrait], list[str]],
) -> None:
    uses, _, steps = placed
    assert not uses[2].used
    assert uses[2].reason
    assert len(steps) == 3


def test_uses_are_kept_as_json(
    placed: tuple[tuple[PhotoUse, ...], list[Portrait], list[str]], person: Portrait
) -> None:
    for use in placed[0]:
        assert PhotoUse.from_dict(use.to_dict()).to_dict() == use.to_dict()
    assert photo_steps(person) == 3


def test_the_crop_of_a_use_is_cut_again_as_it_was(
    placed: tuple[tuple[PhotoUse, ...], list[Portrait], list[str]], person: Portrait
) -> None:
    uses, photos, _ = placed
    again = uses[1].portrait(person.references[1], RayCaster(place_head(person).mesh))
    np.testing.assert_array_equal(again.image, photos[1].image)
    np.testing.assert_array_equal(again.matte, photos[1].matte)


def test_a_named_side_overrules_landmarks_that_contradict_it(person_pngs: list[bytes]) -> None:
    named = load_person(person_pngs[0], [PhotoSource(person_pngs[0], "back", "again")])
    guessed = load_person(person_pngs[0], [PhotoSource(person_pngs[0], name="again")])
    (back,), _ = fit_photos(named)
    (front,), _ = fit_photos(guessed)
    assert (back.side, front.side) == ("back", "front")
