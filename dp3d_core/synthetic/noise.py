"""Smooth noise in space, for hair, skin, cloth and backdrops."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates

from dp3d_core.arrays import Array, Array32


@lru_cache(maxsize=1)
def _volume() -> Array32:
    """(64, 64, 64) uniform noise, -1 to 1, repeated periodically."""
    return np.random.default_rng(7).uniform(-1, 1, (64, 64, 64)).astype(np.float32)


def noise(p: Array, wavelength: float | tuple[float, float, float], octave: int = 0) -> Array:
    """(n,) smooth noise, -1 to 1, at points (n, 3).

    Args:
        p: (n, 3) points.
        wavelength: spacing of the noise's grid in units of ``p``, one or per axis.
        octave: selects an independent noise.

    """
    q = (p / np.asarray(wavelength) + 17.3 * (octave + 1)).T
    return np.asarray(map_coordinates(_volume(), q, order=1, mode="grid-wrap"), np.float64)
