"""The person in a photo whose face no detector sees."""

from __future__ import annotations

import cv2
import numpy as np

from dp3d_core.arrays import Mask, Pixels
from dp3d_core.portraits.crop import CROP_SIZE, Crop, cut
from dp3d_core.portraits.matting import segment
from dp3d_core.preview.further.head_model import PHOTO_SIDE

_FRAMINGS = (1.0, 0.75, 1.3)
"""Sides of the squares in which a person is looked for, longer sides of the photo."""
_BORDER = 5.0
"""Width of the photo's border that is taken for background, pixels."""
_BORDER_ENDS = 0.5
"""Height at which that border ends above the shoulders, image heights."""
_MIN_PERSON = 0.01
"""Least share of a photo that a person covers."""


def _person(image: Pixels, inside: Mask) -> Mask:
    """(h, w) the largest person in an image; ``inside`` (h, w) is its valid mask.

    The segmenter misses backs of heads.  GrabCut (Rother et al. 2004) completes its result by
    colour, with the upper borders of the photo as background.
    """
    size = (PHOTO_SIDE, PHOTO_SIDE)
    probability = cv2.resize(segment(image), size)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    valid = np.asarray(cv2.resize(inside.astype(np.uint8), size), np.uint8)
    labels = np.where(probability > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    border = cv2.copyMakeBorder(valid, 1, 0, 1, 1, cv2.BORDER_CONSTANT, value=[0])
    border = cv2.copyMakeBorder(border, 0, 1, 0, 0, cv2.BORDER_REPLICATE)
    near_border = cv2.distanceTransform(border, cv2.DIST_L2, 5)[1:-1, 1:-1] < _BORDER
    lower = np.arange(PHOTO_SIDE)[:, None] > _BORDER_ENDS * PHOTO_SIDE
    labels[near_border & ~lower & (probability < 0.5)] = cv2.GC_BGD
    labels[(probability > 0.9)] = cv2.GC_FGD
    if (labels == cv2.GC_FGD).any() or (labels == cv2.GC_PR_FGD).any():
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(small, labels, None, *models, 3, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    foreground = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    opened = cv2.morphologyEx(foreground, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    solid = np.asarray(cv2.resize(opened, image.shape[1::-1], interpolation=cv2.INTER_NEAREST))
    count, components, stats, _ = cv2.connectedComponentsWithStats(solid)
    if count < 2:
        return np.zeros(solid.shape, bool)
    return np.asarray(components == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def head_window(photo: Pixels) -> Crop | None:
    """Square around the upper part of the person; None without one."""
    height, width = photo.shape[:2]
    whole = float(max(width, height))
    for factor in _FRAMINGS:
        window = Crop.around(width / 2, height / 2, factor * whole)
        for _ in range(2):
            image, inside = cut(photo, window)
            mask = _person(image, inside) & inside
            if mask.sum() < _MIN_PERSON * inside.size:
                break
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            # a standing person is much higher than wide: the head is at the top
            extent = min(float(np.ptp(rows)), 1.4 * float(np.ptp(columns)))
            upper = mask[rows[0] : rows[0] + int(0.4 * extent) + 1]
            centre = np.array([np.nonzero(upper)[1].mean(), rows[0] + 0.45 * extent])
            x, y = window.to_photo(centre)
            side = max(1.25 * extent, 40.0) * window.side / CROP_SIZE
            window = Crop.around(float(x), float(y), side)
        else:
            return window
    return None
