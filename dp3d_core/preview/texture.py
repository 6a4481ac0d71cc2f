"""Continuation of textures over a panorama: smooth colours, and detail by example."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.preview.panorama import wrap

Image = NDArray[np.float32]

_VARIETY = 0.8
"""Places of patches, over the texels of one, of which fewer would repeat too often."""
_DETAIL_SIGMA = 5.0
"""Texels; finer variation is detail, coarser is colour."""


def pull_push(colours: Image, weight: Image, far: Image) -> Image:
    """Smooth continuation of known texels over a panorama (Gortler et al. 1996, section 3.4).

    Args:
        colours: (r, c, 3); columns wrap around.
        weight: (r, c), 0 unknown to 1 known.
        far: (3,) colour far away from everything known.

    Returns:
        (r, c, 3), equal to ``colours`` where the weight is 1.

    """
    rows, columns = weight.shape
    if min(rows, columns) <= 12 or float(weight.min()) >= 1:
        coarse = np.broadcast_to(far, colours.shape).astype(np.float32)
    else:
        pad = 4
        weighted = np.dstack([colours * weight[..., None], weight]).astype(np.float32)
        blurred = cv2.GaussianBlur(wrap(weighted, pad), (0, 0), 1.0)[:, pad:-pad]
        small = cv2.resize(blurred, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
        below = np.asarray(small[..., :3] / np.maximum(small[..., 3:], 1e-6), np.float32)
        coarse_small = pull_push(
            below, np.asarray(np.clip(small[..., 3] * 2, 0, 1), np.float32), far
        )
        wide = cv2.resize(
            wrap(coarse_small, 2),
            ((columns // 2 + 4) * 2, rows),
            interpolation=cv2.INTER_LINEAR,
        )
        fitted = cv2.resize(wide[:, 4:-4], (columns, rows), interpolation=cv2.INTER_LINEAR)
        blurry = cv2.GaussianBlur(wrap(np.asarray(fitted, np.float32), pad), (0, 0), 0.8)
        coarse = np.asarray(blurry[:, pad:-pad], np.float32)
    return np.asarray(coarse + (colours - coarse) * weight[..., None], np.float32)


def toward(smooth: Image, known: NDArray[np.bool_], far: Image, reach: float) -> Image:
    """Colours that go over into ``far`` with the distance from what is known.

    Args:
        smooth: (r, c, 3) continuation of the known texels.
        known: (r, c).
        far: (3,) or (r, c, 3) the colour far away.
        reach: texels within which half of the way is gone.

    """
    if not known.any():
        return np.asarray(np.broadcast_to(far, smooth.shape), np.float32)
    share = np.exp2(-texels_from(known) / reach)[..., None]
    return np.asarray(far + (smooth - far) * share, np.float32)


def texels_from(mask: NDArray[np.bool_]) -> Image:
    """(r, c) texels from the nearest of a mask (r, c) that is not empty; columns wrap around."""
    n = mask.shape[1] // 2
    outside = wrap((~mask).astype(np.uint8), n)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, 5)[:, n:-n], np.float32)


def detail_of(colours: Image, known: NDArray[np.bool_], sigma: float = _DETAIL_SIGMA) -> Image:
    """(r, c, 3) fine variation of known texels about their surroundings; 0 elsewhere."""
    weight = known.astype(np.float32)
    stacked = wrap(np.dstack([colours * weight[..., None], weight]), 32)
    blurred = cv2.GaussianBlur(stacked, (0, 0), sigma)[:, 32:-32]
    middle = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-6)
    return np.asarray((colours - middle) * weight[..., None], np.float32)


def by_example(
    detail: Image, known: NDArray[np.bool_], rng: np.random.Generator, size: int = 40
) -> Image | None:
    """(r, c, 3) detail all over a panorama, laid from patches of the known texels.

    Overlapping patches are blended so that their variance stays (Heitz and Neyret 2018, without
    the histogram): the sum of weighted patches over the root of the sum of squared weights.

    Args:
        detail: of the known texels, mean about 0.
        known: (r, c) texels that serve as examples.
        rng: chooses the patches.
        size: texels along a patch.

    Returns:
        None where no patch is known as a whole.

    """
    rows, columns = known.shape
    sums = cv2.boxFilter(known.astype(np.float32), -1, (size, size), normalize=True)
    half = size // 2
    sums[:half], sums[-half:], sums[:, :half], sums[:, -half:] = 0, 0, 0, 0
    centres = np.argwhere(sums > 0.97)
    if len(centres) < _VARIETY * size * size:  # the eye finds what repeats
        return by_example(detail, known, rng, size // 2) if size >= 24 else None
    hop = size // 2
    window = np.hanning(size + 2)[1:-1]
    weight = np.outer(window, window).astype(np.float32)
    high, wide = rows + 2 * size, columns + size
    total = np.zeros((high, wide, 3), np.float32)
    square = np.zeros((high, wide), np.float32)
    places = np.array(
        [(r, c) for r in range(0, high - size + 1, hop) for c in range(0, columns, hop)]
    )
    places += rng.integers(-(hop // 4), hop // 4 + 1, places.shape)
    places = np.clip(places, 0, [high - size, columns - 1])
    # a patch keeps its height as far as it can: strands and light change downwards
    centres = centres[np.argsort(centres[:, 0], kind="stable")]
    span = max(8, len(centres) // 12)
    for r, c in places:
        level = np.searchsorted(centres[:, 0], r - size + half)
        low = int(np.clip(level - span, 0, max(0, len(centres) - 2 * span)))
        y, x = centres[low + int(rng.integers(0, min(2 * span, len(centres))))]
        patch = detail[y - half : y - half + size, x - half : x - half + size]
        total[r : r + size, c : c + size] += patch * weight[..., None]
        square[r : r + size, c : c + size] += weight * weight
    # the last columns of patches run over the seam at the back
    over = wide - columns
    total[:, :over] += total[:, columns:]
    square[:, :over] += square[:, columns:]
    laid = total[size : size + rows, :columns]
    norm = np.sqrt(np.maximum(square[size : size + rows, :columns], 1e-6))
    return np.asarray(laid / norm[..., None], np.float32)
