"""Peak signal to noise ratio, the figure by which pictures are compared here and in the field."""

from __future__ import annotations

import math

NO_ERROR_DB = 100.0
"""PSNR of pictures without any difference, instead of infinity, which JSON does not know."""


def psnr(squared_error: float) -> float:
    """PSNR, dB.

    Args:
        squared_error: mean squared difference of values from 0 to 1.

    """
    return -10 * math.log10(max(float(squared_error), 10 ** (-NO_ERROR_DB / 10)))
