"""Distorted pictures to pinhole pictures of the same focal length and size, with OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dp3d_core.arrays import Array32, Mask, Pixels
from dp3d_core.cameras.lenses import Distortion, Lens
from dp3d_core.errors import Dp3dError

_Pixels = Pixels


@dataclass(frozen=True)
class Undistortion:
    """Where every pixel of the pinhole picture lies in the distorted one.

    Attributes:
        columns: (h, w) float32, in OpenCV's pixels: the first one's centre is 0.
        rows: (h, w) float32.
        known: (h, w) bool, pixels that the distorted picture shows at all.

    """

    columns: Array32
    rows: Array32
    known: Mask

    @classmethod
    def of(cls, lens: Lens) -> Undistortion:
        """Of a lens that is distorted.

        Raises:
            Dp3dError: ``engine.packages_missing`` without OpenCV.

        """
        cv2 = _opencv()
        K = lens.K
        K[:2, 2] -= 0.5  # OpenCV counts from the centre of the first pixel
        size = (lens.width, lens.height)
        bends = np.array(lens.coefficients)
        if lens.distortion is Distortion.FISHEYE:
            columns, rows = cv2.fisheye.initUndistortRectifyMap(
                K, bends, np.eye(3), K, size, cv2.CV_32FC1
            )
        else:
            columns, rows = cv2.initUndistortRectifyMap(K, bends, np.eye(3), K, size, cv2.CV_32FC1)
        known = (
            (columns >= -0.5) & (columns <= lens.width - 0.5)
            & (rows >= -0.5) & (rows <= lens.height - 0.5)
        )  # fmt: skip
        if lens.crop_radius is not None:
            known &= np.hypot(columns - K[0, 2], rows - K[1, 2]) <= lens.crop_radius
        return cls(columns, rows, known & ~_folded(columns, rows, lens))

    def apply(self, pixels: _Pixels, *, nearest: bool = False) -> _Pixels:
        """The pinhole picture of an (h, w) or (h, w, c) one; 0 where nothing is known."""
        cv2 = _opencv()
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        moved = cv2.remap(pixels, self.columns, self.rows, how, borderMode=cv2.BORDER_REPLICATE)
        moved[~self.known] = 0
        return np.asarray(moved, np.uint8)


def _folded(columns: Array32, rows: Array32, lens: Lens) -> Mask:
    """(h, w) pixels beyond the angle up to which a lens was calibrated.

    Further out its polynomial turns back, and the picture would appear there a second time.
    """
    folded = np.zeros(columns.shape, bool)
    if min(columns.shape) < 2:
        return folded
    with np.errstate(all="ignore"):
        down_x, right_x = np.gradient(columns)
        down_y, right_y = np.gradient(rows)
        # a NaN is no picture either
        turned = ~(right_x * down_y - right_y * down_x > 0)
    if turned.any():
        x = (np.arange(lens.width) + 0.5 - lens.cx) / lens.fx
        y = (np.arange(lens.height) + 0.5 - lens.cy) / lens.fy
        radius = np.hypot(x[None], y[:, None])
        folded = radius >= radius[turned].min()
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
