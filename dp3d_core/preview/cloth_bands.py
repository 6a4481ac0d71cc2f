"""Colours of clothes around the body: a collar, its rim and what lies below go on as bands.

A ruff, a shirt's collar above a coat or a striped edge lies at one distance from the neckline all
around, so what the photo shows at the sides says more of the back than the commonest colour does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dp3d_core.preview.panorama import Panorama
from dp3d_core.preview.tones import clusters, lab
from dp3d_core.smoothstep import ramp

Image = NDArray[np.float32]
Array = NDArray[np.float64]

_BAND, _DEEPEST = 4.0, 160.0
"""Millimetres of a band, and the distance from the neckline of the last one."""
_EVEN = 1.0
"""Bands over which colours are rounded."""
_SIDES, _SHOULDERS = (28.0, 55.0), (150.0, 115.0)
"""Longitudes between which places begin to say, and cease to say, what the back looks like."""
_LITTLE = 16.0
"""Texels of a band's colour below which it is unknown."""
_FEW, _COLOURS, _ALIKE = 60, 6, 12.0
"""Texels of cloth of which fewer say nothing, colours that are told apart, and Lab distance below
which two are one."""


def cloth_bands(image: Image, weight: Image, depth: Array, grid: Panorama, main: Array) -> Image:
    """(r, c, 3) colour of clothes at every distance from the neckline.

    Args:
        image: (r, c, 3) colours where they are known.
        weight: (r, c) of what surely is cloth, 0 to 1.
        depth: (r, c) distance below the neckline, millimetres; NaN where no ray meets the head.
        grid: of the panorama.
        main: (3,) colour of clothes of which nothing is known.

    """
    angle = grid.aside_deg()
    beside = ramp(angle, *_SIDES) * ramp(angle, *_SHOULDERS)
    share = np.where(np.isfinite(depth), weight * beside, 0)
    known = share > 0.2
    if known.sum() < _FEW:
        return np.asarray(np.broadcast_to(main, image.shape), np.float32)
    shown = image[known].astype(np.float64)
    labels, centres = clusters(lab(shown), _COLOURS)
    means = np.array(
        [shown[labels == one].mean(0) if (labels == one).any() else main for one in range(_COLOURS)]
    )
    count = int(_DEEPEST / _BAND) + 1
    band = np.clip(np.nan_to_num(depth) / _BAND, 0, count - 1)
    number = band[known].astype(int)
    left = np.broadcast_to(np.arange(grid.columns) < grid.columns // 2, share.shape)[known]
    sides = [
        np.stack(
            [np.bincount(number, side * (labels == one), count) for one in range(_COLOURS)], -1
        )
        for side in (share[known] * left, share[known] * ~left)
    ]
    # near colours count together
    alike = np.linalg.norm(centres[:, None] - centres, axis=2) < _ALIKE
    one, other = (gaussian_filter1d(side, _EVEN, axis=0, mode="nearest") for side in sides)
    both = np.minimum(one.sum(1), other.sum(1))[:, None] > _LITTLE
    # where both sides are seen, a strap over one shoulder does not go around
    shared = 2 * np.minimum(one @ alike, other @ alike) / np.maximum((one + other) @ alike, 1e-6)
    mass = (one + other) * np.where(both, shared, 1)
    # of each band the commonest colour, so that edges stay edges
    near = alike[(mass @ alike).argmax(1)] * mass
    total = near.sum(1)
    sure = total > _LITTLE
    if not sure.any():
        return np.asarray(np.broadcast_to(main, image.shape), np.float32)
    own = near @ means / np.maximum(total, 1e-6)[:, None]
    places = np.arange(count)
    # below what the photo shows goes on what it shows last
    lines = [np.interp(places, places[sure], own[sure, c]) for c in range(3)]
    at = [np.interp(band, places, line) for line in lines]
    return np.asarray(np.stack(at, -1), np.float32)
