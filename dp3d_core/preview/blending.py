"""Seams between the photo and what continues it: coarse colours go over slowly, fine ones fast.

The idea of multiresolution splines (Burt and Adelson 1983), on factors of the colour: towards the
places where the photo ends its coarse colours become those of the continuation, over a broad
band; its strands, pores and folds stay until the end.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.preview.panorama import wrap
from dp3d_core.preview.texture import texels_from
from dp3d_core.smoothstep import ramp

Image = NDArray[np.float32]

_COARSE = 7.0
"""Texels; coarser variation is colour."""
_BAND = 52.0
"""Texels before the end of the photo from which on its coarse colours give way."""
_ENDED, _GAP = 0.4, 9
"""Weight of the photo below which it has ended, and texels of a gap that is no end."""
_DARKEST, _MOST = 0.03, 1.2
"""sRGB below which colours count as equally dark, and limit of the logarithm of a factor."""


def blending(
    photo: Image, filled: Image, weight: Image, parts: NDArray[np.uint8], kept: Image
) -> Image:
    """(r, c, 3) logarithm of factors by which a photo's colours go over into the continuation's.

    Args:
        photo: (r, c, 3) colours of a panorama where they are known.
        filled: (r, c, 3) colours that continue it everywhere.
        weight: (r, c) of the photo, 0 to 1.
        parts: (r, c) kind of surface.
        kept: (r, c) 1 where the photo's colours stay.

    """
    factors = np.zeros_like(photo)
    for kind in np.unique(parts):
        region = parts == kind
        shown = np.where(region, weight, 0).astype(np.float32)
        if shown.sum() < _BAND:
            continue
        ended = (region & (weight < _ENDED)).astype(np.uint8)
        wide = np.ones((_GAP, _GAP), np.uint8)
        opened = cv2.morphologyEx(wrap(ended, _GAP), cv2.MORPH_OPEN, wide)[:, _GAP:-_GAP] > 0
        if not opened.any():
            continue
        distance = texels_from(opened).astype(np.float64)
        share = (1 - ramp(distance, 0, _BAND)) * (1 - kept)
        ratio = _coarse(filled, shown) / _coarse(photo, shown)
        change = np.clip(np.log(ratio), -_MOST, _MOST)
        factors += np.where(region[..., None], change * share[..., None], 0)
    soft = cv2.GaussianBlur(wrap(factors, 8), (0, 0), 1.5)[:, 8:-8]
    return np.asarray(soft, np.float32)


def _coarse(image: Image, weight: Image) -> Image:
    """(r, c, 3) coarse colours where the weight is, continued a little."""
    weighted = np.dstack([image * weight[..., None], weight])
    soft = cv2.GaussianBlur(wrap(weighted, 32), (0, 0), _COARSE)[:, 32:-32]
    return np.maximum(soft[..., :3] / np.maximum(soft[..., 3:], 1e-4), _DARKEST)
