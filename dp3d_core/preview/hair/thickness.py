"""Thickness of the hair: a thin plate over the panorama through the radii of the outline."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from scipy import sparse
from scipy.ndimage import gaussian_filter1d
from scipy.sparse.linalg import spsolve

from dp3d_core.arrays import Array, Mask, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.preview.hair.outline_marks import GRID, Marks
from dp3d_core.preview.texture.panorama import Panorama, wrap

_COARSE = Panorama(48, 96)
"""Grid on which the plate is solved."""
DEFAULT_HAIR_MM = 8.0
"""Thickness of hair without a visible outline, millimetres."""
_BEHIND = (95.0, 150.0)
"""Longitudes over which hair becomes shorter towards the nape, degrees."""
_LOW = (0.7, 1.15)
"""Distances from the crown, in dome heights, over which hair becomes shorter towards the nape."""
_NAPE_CUT = 0.6
"""Relative reduction of the prior thickness at the nape."""
_THICK = (11 * MM, 24 * MM)
"""Typical thickness between which that reduction fades, head units: an afro is round."""
_RISES = (92.0, 135.0)
"""Longitudes from which the thickness is limited by the distance to the lower edge, degrees."""
_RISE_SLOPE = 1.2
"""Greatest increase of thickness per distance from the lower edge."""
_TEXEL_MM = 2.4
"""Height of a texel of GRID, millimetres."""
_ROUNDING_MM = 3.0
"""Rounding of the crease between thickness and limit, millimetres."""
_CROWN = 0.5
"""Fraction of the dome's rows that are the crown."""
_MIN_CROWN_MARKS = 6
"""Least number of radii from which the thickness over the crown is measured."""
_BACK_FACTOR = 1.1
"""Greatest prior thickness at the back relative to that over the crown."""
_BACK_MM = 4.0
"""Margin added to the greatest prior thickness at the back, millimetres."""
_SIDES_DEG = 62.0
"""Longitude from which the outline informs the prior thickness of its row."""
_PRIOR_WEIGHT = 0.02
"""Weight of the prior thickness relative to one radius of the outline, in front."""
_PRIOR_WEIGHT_BEHIND = 0.4
"""Weight of the prior thickness relative to one radius of the outline, at the back."""
_BACK_LONGITUDE_DEG = 125.0
"""Longitude from which radii are those of the back of the head, degrees."""
_BACK = (120.0, 160.0)
"""Longitudes over which the prior becomes the mean of the radii of the back, degrees."""
_BEHIND_SIGMA = 1.0
"""Blur of the mean of the radii of the back over heights, texels."""
_BEHIND_DOUBT = 0.2
"""Number of radii of the back at a height whose mean counts as much as the prior."""
_MIN_MARKS = 120
"""Least number of radii over the skull from which a thickness is measured; a full outline has
about 400."""
FLAT_MM = 2.5
"""Thickness of hair where it begins above the face, millimetres."""
_MAX_MM = 110.0
"""Greatest thickness, millimetres."""


def typical_thickness(marks: Marks, base: Array) -> float:
    """Typical thickness over the skull, head units: the 60th percentile along the outline.

    Args:
        marks: radii of the outline.
        base: (GRID) radius of hair without thickness, head units.

    """
    texel = (
        np.clip(marks.row, 0, GRID.rows - 1).astype(int),
        marks.column.astype(int) % GRID.columns,
    )
    dome = marks.row < 0.9 * GRID.dome_rows
    if dome.sum() < _MIN_MARKS:
        return DEFAULT_HAIR_MM * MM
    thickness = (marks.radius - base[texel])[dome]
    return float(np.clip(np.percentile(thickness, 60), 3 * MM, 60 * MM))


