"""How far hair stands off the head: the smoothest thickness that meets the photo's outline."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import gaussian_filter1d
from scipy.sparse.linalg import spsolve

from dp3d_core.heads.space import MM
from dp3d_core.preview.hair_marks import GRID, Marks
from dp3d_core.preview.panorama import Panorama, wrap
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_COARSE = Panorama(48, 96)
"""Of the thickness."""
USUAL_HAIR_MM = 8.0
"""Thickness of hair of which no outline is seen, millimetres."""
_BEHIND, _LOW, _NAPE = (95.0, 150.0), (0.7, 1.15), 0.6
"""Longitude, and part of the dome's rows from the crown, over which hair becomes shorter towards
the nape, and by how much, relative."""
_THICK = (11 * MM, 24 * MM)
"""Thickness between which hair is less and less cut towards the nape: an afro is round."""
_RISES, _SLOPE, _TEXEL_MM, _ROUND = (92.0, 135.0), 1.2, 2.4, 3.0
"""Longitude from which on hair rises from its edge, by how much, millimetres a millimetre,
millimetres of a texel of GRID, and those over which it goes over into its own thickness."""
_CROWN, _CROWN_MARKS = 0.5, 6
"""Part of the dome's rows that are the crown, and marks of which fewer say nothing."""
_BACK, _BACK_MM = 1.1, 4.0
"""Greatest usual thickness behind: parts of that over the crown, and millimetres more."""
_SIDES_DEG = 62.0
"""Longitude from which on the outline says how thick the hair is behind."""
_PULL, _PULL_BEHIND = 0.02, 0.4
"""Weight of the usual thickness beside that of a mark, in front and behind."""
_FEW_MARKS = 120
"""Marks over the skull, of some 400 of a whole outline, of which fewer say nothing of the hair."""
FLAT_MM = 2.5
"""Thickness of hair where it ends above the face, millimetres."""
_MOST = 110.0
"""Greatest thickness, millimetres."""


def usual_thickness(marks: Marks, base: Array) -> float:
    """Thickness, head units, that the outline of the skull shows most of."""
    at = np.clip(marks.row, 0, GRID.rows - 1).astype(int), marks.column.astype(int) % GRID.columns
    dome = marks.row < 0.9 * GRID.dome_rows
    if dome.sum() < _FEW_MARKS:
        return USUAL_HAIR_MM * MM
    thickness = (marks.radius - base[at])[dome]
    return float(np.clip(np.percentile(thickness, 60), 3 * MM, 60 * MM))


