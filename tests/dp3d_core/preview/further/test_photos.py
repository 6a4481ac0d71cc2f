"""Further photos are placed against the head of the portrait."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera, rotation_error_deg
from dp3d_core.evaluation.photos_benchmark import Shot, photograph_person
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.portraits.references import PhotoSource, is_of_side, load_person
from dp3d_core.preview.further.head_model import HeadModel
from dp3d_core.preview.further.photos import PhotoUse, fit_photos, photo_steps, posed
from dp3d_core.preview.shape.placement import place_head
from dp3d_core.synthetic.rendering import SyntheticHead
from tests.support.photos import encode


@pytest.fixture(scope="module")
def person(person_pngs: list[bytes]) -> Portrait:
    """The portrait with a profile, a back and a picture without anybody."""
    nobody = np.full((300, 240, 3), (90, 140, 60), np.uint8)
    nobody[::20] = 40
    further = [*person_pngs[1:3], encode(nobody)]
    return load_person(person_pngs[0], [PhotoSource(png) for png in further])


@pytest.fixture(scope="module")
def person_head() -> SyntheticHead:
    """The person of ``person_shots``."""
    return photograph_person(3)[0]


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
        noted = replace(use, note="It may show somebody else.")
        assert PhotoUse.from_dict(noted.to_dict()).to_dict() == noted.to_dict()
    earlier = {k: v for k, v in placed[0][0].to_dict().items() if k != "note"}
    assert PhotoUse.from_dict(earlier).note == ""
    assert photo_steps(person) == 3


def test_the_crop_of_a_use_is_cut_again_as_it_was(
    placed: tuple[tuple[PhotoUse, ...], list[Portrait], list[str]], person: Portrait
) -> None:
    uses, photos, _ = placed
    again = uses[1].portrait(person.references[1], RayCaster(place_head(person).mesh))
    np.testing.assert_array_equal(again.image, photos[1].image)
    np.testing.assert_array_equal(again.matte, photos[1].matte)


def test_a_clear_face_is_not_turned_to_a_side_that_it_contradicts(
    person_pngs: list[bytes], person_shots: list[Shot]
) -> None:
    person = load_person(person_pngs[0], [PhotoSource(person_pngs[0], "back", "again")])
    (use,), photos = fit_photos(person)
    assert rotation_error_deg(use.camera.c2w, person_shots[0].camera.c2w) < 6
    assert (use.side, use.used, len(photos)) == ("front", True, 1)
    assert use.note.startswith("Its side is named back, but its face is seen at a yaw of ")


def test_a_named_side_overrules_an_unclear_face_that_contradicts_it(
    person_pngs: list[bytes],
) -> None:
    """The landmark model sees fronts in some profiles."""
    (reference,) = load_person(
        person_pngs[0], [PhotoSource(person_pngs[0], "right", "again")]
    ).references
    model = HeadModel.of(place_head(reference.portrait), reference.portrait)
    report = reference.portrait.report
    face = reference.portrait.face
    assert face is not None
    unclear = replace(report, chosen=replace(face, confidence=0.6))
    placed = posed(replace(reference, portrait=replace(reference.portrait, report=unclear)), model)
    assert placed is not None
    assert is_of_side("right", placed.camera.yaw_pitch_deg[0])


@pytest.mark.parametrize("yaw", [35.0, 65.0])
def test_left_covers_three_quarter_views(
    person_pngs: list[bytes], person_head: SyntheticHead, yaw: float
) -> None:
    camera = canonical_camera(yaw, 2.0, 640, focal=2.6)
    png = encode(person_head.render(camera).rgb)
    further = [PhotoSource(png, side, side) for side in ("auto", "left", "right")]
    guessed, named, wrong = fit_photos(load_person(person_pngs[0], further))[0]
    is_by_landmarks = yaw < 50
    assert (wrong.side == "right") != is_by_landmarks, "a clear face is not turned away"
    assert rotation_error_deg(named.camera.c2w, camera.c2w) < 12
    assert rotation_error_deg(named.camera.c2w, guessed.camera.c2w) < 1, "no worse for its name"
    assert named.used
    assert named.note == ""
