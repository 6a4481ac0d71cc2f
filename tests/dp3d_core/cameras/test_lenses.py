"""Lenses from files of other tools."""

from __future__ import annotations

import math

import pytest

from dp3d_core.cameras.camera import UnusableCamera
from dp3d_core.cameras.lenses import (
    COLMAP_MODELS,
    Distortion,
    colmap_lens,
    lens_of_picture,
    transforms_lens,
)

SIZE = (128, 96)
FX = 64 / math.tan(0.5)


@pytest.mark.parametrize(
    ("frame", "top", "expected"),
    [
        ({}, {"camera_angle_x": 1.0}, (FX, FX, 64, 48, 128, 96)),
        ({}, {"camera_angle_y": 2 * math.atan(0.5)}, (96, 96, 64, 48, 128, 96)),
        ({}, {"x_fov": math.degrees(1.0)}, (FX, FX, 64, 48, 128, 96)),
        ({}, {"camera_angle_x": 1.0, "camera_angle_y": 2 * math.atan(0.5)}, (FX, 96, 64, 48, 128, 96)),
        ({"fl_x": 200}, {"fl_x": 9, "fl_y": 9}, (200, 200, 64, 48, 128, 96)),
        ({}, {"fl_x": 200, "fl_y": 210, "cx": 60, "cy": 50.5}, (200, 210, 60, 50.5, 128, 96)),
        ({"fl_x": None}, {"fl_x": 200, "camera_angle_x": 1.0}, (200, 200, 64, 48, 128, 96)),
        ({}, {"fl_x": 400, "w": 256, "h": 192, "cx": 120}, (200, 200, 60, 48, 128, 96)),
        ({"w": 256, "h": 192}, {"fl_x": 400, "w": 1, "h": 1}, (200, 200, 64, 48, 128, 96)),
        ({}, {"fl_x": 400, "w": 256}, (200, 200, 64, 48, 128, 96)),
        ({}, {"fl_x": 400.0, "h": 192.0}, (200, 200, 64, 48, 128, 96)),
        # a picture's size is rounded when it is scaled
        ({}, {"fl_x": 400, "w": 255, "h": 192}, (400 * 128 / 255, 200, 64, 48, 128, 96)),
    ],
)  # fmt: skip
def test_values_of_the_frame_precede_those_of_the_file(frame, top, expected):
    lens, _ = transforms_lens(frame, top, SIZE)
    numbers = (lens.fx, lens.fy, lens.cx, lens.cy, lens.width, lens.height)
    assert numbers == pytest.approx(expected)
    assert not lens.distorted


def test_a_scaled_picture_is_noted():
    _, notes = transforms_lens({}, {"fl_x": 400, "w": 256, "h": 192}, SIZE)
    assert "256 x 192" in notes[0]
    assert transforms_lens({}, {"fl_x": 400, "w": 128, "h": 96}, SIZE)[1] == []


@pytest.mark.parametrize(
    ("values", "distortion"),
    [
        ({"camera_model": "OPENCV"}, Distortion.NONE),
        ({"camera_model": "PINHOLE", "k1": 0, "k2": 0.0}, Distortion.NONE),
        ({"k1": 0.01}, Distortion.BROWN),
        ({"camera_model": "SIMPLE_RADIAL", "k1": 0.01}, Distortion.BROWN),
        ({"camera_model": "FULL_OPENCV", "k1": 0.01, "k4": 0.1}, Distortion.BROWN),
        ({"distortion_params": [0.1, 0, 0, 0, 0.01, 0]}, Distortion.BROWN),
        ({"camera_model": "OPENCV_FISHEYE"}, Distortion.FISHEYE),
        ({"camera_model": "opencv_fisheye", "k4": 0.1}, Distortion.FISHEYE),
        ({"is_fisheye": True}, Distortion.FISHEYE),
        ({"is_fisheye": 1, "camera_model": "OPENCV", "k1": 0.1}, Distortion.FISHEYE),
        ({"is_fisheye": False, "latlong": False}, Distortion.NONE),
    ],
)
@pytest.mark.parametrize("in_frame", [True, False])
def test_distortion_models_are_recognised(values, distortion, in_frame):
    frame, top = (values, {"fl_x": 9}) if in_frame else ({}, {"fl_x": 9, **values})
    assert transforms_lens(frame, top, SIZE)[0].distortion is distortion


