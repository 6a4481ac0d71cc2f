"""Reads camera documents of any supported kind as the contents of a ``cameras.json``.

A ``cameras.json`` and the add-on's path are returned unchanged; nerfstudio's ``camera_path.json``
and ``transforms.json`` are converted.  numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.cameras.camera import Camera, rigid_and_scale
from dp3d_core.cameras.files import (
    TRANSPOSED,
    camera_file_error,
    cameras_to_dict,
    frame_label,
    head_pose,
    picture_side,
    read_camera_json,
    transforms_camera,
    transforms_frames,
    transposed,
    upright_frames,
)
from dp3d_core.cameras.lenses import Distortion
from dp3d_core.errors import Dp3dError

NORMALISATION_FILE = "dataparser_transforms.json"
"""File beside a run's ``config.yml`` with the transform that nerfstudio applied to the poses."""
_PERSPECTIVE = "perspective"
"""Camera type of perspective cameras in a ``camera_path.json``."""
_NARROWEST_DEG = math.pi
"""Largest field of view of a path below which its numbers are taken for radians, degrees."""
_ASPECT = "The aspect of the cameras is not that of render_width and render_height, which count."
"""Note on a path whose aspect contradicts its picture size."""

SizeOf = Callable[[Mapping[str, Any]], tuple[int, int] | None]
"""Width and height of a frame's picture in pixels, None where it is unknown."""


@dataclass(frozen=True)
class Normalisation:
    """Transform to nerfstudio's normalised space: point x becomes ``scale * (transform @ x)``.

    Attributes:
        transform: (4, 4) rigid.
        scale: above 0.

    """

    transform: Array
    scale: float

    @classmethod
    def from_dict(cls, data: Any, name: str) -> Normalisation:
        """From a parsed ``dataparser_transforms.json``; raises ``camera.file_invalid``."""
        try:
            transform, matrix_scale = rigid_and_scale(data["transform"])
            scale = float(data["scale"]) * matrix_scale
            if not (math.isfinite(scale) and scale > 0):
                raise ValueError(f"its scale is {scale:g}")
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            why = error if isinstance(error, ValueError) else "it lacks transform or scale"
            raise camera_file_error(
                f"{name} cannot be used: {why}", "Copy it again from the run, or remove it."
            ) from error
        return cls(transform, scale)

    def after(self, applied: Normalisation) -> Normalisation:
        """The part of this normalisation that remains after ``applied``."""
        transform = self.transform @ np.linalg.inv(applied.transform)
        return Normalisation(transform, self.scale / applied.scale)

    def undo(self, c2w: Array) -> Array:
        """(4, 4) camera-to-world in the data's world from one in the normalised space."""
        pose = np.array(c2w)
        pose[:3, 3] /= self.scale
        data_pose: Array = np.linalg.inv(self.transform) @ pose
        return data_pose


