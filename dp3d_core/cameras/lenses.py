"""Lenses from files of other tools: nerfstudio, instant-ngp, NeRF's synthetic scenes, COLMAP.

A lens is a pinhole with one of OpenCV's distortion models.  Panoramas, orthographic cameras and
lenses with other distortion are refused with a message that names them.  numpy only.

Pixels as in :mod:`dp3d_core.cameras.camera`: the first pixel's centre is (0.5, 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from dp3d_core.cameras.camera import Intrinsics, UnusableCamera

_MAX_SIDE = 1_000_000
"""Largest width and height of a picture, pixels."""
_LARGEST = 1e9
"""Largest absolute value of any number of a lens."""
_NO_DISTORTION = 1e-12
"""Largest coefficient that counts as no distortion."""
_LEAST_CENTRE = 0.6
"""Smallest cx and cy of a lens that belongs to the picture, as a share of half its size."""
_CENTRE_TOLERANCE = 0.15
"""Relative deviation of cx and cy from the centre of an enlarged picture."""
_WIDEST_DEG = 140.0
"""Horizontal field of view above which a pinhole gets a note, degrees."""
_CONTRADICTING = 1.5
"""Factor between the focal lengths of fl_x and of camera_angle_x above which a lens gets a note."""
PERSPECTIVE = "Give pictures of perspective cameras: cut panoramas into such first."
"""Remedy for cameras that are not perspective."""
UNDISTORT = (
    "Undistort the pictures to pinhole cameras first, for instance with "
    "'colmap image_undistorter', and give the folder that it writes."
)
"""Remedy for lenses with distortion that is not supported."""


class Distortion(StrEnum):
    """Distortion models."""

    NONE = "none"
    BROWN = "brown"
    """OpenCV's rational model: k1 k2 p1 p2 k3 k4 k5 k6."""
    FISHEYE = "fisheye"
    """OpenCV's fisheye model, a polynomial of the angle from the optical axis: k1 k2 k3 k4."""