def test_the_order_of_coefficients_is_opencvs():
    names = {"k1": 1.0, "k2": 2.0, "k3": 3.0, "p1": 0.1, "p2": 0.2, "fl_x": 9}
    lens, _ = transforms_lens({}, names, SIZE)
    assert lens.coefficients == (1, 2, 0.1, 0.2, 3, 0, 0, 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        *(({"camera_model": name}, name) for name in ("EQUIRECTANGULAR", "ORTHOPHOTO", "FISHEYE624",
                                                      "THIN_PRISM_FISHEYE", "FOV", "VR180_L")),
        ({"camera_model": 3}, "camera_model"),
        ({"latlong": True}, "latlong"),
        ({"orthographic": True}, "orthographic"),
        ({"ftheta_p1": 0.1}, "f-theta"),
        ({"is_fisheye": "perhaps"}, "is_fisheye"),
        ({"k1": 0.1, "k4": 0.1}, "k4"),
        ({"k1": "a"}, "k1"),
        ({"k1": float("nan")}, "k1"),
        ({"distortion_params": [0.1] * 12}, "distortion_params"),
        ({"w": 128.5, "h": 96}, "w is"),
        ({"w": 0, "h": 96}, "w is"),
        ({"w": 128, "h": 128}, "another shape"),
        ({"w": 96, "h": 128}, "on its side"),
        ({"fl_x": -3}, "fl_x"),
        ({"fl_x": True}, "fl_x"),
        ({"fl_x": 10**400}, "fl_x"),
        ({"fl_x": None}, "focal length"),
        ({"fl_x": None, "camera_angle_x": 57.3}, "camera_angle_x"),
        ({"fl_x": None, "camera_angle_x": 0}, "camera_angle_x"),
        ({"fl_x": None, "x_fov": 200}, "x_fov is 200"),
        ({"cx": 0.5, "cy": 0.5}, "parts of the picture"),
    ],
)  # fmt: skip
def test_bad_lenses_are_refused_by_name(values, words):
    with pytest.raises(UnusableCamera, match=words) as caught:
        transforms_lens({}, {"fl_x": 90, **values}, SIZE)
    assert caught.value.remedy.endswith(".")


def test_without_a_picture_the_size_is_required():
    with pytest.raises(UnusableCamera, match="w is missing"):
        transforms_lens({}, {"fl_x": 90, "h": 3}, None)


def test_a_focal_length_in_millimetres_is_noticed():
    assert "pixels" in transforms_lens({}, {"fl_x": 20}, SIZE)[1][0]
    assert transforms_lens({}, {"fl_x": 64}, SIZE)[1] == []


def test_a_rolling_shutter_is_noted():
    assert transforms_lens({}, {"fl_x": 90, "rolling_shutter": [0, 0, 0, 0]}, SIZE)[1] == []
    assert transforms_lens({}, {"fl_x": 9, "rolling_shutter": [0, 0, 0.1, 0]}, SIZE)[1]


@pytest.mark.parametrize(("model", "count"), COLMAP_MODELS)
def test_colmaps_models(model, count):
    has_one_focal = (
        "RADIAL" in model and not model.startswith("RAD_TAN")
    ) or model == "SIMPLE_PINHOLE"
    values = [90.0, *([] if has_one_focal else [91.0]), 64.0, 48.0]
    values += [0.01 * (i + 1) for i in range(count - len(values))]
    if model in {"FOV", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"}:
        with pytest.raises(UnusableCamera) as caught:
            colmap_lens(model, values, *SIZE)
        assert "image_undistorter" in caught.value.remedy
        return
    lens = colmap_lens(model, values, *SIZE)
    assert (lens.fx, lens.fy, lens.cx, lens.cy) == (90, 90 if has_one_focal else 91, 64, 48)
    kind = (
        Distortion.FISHEYE if "FISHEYE" in model
        else Distortion.NONE if "PINHOLE" in model else Distortion.BROWN
    )  # fmt: skip
    assert lens.distortion is kind
    if lens.distorted:
        assert lens.coefficients[0] == 0.01
        with pytest.raises(UnusableCamera):
            colmap_lens(model, values[:-1], *SIZE)


def test_a_lens_for_a_smaller_picture():
    lens = colmap_lens("PINHOLE", [90, 91, 64, 48], *SIZE)
    small = lens_of_picture(lens, (64, 48))
    assert (small.fx, small.cy, small.width) == (45, 24, 64)
    assert lens_of_picture(lens, SIZE) is lens
    with pytest.raises(UnusableCamera):
        lens_of_picture(lens, (64, 64))


def test_the_principal_point_implies_the_size_of_halved_pictures():
    lens, notes = transforms_lens({}, {"fl_x": 400, "cx": 129, "cy": 95}, SIZE)
    assert (lens.fx, lens.cx, lens.cy, lens.width) == (200, 64.5, 47.5, 128)
    assert "256 x 192" in notes[0]
    lens, notes = transforms_lens({}, {"fl_x": 400, "cx": 70, "cy": 20}, SIZE)
    assert (lens.fx, lens.cx, notes) == (400, 70, [])  # cropped below


@pytest.mark.parametrize("middle", [(160, 120), (32, 24), (128, 200)])
def test_a_principal_point_far_from_the_centre_needs_a_size(middle):
    top = {"fl_x": 400, "cx": middle[0], "cy": middle[1]}
    with pytest.raises(UnusableCamera, match="far from the middle") as caught:
        transforms_lens({}, top, SIZE)
    assert "w and h" in caught.value.remedy
