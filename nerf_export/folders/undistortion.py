"""Undistortion of pictures with OpenCV, at unchanged focal length and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dp3d_core.arrays import Array32, Mask, Pixels
from dp3d_core.cameras.lenses import Distortion, Lens
from dp3d_core.errors import Dp3dError


@dataclass(frozen=True)
class Undistortion:
    """Map from pixels of the pinhole picture to positions in the distorted one.

    Attributes:
        columns: (h, w) float32, pixels as OpenCV counts: the centre of the first one is 0.
        rows: (h, w) float32, counted likewise.
        valid: (h, w) bool, valid mask: pixels that the distorted picture shows.

    """

    columns: Array32
    rows: Array32
    valid: Mask

    @classmethod
    def of(cls, lens: Lens) -> Undistortion:
        """The undistortion of a distorted lens.

        Raises:
            Dp3dError: ``engine.packages_missing`` without OpenCV.

        """
        cv2 = _opencv()
        K = lens.K
        K[:2, 2] -= 0.5  # OpenCV counts from the centre of the first pixel
        size = (lens.width, lens.height)
        coefficients = np.array(lens.coefficients)
        if lens.distortion is Distortion.FISHEYE:
            columns, rows = cv2.fisheye.initUndistortRectifyMap(
                K, coefficients, np.eye(3), K, size, cv2.CV_32FC1
            )
        else:
            columns, rows = cv2.initUndistortRectifyMap(
                K, coefficients, np.eye(3), K, size, cv2.CV_32FC1
            )
        valid = (
            (columns >= -0.5) & (columns <= lens.width - 0.5)
            & (rows >= -0.5) & (rows <= lens.height - 0.5)
        )  # fmt: skip
        if lens.crop_radius is not None:
            valid &= np.hypot(columns - K[0, 2], rows - K[1, 2]) <= lens.crop_radius
        return cls(columns, rows, valid & ~_folded(columns, rows, lens))

    def apply(self, pixels: Pixels, *, nearest: bool = False) -> Pixels:
        """Undistort an (h, w) or (h, w, c) uint8 picture; invalid pixels become 0.

        Args:
            pixels: the distorted picture.
            nearest: take the nearest pixel, as for masks, instead of interpolating.

        """
        cv2 = _opencv()
        interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        undistorted = cv2.remap(
            pixels, self.columns, self.rows, interpolation, borderMode=cv2.BORDER_REPLICATE
        )
        undistorted[~self.valid] = 0
        return np.asarray(undistorted, np.uint8)


def _folded(columns: Array32, rows: Array32, lens: Lens) -> Mask:
    """(h, w) pixels beyond the angle at which the lens polynomial stops growing.

    Further out the polynomial turns back, and the picture would appear a second time.
    """
    folded = np.zeros(columns.shape, bool)
    if min(columns.shape) < 2:
        return folded
    with np.errstate(all="ignore"):
        down_x, right_x = np.gradient(columns)
        down_y, right_y = np.gradient(rows)
        # "not > 0", so that NaN counts as reversed too
        reversed_pixels = ~(right_x * down_y - right_y * down_x > 0)
    if reversed_pixels.any():
        x = (np.arange(lens.width) + 0.5 - lens.cx) / lens.fx
        y = (np.arange(lens.height) + 0.5 - lens.cy) / lens.fy
        radius = np.hypot(x[None], y[:, None])
        folded = radius >= radius[reversed_pixels].min()
    return folded


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise Dp3dError(
            "engine.packages_missing",
            "The pictures are distorted, and OpenCV, which undistorts them, is not installed.",
            "Install it with pip install opencv-python-headless, or undistort the pictures first.",
        ) from error
    return cv2
