"""Peak signal-to-noise ratio, for the metrics of pictures and of radiance fields."""

from __future__ import annotations

import math

NO_ERROR_DB = 100.0
"""PSNR of identical pictures, dB; JSON has no infinity."""


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio, dB, at most :data:`NO_ERROR_DB`.

    Args:
        squared_error: mean squared difference of values in 0 to 1.

    """
    return -10 * math.log10(max(float(squared_error), 10 ** (-NO_ERROR_DB / 10)))
