"""COLMAP's sparse model, text or binary: cameras and images, without points.

Formats: https://colmap.github.io/format.html
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from dp3d_core.cameras.camera import UnusableCamera
from dp3d_core.cameras.files import camera_file_error
from dp3d_core.cameras.lenses import COLMAP_MODELS, Lens, colmap_lens
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import FIT_VIEWS
from dp3d_core.storage.files import open_regular, read_limited

_EXPORT_AGAIN = (
    "Export the model again with COLMAP, as text for instance: 'colmap model_converter'."
)
"""Remedy for a model that cannot be read."""
_MAX_TEXT = 2**30
"""Most bytes of a text file of a model."""
_LONGEST_NAME = 1024
"""Most bytes of an image's name in a binary model, with the zero at its end."""
_POINT_BYTES = 24
"""Bytes of one point of an image in a binary model: x, y and id."""


@dataclass(frozen=True)
class PosedImage:
    """An image of a model: name, camera and pose."""

    name: str
    camera: int
    """Id of its camera."""
    rotation: tuple[float, ...]
    """World to camera, quaternion w x y z."""
    translation: tuple[float, ...]
    """World to camera, x y z."""


@dataclass(frozen=True)
class Model:
    """Lenses and images of a model."""

    files: tuple[Path, Path]
    """Files of cameras and images."""
    lenses: dict[int, Lens]
    """Lenses by the id of their camera."""
    images: tuple[PosedImage, ...]
    """Images in the order of their names."""


def model_files(folder: Path) -> tuple[Path, Path] | None:
    """Files of cameras and images in a folder, binary preferred to text; None: no model."""
    for ending in (".bin", ".txt"):
        files = folder / f"cameras{ending}", folder / f"images{ending}"
        if all(file.is_file() for file in files):
            return files
    return None


def read_model(files: tuple[Path, Path]) -> Model:
    """Read the two files of a model.

    Raises:
        Dp3dError: ``camera.file_invalid``.

    """
    binary = files[0].suffix == ".bin"
    try:
        cameras = _binary_cameras(files[0]) if binary else _text_cameras(files[0])
        images = _binary_images(files[1]) if binary else _text_images(files[1])
    except OSError as error:
        raise camera_file_error(
            f"COLMAP's model cannot be opened ({error.strerror})", "Check the files' rights."
        ) from error
    if not images:
        raise camera_file_error(f"{files[1].name} has no images", _EXPORT_AGAIN)
    lenses = {}
    for key, (model, parameters, width, height) in cameras.items():
        try:
            lenses[key] = colmap_lens(model, parameters, width, height)
        except UnusableCamera as error:
            raise camera_file_error(f"camera {key} of COLMAP: {error}", error.remedy) from error
    for image in images:
        if image.camera not in lenses:
            raise camera_file_error(
                f"the image {image.name!r:.80} has camera {image.camera}, which is not in "
                f"{files[0].name}",
                _EXPORT_AGAIN,
            )
    return Model(files, lenses, tuple(sorted(images, key=lambda image: image.name)))


_Camera = tuple[str, list[float], int, int]


# -- text ----------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    """Lines of a text file, split at line feeds only: names may hold Unicode line separators."""
    try:
        text = read_limited(path, _MAX_TEXT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise camera_file_error(f"{path.name} is no text file", _EXPORT_AGAIN) from error
    except ValueError as error:
        raise camera_file_error(str(error), "Use the binary model.") from error
    return [line.removesuffix("\r") for line in text.split("\n")]


def _bad_line(path: Path, number: int) -> Dp3dError:
    return camera_file_error(
        f"line {number} of {path.name} is not as COLMAP writes it", _EXPORT_AGAIN
    )


def _text_cameras(path: Path) -> dict[int, _Camera]:
    cameras: dict[int, _Camera] = {}
    for number, line in enumerate(_lines(path), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        try:
            key, model, width, height = int(parts[0]), parts[1], int(parts[2]), int(parts[3])
            cameras[key] = model, [float(part) for part in parts[4:]], width, height
        except (ValueError, IndexError) as error:
            raise _bad_line(path, number) from error
    return cameras


def _text_images(path: Path) -> list[PosedImage]:
    images: list[PosedImage] = []
    after_image = False  # the line after an image holds its points, and may be empty
    for number, line in enumerate(_lines(path), 1):
        parts = line.split(maxsplit=9)
        if after_image and not _is_image(parts):
            after_image = False
            continue
        if not parts or parts[0].startswith("#"):
            continue
        try:
            values = tuple(float(part) for part in parts[1:8])
            images.append(PosedImage(parts[9].rstrip(" \t"), int(parts[8]), values[:4], values[4:]))
        except (ValueError, IndexError) as error:
            raise _bad_line(path, number) from error
        _check_count(len(images))
        after_image = True
    return images


def _is_image(parts: list[str]) -> bool:
    """Whether a line after an image is the next image and not points: it ends in a name."""
    if len(parts) < 10 or parts[0].startswith("#"):
        return False
    try:
        [float(part) for part in parts[9].split()]
    except ValueError:
        return True
    return False


# -- binary --------------------------------------------------------------------------------


def _unpack(file: BufferedReader, layout: str) -> tuple[Any, ...]:
    size = struct.calcsize(layout)
    data = file.read(size)
    if len(data) != size:
        raise _cut_off(file)
    return struct.unpack(layout, data)


def _cut_off(file: BufferedReader) -> Dp3dError:
    return camera_file_error(
        f"{Path(file.name).name} is cut off, or no binary model of COLMAP",
        "Copy the file again, or export the model again with COLMAP.",
    )


def _binary_cameras(path: Path) -> dict[int, _Camera]:
    cameras: dict[int, _Camera] = {}
    with open_regular(path) as file:
        (count,) = _unpack(file, "<Q")
        _check_count(count)
        for _ in range(count):
            key, model, width, height = _unpack(file, "<IiQQ")
            if not 0 <= model < len(COLMAP_MODELS):
                hint = " (a newer COLMAP wrote it)" if model > 0 else ""
                raise camera_file_error(
                    f"camera {key} of COLMAP has the model number {model}, which is not known here"
                    + hint,
                    "Undistort the pictures with 'colmap image_undistorter', which makes a PINHOLE "
                    "model, and give the folder that it writes.",
                )
            name, parameters = COLMAP_MODELS[model]
            cameras[key] = name, list(_unpack(file, f"<{parameters}d")), width, height
    return cameras


def _binary_images(path: Path) -> list[PosedImage]:
    images: list[PosedImage] = []
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        (count,) = _unpack(file, "<Q")
        _check_count(count)
        for _ in range(count):
            _, *pose = _unpack(file, "<I7d")
            (camera,) = _unpack(file, "<I")
            name = _binary_name(file)
            (points,) = _unpack(file, "<Q")
            if points * _POINT_BYTES > size - file.tell():
                raise _cut_off(file)
            file.seek(points * _POINT_BYTES, os.SEEK_CUR)
            images.append(PosedImage(name, camera, tuple(pose[:4]), tuple(pose[4:])))
    return images


def _binary_name(file: BufferedReader) -> str:
    start = file.tell()
    name, end, _ = file.read(_LONGEST_NAME).partition(b"\0")
    if not end:
        raise _cut_off(file)
    file.seek(start + len(name) + 1)
    return name.decode("utf-8", "replace")


def _check_count(count: int) -> None:
    if count > FIT_VIEWS.high:
        raise camera_file_error(
            f"COLMAP's model has more than {FIT_VIEWS.high} images", "Leave some out."
        )
