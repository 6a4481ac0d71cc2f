"""What a photo shows on the sides of a face that is none of its skin.

Wherever the fitted head is wider than the person, its cheeks see an earring, a strand of hair, the
rim of light around the outline or the wall.  The middle of a face has features that differ from
its skin; cheeks have none, so that whatever differs there is something else, but for the arms of
glasses.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.space import MM
from dp3d_core.preview.tones import lab
from dp3d_core.smoothstep import ramp

Image = NDArray[np.float32]
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_ROUNDS, _AROUND, _SHADE = 3, 0.04, 0.05
"""Rounds in which skin is told from what lies on it, and the reach of its local colour and of
shade, parts of the picture."""
_SPREAD = np.array([9.0, 6.0, 6.0])
"""Lab; standard deviations of skin about its local colour."""
_OWN = 0.2
"""Share of skin nearby below which the tone of the face is the local colour."""
_OUTLIER = (1.6, 3.0)
"""Standard deviations between which a colour ceases to be skin."""
_ARM, _ARM_THICK = 0.04, 0.03
"""Length across from which on, and height below which, what is dark is an arm of glasses, parts of
the picture."""
_BELOW_BROWS, _BELOW_EYES = (34.0, 22.0), (-2.0, -12.0)
"""Heights, millimetres, below which a face has no features at its sides and before them."""
_TEMPLE, _BELOW_HAIR = (44.0, 53.0), (52.0, 40.0)
"""Millimetres from the middle from which on there are no brows, and heights below which temples
have no fringe."""
_CHIN, _NECK = (-70.0, -78.0), (-98.0, -86.0)
"""Heights, millimetres, below which the underside of a chin begins, and above which it ends."""
_LOBES, _EAR = (-40.0, -28.0), (0.7, 1.0)
"""Heights, millimetres, above which ears lie and not their rings, and nearness that is the ear."""
_GROWN, _SOFT = 0.012, 0.006
"""Parts of the picture by which what is no skin is grown, for its rim is mixed, and softened."""


def doubted_skin(points: Array, middle: Array, ear: Array) -> tuple[Array, Array]:
    """Where all skin must look like skin, and where nothing on it may be brighter, (k,) 0 to 1.

    Args:
        points: (k, 3) of the head, head units.
        middle: (k,) 1 in the middle of the face, where its features are.
        ear: (k,) 1 on ears, less beside them.

    """
    x, y, _ = (points / MM).T
    temple = ramp(np.abs(x), *_TEMPLE)
    # before the temple are the corners of the eyes
    high, low = (ramp(y, *heights) for heights in (_BELOW_BROWS, _BELOW_EYES))
    cheek = (1 - middle) * (low + (high - low) * temple)
    doubted = np.maximum(np.maximum(cheek, temple * ramp(y, *_BELOW_HAIR)), ramp(y, *_CHIN))
    # ears have folds, and sideburns grow before them; below them hang rings
    own = ear * ramp(y, *_LOBES)
    above = ramp(y, *_NECK)
    return doubted * (above * (1 - own)), temple * above * (1 - ramp(own, *_EAR))


def foreign_on_skin(image: Image, skin: Mask, doubted: Image, glaring: Image, tone: Array) -> Image:
    """(h, w) 1 where a photo of a face shows something else than skin, 0 where skin or no doubt is.

    Args:
        image: (h, w, 3) the photo under even light, 0 to 1.
        skin: (h, w) where the head has skin.
        doubted: (h, w) 1 where all skin must look like skin, 0 on features.
        glaring: (h, w) 1 where hair may fall on it, so that only what is brighter is no skin.
        tone: (3,) sRGB of the face's skin.

    """
    height, width = skin.shape
    places = lab(image.reshape(-1, 3)).reshape(height, width, 3)
    usual = lab(np.asarray(tone)[None])[0]
    # shade on much of a cheek is its own, half of the way
    shade = _local(places, skin.astype(np.float32), usual, _SHADE * width)
    apart = (places - (usual + shade) / 2) / _SPREAD
    for _ in range(_ROUNDS):
        weight = (skin * np.exp(-0.5 * (apart**2).sum(-1))).astype(np.float32)
        apart = (places - _local(places, weight, usual, _AROUND * width)) / _SPREAD
    strange = ramp(np.sqrt((apart**2).sum(-1)), *_OUTLIER)
    bright = apart[..., 0] > 0
    strange *= np.where(bright, np.maximum(doubted, glaring), doubted)
    strange *= 1 - _arms_of_glasses(skin & ~bright & (strange > 0.5), width)
    foreign = (strange * skin).astype(np.float32)
    size = 2 * round(_GROWN * width / 2) + 1
    grown = cv2.dilate(foreign, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    soft = cv2.GaussianBlur(grown, (0, 0), _SOFT * width)
    return np.asarray(soft * np.maximum(doubted, glaring), np.float32)


def _local(places: Array, weight: Image, usual: Array, sigma: float) -> Array:
    """(h, w, 3) mean Lab around each pixel, the usual one (3,) where little has a weight (h, w)."""
    weighted = np.dstack([places * weight[..., None], weight]).astype(np.float32)
    soft = cv2.GaussianBlur(weighted, (0, 0), sigma)
    local = soft[..., :3] / np.maximum(soft[..., 3:], 1e-6)
    return np.asarray(usual + (local - usual) * np.minimum(soft[..., 3:] / _OWN, 1))


def _arms_of_glasses(dark: Mask, width: int) -> Mask:
    """(h, w) of what is dark on skin the parts that are long across and thin: arms of glasses."""
    long, thick = round(_ARM * width), round(_ARM_THICK * width)
    picture = dark.astype(np.uint8)
    across = cv2.morphologyEx(picture, cv2.MORPH_OPEN, np.ones((1, long), np.uint8))
    high = cv2.morphologyEx(picture, cv2.MORPH_OPEN, np.ones((thick, 1), np.uint8))
    return np.asarray((across > 0) & (high == 0))