def fit_thickness(
    marks: Marks,
    base: Array,
    mask: Array,
    typical: float,
    hangs: Mask,
    behind_shown: bool = False,
) -> Array:
    """(GRID) thickness, head units: a thin plate through the radii, with a prior elsewhere.

    Args:
        marks: radii of the outline.
        base: (GRID) radius of hair without thickness, head units.
        mask: (GRID) mask of hair, 0 to 1.
        typical: typical thickness, head units.
        hangs: (GRID.columns,) bool, where hair hangs.
        behind_shown: whether further photos show the outline behind.

    """
    falls = hangs[:: GRID.columns // _COARSE.columns]
    rows, columns = _COARSE.rows, _COARSE.columns
    factor = GRID.rows // rows
    row = np.clip(marks.row / factor, 0, rows - 1).astype(int)
    column = (marks.column / factor).astype(int) % columns
    texel = (
        np.clip(marks.row, 0, GRID.rows - 1).astype(int),
        marks.column.astype(int) % GRID.columns,
    )
    thickness = np.clip(marks.radius - base[texel], -25 * MM, _MAX_MM * MM)
    index = row * columns + column
    n = rows * columns
    weight = np.bincount(index, minlength=n).astype(float)
    value = np.bincount(index, thickness, minlength=n) / np.maximum(weight, 1)
    weight = np.minimum(weight, 3)
    row_prior = _by_row(weight, value, typical)
    # voluminous sides do not imply a voluminous back: it is about as thick as the crown
    crown = _BACK_FACTOR * _over_crown(weight, value, typical) + _BACK_MM * MM
    prior = np.where(falls, row_prior[:, None], np.minimum(row_prior, crown)[:, None]).ravel()
    # hair that does not hang is shorter towards the nape
    angle = _COARSE.longitude_deg()
    below_crown = (np.arange(rows) + 0.5) / _COARSE.dome_rows
    nape = smoothstep(angle, *_BEHIND) * smoothstep(below_crown, *_LOW)[:, None] * ~falls
    cut = _NAPE_CUT * (1 - float(smoothstep(np.array(typical), *_THICK)))
    prior = prior * (1 - cut * nape.ravel())
    if behind_shown:
        prior = _with_marks_behind(weight, value, prior)
    # the prior is stronger at the invisible back, or the plate would continue the sides' slopes
    prior_weight = _PRIOR_WEIGHT + (_PRIOR_WEIGHT_BEHIND - _PRIOR_WEIGHT) * np.tile(
        smoothstep(angle, *_BEHIND), rows
    )
    # the prior is flat beside the hair, whose edge must not be pulled up
    coarse_mask = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA)
    is_hair = np.asarray(coarse_mask, np.float64).ravel()
    prior = FLAT_MM * MM + (prior - FLAT_MM * MM) * smoothstep(is_hair, 0.4, 0.9)
    bending = _bending(rows, columns, _COARSE.dome_rows)
    system = bending + sparse.diags(weight + prior_weight)
    solved = spsolve(system.tocsc(), weight * value + prior_weight * prior).reshape(rows, columns)
    wrapped = wrap(solved, 2).astype(np.float32)
    large = cv2.resize(
        wrapped, ((columns + 4) * factor, rows * factor), interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(large[:, 2 * factor : -2 * factor], np.float64)


def rising_limit(mask: Array, hangs: Mask) -> Array:
    """(GRID) greatest thickness, head units, growing with the distance from the lower edge.

    At the back, hair that does not hang would otherwise overhang the nape like a mushroom.
    """
    rows = np.arange(GRID.rows)[:, None]
    lower_edge = np.where(mask > 0.5, rows, 0).max(0)
    lower_edge = gaussian_filter1d(lower_edge.astype(float), 3.0, mode="wrap")
    limit = (FLAT_MM + _RISE_SLOPE * np.maximum(lower_edge - rows, 0) * _TEXEL_MM) * MM
    angle = GRID.longitude_deg()
    unlimited = 1 - smoothstep(angle, *_RISES) * ~hangs
    return np.asarray(limit + unlimited * _MAX_MM * MM)


def soft_minimum(thickness: Array, limit: Array) -> Array:
    """Smooth minimum of thickness and limit, head units."""
    excess = (thickness - limit) / (_ROUNDING_MM * MM)
    return np.asarray(thickness - _ROUNDING_MM * MM * np.logaddexp(0, excess))


def _by_row(weight: Array, value: Array, typical: float) -> Array:
    """(_COARSE.rows,) prior thickness at each height, head units.

    Args:
        weight: (n,) number of radii in each texel.
        value: (n,) mean thickness in each texel, head units.
        typical: thickness of rows without radii, head units.

    """
    shape = _COARSE.rows, _COARSE.columns
    # the flat hairline above the face does not inform the sides
    angle = _COARSE.longitude_deg()
    counts = weight.reshape(shape) * (angle > _SIDES_DEG)
    below = np.arange(_COARSE.rows) >= _COARSE.dome_rows
    expected = np.where(below, 0.6 * typical, typical)
    sums = (counts * np.clip(value.reshape(shape), 0, None)).sum(1) + 0.5 * expected
    rows = sums / (counts.sum(1) + 0.5)
    smooth = np.asarray(gaussian_filter1d(rows, 1.5, mode="nearest"))
    return np.asarray(np.minimum(smooth, 1.5 * typical))


def _with_marks_behind(weight: Array, value: Array, prior: Array) -> Array:
    """(n,) prior thickness, head units; behind, it follows the radii measured there in that row.

    Args:
        weight: (n,) number of radii in each texel.
        value: (n,) mean thickness in each texel, head units.
        prior: (n,) prior thickness without them, head units.

    """
    shape = _COARSE.rows, _COARSE.columns
    angle = _COARSE.longitude_deg()
    counts = weight.reshape(shape) * (angle > _BACK_LONGITUDE_DEG)
    sums = (counts * value.reshape(shape)).sum(1)
    smooth_sums, smooth_counts = (
        gaussian_filter1d(values, _BEHIND_SIGMA, mode="nearest") for values in (sums, counts.sum(1))
    )
    thickness = np.clip(smooth_sums / np.maximum(smooth_counts, 1e-6), 0, None)
    known = smooth_counts / (smooth_counts + _BEHIND_DOUBT)
    share = known[:, None] * smoothstep(angle, *_BACK)
    before = prior.reshape(shape)
    return np.asarray(before + (thickness[:, None] - before) * share).ravel()


def _over_crown(weight: Array, value: Array, typical: float) -> float:
    """Mean thickness of the outline over the crown, head units; ``typical`` with too few radii."""
    shape = _COARSE.rows, _COARSE.columns
    top = slice(0, round(_CROWN * _COARSE.dome_rows))
    counts = weight.reshape(shape)[top]
    if counts.sum() < _MIN_CROWN_MARKS:
        return typical
    return float((counts * np.clip(value.reshape(shape)[top], 0, None)).sum() / counts.sum())


@lru_cache(maxsize=1)
def _bending(rows: int, columns: int, dome_rows: int) -> sparse.csr_matrix:
    """Thin-plate energy L'L of a panorama's Laplacian L, whose columns converge at the crown."""
    latitude = np.clip(1 - (np.arange(rows) + 0.5) / dome_rows, 0, None) * np.pi / 2
    across = np.minimum(1 / np.maximum(np.cos(latitude), 0.12) ** 2, 40.0)
    index = np.arange(rows * columns).reshape(rows, columns)
    entries = []
    for r in range(rows):
        here = index[r]
        left, right = np.roll(here, 1), np.roll(here, -1)
        # above the first row lies the texel on the other side of the crown
        up = index[r - 1] if r else np.roll(here, columns // 2)
        down = index[r + 1] if r + 1 < rows else here
        for other, w in ((left, across[r]), (right, across[r]), (up, 1.0), (down, 1.0)):
            entries.append((here, other, np.full(columns, w)))
            entries.append((here, here, np.full(columns, -w)))
    i = np.concatenate([e[0] for e in entries])
    j = np.concatenate([e[1] for e in entries])
    w = np.concatenate([e[2] for e in entries])
    laplacian = sparse.csr_matrix((w, (i, j)), shape=(rows * columns,) * 2)
    energy: sparse.csr_matrix = (laplacian.T @ laplacian).tocsr()
    return energy
