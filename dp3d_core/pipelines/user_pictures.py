"""Condition images and start images from the user's folders.

The authors publish condition images, and 3D-aware GANs make start images (DiffPortrait3D,
section 3.3).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dp3d_core.arrays import Pixels
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.portraits.photo_file import decode_photo, read_photo
from dp3d_core.progress import CancelCheck, never_cancel

_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"}
)
_SQUARE = 0.01
"""Largest deviation of width / height from 1."""


@dataclass(frozen=True)
class UserPictures:
    """Folders with one picture for each camera, ordered by file name.

    Pictures are square and in the networks' framing: seen from the camera's position, aimed at the
    head (``framing.network_camera``).
    """

    conditions: Path | None = None
    """Condition images; None: the template head is rendered."""
    start: Path | None = None
    """Start images; None: decided by the option ``start``."""

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 over the pictures of each folder, parameters for ``meta.json``."""
        hashes = {}
        for name, folder in (("condition_images", self.conditions), ("start_images", self.start)):
            if folder is not None:
                digest = hashlib.sha256()
                for path in _files(folder, name.replace("_", " ")):
                    digest.update(read_photo(path))
                hashes[name] = digest.hexdigest()
        return hashes


def read_user_pictures(
    folder: Path, what: str, count: int, size: int, cancel: CancelCheck = never_cancel
) -> list[Pixels]:
    """Pictures of a folder, scaled to the size that the networks work at.

    Args:
        folder: see :class:`UserPictures`.
        what: ``condition images`` or ``start images``.
        count: number of cameras.
        size: width and height of the result, pixels.
        cancel: polled while pictures are decoded.

    Returns:
        (size, size, 3) uint8 pictures, one for each camera.

    Raises:
        Dp3dError: ``engine.bad_input``, ``job.cancelled``.

    """
    files = _files(folder, what)
    if len(files) != count:
        raise _bad_input(
            f"There are {len(files)} {what} in {folder} for {count} cameras.",
            "Give one picture for each camera, named in the order of the cameras.",
        )
    return [_read(path, what, size, cancel) for path in files]


def _files(folder: Path, what: str) -> Sequence[Path]:
    if not Path(folder).is_dir():
        raise _bad_input(f"There is no folder {folder}.", f"Name the folder that holds the {what}.")
    pictures = (path for path in Path(folder).iterdir() if path.suffix.lower() in _SUFFIXES)
    # files that begin with a dot belong to the operating system
    return sorted((path for path in pictures if not path.name.startswith(".")), key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts view2 before view10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _read(path: Path, what: str, size: int, cancel: CancelCheck) -> Pixels:
    try:
        pixels = decode_photo(read_photo(path), cancel).rgb
    except Cancelled:
        raise
    except Dp3dError as error:
        raise _bad_input(
            f"{path.name} of the {what} cannot be used. {error.problem}",
            "Save it as PNG or JPEG, square, best in the size that the networks work at.",
        ) from error
    height, width = pixels.shape[:2]
    if abs(width / height - 1) > _SQUARE:
        raise _bad_input(
            f"{path.name} of the {what} is {width} x {height} pixels.",
            "Give square pictures in the networks' framing: aimed at the head.",
        )
    if (width, height) == (size, size):
        return pixels
    interpolation = cv2.INTER_AREA if width > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=interpolation), np.uint8)


def _bad_input(problem: str, remedy: str) -> Dp3dError:
    return Dp3dError("engine.bad_input", problem, remedy)
