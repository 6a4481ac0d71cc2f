"""Image quilting of hair over a panorama, from the hair that the photo shows.

Patches are laid in scan order.  Each is the best match to the texels already laid among random
candidates, and is cut along the seam of least difference (Efros and Freeman 2001).  A patch comes
from a similar height on the head.  It keeps its width in millimetres, since the panorama's columns
converge towards the crown, and is rotated to a flow field: the direction of the strands where the
photo ends, downwards far from it (a texture guided by a field, as in Kwatra et al. 2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Indices, Mask
from dp3d_core.preview.texture.cheapest_path import cheapest_path
from dp3d_core.preview.texture.continuation import fade_to, pull_push
from dp3d_core.preview.texture.panorama import Panorama, wrap

_SIZES = (88, 64, 46)
"""Sizes of a patch, rows, largest first; the first with enough examples is used."""
_SMALL = (32, 24)
"""Further sizes for curls and cropped hair, whose patches need not be long."""
_TINY = (16, 12)
"""Further sizes for cropped curls."""
_OVERLAP = 0.34
"""Fraction of a patch that overlaps its neighbours."""
_CANDIDATES = 28
"""Number of examples that are compared for a patch."""
_VARIETY = 300
"""Least number of examples of a size; fewer repeat visibly."""
_MIN_KNOWN = 0.92
"""Least fraction of known texels in an example."""
_ROTATION_MARGIN = 1.15
"""Size of an example over that of its patch: room for the rotation."""
_HEIGHT_COST = 0.25
"""Cost of an example from the other end of the dome, in variances of the detail."""
_HEIGHT_PREFERENCE = 3.0
"""Decay of the probability of trying an example, per dome height of distance."""
_REPEAT_DISTANCE = 0.3
"""Distance below which two examples repeat each other, patch sizes."""
_REPEAT_COST = 0.12
"""Cost of each repetition, which is conspicuous, in variances of the detail."""
_NARROWEST = 0.22
"""Least width of a column near the crown, relative to the dome's rim."""
_SEAM = 1.2
"""Half the width of the blend beside a seam, texels."""
_SEAM_STEPS = np.zeros(2)
"""Cost of a sideways step of a seam by 0 or 1 texel."""
_FLOW_SIGMA = 9.0
"""Blur of the structure tensor, texels."""
_FLOW_HALF_LIFE = 70.0
"""Distance from known hair at which the flow is halfway to downwards, texels."""
_NO_DIRECTION = 0.12
"""Coherence below which a texel has no direction."""
_CURLY = 0.5
"""Mean coherence up to which hair is curly."""


