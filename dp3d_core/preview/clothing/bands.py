"""Colour of clothes as bands around the body, by distance from the neckline.

A ruff, a shirt's collar above a coat, or a striped edge lies at one distance from the neckline all
around.  The colours at the sides therefore predict the back better than the commonest colour.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from dp3d_core.arrays import Array, Array32, smoothstep
from dp3d_core.preview.texture.panorama import Panorama
from dp3d_core.preview.texture.tones import clusters, lab

_BAND_MM = 4.0
"""Width of a band, millimetres."""
_MAX_DEPTH_MM = 160.0
"""Distance of the last band from the neckline, millimetres."""
_SMOOTHING = 1.0
"""Blur over bands, in bands."""
_SIDES = (28.0, 55.0)
"""Longitudes between which texels begin to count for the back, degrees."""
_SHOULDERS = (150.0, 115.0)
"""Longitudes between which texels cease to count for the back, degrees."""
_MIN_WEIGHT = 16.0
"""Least weight, texels, from which the colour of a band is known."""
_MIN_TEXELS = 60
"""Least number of texels of cloth from which bands are measured."""
_COLOURS = 6
"""Number of clusters of the colours of cloth."""
_ALIKE = 12.0
"""Lab distance below which two clusters count as one colour."""


def cloth_bands(
    image: Array32, weight: Array32, depth: Array, grid: Panorama, main: Array
) -> Array32:
    """(r, c, 3) colour of clothes by distance below the neckline.

    Args:
        image: (r, c, 3) known colours of the panorama.
        weight: (r, c) confidence that a texel is known cloth, 0 to 1.
        depth: (r, c) distance below the neckline, millimetres; NaN beside the head.
        grid: the panorama.
        main: (3,) colour of clothes without enough known texels.

    """
    angle = grid.longitude_deg()
    informative = smoothstep(angle, *_SIDES) * smoothstep(angle, *_SHOULDERS)
    share = np.where(np.isfinite(depth), weight * informative, 0)
    known = share > 0.2
    if known.sum() < _MIN_TEXELS:
        return np.asarray(np.broadcast_to(main, image.shape), np.float32)
    colours = image[known].astype(np.float64)
    labels, centres = clusters(lab(colours), _COLOURS)
    means = np.array(
        [
            colours[labels == one].mean(0) if (labels == one).any() else main
            for one in range(_COLOURS)
        ]
    )
    count = int(_MAX_DEPTH_MM / _BAND_MM) + 1
    band = np.clip(np.nan_to_num(depth) / _BAND_MM, 0, count - 1)
    index = band[known].astype(int)
    left = np.broadcast_to(np.arange(grid.columns) < grid.columns // 2, share.shape)[known]
    sides = [
        np.stack([np.bincount(index, side * (labels == one), count) for one in range(_COLOURS)], -1)
        for side in (share[known] * left, share[known] * ~left)
    ]
    # clusters of nearly one colour count together
    is_alike = np.linalg.norm(centres[:, None] - centres, axis=2) < _ALIKE
    one, other = (gaussian_filter1d(side, _SMOOTHING, axis=0, mode="nearest") for side in sides)
    both = np.minimum(one.sum(1), other.sum(1))[:, None] > _MIN_WEIGHT
    # where both sides are visible, a colour of one side (a strap) does not continue around
    agreement = (
        2
        * np.minimum(one @ is_alike, other @ is_alike)
        / np.maximum((one + other) @ is_alike, 1e-6)
    )
    mass = (one + other) * np.where(both, agreement, 1)
    # the commonest colour of each band, so that edges stay sharp
    commonest = is_alike[(mass @ is_alike).argmax(1)] * mass
    total = commonest.sum(1)
    is_known = total > _MIN_WEIGHT
    if not is_known.any():
        return np.asarray(np.broadcast_to(main, image.shape), np.float32)
    band_colours = commonest @ means / np.maximum(total, 1e-6)[:, None]
    bands = np.arange(count)
    # below the photo the last known band continues
    curves = [np.interp(bands, bands[is_known], band_colours[is_known, c]) for c in range(3)]
    channels = [np.interp(band, bands, curve) for curve in curves]
    return np.asarray(np.stack(channels, -1), np.float32)
