"""Smooth noise over space: hair, skin, cloth and backdrops."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Array = NDArray[np.float64]


@lru_cache(maxsize=1)
def _volume() -> NDArray[np.float32]:
    """(64, 64, 64) uniform noise from -1 to 1 that tiles space."""
    return np.random.default_rng(7).uniform(-1, 1, (64, 64, 64)).astype(np.float32)


def noise(p: Array, wavelength: float | tuple[float, float, float], octave: int = 0) -> Array:
    """(n,) smooth noise from -1 to 1 of points (n, 3)."""
    q = (p / np.asarray(wavelength) + 17.3 * (octave + 1)).T
    return np.asarray(map_coordinates(_volume(), q, order=1, mode="grid-wrap"), np.float64)