@dataclass(frozen=True)
class _Patch:
    """Rectangle of texels where a patch is laid; columns wrap around."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class _Examples:
    """Candidate patches of ``size`` rows: rows and columns (n,) of their centres."""

    size: int
    row: Indices
    column: Indices


def quilt(
    detail: Array32,
    known: Mask,
    wanted: Mask,
    grid: Panorama,
    rng: np.random.Generator,
    cropped: bool = False,
) -> Array32 | None:
    """Continue the detail of hair.

    Args:
        detail: (rows, columns, 3) detail of the known texels, with a mean of about 0.
        known: (rows, columns) bool, texels to take examples from; they are not changed.
        wanted: (rows, columns) bool, texels to fill.
        grid: the panorama.
        rng: random generator that selects the candidates.
        cropped: whether hair is too short to have a direction: patches are smaller and are not
            rotated.

    Returns:
        (rows, columns, 3) detail of known and wanted texels; None if too little is known.

    """
    flow = _flow(detail, known, grid)
    curly = flow.coherence <= _CURLY
    has_direction = not curly and not cropped
    sizes = _SIZES if has_direction else (*_SIZES, *_SMALL, *(_TINY if cropped and curly else ()))
    examples = _examples(known, grid, sizes)
    if examples is None:
        return None
    laid = np.where(known[..., None], detail, 0).astype(np.float32)
    is_laid = known.copy()
    laid_from = np.zeros((0, 2))
    variance = float(detail[known].var(0).sum())
    for patch in _patches(wanted & ~known, examples.size, grid):
        columns = (patch.left + np.arange(patch.width)) % grid.columns
        rows = slice(patch.top, patch.top + patch.height)
        below, below_laid = laid[rows, columns], is_laid[rows, columns]
        if not (wanted[rows, columns] & ~below_laid).any():
            continue
        centre = patch.top + patch.height // 2, int(columns[patch.width // 2])
        goal_direction = flow.everywhere[centre]
        # candidates of a similar height are more likely
        height_distance = np.abs(examples.row - centre[0]) / grid.dome_rows
        odds = np.exp(-_HEIGHT_PREFERENCE * height_distance)
        candidates = rng.choice(
            odds.size, min(_CANDIDATES, odds.size), replace=False, p=odds / odds.sum()
        )
        best, best_cost, origin = below, np.inf, (0, 0)
        for number in candidates:
            texel = int(examples.row[number]), int(examples.column[number])
            direction = np.nan if cropped else float(flow.measured[texel])
            source = _resampled(detail, texel, patch, direction, goal_direction, grid)
            repeats = (
                np.hypot(*(laid_from - texel).T) < _REPEAT_DISTANCE * examples.size
                if len(laid_from)
                else 0
            )
            cost = (
                _HEIGHT_COST * height_distance[number] + _REPEAT_COST * np.sum(repeats)
            ) * variance
            if below_laid.any():
                cost += float(((source - below) ** 2).sum(-1)[below_laid].mean())
            if cost < best_cost:
                best, best_cost, origin = source, cost, texel
        laid_from = np.vstack([laid_from, origin])
        weight = _cut(best, below, below_laid) * ~known[rows, columns]
        laid[rows, columns] = below + (best - below) * weight[..., None]
        is_laid[rows, columns] = True
    return laid


def _narrowing(row: float, grid: Panorama) -> float:
    """Width of a column at a row, relative to that at the dome's rim."""
    latitude = max(0.0, 1 - (row + 0.5) / grid.dome_rows) * np.pi / 2
    return max(float(np.cos(latitude)), _NARROWEST)


