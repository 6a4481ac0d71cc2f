"""Occlusions of skin: pixels at the sides of a face that show something else than skin.

Where the fitted head is wider than the person, its cheeks are projected onto an earring, a strand
of hair, the rim of light around the outline, or the wall.  Features of the middle of a face differ
from skin legitimately; cheeks have none, so whatever differs there, apart from the arms of
glasses, is an occlusion.
"""

from __future__ import annotations

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Mask, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.preview.texture.tones import lab

_ROUNDS = 3
"""Rounds in which local skin colour and occlusion are estimated in turn."""
_LOCAL_SIGMA = 0.04
"""Blur of the local skin colour, image widths."""
_SHADE_SIGMA = 0.05
"""Blur of the initial estimate, which follows shade, image widths."""
_SKIN_SD = np.array([9.0, 6.0, 6.0])
"""Standard deviations of skin about its local colour, Lab."""
_MIN_SKIN_SHARE = 0.2
"""Share of skin nearby below which the local colour falls back to the tone of the face."""
_OUTLIER = (1.6, 3.0)
"""Standard deviations between which a colour ceases to be skin."""
_ARM_LENGTH = 0.04
"""Least horizontal length of a dark arm of glasses, image widths."""
_ARM_THICKNESS = 0.03
"""Greatest vertical thickness of a dark arm of glasses, image widths."""
_BELOW_BROWS = (34.0, 22.0)
"""Heights between which features end at the temples, millimetres."""
_BELOW_EYES = (-2.0, -12.0)
"""Heights between which features end in front of the temples, millimetres."""
_TEMPLE = (44.0, 53.0)
"""Distances from the plane of symmetry between which brows end, millimetres."""
_BELOW_HAIR = (52.0, 40.0)
"""Heights below which temples have no fringe, millimetres."""
_CHIN = (-70.0, -78.0)
"""Heights between which the underside of the chin begins, millimetres."""
_NECK = (-98.0, -86.0)
"""Heights between which the underside of the chin ends, millimetres."""
_LOBES = (-40.0, -28.0)
"""Heights between which ears begin above their rings, millimetres."""
_EAR = (0.7, 1.0)
"""Nearness to the ear between which a point belongs to the ear."""
_DILATION = 0.012
"""Dilation of occlusions, whose rim is mixed with skin, image widths."""
_SOFTENING = 0.006
"""Blur of occlusions, image widths."""


def occlusion_prior(points: Array, middle: Array, ear: Array) -> tuple[Array, Array]:
    """Where skin has no features, and where only hair may lie on it, (k,) 0 to 1 each.

    Args:
        points: (k, 3) points of the head, head units.
        middle: (k,) 1 in the middle of the face, where its features are.
        ear: (k,) 1 on ears, falling off around them.

    Returns:
        Weight of any deviation from skin, and weight of deviations that are brighter than skin.

    """
    x, y, _ = (points / MM).T
    temple = smoothstep(np.abs(x), *_TEMPLE)
    # in front of the temple lie the corners of the eyes
    high, low = (smoothstep(y, *heights) for heights in (_BELOW_BROWS, _BELOW_EYES))
    cheek = (1 - middle) * (low + (high - low) * temple)
    plain = np.maximum(
        np.maximum(cheek, temple * smoothstep(y, *_BELOW_HAIR)), smoothstep(y, *_CHIN)
    )
    # ears have folds, and sideburns grow in front of them; rings hang below them
    is_ear = ear * smoothstep(y, *_LOBES)
    above_neck = smoothstep(y, *_NECK)
    return plain * (above_neck * (1 - is_ear)), temple * above_neck * (
        1 - smoothstep(is_ear, *_EAR)
    )


def occluded_skin(
    image: Array32, skin: Mask, plain: Array32, hairy: Array32, tone: Array
) -> Array32:
    """(h, w) occlusion of skin, 0 to 1, by its deviation from the local skin colour.

    Args:
        image: (h, w, 3) the photo divided by its light, 0 to 1.
        skin: (h, w) bool, where the head has skin.
        plain: (h, w) 1 where skin has no features, so that any deviation is an occlusion.
        hairy: (h, w) 1 where hair may fall on skin, so that only brighter colours are occlusions.
        tone: (3,) sRGB of the face's skin.

    """
    height, width = skin.shape
    colours = lab(image.reshape(-1, 3)).reshape(height, width, 3)
    tone_lab = lab(np.asarray(tone)[None])[0]
    # wide shade belongs to the cheek: start halfway between its local colour and the tone
    shade = _local(colours, skin.astype(np.float32), tone_lab, _SHADE_SIGMA * width)
    deviation = (colours - (tone_lab + shade) / 2) / _SKIN_SD
    for _ in range(_ROUNDS):
        weight = (skin * np.exp(-0.5 * (deviation**2).sum(-1))).astype(np.float32)
        deviation = (colours - _local(colours, weight, tone_lab, _LOCAL_SIGMA * width)) / _SKIN_SD
    outlier = smoothstep(np.sqrt((deviation**2).sum(-1)), *_OUTLIER)
    bright = deviation[..., 0] > 0
    outlier *= np.where(bright, np.maximum(plain, hairy), plain)
    outlier *= 1 - _arms_of_glasses(skin & ~bright & (outlier > 0.5), width)
    occlusion = (outlier * skin).astype(np.float32)
    size = 2 * round(_DILATION * width / 2) + 1
    dilated = cv2.dilate(occlusion, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    soft = cv2.GaussianBlur(dilated, (0, 0), _SOFTENING * width)
    return np.asarray(soft * np.maximum(plain, hairy), np.float32)


def _local(colours: Array, weight: Array32, tone: Array, sigma: float) -> Array:
    """(h, w, 3) weighted local mean Lab; ``tone`` (3,) where the weights (h, w) are small."""
    weighted = np.dstack([colours * weight[..., None], weight]).astype(np.float32)
    soft = cv2.GaussianBlur(weighted, (0, 0), sigma)
    local = soft[..., :3] / np.maximum(soft[..., 3:], 1e-6)
    return np.asarray(tone + (local - tone) * np.minimum(soft[..., 3:] / _MIN_SKIN_SHARE, 1))


def _arms_of_glasses(dark: Mask, width: int) -> Mask:
    """(h, w) parts of a dark mask that are wide and thin, as arms of glasses are."""
    long, thick = round(_ARM_LENGTH * width), round(_ARM_THICKNESS * width)
    mask = dark.astype(np.uint8)
    wide = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, long), np.uint8))
    tall = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((thick, 1), np.uint8))
    return np.asarray((wide > 0) & (tall == 0))
