"""Cameras in files: our ``cameras.json``, the add-on's path, nerfstudio's ``transforms.json``.

This module reads and writes the formats; ``camera`` and ``lenses`` convert the conventions.
Standard library and numpy only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.cameras.camera import (
    Camera,
    CameraAxes,
    UnusableCamera,
    WorldFrame,
    convert_pose,
    head_pose_from_blender,
    intrinsics_from_projection,
    nearest_rigid,
    rigid_and_scale,
)
from dp3d_core.cameras.lenses import UNDISTORT, Lens, transforms_lens
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import read_limited

CAMERA_FILE_SCHEMA = "dp3d.cameras/1"
"""Schema of a ``cameras.json``."""
BLENDER_PATH_SCHEMA = "dp3d.blender-path/1"
"""Schema of a camera path of the add-on."""
_LARGEST_SIDE = 1_000_000
"""Largest width and height of a picture in a camera file, pixels."""
_PARSE_ERRORS = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError)
"""Exceptions that values of a wrong type or range raise while a file is parsed."""
_MAX_BYTES = 256_000_000
"""Largest size of a camera file."""
TRANSPOSED = (
    "The matrices are transposed, with the position in the last row: they were turned round."
)
"""Note on poses that were transposed, see :func:`transposed`."""
_ROUNDED = 2e-3
"""Largest rounding error of matrices that another tool wrote with three decimals."""
_SCALED = 1e-3
"""Deviation of a pose's scale from 1 above which the user gets a note."""


def camera_file_error(
    why: str, remedy: str = "Use a cameras.json written by dp3d, or export the path again."
) -> Dp3dError:
    """Error ``camera.file_invalid`` for cameras that cannot be read; ``why`` is half a sentence."""
    return Dp3dError("camera.file_invalid", f"The cameras cannot be read: {why}.", remedy)