def smoothest(marks: Marks, base: Array, mask: Array, usual: float, hangs: Mask) -> Array:
    """(GRID) thickness, head units: the smoothest that meets the marks, else about ``usual``.

    ``hangs``, (GRID.columns,): where hair hangs.
    """
    falls = hangs[:: GRID.columns // _COARSE.columns]
    rows, columns = _COARSE.rows, _COARSE.columns
    factor = GRID.rows // rows
    row = np.clip(marks.row / factor, 0, rows - 1).astype(int)
    column = (marks.column / factor).astype(int) % columns
    at = np.clip(marks.row, 0, GRID.rows - 1).astype(int), marks.column.astype(int) % GRID.columns
    thickness = np.clip(marks.radius - base[at], -25 * MM, _MOST * MM)
    index = row * columns + column
    n = rows * columns
    weight = np.bincount(index, minlength=n).astype(float)
    value = np.bincount(index, thickness, minlength=n) / np.maximum(weight, 1)
    weight = np.minimum(weight, 3)
    rows_of = _by_row(weight, value, usual)
    # puffed sides are no puffed back: behind, hair that does not hang is about as thick as on top
    crown = _BACK * _over_crown(weight, value, usual) + _BACK_MM * MM
    prior = np.where(falls, rows_of[:, None], np.minimum(rows_of, crown)[:, None]).ravel()
    # towards the nape hair that does not hang is cut shorter
    angle = _COARSE.aside_deg()
    level = (np.arange(rows) + 0.5) / _COARSE.dome_rows
    nape = ramp(angle, *_BEHIND) * ramp(level, *_LOW)[:, None] * ~falls
    cut = _NAPE * (1 - float(ramp(np.array(usual), *_THICK)))
    prior = prior * (1 - cut * nape.ravel())
    # behind, where nothing is seen, the plate would go on with the slopes of the sides
    pull = _PULL + (_PULL_BEHIND - _PULL) * np.tile(ramp(angle, *_BEHIND), rows)
    # beside the hair there is nothing that would pull its edge up
    small = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA)
    grown = np.asarray(small, np.float64).ravel()
    prior = FLAT_MM * MM + (prior - FLAT_MM * MM) * ramp(grown, 0.4, 0.9)
    bend = _bending(rows, columns, _COARSE.dome_rows)
    system = bend + sparse.diags(weight + pull)
    solved = spsolve(system.tocsc(), weight * value + pull * prior).reshape(rows, columns)
    wrapped = wrap(solved, 2).astype(np.float32)
    large = cv2.resize(
        wrapped, ((columns + 4) * factor, rows * factor), interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(large[:, 2 * factor : -2 * factor], np.float64)


def rising(mask: Array, hangs: Mask) -> Array:
    """(GRID) greatest thickness, head units: behind, hair that does not hang rises from its edge.

    Else the volume of the sides would overhang the nape like a cap of a mushroom.
    """
    rows = np.arange(GRID.rows)[:, None]
    ends = np.where(mask > 0.5, rows, 0).max(0)
    ends = gaussian_filter1d(ends.astype(float), 3.0, mode="wrap")
    limit = (FLAT_MM + _SLOPE * np.maximum(ends - rows, 0) * _TEXEL_MM) * MM
    angle = GRID.aside_deg()
    free = 1 - ramp(angle, *_RISES) * ~hangs
    return np.asarray(limit + free * _MOST * MM)


def at_most(thickness: Array, limit: Array) -> Array:
    """The smaller of both, head units, without a crease."""
    apart = (thickness - limit) / (_ROUND * MM)
    return np.asarray(thickness - _ROUND * MM * np.logaddexp(0, apart))


def _by_row(weight: Array, value: Array, usual: float) -> Array:
    """(_COARSE.rows,) thickness of the hair's outline at each height, else about ``usual``.

    Args:
        weight: (n,) of the marks in each texel.
        value: (n,) their mean thickness, head units.
        usual: thickness where the outline says nothing.

    """
    shape = _COARSE.rows, _COARSE.columns
    # the hairline above the face is flat and says nothing of the sides
    angle = _COARSE.aside_deg()
    marks = weight.reshape(shape) * (angle > _SIDES_DEG)
    below = np.arange(_COARSE.rows) >= _COARSE.dome_rows
    expected = np.where(below, 0.6 * usual, usual)
    total = (marks * np.clip(value.reshape(shape), 0, None)).sum(1) + 0.5 * expected
    rows = total / (marks.sum(1) + 0.5)
    smooth = np.asarray(gaussian_filter1d(rows, 1.5, mode="nearest"))
    return np.asarray(np.minimum(smooth, 1.5 * usual))


def _over_crown(weight: Array, value: Array, usual: float) -> float:
    """Thickness, head units, that the outline shows over the crown, else the usual one."""
    shape = _COARSE.rows, _COARSE.columns
    top = slice(0, round(_CROWN * _COARSE.dome_rows))
    marks = weight.reshape(shape)[top]
    if marks.sum() < _CROWN_MARKS:
        return usual
    return float((marks * np.clip(value.reshape(shape)[top], 0, None)).sum() / marks.sum())


@lru_cache(maxsize=1)
def _bending(rows: int, columns: int, dome_rows: int) -> sparse.csr_matrix:
    """Thin-plate energy on a panorama: L'L of its Laplacian, columns nearer near the crown."""
    latitude = np.clip(1 - (np.arange(rows) + 0.5) / dome_rows, 0, None) * np.pi / 2
    across = np.minimum(1 / np.maximum(np.cos(latitude), 0.12) ** 2, 40.0)
    index = np.arange(rows * columns).reshape(rows, columns)
    entries = []
    for r in range(rows):
        here = index[r]
        left, right = np.roll(here, 1), np.roll(here, -1)
        # over the crown lies the texel on the other side
        up = index[r - 1] if r else np.roll(here, columns // 2)
        down = index[r + 1] if r + 1 < rows else here
        for other, w in ((left, across[r]), (right, across[r]), (up, 1.0), (down, 1.0)):
            entries.append((here, other, np.full(columns, w)))
            entries.append((here, here, np.full(columns, -w)))
    i = np.concatenate([e[0] for e in entries])
    j = np.concatenate([e[1] for e in entries])
    w = np.concatenate([e[2] for e in entries])
    laplacian = sparse.csr_matrix((w, (i, j)), shape=(rows * columns,) * 2)
    return (laplacian.T @ laplacian).tocsr()