def read_camera_document(
    path: Path, *, size_of: SizeOf | None = None, applied: Normalisation | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Camera document of a file, for :func:`dp3d_core.cameras.trajectories.cameras_from_request`.

    The poses of a ``transforms.json`` are read in its own Z-up world, which a fit of its folder
    keeps.  So are those of a ``camera_path.json``, after undoing nerfstudio's normalisation where
    :data:`NORMALISATION_FILE` lies beside the path.

    Args:
        path: the file.
        size_of: size of a frame's picture, for files that do not state it.
        applied: transform that was applied to the data's poses before they were written
            (``applied_transform`` of a ``transforms.json``).

    Returns:
        The document, and notes for the user.

    Raises:
        Dp3dError: ``camera.file_invalid``, ``camera.not_perspective``.

    """
    data = read_camera_json(path)
    if isinstance(data, dict) and "schema" not in data:
        if isinstance(data.get("camera_path"), list):
            return _of_camera_path(data, path, applied)
        if isinstance(data.get("frames"), list):
            return _of_transforms(data, path, size_of)
        if isinstance(data.get("path"), list):
            raise camera_file_error(
                f"{path.name} is a path of instant-ngp's own, in the coordinates of its unit cube",
                "Make the path in nerfstudio's viewer or in Blender, or give a transforms.json.",
            )
    if not isinstance(data, dict):
        raise camera_file_error("it is not a JSON object")
    return data, []


def _of_transforms(
    data: Mapping[str, Any], path: Path, size_of: SizeOf | None
) -> tuple[dict[str, Any], list[str]]:
    cameras: list[Camera] = []
    frames, turned = upright_frames(transforms_frames(data, path.name))
    notes = dict.fromkeys(turned)
    for i, frame in enumerate(frames):
        where = frame_label(i, frame, path.name)
        size = None
        if size_of is not None and not all(frame.get(k, data.get(k)) for k in ("w", "h")):
            size = size_of(frame)
        parsed = transforms_camera(frame, data, where, size)
        if parsed.lens.distortion is Distortion.FISHEYE:
            raise Dp3dError(
                "camera.not_perspective",
                f"The cameras cannot be used: {where} has a fisheye lens.",
                "Give cameras without distortion.",
            )
        notes |= dict.fromkeys(parsed.notes)
        if parsed.lens.distorted:
            notes["The distortion of the lens is left out: frames are those of pinholes."] = None
        cameras.append(parsed.camera)
    return cameras_to_dict(cameras), list(notes)


def _of_camera_path(
    data: Mapping[str, Any], path: Path, applied: Normalisation | None
) -> tuple[dict[str, Any], list[str]]:
    kind = data.get("camera_type", _PERSPECTIVE)
    if not isinstance(kind, str) or kind.lower() != _PERSPECTIVE:
        raise Dp3dError(
            "camera.not_perspective",
            f"The cameras cannot be used: {path.name} has cameras of the kind {kind!r:.40}.",
            "Export the path with perspective cameras.",
        )
    width, height = (_side(data.get(f"render_{key}"), f"render_{key}") for key in
                     ("width", "height"))  # fmt: skip
    file = path.parent / NORMALISATION_FILE
    if file.exists():
        space = Normalisation.from_dict(read_camera_json(file), file.name)
        space = space if applied is None else space.after(applied)
        notes = [f"{NORMALISATION_FILE} is applied to {path.name}."]
    else:
        space = Normalisation(np.eye(4), 1.0)
        notes = [
            f"{path.name} is taken in the world of the fit: where nerfstudio has normalised the "
            f"poses, put the run's {NORMALISATION_FILE} beside it."
        ]
    entries = _entries(data, path.name)
    _check_degrees(entries, data, path.name)
    matrices = transposed([entry.get("camera_to_world") for entry in entries])
    notes += [] if matrices is None else [TRANSPOSED]
    cameras = []
    for i, entry in enumerate(entries):
        where = f"camera {i} of {path.name}"
        matrix = entry.get("camera_to_world") if matrices is None else matrices[i]
        try:
            pose = space.undo(rigid_and_scale(matrix)[0])
        except ValueError as error:
            raise camera_file_error(f"{where}: {error}", "Export the path again.") from error
        focal = height / 2 / math.tan(_vertical_fov(entry, data, where) / 2)
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        cameras.append(Camera(head_pose(pose, where)[0], K, width, height))
        aspect = entry.get("aspect")
        if isinstance(aspect, float) and abs(aspect * height / width - 1) > 0.01:
            notes += [_ASPECT] if _ASPECT not in notes else []
    if data.get("crop"):
        notes.append(f"The crop of {path.name} is left out: a render shows the whole field.")
    return cameras_to_dict(cameras), notes


def _entries(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Entries of a ``camera_path.json``, at least one; raises ``camera.file_invalid``."""
    entries = data["camera_path"]
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise camera_file_error(f"camera {i} of {name} is no object", "Export the path again.")
    if not entries and data.get("keyframes"):
        raise camera_file_error(
            f"{name} has keyframes alone, and no path between them",
            "Add a second keyframe in nerfstudio's viewer, and press 'Generate Command' there: it "
            "writes the path.",
        )
    if not entries:
        raise camera_file_error(f"{name} has no cameras", "Export the path again.")
    return list(entries)


def _check_degrees(entries: list[dict[str, Any]], data: Mapping[str, Any], name: str) -> None:
    """Refuse fields of view in radians, which as degrees would be far too narrow."""
    fovs = [entry.get("fov", data.get("default_fov")) for entry in entries]
    numbers = [fov for fov in fovs if isinstance(fov, int | float) and not isinstance(fov, bool)]
    if len(numbers) == len(fovs) and max(numbers) < _NARROWEST_DEG:
        raise camera_file_error(
            f"the largest field of view in {name} is {max(numbers):.3g} degrees, as if it were in "
            "radians",
            "Give fov in degrees, as nerfstudio does; for a lens as long as that, give a "
            "transforms.json.",
        )


def _vertical_fov(entry: Mapping[str, Any], data: Mapping[str, Any], where: str) -> float:
    """Vertical field of view of a path's entry, radians."""
    fov = entry.get("fov", data.get("default_fov"))
    if isinstance(fov, bool) or not isinstance(fov, int | float) or not 0.01 < fov < 179:
        raise camera_file_error(
            f"{where} has the field of view {fov!r:.40}", "Give fov in degrees, as nerfstudio does."
        )
    return math.radians(fov)


def _side(value: Any, key: str) -> int:
    is_whole = isinstance(value, float) and value.is_integer()  # nerfstudio may write 64.0
    try:
        return picture_side(int(value) if is_whole else value)
    except ValueError as error:
        raise camera_file_error(
            f"{key} is {value!r:.40}", f"Give {key} in whole pixels."
        ) from error
