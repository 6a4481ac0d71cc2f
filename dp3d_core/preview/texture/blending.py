"""Blend the photo into its completion without a seam: coarse colours slowly, detail abruptly.

The idea of multiresolution splines (Burt and Adelson 1983), applied to colour factors: towards the
end of the photo its coarse colours become those of the completion over a broad band, while its
strands, pores and folds stay up to the end.
"""

from __future__ import annotations

import cv2
import numpy as np

from dp3d_core.arrays import Array32, Labels, smoothstep
from dp3d_core.preview.texture.continuation import distance_to
from dp3d_core.preview.texture.panorama import wrap

_COARSE = 7.0
"""Blur that separates coarse colour from detail, texels."""
_BAND = 52.0
"""Width of the band in which coarse colours change, texels."""
_ENDED = 0.4
"""Weight below which the photo has ended."""
_GAP = 9
"""Greatest gap in the photo that is not an end, texels."""
_DARKEST = 0.03
"""Floor of coarse colours before their ratio is taken, sRGB."""
_MAX_CHANGE = 1.2
"""Greatest absolute logarithm of a factor."""


def blending(
    photo: Array32, filled: Array32, weight: Array32, parts: Labels, kept: Array32
) -> Array32:
    """(r, c, 3) log factors that bring a photo's coarse colours to those of its completion.

    Args:
        photo: (r, c, 3) colours of the photo on a panorama, where known.
        filled: (r, c, 3) completed colours, everywhere.
        weight: (r, c) weight of the photo, 0 to 1.
        parts: (r, c) kind of surface.
        kept: (r, c) 1 where the photo's colours are not changed.

    """
    factors = np.zeros_like(photo)
    for kind in np.unique(parts):
        region = parts == kind
        known = np.where(region, weight, 0).astype(np.float32)
        if known.sum() < _BAND:
            continue
        ended = (region & (weight < _ENDED)).astype(np.uint8)
        kernel = np.ones((_GAP, _GAP), np.uint8)
        end = cv2.morphologyEx(wrap(ended, _GAP), cv2.MORPH_OPEN, kernel)[:, _GAP:-_GAP] > 0
        if not end.any():
            continue
        distance = distance_to(end).astype(np.float64)
        share = (1 - smoothstep(distance, 0, _BAND)) * (1 - kept)
        ratio = _coarse(filled, known) / _coarse(photo, known)
        change = np.clip(np.log(ratio), -_MAX_CHANGE, _MAX_CHANGE)
        factors += np.where(region[..., None], change * share[..., None], 0)
    soft = cv2.GaussianBlur(wrap(factors, 8), (0, 0), 1.5)[:, 8:-8]
    return np.asarray(soft, np.float32)


def _coarse(image: Array32, weight: Array32) -> Array32:
    """(r, c, 3) blurred colours, weighted by ``weight`` (r, c) and extended by the blur."""
    weighted = np.dstack([image * weight[..., None], weight])
    soft = cv2.GaussianBlur(wrap(weighted, 32), (0, 0), _COARSE)[:, 32:-32]
    return np.maximum(soft[..., :3] / np.maximum(soft[..., 3:], 1e-4), _DARKEST)
