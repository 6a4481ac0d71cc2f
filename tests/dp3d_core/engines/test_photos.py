"""Records, parameters and counts of several photos of a person."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.engines.photos import (
    person_warnings,
    photo_line,
    photo_parameters,
    photo_record,
    photo_uses,
    photo_warnings,
)
from dp3d_core.engines.registry import check_photo_count, list_engines
from dp3d_core.errors import Dp3dError
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Reference
from tests.support.photos import encode


@pytest.fixture(scope="module")
def faceless():
    """A photo without a face."""
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    return load_portrait(encode(pixels))


def person(faceless, *sides):
    """A portrait with a further photo for each side, with different hashes."""
    return replace(
        faceless,
        references=tuple(
            Reference(replace(faceless, sha256=f"{9 - i}" * 64), side, f"photo {i + 2}")
            for i, side in enumerate(sides)
        ),
    )


def test_one_photo_has_no_parameters(faceless):
    assert photo_parameters(faceless) == {}
    assert photo_uses(faceless) == ()


def test_parameters_do_not_depend_on_the_order(faceless):
    several = person(faceless, "left", "back")
    turned = replace(several, references=several.references[::-1])
    assert photo_parameters(several) == photo_parameters(turned)
    assert photo_parameters(several)["references"] == [
        {"sha256": "8" * 64, "side": "back"},
        {"sha256": "9" * 64, "side": "left"},
    ]


@pytest.mark.parametrize(("side", "yaw"), [("left", 90), ("back", 180), ("right", -90)])
def test_a_side_by_hand_places_a_photo_without_a_face(faceless, side, yaw):
    (use,) = photo_uses(person(faceless, side))
    record = photo_record(use)
    assert use.used
    assert use.side == side
    assert abs(record["yaw_deg"]) == pytest.approx(abs(yaw), abs=0.1)
    assert np.sign(use.camera.position[0]) == np.sign(yaw) or side == "back"
    assert f"from the {side}" in photo_line(record)
    assert json.loads(json.dumps(record)) == record
    assert photo_warnings([record]) == []


def test_a_photo_without_face_and_side_is_left_out(faceless):
    (use,) = photo_uses(person(faceless, "auto"))
    assert not use.used
    assert photo_warnings([photo_record(use)]) == [
        "photo 2 is left out: It shows no face, and its side is not named."
    ]


def test_warnings_of_further_photos_bear_their_names(faceless):
    own = faceless.report.warnings
    assert own  # no face was found
    assert person_warnings(person(faceless, "back")) == [*own, *(f"photo 2: {w}" for w in own)]


def test_each_engine_takes_its_number():
    most = {info.name: info.references for info in list_engines()}
    assert most == {"preview": 8, "diffportrait3d": 4, "diffportrait360": 4}
    check_photo_count("diffportrait360", 4, 4)
    with pytest.raises(Dp3dError) as error:
        check_photo_count("diffportrait360", 4, 6)
    assert error.value.code == "portrait.too_many_photos"
    assert "diffportrait360 takes 4 photos" in error.value.problem
    assert error.value.remedy == "Leave out 2, or choose the engine preview."
    with pytest.raises(Dp3dError) as error:
        check_photo_count("preview", 8, 9)
    assert error.value.remedy == "Leave out 1."


def test_the_pose_of_a_record_is_that_of_the_camera(faceless):
    (use,) = photo_uses(person(faceless, "left"))
    record = photo_record(replace(use, camera=canonical_camera(70, 10, 640)))
    assert (record["yaw_deg"], record["pitch_deg"], record["roll_deg"]) == (70.0, 10.0, 0.0)