@dataclass(frozen=True)
class Lens:
    """Intrinsics of a camera, pixels."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: Distortion = Distortion.NONE
    coefficients: tuple[float, ...] = ()
    """Coefficients of the distortion model, in OpenCV's order."""
    crop_radius: float | None = None
    """Radius of a fisheye's image circle about the principal point, pixels; None: no limit."""

    @property
    def K(self) -> Intrinsics:
        """(3, 3) intrinsics of the pinhole, pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @property
    def distorted(self) -> bool:
        """Whether the lens has distortion."""
        return self.distortion is not Distortion.NONE

    def resized(self, width: int, height: int) -> Lens:
        """The lens for pictures scaled to another size."""
        x, y = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * x,
            fy=self.fy * y,
            cx=self.cx * x,
            cy=self.cy * y,
            width=width,
            height=height,
            crop_radius=None if self.crop_radius is None else self.crop_radius * x,
        )


# -- transforms.json -----------------------------------------------------------------------

_PINHOLES = {"PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE"}
_BROWN = {"OPENCV", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV"}
_FISHEYES = {"OPENCV_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"}
_OTHER_KINDS = ("ORTHO", "EQUIRECT", "OMNI", "VR180", "PANO", "SPHERICAL")
"""Parts of names of camera models that are not perspective."""
_NOT_PERSPECTIVE = ("latlong", "equirectangular", "orthographic", "ortho", "is_ortho", "panorama")
"""Switches of instant-ngp and other tools for cameras that are not perspective."""
_FOCALS = ("fl_x", "fl_y", "x_fov", "y_fov", "camera_angle_x", "camera_angle_y")
_COEFFICIENTS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


def transforms_lens(
    frame: Mapping[str, Any], top: Mapping[str, Any], size: tuple[int, int] | None
) -> tuple[Lens, list[str]]:
    """The lens of a frame of a ``transforms.json``.

    Values of the frame take precedence over those at the top of the file, and a focal length over a
    field of view.

    Args:
        frame: the frame.
        top: the top level of the file.
        size: width and height of the frame's picture, None: unknown.  The file's may be missing, or
            be those of the picture before it was scaled.

    Returns:
        The lens at the picture's size, and notes on assumptions and ignored values.

    Raises:
        UnusableCamera: for values that are wrong, contradictory or not supported.

    """
    holders = (frame, top)
    width, height = _size_implied_by_centre(holders, _size(holders, size))
    fx, fy = _focal_lengths(holders, width, height)
    cx, cy = _first(holders, "cx"), _first(holders, "cy")
    if cx is not None and cy is not None and min(cx, cy) > 0 and max(cx, cy) <= 1 < width:
        raise UnusableCamera(
            f"cx and cy are {cx:g} and {cy:g}, parts of the picture where pixels are expected",
            "Write fl_x and cx in pixels: multiply them by w, and fl_y and cy by h.",
        )
    distortion, coefficients = _distortion(holders)
    cx, cy = width / 2 if cx is None else cx, height / 2 if cy is None else cy
    lens = Lens(fx, fy, cx, cy, width, height, distortion, coefficients)
    if distortion is Distortion.FISHEYE:
        lens = replace(lens, crop_radius=_first(holders, "fisheye_crop_radius"))
    notes = [] if distortion is Distortion.FISHEYE else _contradiction_notes(holders, width)
    angle = math.degrees(2 * math.atan(width / 2 / fx))
    if angle > _WIDEST_DEG and distortion is not Distortion.FISHEYE:
        notes.append(f"The lens sees {angle:.0f} degrees: check that fl_x is in pixels.")
    shutter = _value(holders, "rolling_shutter")
    if shutter is not None and np.any(_numbers(shutter, "rolling_shutter")):
        notes.append("A rolling shutter is not modelled: every frame has one pose.")
    if size is not None and size != (width, height):
        lens = _scaled_to_picture(lens, size)
        notes.append(
            f"The cameras are for {width} x {height} pixels, the pictures have {size[0]} x "
            f"{size[1]}: the lens is scaled."
        )
    return lens, notes


def _value(holders: Sequence[Mapping[str, Any]], key: str) -> Any:
    """Value of ``key`` in the first holder that has one, or None."""
    return next((h[key] for h in holders if h.get(key) is not None), None)


def _first(holders: Sequence[Mapping[str, Any]], key: str) -> float | None:
    value = _value(holders, key)
    return None if value is None else _number(value, key)


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableCamera(f"{key} is {value!r:.60}, no number", f"Write {key} as a number.")
    if not abs(value) <= _LARGEST:  # NaN, too
        shown = f"{value:g}" if isinstance(value, float) else "larger than any picture"
        raise UnusableCamera(f"{key} is {shown}", f"Correct {key}.")
    return float(value)


def _numbers(value: Any, key: str) -> list[float]:
    if not isinstance(value, list):
        raise UnusableCamera(f"{key} is {value!r:.60}, no list", f"Write {key} as a list.")
    return [_number(entry, key) for entry in value]


def _flag(value: Any, key: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise UnusableCamera(f"{key} is {value!r:.60}, not true or false", f"Correct {key}.")


def _size(holders: Sequence[Mapping[str, Any]], size: tuple[int, int] | None) -> tuple[int, int]:
    """Width and height of the picture that the file's lens belongs to."""
    sides: dict[str, int | None] = {}
    for key in ("w", "h"):
        number = _first(holders, key)
        if number is not None and not (1 <= number <= _MAX_SIDE and number == int(number)):
            raise UnusableCamera(
                f"{key} is {number:g}, no number of pixels", "Write w and h in whole pixels."
            )
        sides[key] = None if number is None else int(number)
    width, height = sides["w"], sides["h"]
    if width is not None and height is not None:
        return width, height
    if size is None:
        missing = "w" if width is None else "h"
        raise UnusableCamera(
            f"{missing} is missing, and there is no picture to read it from",
            "Write w and h, the size of the pictures in pixels, beside the lens.",
        )
    if width is not None:
        return width, max(1, round(width * size[1] / size[0]))
    if height is not None:
        return max(1, round(height * size[0] / size[1])), height
    return size


def _size_implied_by_centre(
    holders: Sequence[Mapping[str, Any]], size: tuple[int, int]
) -> tuple[int, int]:
    """Size of the picture that cx and cy belong to, where the file states no size.

    Pictures that were scaled down by a whole number have cx and cy near that multiple of their
    centre.  Raises :class:`UnusableCamera` where cx and cy are far from the centre otherwise.
    """
    cx, cy = _first(holders, "cx"), _first(holders, "cy")
    if cx is None or cy is None or any(_value(holders, key) is not None for key in ("w", "h")):
        return size
    if 0 < min(cx, cy) <= max(cx, cy) <= 1:
        return size  # shares of the picture, refused by transforms_lens
    x, y = (2 * c / side for c, side in zip((cx, cy), size, strict=True))
    if _LEAST_CENTRE < x < 1 / _LEAST_CENTRE or _LEAST_CENTRE < y < 1 / _LEAST_CENTRE:
        return size  # near the centre, or cropped along one axis
    factor = round((x + y) / 2)
    if factor >= 2 and max(abs(x - factor), abs(y - factor)) < _CENTRE_TOLERANCE * factor:
        return size[0] * factor, size[1] * factor
    raise UnusableCamera(
        f"cx and cy are {cx:g} and {cy:g}, far from the middle of a picture of {size[0]} x "
        f"{size[1]} pixels",
        "Write w and h, the size of the pictures that the lens is for, beside it.",
    )


