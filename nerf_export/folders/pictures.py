"""Pictures and masks of a folder, through the common decoding room (:mod:`dp3d_core.decoding`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp3d_core.arrays import Pixels
from dp3d_core.decoding.limits import MAX_FILE_BYTES, check_file_bytes
from dp3d_core.decoding.outside import decode_outside
from dp3d_core.decoding.picture import DecodedPicture, PictureHeader, Wanted, picture_header
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import read_limited
from nerf_export.folders.capture import unusable

_GREY_TOLERANCE = 8
"""Largest difference of a grey pixel's channels, 0 to 255: JPEG stores colours coarsely."""
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"),
    *(".heic", ".heif", ".avif", ".gif", ".ppm", ".tga"),
)
"""Endings of pictures, the likeliest first, that are tried for a name without a file."""


@contextmanager
def _refusing_by_name(name: str) -> Iterator[None]:
    """Turn errors of reading a picture into ``viewset.invalid`` with the folder's name of it."""
    try:
        yield
    except OSError as error:
        raise unusable(
            f"{name!r:.80} cannot be read ({error.strerror})", "Check the file and its rights."
        ) from error
    except Dp3dError as error:
        if not error.code.startswith("portrait."):
            raise
        raise unusable(
            f"{name!r:.80}: {error.problem.rstrip('.')[:300]}",
            "Give pictures as PNG, JPEG, WebP or TIFF, and fetch damaged ones again.",
        ) from error


def read_header(path: Path, name: str) -> PictureHeader:
    """Size, orientation and kind of a picture by its header.

    Args:
        path: the file.
        name: the folder's name of the picture, for messages.

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    with _refusing_by_name(name):
        return picture_header(_contents(path))


def _contents(path: Path) -> bytes:
    check_file_bytes(path.stat().st_size)  # before the file is read
    return read_limited(path, MAX_FILE_BYTES)


def _decoded(path: Path, name: str, wanted: Wanted) -> DecodedPicture:
    with _refusing_by_name(name):
        return decode_outside(_contents(path), wanted)


def orientation(path: Path, name: str) -> int:
    """EXIF orientation of a picture, 1 to 8; 1 is upright."""
    return read_header(path, name).orientation


def has_transparency(path: Path, name: str) -> bool:
    """Whether a picture has an alpha channel, by its header."""
    return read_header(path, name).has_alpha


def read_white(path: Path, name: str) -> float | None:
    """Value of white that a deep grey picture gets if decoded alone (:class:`DecodedPicture`).

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    return _decoded(path, name, Wanted(longest=None, srgb=False)).white


def read_picture(path: Path, name: str, turned: bool = False, white: float | None = None) -> Pixels:
    """(h, w, 4) uint8 pixels, sRGB, straight alpha.

    Args:
        path: the file.
        name: the folder's name of the picture, for messages.
        turned: whether to apply the EXIF orientation.
        white: value of white in a deep grey picture; None: from its own largest value.

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    rgb, alpha, *_ = _decoded(path, name, Wanted(longest=None, upright=turned, white=white))
    opaque = np.full(rgb.shape[:2], 255, np.uint8)
    return np.dstack([rgb, opaque if alpha is None else alpha])


@dataclass(frozen=True)
class MaskFile:
    """Values of a mask as stored in its file."""

    values: Pixels
    """(h, w) uint8 alpha, brightness, or indices of a palette."""
    palette: bytes | None = None
    """RGB of the palette that ``values`` index; None: no indices."""
    colours: int = 0
    """Number of colours of a mask without palette; 0: it is grey."""

    @property
    def entry_brightness(self) -> Pixels | None:
        """(256,) uint8 brightness of the palette's entries; None: values are no indices."""
        if self.palette is None:
            return None
        entries = np.zeros((256, 3), np.uint8)
        rgb = np.frombuffer(self.palette[: 3 * 256], np.uint8)
        rgb = rgb[: len(rgb) // 3 * 3].reshape(-1, 3)
        entries[: len(rgb)] = rgb
        return _brightness(entries)


def read_mask(path: Path, name: str, turned: bool = False) -> MaskFile:
    """Values of a mask: its alpha where that varies, else indices or brightness.

    Args:
        path: the file.
        name: the folder's name of the mask, for messages.
        turned: whether to apply the EXIF orientation.

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    wanted = Wanted(longest=None, upright=turned, srgb=False, indices=True)
    picture = _decoded(path, name, wanted)
    rgb, alpha = picture.rgb, picture.alpha
    if alpha is not None and alpha.min() != alpha.max():
        return MaskFile(alpha)
    if picture.palette is not None:
        return MaskFile(np.ascontiguousarray(rgb[..., 0]), picture.palette)
    return MaskFile(_brightness(rgb), None, _colour_count(rgb))


def _brightness(rgb: Pixels) -> Pixels:
    """(...) uint8 luminance of (..., 3) uint8 colours: ITU-R BT.601, as in Pillow's mode L."""
    luminance: Pixels = np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return luminance


def _colour_count(rgb: Pixels) -> int:
    """Number of distinct colours of a picture; 0 for a grey one."""
    if int(np.ptp(rgb, axis=-1).max()) <= _GREY_TOLERANCE:
        return 0
    present = np.zeros(1 << 24, bool)
    present[rgb @ np.array([1 << 16, 1 << 8, 1])] = True
    return int(present.sum())
