"""Continue a texture over a panorama: smooth colours by pull-push, detail by example."""

from __future__ import annotations

import cv2
import numpy as np

from dp3d_core.arrays import Array32, Mask
from dp3d_core.preview.texture.panorama import wrap

_VARIETY = 0.8
"""Least number of source positions over the texels of a patch; fewer repeat visibly."""
_DETAIL_SIGMA = 5.0
"""Blur that separates detail from colour, texels."""


def pull_push(colours: Array32, weight: Array32, far: Array32) -> Array32:
    """Smooth interpolation of known texels over a panorama (Gortler et al. 1996, section 3.4).

    Args:
        colours: (r, c, 3) colours; columns wrap around.
        weight: (r, c) 0 unknown to 1 known.
        far: (3,) colour far from all known texels.

    Returns:
        (r, c, 3), equal to ``colours`` where the weight is 1.

    """
    rows, columns = weight.shape
    if min(rows, columns) <= 12 or float(weight.min()) >= 1:
        coarse = np.broadcast_to(far, colours.shape).astype(np.float32)
    else:
        pad = 4
        weighted = np.empty((rows, columns, 4), np.float32)
        np.multiply(colours, weight[..., None], out=weighted[..., :3])
        weighted[..., 3] = weight
        blurred = cv2.GaussianBlur(wrap(weighted, pad), (0, 0), 1.0)[:, pad:-pad]
        small = cv2.resize(blurred, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
        small_colours = np.asarray(small[..., :3] / np.maximum(small[..., 3:], 1e-6), np.float32)
        coarse_small = pull_push(
            small_colours, np.asarray(np.clip(small[..., 3] * 2, 0, 1), np.float32), far
        )
        enlarged = cv2.resize(
            wrap(coarse_small, 2),
            ((columns // 2 + 4) * 2, rows),
            interpolation=cv2.INTER_LINEAR,
        )
        resized = cv2.resize(enlarged[:, 4:-4], (columns, rows), interpolation=cv2.INTER_LINEAR)
        smooth = cv2.GaussianBlur(wrap(np.asarray(resized, np.float32), pad), (0, 0), 0.8)
        coarse = np.asarray(smooth[:, pad:-pad], np.float32)
    return np.asarray(coarse + (colours - coarse) * weight[..., None], np.float32)


def fade_to(smooth: Array32, known: Mask, far: Array32, half_life: float) -> Array32:
    """Fade colours to ``far`` with the distance from the known texels.

    Args:
        smooth: (r, c, 3) continuation of the known texels.
        known: (r, c) bool, known texels.
        far: (3,) or (r, c, 3) colour far from them.
        half_life: distance at which both have half the weight, texels.

    """
    if not known.any():
        return np.asarray(np.broadcast_to(far, smooth.shape), np.float32)
    share = np.exp2(-distance_to(known) / half_life)[..., None]
    return np.asarray(far + (smooth - far) * share, np.float32)


def distance_to(mask: Mask) -> Array32:
    """(r, c) distance, texels, to a mask (r, c) that is not empty; columns wrap around."""
    n = mask.shape[1] // 2
    outside = wrap((~mask).astype(np.uint8), n)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, 5)[:, n:-n], np.float32)


def detail_of(colours: Array32, known: Mask, sigma: float = _DETAIL_SIGMA) -> Array32:
    """(r, c, 3) known texels minus their blurred surroundings; 0 at unknown texels."""
    weight = known.astype(np.float32)
    weighted = wrap(np.dstack([colours * weight[..., None], weight]), 32)
    blurred = cv2.GaussianBlur(weighted, (0, 0), sigma)[:, 32:-32]
    mean = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-6)
    return np.asarray((colours - mean) * weight[..., None], np.float32)


def texture_by_example(
    detail: Array32, known: Mask, rng: np.random.Generator, size: int = 40
) -> Array32 | None:
    """(r, c, 3) detail over a whole panorama, from overlapping patches of the known texels.

    Blending preserves variance (Heitz and Neyret 2018, without their histogram): the sum of
    weighted patches is divided by the root of the sum of squared weights.

    Args:
        detail: (r, c, 3) detail of the known texels, with a mean of about 0.
        known: (r, c) bool, texels to take patches from.
        rng: random generator that selects the patches.
        size: side of a patch, texels.

    Returns:
        The detail; None if too few patches are completely known.

    """
    rows, columns = known.shape
    coverage = cv2.boxFilter(known.astype(np.float32), -1, (size, size), normalize=True)
    half = size // 2
    coverage[:half], coverage[-half:], coverage[:, :half], coverage[:, -half:] = 0, 0, 0, 0
    centres = np.argwhere(coverage > 0.97)
    if len(centres) < _VARIETY * size * size:  # repetition is conspicuous
        return texture_by_example(detail, known, rng, size // 2) if size >= 24 else None
    stride = size // 2
    window = np.hanning(size + 2)[1:-1]
    weight = np.outer(window, window).astype(np.float32)
    height, width = rows + 2 * size, columns + size
    sums = np.zeros((height, width, 3), np.float32)
    squares = np.zeros((height, width), np.float32)
    positions = np.array(
        [(r, c) for r in range(0, height - size + 1, stride) for c in range(0, columns, stride)]
    )
    positions += rng.integers(-(stride // 4), stride // 4 + 1, positions.shape)
    positions = np.clip(positions, 0, [height - size, columns - 1])
    # patches come from a similar height: strands and light change downwards
    centres = centres[np.argsort(centres[:, 0], kind="stable")]
    reach = max(8, len(centres) // 12)
    for r, c in positions:
        level = np.searchsorted(centres[:, 0], r - size + half)
        low = int(np.clip(level - reach, 0, max(0, len(centres) - 2 * reach)))
        y, x = centres[low + int(rng.integers(0, min(2 * reach, len(centres))))]
        patch = detail[y - half : y - half + size, x - half : x - half + size]
        sums[r : r + size, c : c + size] += patch * weight[..., None]
        squares[r : r + size, c : c + size] += weight * weight
    # patches that cross the seam at the back continue in the first columns
    overhang = width - columns
    sums[:, :overhang] += sums[:, columns:]
    squares[:, :overhang] += squares[:, columns:]
    laid = sums[size : size + rows, :columns]
    scale = np.sqrt(np.maximum(squares[size : size + rows, :columns], 1e-6))
    return np.asarray(laid / scale[..., None], np.float32)
