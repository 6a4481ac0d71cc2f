"""Photo files: reading their bytes, and decoding them to upright 8-bit pixels.

``decoding`` does the decoding in a child process; this module sets limits and handles alpha.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dp3d_core.decoding.limits import check_file_bytes
from dp3d_core.decoding.outside import decode_outside
from dp3d_core.decoding.picture import DecodedPicture, Wanted
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, never_cancel
from dp3d_core.storage.files import is_file, is_folder

_PHOTO = Wanted(longest=4096, least_side=32)
"""Size of decoded photos, pixels: larger ones are scaled down, smaller ones refused."""
_CUT_OUT = 0.01
"""Fraction of transparent pixels above which a photo is a cut-out and keeps its alpha."""


def read_photo(source: Path | bytes) -> bytes:
    """Read the bytes of a photo file.

    Raises:
        Dp3dError: ``portrait.not_found``, ``portrait.unreadable``, ``portrait.too_large``.

    """
    if isinstance(source, bytes):
        return source
    path = Path(source)
    if is_folder(path):
        raise Dp3dError(
            "portrait.unreadable",
            f"{path} is a folder, not a photo.",
            "Give one image file: a PNG or JPEG.",
        )
    if not is_file(path):
        raise Dp3dError(
            "portrait.not_found",
            f"There is no photo at {path}.",
            "Check the path; it must be an image file.",
        )
    try:
        check_file_bytes(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise Dp3dError(
            "portrait.unreadable",
            f"{path.name} cannot be opened ({error.strerror}).",
            "Check that you may read the file.",
        ) from error


def decode_photo(data: bytes, cancel: CancelCheck = never_cancel) -> DecodedPicture:
    """Decode a photo; transparent parts become mid grey, and only cut-outs keep their alpha.

    Raises:
        Dp3dError: see :func:`dp3d_core.decoding.outside.decode_outside`.

    """
    photo = decode_outside(data, _PHOTO, cancel=cancel)
    if photo.alpha is None:
        return photo
    rgba = Image.fromarray(np.dstack([photo.rgb, photo.alpha]))
    grey = Image.new("RGBA", rgba.size, (128, 128, 128, 255))
    rgb = np.array(Image.alpha_composite(grey, rgba).convert("RGB"))
    is_cut_out = (photo.alpha < 128).mean() > _CUT_OUT
    return photo._replace(rgb=rgb, alpha=photo.alpha if is_cut_out else None)


def default_photo() -> Path:
    """Path of the sample photo: astronaut Eileen Collins (NASA, public domain), of scikit-image.

    Raises:
        Dp3dError: ``portrait.not_found`` without scikit-image.

    """
    try:
        import skimage
    except ImportError as error:
        raise Dp3dError(
            "portrait.not_found",
            "The default photo comes with scikit-image, which is not installed.",
            "Name a photo of your own, or install the extra: pip install 'dp3d[core]'.",
        ) from error
    return Path(skimage.__file__).parent / "data" / "astronaut.png"
