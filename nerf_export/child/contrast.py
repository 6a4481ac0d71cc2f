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

CONTRAST_STEPS = 127
"""Steps that a contrast of one has."""
_SCALES = ((0.0, 0.012, 0.01), (0.006, 0.024, 0.004))
"""Of each: standard deviation of a blur before and of what counts as near, picture widths (three
and six pixels of 256), and brightness, 0 to 1, of a pattern that is no more than noise, of which
a blur leaves less.  The coarse pattern draws a surface from further away than the fine one."""
CONTRASTS = len(_SCALES)
_MOST = 2.0
"""Standard deviations that a contrast of one is."""


def local_contrast(picture: NDArray[np.uint8]) -> NDArray[np.int8]:
    """(h, w, 2) brightness beside its surroundings, in parts of their spread, -127 to 127.

    Fine contrast first, then coarse.

    Args:
        picture: (h, w, 4) straight alpha; what is not opaque has a contrast of zero and takes no
            part in that of others.

    """
    opaque = (picture[..., 3] >= 128).astype(np.float32)
    light = picture[..., :3].mean(-1, dtype=np.float32) / 255
    size = max(light.shape)

    def mean(values: NDArray[np.float32], width: float) -> NDArray[np.float32]:
        near = np.maximum(ndimage.gaussian_filter(opaque, width * size), 1e-3)
        around: NDArray[np.float32] = ndimage.gaussian_filter(values * opaque, width * size) / near
        return around

    scales = []
    for blur, width, noise in _SCALES:
        blurred = mean(light, blur) if blur else light
        rest = blurred - mean(blurred, width)
        contrast = rest / (_MOST * (np.sqrt(mean(rest**2, width)) + noise))
        scales.append(opaque * np.clip(contrast, -1, 1))
    return (CONTRAST_STEPS * np.stack(scales, -1)).round().astype(np.int8)
