"""Local contrast of a picture: what is left of it where brightness says little.

Felt, hair and skin are nearly of one colour, and their faint pattern costs a fit hardly anything
when it is in the wrong place.  Divided by its own strength it says where a surface lies as clearly
as print does (the reason for normalised cross-correlation in stereo; Hirschmueller and Scharstein
2007 compare such costs).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dp3d_core.arrays import Array32, Float, Int, Pixels, UInt8

CONTRAST_STEPS = 127
"""Steps that a contrast of one has."""
_WIDTH = 0.012
"""Standard deviation of what counts as near, picture widths: three pixels of 256."""
_NOISE = 0.01
"""Brightness, 0 to 1, of a pattern that is no more than noise."""
_MOST = 2.0
"""Standard deviations that a contrast of one is."""


def local_contrast(picture: UInt8[Pixels, "h w 4"]) -> Int[NDArray[np.int8], "h w"]:
    """(h, w) brightness beside its surroundings, in parts of their spread, -127 to 127.

    Args:
        picture: (h, w, 4) straight alpha; what is not opaque has a contrast of zero and takes no
            part in that of others.

    """
    opaque = (picture[..., 3] >= 128).astype(np.float32)
    light = picture[..., :3].mean(-1, dtype=np.float32) / 255
    width = _WIDTH * max(light.shape)
    near = np.maximum(ndimage.gaussian_filter(opaque, width), 1e-3)

    def mean(values: Float[Array32, "h w"]) -> Float[Array32, "h w"]:
        around: Array32 = ndimage.gaussian_filter(values * opaque, width) / near
        return around

    rest = light - mean(light)
    contrast = rest / (_MOST * (np.sqrt(mean(rest**2)) + _NOISE))
    steps: NDArray[np.float32] = opaque * CONTRAST_STEPS * np.clip(contrast, -1, 1)
    return steps.round().astype(np.int8)