def _examples(known: Mask, grid: Panorama, sizes: tuple[int, ...]) -> _Examples | None:
    """Examples of the first size of which there are enough; None if there is none."""
    is_known = known.astype(np.float32)
    for size in sizes:
        height = round(size * _ROTATION_MARGIN) | 1
        rows, columns = [], []
        for row in range(height // 2, grid.rows - height // 2, 2):
            width = round(height / _narrowing(row, grid)) | 1
            if width > grid.columns // 2:
                continue
            band = is_known[row - height // 2 : row + height // 2 + 1].mean(0)
            coverage = cv2.blur(band[None], (width, 1))[0]
            coverage[: width // 2 + 1], coverage[-width // 2 - 1 :] = 0, 0
            centres = np.flatnonzero(coverage > _MIN_KNOWN)[::2]
            rows.append(np.full(len(centres), row))
            columns.append(centres)
        if sum(map(len, rows)) > _VARIETY:
            return _Examples(size, np.concatenate(rows), np.concatenate(columns))
    return None


@dataclass(frozen=True)
class _Flow:
    """Directions of strands, radians from down.

    Attributes:
        measured: (rows, columns) direction of known texels; NaN where they have none.
        everywhere: (rows, columns) direction continued over the head.
        coherence: mean coherence of known texels, 0 to 1; low for curls.

    """

    measured: Array
    everywhere: Array
    coherence: float


def coherence(detail: Array32, known: Mask, grid: Panorama) -> float:
    """Mean coherence of the strands' directions over known texels, 0 to 1; low for curls."""
    return float(_directions(detail, known, grid)[1][known].mean())


def _directions(detail: Array32, known: Mask, grid: Panorama) -> tuple[Array32, Array32, Array32]:
    """Structure tensor of the detail (Bigun and Granlund 1987), in millimetres of the head.

    Returns:
        Double-angle vector (r, c, 3) of the gradient, with a zero third channel; coherence (r, c),
        0 to 1; mask (r, c), 1 well inside the known texels.

    """
    inner = cv2.erode(known.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    soft = cv2.GaussianBlur(detail.mean(-1), (0, 0), 1.0)
    narrow = np.array([_narrowing(row, grid) for row in range(grid.rows)], np.float32)[:, None]
    across = cv2.Sobel(soft, cv2.CV_32F, 1, 0) / narrow * inner
    along = cv2.Sobel(soft, cv2.CV_32F, 0, 1) * inner
    products = np.dstack([across**2 - along**2, 2 * across * along, across**2 + along**2, inner])
    pad = 32
    mean = cv2.GaussianBlur(wrap(products, pad), (0, 0), _FLOW_SIGMA)[:, pad:-pad]
    energy = np.maximum(mean[..., 2], 1e-9)
    direction = np.dstack([mean[..., 0] / energy, mean[..., 1] / energy, 0 * energy])
    return direction, np.hypot(direction[..., 0], direction[..., 1]), inner


def _flow(detail: Array32, known: Mask, grid: Panorama) -> _Flow:
    """Directions of strands, perpendicular to the gradients, continued over the whole head."""
    direction, coherent, inner = _directions(detail, known, grid)
    measured = np.arctan2(direction[..., 1], direction[..., 0]) / 2
    measured = np.where(coherent > _NO_DIRECTION, measured, np.nan)
    weight = np.asarray(inner * np.clip(coherent, 0, 1), np.float32)
    down = np.array([1.0, 0.0, 0.0], np.float32)
    smooth = pull_push(direction.astype(np.float32), weight, down)
    smooth = fade_to(smooth, known, down * 0.5, _FLOW_HALF_LIFE)
    everywhere = np.arctan2(smooth[..., 1], smooth[..., 0]) / 2
    return _Flow(measured, everywhere, float(coherent[known].mean()))


def _resampled(
    detail: Array32,
    texel: tuple[int, int],
    patch: _Patch,
    direction: float,
    goal: float,
    grid: Panorama,
) -> Array32:
    """The example around a texel, resampled for a patch, rotated from ``direction`` to ``goal``."""
    rotation = 0.0 if np.isnan(direction) else (goal - direction + np.pi / 2) % np.pi - np.pi / 2
    source_width = _narrowing(texel[0], grid)
    target_width = _narrowing(patch.top + patch.height / 2, grid)
    c, s = np.cos(rotation), np.sin(rotation)
    # texels of the patch to texels of the example, through millimetres of the head
    inverse = np.array(
        [[c * target_width / source_width, s / source_width], [-s * target_width, c]]
    )
    centre = np.array([patch.width / 2 - 0.5, patch.height / 2 - 0.5])
    shift = np.array([texel[1], texel[0]]) - inverse @ centre
    return np.asarray(
        cv2.warpAffine(
            detail,
            np.column_stack([inverse, shift]),
            (patch.width, patch.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
    )


def _patches(wanted: Mask, size: int, grid: Panorama) -> list[_Patch]:
    """Patches in the order of laying: from the crown down, in each row from front to back."""
    stride = round(size * (1 - _OVERLAP))
    rows = np.flatnonzero(wanted.any(1))
    if not rows.size:
        return []
    patches = []
    for first in range(int(rows[0]), int(rows[-1]) + 1, stride):
        top = min(first, grid.rows - size)
        width = min(round(size / _narrowing(top + size / 2, grid)), grid.columns // 3)
        spacing = width * (1 - _OVERLAP)
        for position in range(int(np.ceil(grid.columns / 2 / spacing)) + 1):
            for side in (-1, 1):
                left = grid.columns / 2 + side * position * spacing - width / 2
                patches.append(_Patch(top, round(left) % grid.columns, size, width))
    return patches


def _cut(patch: Array32, below: Array32, below_laid: Mask) -> Array32:
    """(r, c) weight of a patch over the texels already laid, cut along the best seams."""
    difference = np.where(below_laid, ((patch - below) ** 2).sum(-1), 0).astype(np.float32)
    height, width = below_laid.shape
    weight = np.ones((height, width), np.float32)
    across, down = round(width * _OVERLAP), round(height * _OVERLAP)
    # seams at the left, right and upper overlap
    left = weight[:, :across], below_laid[:, :across], difference[:, :across]
    right = (
        weight[:, : -across - 1 : -1],
        below_laid[:, : -across - 1 : -1],
        difference[:, : -across - 1 : -1],
    )
    above = weight.T[:, :down], below_laid.T[:, :down], difference.T[:, :down]
    for band, laid, cost in (left, right, above):
        if laid.mean() < 0.6:
            continue
        seam = cheapest_path(cost, _SEAM_STEPS)
        beyond = np.arange(band.shape[1])[None] - seam[:, None]
        band[:] = np.minimum(band, np.clip(0.5 + beyond / (2 * _SEAM), 0, 1))
    return np.where(below_laid, weight, 1).astype(np.float32)
