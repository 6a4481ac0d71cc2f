"""Local contrast of a picture: brightness normalised by its local mean and standard deviation.

Felt, hair and skin are almost uniform in colour, so their faint pattern adds little to a colour
loss when it is in the wrong place.  Normalised, it locates a surface as well as print does (the
reason for normalised cross-correlation in stereo; Hirschmueller and Scharstein 2007 compare such
costs).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dp3d_core.arrays import Array32, Float, Int, Pixels, UInt8

CONTRAST_STEPS = 127
"""Integer value of the largest contrast, which is 1."""
_NEIGHBOURHOOD = 0.012
"""Standard deviation of the Gaussian neighbourhood, parts of the picture's longer side (three
pixels of 256)."""
_NOISE = 0.01
"""Standard deviation of the noise in brightness, 0 to 1."""
_MAX_DEVIATIONS = 2.0
"""Standard deviations from the local mean that give a contrast of 1."""


def local_contrast(picture: UInt8[Pixels, "h w 4"]) -> Int[NDArray[np.int8], "h w"]:
    """Local contrast of each pixel, ±``CONTRAST_STEPS`` for a contrast of ±1.

    Args:
        picture: (h, w, 4) with straight alpha; pixels with an alpha below 128 have a contrast of
            zero and do not count in the neighbourhood of others.

    Returns:
        (h, w) int8.

    """
    opaque = (picture[..., 3] >= 128).astype(np.float32)
    light = picture[..., :3].mean(-1, dtype=np.float32) / 255
    sigma = _NEIGHBOURHOOD * max(light.shape)
    near = np.maximum(ndimage.gaussian_filter(opaque, sigma), 1e-3)

    def mean(values: Float[Array32, "h w"]) -> Float[Array32, "h w"]:
        """Weighted mean over the opaque neighbourhood."""
        around: Array32 = ndimage.gaussian_filter(values * opaque, sigma) / near
        return around

    difference = light - mean(light)
    contrast = difference / (_MAX_DEVIATIONS * (np.sqrt(mean(difference**2)) + _NOISE))
    steps: NDArray[np.float32] = opaque * CONTRAST_STEPS * np.clip(contrast, -1, 1)
    return steps.round().astype(np.int8)
