"""Pictures that a person brings along: condition images and start images from folders.

Other tools make them, too: the authors publish condition images, and a 3D-aware GAN gives start
images (DiffPortrait3D, section 3.3).
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


@dataclass(frozen=True)
class GivenPictures:
    """Folders with one picture for each camera, in the order of their names.

    Each shows what the camera sees from its place in the networks' framing (see
    ``framing.network_camera``): square, aimed at the head.
    """

    conditions: Path | None = None
    """Another subject at the target cameras; None: the template head is rendered."""
    start: Path | None = None
    """Start images; None: as the option ``start`` says."""

    def fingerprint(self) -> dict[str, str]:
        """Hashes over the pictures of each folder, for a view set's meta."""
        found = {}
        for name, folder in (("condition_images", self.conditions), ("start_images", self.start)):
            if folder is not None:
                digest = hashlib.sha256()
                for path in _files(folder, name.replace("_", " ")):
                    digest.update(read_photo(path))
                found[name] = digest.hexdigest()
        return found


def read_given(
    folder: Path, what: str, count: int, size: int, cancel: CancelCheck = never_cancel
) -> list[Pixels]:
    """Pictures of a folder at the size of the networks.

    Args:
        folder: see :class:`GivenPictures`.
        what: ``condition images`` or ``start images``.
        count: cameras.
        size: width and height wanted, pixels.
        cancel: polled while pictures are decoded.

    Returns:
        (size, size, 3) uint8 each.

    Raises:
        Dp3dError: ``engine.bad_input``, ``job.cancelled``.

    """
    files = _files(folder, what)
    if len(files) != count:
        raise _refuse(
            f"There are {len(files)} {what} in {folder} for {count} cameras.",
            "Give one picture for each camera, named in the order of the cameras.",
        )
    return [_read(path, what, size, cancel) for path in files]


def _files(folder: Path, what: str) -> Sequence[Path]:
    if not Path(folder).is_dir():
        raise _refuse(f"There is no folder {folder}.", f"Name the folder that holds the {what}.")
    found = (path for path in Path(folder).iterdir() if path.suffix.lower() in _SUFFIXES)
    # 2 comes before 10; what begins with a dot is some system's own
    return sorted((p for p in found if not p.name.startswith(".")), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _read(path: Path, what: str, size: int, cancel: CancelCheck) -> Pixels:
    try:
        pixels = decode_photo(read_photo(path), cancel).rgb
    except Cancelled:
        raise
    except Dp3dError as error:
        raise _refuse(
            f"{path.name} of the {what} cannot be used. {error.problem}",
            "Save it as PNG or JPEG, square, best in the size that the networks work at.",
        ) from error
    height, width = pixels.shape[:2]
    if abs(width / height - 1) > _SQUARE:
        raise _refuse(
            f"{path.name} of the {what} is {width} x {height} pixels.",
            "Give square pictures in the networks' framing: aimed at the head.",
        )
    if (width, height) == (size, size):
        return pixels
    way = cv2.INTER_AREA if width > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=way), np.uint8)


def _refuse(problem: str, remedy: str) -> Dp3dError:
    return Dp3dError("engine.bad_input", problem, remedy)
