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
    photo_records,
    photo_warnings,
    used_hashes,
)
from dp3d_core.engines.registry import check_photo_count, list_engines
from dp3d_core.errors import Dp3dError
from dp3d_core.portraits.crop import Crop
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Reference
from dp3d_core.preview.further.photos import PhotoUse
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
    assert photo_records(faceless, ()) == []


def test_parameters_do_not_depend_on_the_order(faceless):
    several = person(faceless, "left", "back")
    turned = replace(several, references=several.references[::-1])
    assert photo_parameters(several) == photo_parameters(turned)
    assert photo_parameters(several)["references"] == [
        {"sha256": "8" * 64, "side": "back"},
        {"sha256": "9" * 64, "side": "left"},
    ]


def uses_of(portrait, *yaws):
    return [
        PhotoUse(f"kept {yaw}", "", "left", Crop(0, 0, 64), canonical_camera(yaw, 10, 64), True)
        for yaw in yaws
    ]


def test_records_have_the_pose_of_the_camera_and_the_name_of_the_reference(faceless):
    """A head that is kept from an earlier run knows its photos by other names."""
    several = person(faceless, "left", "back")
    first, second = photo_records(several, uses_of(several, 70, 180))
    assert [first["name"], second["name"]] == ["photo 2", "photo 3"]
    assert (first["yaw_deg"], first["pitch_deg"], first["roll_deg"]) == (70.0, 10.0, 0.0)
    assert abs(second["yaw_deg"]) == 180.0
    assert json.loads(json.dumps(first)) == first
    assert photo_line(first) == ("photo 2 shows the head from the left (yaw 70, pitch 10 degrees).")


def test_a_photo_that_is_left_out_has_a_warning(faceless):
    several = person(faceless, "left", "auto")
    used, unused = uses_of(several, 70, 0)
    unused = replace(unused, used=False, reason="No person was found in it.")
    assert photo_warnings(photo_records(several, [used, unused])) == [
        "photo 3 is left out: no person was found in it."
    ]
    (alone, left_out) = photo_warnings(photo_records(person(faceless, "auto"), [unused]))
    assert alone == "None of the further photos is used: the head is that of one photo."
    assert left_out.startswith("photo 2 is left out")


def test_a_doubt_about_a_used_photo_is_a_warning(faceless):
    several = person(faceless, "left")
    (use,) = uses_of(several, 70)
    records = photo_records(several, [replace(use, note="It may show somebody else.")])
    assert photo_warnings(records) == ["photo 2: It may show somebody else."]
    earlier = [{k: v for k, v in records[0].items() if k != "note"}]
    assert photo_warnings(earlier) == []


def test_a_small_negative_angle_is_zero(faceless):
    record = photo_records(person(faceless, "left"), uses_of(faceless, 70))[0]
    assert "pitch 0 degrees" in photo_line(record | {"pitch_deg": -0.3})


def test_hashes_of_a_rig_are_those_of_used_photos(faceless):
    several = person(faceless, "left", "auto")
    used, unused = uses_of(several, 70, 0)
    used = replace(used, sha256="9" * 64)
    unused = replace(unused, sha256="8" * 64, used=False, reason="No person was found in it.")
    assert used_hashes(photo_records(several, [unused, used])) == ["9" * 64]


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
