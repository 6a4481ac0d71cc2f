"""Which photos of a person become references, in which order, and their pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dp3d_core.cameras.framing import network_camera, reframe
from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.pipelines.photos import choose_photos, on_background, reference_picture
from dp3d_core.portraits.crop import CROP_SIZE, Crop
from dp3d_core.portraits.load import load_portrait
from dp3d_core.preview.further.photos import PhotoUse
from tests.support.photos import encode


@pytest.fixture(scope="module")
def photo():
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    return load_portrait(encode(pixels))


def seen_from(photo, yaw_deg, pitch_deg=0.0):
    camera = canonical_camera(yaw_deg, pitch_deg, CROP_SIZE)
    return replace(photo, camera=camera, sha256=f"yaw {yaw_deg}")


def chosen_yaws(yaws, back_view, left_out=()):
    """Yaws of the references after the portrait at 0, and the choice."""
    uses = [
        PhotoUse(
            str(yaw),
            "",
            "front",
            Crop(0, 0, 64),
            canonical_camera(yaw, 0, CROP_SIZE),
            yaw not in left_out,
        )
        for yaw in yaws
    ]
    chosen = choose_photos(canonical_camera(0, 0, CROP_SIZE), uses, back_view=back_view)
    references = [yaws[index] for index in chosen.references]
    assert [use.name for use in chosen.uses] == [str(yaw) for yaw in yaws], "all are recorded"
    assert {str(yaw) for yaw in references} == {use.name for use in chosen.uses if use.used}
    return references, chosen


def test_the_portrait_alone():
    for back_view in (False, True):
        references, chosen = chosen_yaws((), back_view)
        assert references == []
        assert not chosen.shows_back


def test_references_that_differ_most_come_first():
    assert chosen_yaws((20, -80, 60), back_view=False)[0] == [-80, 60, 20]


def test_at_most_four_pictures_and_the_rest_is_named():
    references, chosen = chosen_yaws((10, 90, -90, 15, 170), back_view=False)
    assert references == [170, -90, 90]
    (first, *_), reasons = chosen.uses, {use.reason for use in chosen.uses if not use.used}
    assert not first.used
    assert reasons == {
        "The engine takes 4 pictures of a person, and the others differ more from each other."
    }


def test_a_generated_back_view_is_one_of_the_four():
    references, chosen = chosen_yaws((45, 90, -90), back_view=True)
    assert references == [90, -90]
    assert not chosen.shows_back
    assert "one of them the generated back view" in chosen.uses[0].reason


@pytest.mark.parametrize(
    ("yaws", "back"), [((90, 160, -175, -90), -175), ((-130,), -130), ((125, 60), 125)]
)
def test_the_photo_from_nearest_behind_takes_the_place_of_the_back_view(yaws, back):
    references, chosen = chosen_yaws(yaws, back_view=True)
    assert chosen.shows_back
    assert references[0] == back
    assert len(references) == min(3, len(yaws))


def test_a_profile_is_no_back_view():
    references, chosen = chosen_yaws((115,), back_view=True)
    assert references == [115]
    assert not chosen.shows_back


def test_photos_that_were_left_out_are_no_references():
    references, chosen = chosen_yaws((180, 90), back_view=True, left_out=(180,))
    assert references == [90]
    assert not chosen.shows_back


def test_a_reference_is_the_photo_in_the_networks_framing(photo):
    placed = seen_from(photo, 60, 10)
    camera = network_camera(placed.camera, 128)
    picture = reference_picture(placed, camera)
    assert picture.shape == (128, 128, 3)
    assert np.array_equal(picture, reframe(placed.image, placed.camera, camera))


def test_only_a_certain_matte_takes_the_background_away(photo):
    half = np.zeros(photo.matte.shape, np.uint8)
    half[:, ::2] = 255
    sure, unsure = (
        replace(photo, matte=half, report=replace(photo.report, matte_confidence=confidence))
        for confidence in (0.95, 0.5)
    )
    shown = on_background(sure, (10, 20, 30)).image
    assert np.array_equal(shown[:, ::2], photo.image[:, ::2])
    assert (shown[:, 1::2] == (10, 20, 30)).all()
    assert np.array_equal(on_background(unsure, (10, 20, 30)).image, photo.image)