def read_camera_json(path: Path) -> Any:
    """Parsed contents of a JSON file with cameras, in UTF-8, UTF-16 or UTF-32.

    Raises:
        Dp3dError: ``camera.file_invalid``, with line and column of a syntax error.

    """
    name, export_again = (Path(path).name or str(path))[:80], "Export the file again."
    try:
        data = read_limited(path, _MAX_BYTES)
    except OSError as error:
        raise camera_file_error(
            f"{name} cannot be opened ({error.strerror})", "Check the path and the file's rights."
        ) from error
    except ValueError as error:
        raise camera_file_error(
            f"{error}, which is more than cameras take", "Give the file with the cameras alone."
        ) from error
    try:
        # Editors on Windows write UTF-8 with a byte order mark, or UTF-16
        text = data.decode(json.detect_encoding(data)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise camera_file_error(f"{name} is no text file", export_again) from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        before = text[: error.pos].rstrip()
        place = f"line {error.lineno}, column {error.colno}"
        if before.endswith(",") and text[error.pos : error.pos + 1] in {"]", "}"}:
            raise camera_file_error(
                f"{name} is not JSON: in {place} there is a comma with nothing behind it",
                "Take that comma away.",
            ) from error
        raise camera_file_error(
            f"{name} is not JSON ({error.msg} in {place})", export_again
        ) from error
    except (ValueError, RecursionError) as error:
        raise camera_file_error(f"{name} is not JSON that anybody writes", export_again) from error


def picture_side(value: Any) -> int:
    """A width or height of a camera file, checked, pixels; raises ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_SIDE:
        raise ValueError("a width or height is not a whole number of pixels")
    return value


def _reason(error: Exception) -> str:
    """Half a sentence on an exception of :data:`_PARSE_ERRORS`."""
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
                picture_side(c["width"]),
                picture_side(c["height"]),
            )
            for c in data["cameras"]
        ]
    except _PARSE_ERRORS as error:
        raise camera_file_error(_reason(error)) from error
    if not cameras:
        raise camera_file_error("it holds no camera")
    return cameras


def load_cameras(path: Path) -> list[Camera]:
    """Cameras of a JSON file (see :func:`cameras_from_dict`)."""
    return cameras_from_dict(read_camera_json(path))


# -- Blender -------------------------------------------------------------------------------


def cameras_from_blender_path(data: dict[str, Any]) -> list[Camera]:
    """Cameras of a path of the add-on, which sends Blender's matrices unchanged.

    ``{"schema": "dp3d.blender-path/1", "width": w, "height": h, "frames": [{"camera_world":
    4x4, "anchor_world": 4x4, "projection": 4x4}, ...]}``; a frame may have a size of its own.
    """
    try:
        frames = data["frames"]
        cameras = []
        for frame in frames:
            width = picture_side(frame.get("width", data.get("width")))
            height = picture_side(frame.get("height", data.get("height")))
            cameras.append(
                Camera(
                    head_pose_from_blender(frame["camera_world"], frame["anchor_world"]),
                    intrinsics_from_projection(frame["projection"], width, height),
                    width,
                    height,
                )
            )
    except _PARSE_ERRORS as error:
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


@dataclass(frozen=True)
class TransformsCamera:
    """The camera of a frame in a ``transforms.json``.

    Attributes:
        c2w: (4, 4) rigid, head space, OpenCV axes.
        lens: intrinsics at the picture's size.
        notes: sentences on assumptions and ignored values.

    """

    c2w: Array
    lens: Lens
    notes: tuple[str, ...] = ()

    @property
    def camera(self) -> Camera:
        """The camera without distortion."""
        return Camera(self.c2w, self.lens.K, self.lens.width, self.lens.height)


def transforms_camera(
    frame: Mapping[str, Any],
    top: Mapping[str, Any],
    where: str,
    size: tuple[int, int] | None = None,
) -> TransformsCamera:
    """The camera of a frame of a ``transforms.json``, whose world is read as Z up.

    Args:
        frame: an entry of ``frames``.
        top: the top level of the file.
        where: name of the frame in messages.
        size: width and height of the frame's picture, None: unknown.

    Raises:
        Dp3dError: ``camera.file_invalid``.

    """
    try:
        lens, notes = transforms_lens(frame, top, size)
    except UnusableCamera as error:
        raise camera_file_error(f"{where}: {error}", error.remedy) from error
    matrix = frame.get("transform_matrix")
    if matrix is None and frame.get("transform_matrix_start") is not None:
        matrix = frame["transform_matrix_start"]
        notes.append("Frames that move while they are taken have the pose of their start.")
    c2w, scale = head_pose(matrix, where)
    if abs(scale - 1) > _SCALED:
        notes.append(f"The poses are scaled by {scale:.4g}, which is taken out of them.")
    return TransformsCamera(c2w, lens, tuple(notes))


def head_pose(matrix: Any, where: str) -> tuple[Array, float]:
    """Head space pose and scale of a camera-to-world matrix with OpenGL axes in a Z-up world.

    Raises:
        Dp3dError: ``camera.file_invalid``; ``where`` names the camera.

    """
    if matrix is None:
        raise camera_file_error(
            f"{where} has no transform_matrix", "Write its camera-to-world matrix."
        )
    try:
        pose, scale = rigid_and_scale(matrix)
    except UnusableCamera as error:
        raise camera_file_error(f"{where}: {error}", error.remedy) from error
    axes, world = (CameraAxes.OPENGL, CameraAxes.OPENCV), (WorldFrame.Z_UP, WorldFrame.HEAD)
    return convert_pose(pose, axes=axes, world=world), scale


def frame_label(index: int, frame: Mapping[str, Any], file: str = "transforms.json") -> str:
    """Name of a frame in messages."""
    name = frame.get("file_path")
    return f"frame {index} ({name!r:.80}) of {file}" if name else f"frame {index} of {file}"


def transforms_frames(data: Any, file: str = "transforms.json") -> list[dict[str, Any]]:
    """The frames of a parsed ``transforms.json``; raises ``camera.file_invalid``."""
    if not isinstance(data, dict) or not isinstance(data.get("frames"), list):
        raise camera_file_error(
            f"{file} has no list of frames", "Give a transforms.json as nerfstudio describes it."
        )
    for i, frame in enumerate(data["frames"]):
        if not isinstance(frame, dict):
            raise camera_file_error(
                f"frame {i} of {file} is {frame!r:.40}, no object with a file_path and a pose",
                "Give a transforms.json as nerfstudio describes it.",
            )
    if not data["frames"]:
        raise camera_file_error(f"{file} has no frames", "Export the cameras again.")
    return list(data["frames"])


def transposed(matrices: Sequence[Any]) -> list[list[list[float]]] | None:
    """Camera-to-world matrices transposed back, None where they are not transposed.

    Some programs write one axis per row and the position in the last row.  Matrices are transposed
    only where that is certain: the last column of all is 0 0 0 1, and the last row of at least one
    is not.

    Args:
        matrices: 4x4, nested or flat; None is returned for any other shape.

    """
    poses = []
    for matrix in matrices:
        try:
            pose = np.array(matrix, np.float64)
        except (TypeError, ValueError, OverflowError):
            return None
        if pose.shape not in {(4, 4), (16,)}:
            return None
        poses.append(pose.reshape(4, 4))
    if not poses:
        return None
    stack, last = np.array(poses), np.array([0, 0, 0, 1.0])
    columns, rows = np.abs(stack[:, :, 3] - last), np.abs(stack[:, 3] - last)
    # nan compares as false
    if not (columns.max() <= _ROUNDED and rows.max() > _ROUNDED):
        return None
    return [pose.T.tolist() for pose in poses]


def upright_frames(frames: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Frames with the position in the last column, and a note if they were transposed."""
    matrices = transposed([frame.get("transform_matrix") for frame in frames])
    if matrices is None:
        return frames, []
    return [
        {**frame, "transform_matrix": matrix}
        for frame, matrix in zip(frames, matrices, strict=True)
    ], [TRANSPOSED]


def cameras_from_transforms(data: dict[str, Any]) -> tuple[list[Camera], list[str]]:
    """Cameras and file paths of a nerfstudio ``transforms.json``, read as a Z-up world.

    Raises:
        Dp3dError: ``camera.file_invalid``; also for lens distortion, which :class:`Camera` lacks.

    """
    cameras, paths = [], []
    for i, frame in enumerate(transforms_frames(data)):
        where = frame_label(i, frame)
        parsed = transforms_camera(frame, data, where)
        if parsed.lens.distorted:
            raise camera_file_error(f"{where} has lens distortion", UNDISTORT)
        cameras.append(parsed.camera)
        paths.append(str(frame.get("file_path")))
    return cameras, paths
