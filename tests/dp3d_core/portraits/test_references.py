"""Several photos of a person: one shape, the most frontal photo as portrait."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation.photos_benchmark import Shot
from dp3d_core.limits import MAX_PHOTOS, PhotoSide
from dp3d_core.portraits import references
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.pose import components_of
from dp3d_core.portraits.references import (
    PhotoSource,
    is_of_side,
    load_person,
    shared_components,
)
from dp3d_core.portraits.report_warnings import further_warnings


def test_one_photo_is_a_portrait_without_references(astronaut: Path) -> None:
    alone, person = load_portrait(astronaut), load_person(astronaut)
    assert person.references == ()
    assert person.report.to_dict() == alone.report.to_dict()


def test_all_photos_share_one_shape(person_pngs: list[bytes]) -> None:
    person = load_person(person_pngs[0], [PhotoSource(png) for png in person_pngs[1:]])
    portraits = [person, *(reference.portrait for reference in person.references)]
    shapes = [components_of(portrait.report.shape) for portrait in portraits]
    assert len(shapes) == 4
    for shape in shapes[1:]:
        np.testing.assert_array_equal(shape, shapes[0])
    alone = components_of(load_portrait(person_pngs[0]).report.shape)
    with_landmarks = sum(portrait.face is not None for portrait in portraits)
    assert with_landmarks > 1, "the mean of one photo is that photo's own shape"
    assert not np.array_equal(shapes[0], alone)


def test_frontal_photos_count_more_in_the_shape(person_pngs: list[bytes]) -> None:
    portraits = [load_portrait(png) for png in person_pngs]
    front, turned = portraits[0], next(p for p in portraits[1:] if p.face is not None)
    shape = shared_components([front, turned])
    to_front = np.linalg.norm(shape - components_of(front.report.shape))
    to_turned = np.linalg.norm(shape - components_of(turned.report.shape))
    assert to_front < to_turned


def test_poses_hardly_change_with_the_shared_shape(
    person_pngs: list[bytes], person_shots: list[Shot]
) -> None:
    person = load_person(person_pngs[0], [PhotoSource(png) for png in person_pngs[1:]])
    true = person_shots[0].camera.c2w[:3, :3]
    cosine = (np.trace(true.T @ person.camera.c2w[:3, :3]) - 1) / 2
    assert np.degrees(np.arccos(cosine)) < 6


def test_the_photo_from_nearest_the_front_is_the_portrait(person_pngs: list[bytes]) -> None:
    back_first = load_person(person_pngs[2], [PhotoSource(person_pngs[0], name="front.png")])
    front_first = load_person(person_pngs[0], [PhotoSource(person_pngs[2])])
    assert back_first.sha256 == front_first.sha256
    assert [r.portrait.sha256 for r in back_first.references] == [
        r.portrait.sha256 for r in front_first.references
    ]


def test_a_portrait_that_is_not_the_first_photo_is_named(person_pngs: list[bytes]) -> None:
    back_first = load_person(person_pngs[2], [PhotoSource(person_pngs[0], name="front.png")])
    assert back_first.report.warnings[0] == (
        "The portrait is front.png, since the photo that comes first shows no clear face."
    )
    front_first = load_person(person_pngs[0], [PhotoSource(person_pngs[2], name="back.png")])
    assert not any("The portrait is" in warning for warning in front_first.report.warnings)


def test_further_photos_have_no_notes_that_hold_for_portraits_only(
    person_pngs: list[bytes],
) -> None:
    alone = [load_portrait(png).report.warnings for png in person_pngs[1:]]
    assert any("No face was found" in warning for warnings in alone for warning in warnings)
    person = load_person(person_pngs[0], [PhotoSource(png) for png in person_pngs[1:]])
    notes = [note for r in person.references for note in r.portrait.report.warnings]
    assert not any("manual crop" in note or "guessed" in note for note in notes)


def test_notes_on_the_crop_of_a_further_photo_name_no_crop() -> None:
    assert further_warnings(
        [
            "The face was found with low confidence; check the crop.",
            "More than one face was found and the clearest is used; set a manual crop to choose "
            "another.",
            "The photo is greyscale, so the views will be greyscale too.",
        ]
    ) == [
        "The face was found with low confidence.",
        "More than one face was found and the clearest is used; cut the photo to the head if it is "
        "another's.",
        "The photo is greyscale, so the views will be greyscale too.",
    ]


@pytest.mark.parametrize(
    ("side", "inside", "outside"),
    [
        ("auto", (0, 90, 180, -90), ()),
        ("front", (0, 45, -45), (90, 180, -90)),
        ("left", (16, 35, 90, 135), (0, -16, -90, 180)),
        ("right", (-16, -35, -90, -135), (0, 16, 90, 180)),
        ("back", (180, -180, 140, -140), (0, 90, -90)),
    ],
)
def test_angles_of_each_side(
    side: PhotoSide, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    assert all(is_of_side(side, yaw) for yaw in inside)
    assert not any(is_of_side(side, yaw) for yaw in outside)


def test_errors_name_the_photo(astronaut: Path) -> None:
    with pytest.raises(Dp3dError) as caught:
        load_person(astronaut, [PhotoSource(b"no picture", name="left.jpg")])
    assert caught.value.code == "portrait.unreadable"
    assert caught.value.problem.startswith("left.jpg: ")


def test_too_many_photos_are_refused(astronaut: Path) -> None:
    with pytest.raises(Dp3dError) as caught:
        load_person(astronaut, [PhotoSource(astronaut)] * MAX_PHOTOS)
    assert caught.value.code == "portrait.too_many_photos"


def test_a_further_file_that_is_no_picture_is_refused_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(references, "load_portrait", lambda *_, **__: pytest.fail("work was done"))
    text = tmp_path / "text.jpg"
    text.write_text("No picture.")
    with pytest.raises(Dp3dError, match=r"text\.jpg: ") as error:
        load_person(b"first", [PhotoSource(text, name="text.jpg")])
    assert error.value.code == "portrait.unreadable"
