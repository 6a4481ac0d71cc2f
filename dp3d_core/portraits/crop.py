"""The head crop: the square window of an upright photo that a canonical camera would see.

The camera is ``trajectories.canonical_camera`` in the head's pose, its field of view
:data:`CROP_MARGIN` times as wide.  With it, a pixel of the crop is a ray in head space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dp3d_core.arrays import Array, Mask, Pixels
from dp3d_core.cameras.camera import CANONICAL_FOCAL, Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.portraits.detection import Face

CROP_SIZE = 640
"""Side of the head crop, pixels."""
CROP_MARGIN = 1.25
"""Width of the crop over that of the canonical view: room for hats and shoulders."""
CROP_FOCAL = CANONICAL_FOCAL / CROP_MARGIN
"""Focal length of the crop, image widths."""
MAX_CROP = 4
"""Largest side of a manual crop, in multiples of the photo's longest side."""

# Position of a face box in the canonical crop: measured on the published DiffPortrait3D samples,
# then scaled to PanoHead's wider framing.
_CROP_PER_FACE = 1.64 * CROP_MARGIN
"""Ratio of crop side to face box side."""
_CROP_DROP = 0.05 / CROP_MARGIN
"""Offset of the crop centre below the face box centre, in crop sides."""
_CROP_BEHIND = 0.25 / CROP_MARGIN
"""Offset of the crop centre towards the back of a head in profile, in crop sides."""


@dataclass(frozen=True)
class Crop:
    """Square window of the upright photo; it may extend beyond the photo.

    Attributes:
        x, y: left and top edge, pixels of the upright photo.
        side: side, pixels of the upright photo.

    """

    x: float
    y: float
    side: float

    @classmethod
    def around(cls, x: float, y: float, side: float) -> Crop:
        """The window centred at (x, y)."""
        return cls(x - side / 2, y - side / 2, side)

    def to_photo(self, uv: Array, size: int = CROP_SIZE) -> Array:
        """Map (..., 2) pixels of a crop ``size`` pixels wide to pixels of the photo."""
        return np.asarray(uv) * (self.side / size) + [self.x, self.y]

    def from_photo(self, uv: Array, size: int = CROP_SIZE) -> Array:
        """Map (..., 2) pixels of the photo to pixels of a crop ``size`` pixels wide."""
        return (np.asarray(uv) - [self.x, self.y]) * (size / self.side)


def crop_around(face: Face) -> Crop:
    """Head crop of a face, estimated from its box and rough yaw."""
    side = _CROP_PER_FACE * face.side
    x = face.x + _CROP_BEHIND * math.sin(math.radians(face.yaw_deg)) * side
    return Crop.around(x, face.y + _CROP_DROP * side, side)


def canonical_crop(window: Crop, camera: Camera) -> Crop:
    """The canonical crop of a head, from the camera that was fitted to another crop."""
    side = window.side * float(camera.K[0, 0]) / (CROP_FOCAL * CROP_SIZE)
    x, y = window.to_photo(camera.K[:2, 2])
    return Crop.around(float(x), float(y), side)


def centre_crop(rgb: Pixels) -> Crop:
    """Crop of a photo without a face: its middle, moved up in a tall photo."""
    height, width = rgb.shape[:2]
    side = float(min(width, height))
    middle = side / 2 + max(0.0, (height - side) * 0.25)
    return Crop.around(width / 2, middle, side * CROP_MARGIN)


def manual_crop(crop: tuple[float, float, float], rgb: Pixels, scale: float) -> Crop:
    """Validate a crop set by hand.

    Args:
        crop: x, y and side, pixels of the upright photo as stored in the file.
        rgb: (h, w, 3) the decoded photo.
        scale: size of the decoded photo over that of the file, at most 1.

    Raises:
        Dp3dError: ``portrait.bad_crop``.

    """
    if len(crop) != 3 or not all(math.isfinite(float(v)) for v in crop):
        raise Dp3dError(
            "portrait.bad_crop",
            "The manual crop must be three numbers: x, y and side.",
            "Give the left edge, the top edge and the side in pixels of the upright photo.",
        )
    x, y, side = (float(v) * scale for v in crop)
    height, width = rgb.shape[:2]
    longest = max(width, height)
    if side > MAX_CROP * longest:
        raise Dp3dError(
            "portrait.bad_crop",
            f"The manual crop is {side / longest:.3g} times as large as the photo.",
            f"Give a side of at most {MAX_CROP} times the longest side of the photo.",
        )
    if side < 16 or x >= width or y >= height or x + side <= 0 or y + side <= 0:
        raise Dp3dError(
            "portrait.bad_crop",
            f"The manual crop lies outside the photo of {width} x {height} pixels or is tiny.",
            "Give x, y and side in pixels of the upright photo; the side is at least 16.",
        )
    return Crop(x, y, side)


def face_inside(faces: list[Face], window: Crop) -> Face | None:
    """The first face near the middle of a crop, with a box of 0.25 to 1.2 crop sides."""
    for face in faces:
        u, v = window.from_photo(np.array([face.x, face.y]), 1)
        if 0.2 < u < 0.8 and 0.2 < v < 0.8 and 0.25 < face.side / window.side < 1.2:
            return face
    return None


def cut(rgb: Pixels, window: Crop) -> tuple[Pixels, Mask]:
    """Resample a crop.

    Returns:
        Image (640, 640, 3) uint8, with the photo's border repeated beyond it; valid mask
        (640, 640) bool, True inside the photo.

    """
    matrix, interpolation, source = _warp(rgb, window)
    image = cv2.warpAffine(
        source, matrix, (CROP_SIZE, CROP_SIZE), flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    pixels = np.stack(np.meshgrid(np.arange(CROP_SIZE) + 0.5, np.arange(CROP_SIZE) + 0.5), -1)
    positions = window.to_photo(pixels)
    inside = ((positions >= 0) & (positions <= [rgb.shape[1], rgb.shape[0]])).all(-1)
    return np.asarray(image, np.uint8), np.asarray(inside)


def cut_alpha(alpha: Pixels, window: Crop) -> Pixels:
    """Resample the alpha of a crop: (640, 640) uint8, 0 beyond the photo."""
    matrix, interpolation, source = _warp(alpha, window)
    pixels = cv2.warpAffine(
        source, matrix, (CROP_SIZE, CROP_SIZE), flags=interpolation, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(pixels, np.uint8)


def _warp(image: Pixels, window: Crop) -> tuple[Array, int, Pixels]:
    """Matrix, interpolation and source for ``cv2.warpAffine``; reductions are blurred first."""
    factor = window.side / CROP_SIZE
    source = image
    if factor > 1:
        blurred = cv2.GaussianBlur(image, (0, 0), 0.5 * math.sqrt(factor**2 - 1) + 1e-6)
        source = np.asarray(blurred, np.uint8)
    # OpenCV puts pixel centres at whole numbers, we put them at halves
    shift = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
    unshift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    scale = np.array(
        [[1 / factor, 0, -window.x / factor], [0, 1 / factor, -window.y / factor], [0, 0, 1.0]]
    )
    return (
        (shift @ scale @ unshift)[:2],
        cv2.INTER_CUBIC if factor < 1 else cv2.INTER_LINEAR,
        source,
    )