def _focal_lengths(
    holders: Sequence[Mapping[str, Any]], width: int, height: int
) -> tuple[float, float]:
    holder = _holder_of_focal(holders)
    if holder is None:
        raise UnusableCamera(
            "it names no focal length",
            "Write fl_x in pixels or camera_angle_x in radians, at the top or in each frame.",
        )
    fx, fy = (_focal_length(holder, axis, side) for axis, side in (("x", width), ("y", height)))
    if fx is None or fy is None:  # square pixels
        fx = fy = fx if fx is not None else fy
    assert fx is not None
    assert fy is not None
    return fx, fy


def _contradiction_notes(holders: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """A note where a focal length and an angle of view contradict each other."""
    holder = _holder_of_focal(holders)
    focal = None if holder is None else _first([holder], "fl_x")
    if holder is None or focal is None:
        return []
    with suppress(UnusableCamera):  # an angle that is not used may be wrong
        implied = _focal_length({**holder, "fl_x": None}, "x", width)
        if implied is not None and not 1 / _CONTRADICTING < focal / implied < _CONTRADICTING:
            return [
                "fl_x and the angle of view contradict each other by a factor of "
                f"{max(focal / implied, implied / focal):.2g}: fl_x counts."
            ]
    return []


def _holder_of_focal(holders: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((h for h in holders if any(h.get(key) is not None for key in _FOCALS)), None)


def _focal_length(holder: Mapping[str, Any], axis: str, side: int) -> float | None:
    """Focal length along an axis, pixels; None where the holder has none for it."""
    if (focal := _first([holder], f"fl_{axis}")) is not None:
        if focal <= 0:
            raise UnusableCamera(
                f"fl_{axis} is {focal:g}", "Give focal lengths in pixels, above 0."
            )
        return focal
    key, angle = f"camera_angle_{axis}", _first([holder], f"camera_angle_{axis}")
    if angle is None and (degrees := _first([holder], f"{axis}_fov")) is not None:
        key, angle = f"{axis}_fov", math.radians(degrees)
    if angle is None:
        return None
    if not 1e-6 < angle < math.pi - 1e-3:
        raise UnusableCamera(
            f"{key} is {_first([holder], key):g}, no angle of view",
            "Give camera_angle_x and camera_angle_y in radians, above 0 and below 3.14.",
        )
    return side / 2 / math.tan(angle / 2)


def _distortion(holders: Sequence[Mapping[str, Any]]) -> tuple[Distortion, tuple[float, ...]]:
    model = _value(holders, "camera_model")
    if model is not None and not isinstance(model, str):
        raise UnusableCamera(f"camera_model is {model!r:.60}, no name", "Correct camera_model.")
    name = (model or "OPENCV").upper()
    fisheye = name in _FISHEYES
    if not fisheye and name not in _PINHOLES | _BROWN:
        raise UnusableCamera(
            f"camera_model is {model!r:.60}, which is no lens known here",
            PERSPECTIVE if any(part in name for part in _OTHER_KINDS) else UNDISTORT,
        )
    for key in _NOT_PERSPECTIVE:
        if (value := _value(holders, key)) is not None and _flag(value, key):
            raise UnusableCamera(f"{key} is set: it is no perspective camera", PERSPECTIVE)
    for key in [f"ftheta_p{i}" for i in range(5)]:
        if _first(holders, key):
            raise UnusableCamera(f"it has an f-theta lens ({key})", UNDISTORT)
    if (switch := _value(holders, "is_fisheye")) is not None:
        fisheye = _flag(switch, "is_fisheye") or fisheye
    coefficients = _coefficients(holders)
    if fisheye:
        return Distortion.FISHEYE, tuple(coefficients[key] for key in ("k1", "k2", "k3", "k4"))
    rational = name == "FULL_OPENCV"
    if not rational and any(abs(coefficients[key]) > _NO_DISTORTION for key in ("k4", "k5", "k6")):
        raise UnusableCamera(
            "k4 to k6 of a lens that is no fisheye mean one thing to nerfstudio and another to "
            "OpenCV",
            UNDISTORT,
        )
    return _brown(coefficients)


def _coefficients(holders: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """k1 to k6, p1 and p2 of the first holder that has any; absent ones are 0."""
    values = _value(holders, "distortion_params")
    if values is not None:
        numbers = _numbers(values, "distortion_params")
        if len(numbers) > 6:
            raise UnusableCamera(f"it has {len(numbers)} distortion_params", UNDISTORT)
        numbers += [0.0] * (6 - len(numbers))
        named = dict(zip(("k1", "k2", "k3", "k4", "p1", "p2"), numbers, strict=True))
        return dict.fromkeys(_COEFFICIENTS, 0.0) | named
    holder = next((h for h in holders if any(h.get(key) is not None for key in _COEFFICIENTS)), {})
    return {key: _first([holder], key) or 0.0 for key in _COEFFICIENTS}


def _brown(coefficients: Mapping[str, float]) -> tuple[Distortion, tuple[float, ...]]:
    values = tuple(coefficients[key] for key in ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"))
    if max(abs(value) for value in values) <= _NO_DISTORTION:
        return Distortion.NONE, ()
    return Distortion.BROWN, values


def _scaled_to_picture(lens: Lens, size: tuple[int, int]) -> Lens:
    """A lens scaled to the size of its picture; raises for another aspect ratio."""
    width, height = size
    if abs(lens.width * height - lens.height * width) > max(*size, lens.width, lens.height):
        why = (
            f"the picture has {width} x {height} pixels, its camera {lens.width} x {lens.height}, "
            "which is another shape"
        )
        if (lens.height, lens.width) == size:
            raise UnusableCamera(
                f"{why}: the picture lies on its side", "Turn the picture as its camera has it."
            )
        raise UnusableCamera(
            why, "Give the picture that this camera took, not a part of it, or correct w and h."
        )
    return lens.resized(width, height)


# -- COLMAP --------------------------------------------------------------------------------

COLMAP_MODELS: tuple[tuple[str, int], ...] = (
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
    ("FOV", 5),
    ("SIMPLE_RADIAL_FISHEYE", 4),
    ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12),
    ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
)
"""Names and parameter counts of COLMAP's camera models; the index is the model's id."""
_ONE_FOCAL = {
    "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE",
}  # fmt: skip
_COLMAP_COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")


def colmap_lens(model: str, parameters: Sequence[float], width: int, height: int) -> Lens:
    """The lens of a camera in a COLMAP model.

    Args:
        model: name of its camera model.
        parameters: in COLMAP's order.
        width: of the pictures, pixels.
        height: of the pictures, pixels.

    Raises:
        UnusableCamera: for a model that is not supported or parameters that are wrong.

    """
    count = dict(COLMAP_MODELS).get(model)
    if count is None or model not in _PINHOLES | _BROWN | _FISHEYES:
        raise UnusableCamera(f"its camera model is {model!r:.60}, no lens known here", UNDISTORT)
    if len(parameters) != count:
        raise UnusableCamera(
            f"a {model} camera has {count} parameters, this one {len(parameters)}",
            "Export the model again with COLMAP.",
        )
    values = [_number(value, "a parameter") for value in parameters]
    if model in _ONE_FOCAL:
        values.insert(0, values[0])
    fx, fy, cx, cy, *bends = values
    if min(fx, fy) <= 0:
        raise UnusableCamera(f"its focal length is {min(fx, fy):g}", "Reconstruct it again.")
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise UnusableCamera(f"its size is {width} x {height}", "Export the model again.")
    lens = Lens(fx, fy, cx, cy, width, height)
    if model in _FISHEYES:
        bends += [0.0] * (4 - len(bends))
        return replace(lens, distortion=Distortion.FISHEYE, coefficients=tuple(bends))
    named = dict.fromkeys(_COLMAP_COEFFICIENTS, 0.0) | dict(
        zip(_COLMAP_COEFFICIENTS, bends, strict=False)
    )
    distortion, coefficients = _brown(named)
    return replace(lens, distortion=distortion, coefficients=coefficients)


def lens_of_picture(lens: Lens, size: tuple[int, int]) -> Lens:
    """A lens for a picture that was scaled, not cropped; raises :class:`UnusableCamera`."""
    return lens if (lens.width, lens.height) == size else _scaled_to_picture(lens, size)
