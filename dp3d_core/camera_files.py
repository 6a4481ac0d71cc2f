"""Cameras in files: our ``cameras.json``, the add-on's path, nerfstudio's ``transforms.json``.

What the numbers mean is decided in :mod:`dp3d_core.cameras`; here is only how they are
written and read.  Standard library and numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.cameras import (
    Camera,
    CameraAxes,
    WorldFrame,
    convert_pose,
    head_pose_from_blender,
    intrinsics_from_projection,
    nearest_rigid,
)
from dp3d_core.errors import Dp3dError
from dp3d_core.files import read_json

CAMERA_FILE_SCHEMA = "dp3d.cameras/1"
BLENDER_PATH_SCHEMA = "dp3d.blender-path/1"
_BAD = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What numbers and fields of the wrong kind lead to."""


def camera_file_error(why: str) -> Dp3dError:
    """The error for cameras that cannot be read; ``why`` is half a sentence."""
    return Dp3dError(
        "camera.file_invalid",
        f"The cameras cannot be read: {why}.",
        "Use a cameras.json written by dp3d, or export the path again.",
    )


def _side(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise ValueError("a width or height is not a whole number of pixels")
    return value


def _reason(error: Exception) -> str:
    """Half a sentence about a field that was not as expected."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, ValueError):
        return str(error)
    return "a field is of the wrong kind"


def cameras_to_dict(cameras: Sequence[Camera]) -> dict[str, Any]:
    """Contents of a ``cameras.json``."""
    return {
        "schema": CAMERA_FILE_SCHEMA,
        "coordinates": {
            "world": WorldFrame.HEAD.value,
            "camera_axes": CameraAxes.OPENCV.value,
            "units": "head units; the canonical camera stands 2.7 from the head centre",
            "pixels": "u right, v down, first pixel centre at (0.5, 0.5)",
        },
        "cameras": [camera.to_dict() for camera in cameras],
    }


def cameras_from_dict(data: Any) -> list[Camera]:
    """Cameras of a parsed file: our ``cameras.json``, or a path sent by the add-on.

    Raises:
        Dp3dError: ``camera.file_invalid`` or ``camera.invalid``.

    """
    if not isinstance(data, dict):
        raise camera_file_error("it is not a JSON object")
    schema = data.get("schema")
    if schema == BLENDER_PATH_SCHEMA:
        return cameras_from_blender_path(data)
    if schema != CAMERA_FILE_SCHEMA:
        raise camera_file_error(f"its schema is {schema!r}, expected {CAMERA_FILE_SCHEMA!r}")
    try:
        coordinates = data.get("coordinates", {})
        axes = CameraAxes(coordinates.get("camera_axes", CameraAxes.OPENCV))
        world = WorldFrame(coordinates.get("world", WorldFrame.HEAD))
        cameras = [
            Camera(
                convert_pose(
                    nearest_rigid(c["c2w"]),
                    axes=(axes, CameraAxes.OPENCV),
                    world=(world, WorldFrame.HEAD),
                ),
                np.asarray(c["K"], np.float64),
                _side(c["width"]),
                _side(c["height"]),
            )
            for c in data["cameras"]
        ]
    except _BAD as error:
        raise camera_file_error(_reason(error)) from error
    if not cameras:
        raise camera_file_error("it holds no camera")
    return cameras


def load_cameras(path: Path) -> list[Camera]:
    """Cameras of a JSON file (see :func:`cameras_from_dict`)."""
    try:
        data = read_json(path)
    except OSError as error:
        raise camera_file_error(f"{Path(path).name} cannot be opened ({error.strerror})") from error
    except ValueError as error:
        raise camera_file_error(f"{Path(path).name} is not JSON ({error})") from error
    return cameras_from_dict(data)


# -- Blender -------------------------------------------------------------------------------


def cameras_from_blender_path(data: dict[str, Any]) -> list[Camera]:
    """Cameras of a path as the add-on sends it: Blender's own matrices, nothing derived.

    ``{"schema": "dp3d.blender-path/1", "width": w, "height": h, "frames": [{"camera_world":
    4x4, "anchor_world": 4x4, "projection": 4x4}, ...]}``; each frame may carry its own size.
    """
    try:
        frames = data["frames"]
        cameras = []
        for frame in frames:
            width = _side(frame.get("width", data.get("width")))
            height = _side(frame.get("height", data.get("height")))
            cameras.append(
                Camera(
                    head_pose_from_blender(frame["camera_world"], frame["anchor_world"]),
                    intrinsics_from_projection(frame["projection"], width, height),
                    width,
                    height,
                )
            )
    except _BAD as error:
        raise camera_file_error(f"in the Blender camera path {_reason(error)}") from error
    if not cameras:
        raise camera_file_error("the Blender camera path has no frames")
    return cameras


# -- nerfstudio ----------------------------------------------------------------------------


def cameras_to_transforms(
    cameras: Sequence[Camera], file_paths: Sequence[str], mask_paths: Sequence[str] | None = None
) -> dict[str, Any]:
    """Contents of nerfstudio's ``transforms.json`` (world N, OpenGL axes, K per frame)."""
    if len(cameras) != len(file_paths):
        raise ValueError("one file path per camera")
    frames = []
    for i, (camera, file_path) in enumerate(zip(cameras, file_paths, strict=True)):
        frame: dict[str, Any] = {
            "file_path": file_path,
            "fl_x": float(camera.K[0, 0]),
            "fl_y": float(camera.K[1, 1]),
            "cx": float(camera.K[0, 2]),
            "cy": float(camera.K[1, 2]),
            "w": camera.width,
            "h": camera.height,
            "transform_matrix": convert_pose(
                camera.c2w,
                axes=(CameraAxes.OPENCV, CameraAxes.OPENGL),
                world=(WorldFrame.HEAD, WorldFrame.Z_UP),
            ).tolist(),
        }
        if mask_paths is not None:
            frame["mask_path"] = mask_paths[i]
        frames.append(frame)
    return {"camera_model": "OPENCV", "orientation_override": "none", "frames": frames}


def cameras_from_transforms(data: dict[str, Any]) -> tuple[list[Camera], list[str]]:
    """Cameras and file paths of a nerfstudio ``transforms.json``, read as a Z-up world.

    Intrinsics may stand in each frame, at the top, or as ``camera_angle_x`` with ``w``/``h``.

    Raises:
        Dp3dError: ``camera.file_invalid``; also for lens distortion, which we do not model.

    """
    try:
        cameras, paths = [], []
        for frame in data["frames"]:

            def get(key: str, default: float | None = None, frame: Any = frame) -> float:
                value = frame.get(key, data.get(key, default))
                if value is None:
                    raise KeyError(key)
                return float(value)

            if any(abs(get(k, 0.0)) > 1e-12 for k in ("k1", "k2", "k3", "k4", "p1", "p2")):
                raise camera_file_error("it has lens distortion; undistort the pictures first")
            width, height = int(get("w")), int(get("h"))
            if "fl_x" in frame or "fl_x" in data:
                fx = get("fl_x")
                fy = get("fl_y", fx)
            else:
                fx = fy = width / 2 / math.tan(get("camera_angle_x") / 2)
            K = np.array(
                [[fx, 0, get("cx", width / 2)], [0, fy, get("cy", height / 2)], [0, 0, 1.0]]
            )
            pose = convert_pose(
                nearest_rigid(frame["transform_matrix"]),
                axes=(CameraAxes.OPENGL, CameraAxes.OPENCV),
                world=(WorldFrame.Z_UP, WorldFrame.HEAD),
            )
            cameras.append(Camera(pose, K, width, height))
            paths.append(str(frame["file_path"]))
    except _BAD as error:
        raise camera_file_error(f"in transforms.json {_reason(error)}") from error
    return cameras, paths
