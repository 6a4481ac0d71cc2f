"""Texture of hair continued from the hair that is seen: image quilting over a panorama.

Patches of the photo are laid side by side, each chosen among many so that it agrees with what
lies there already, and cut along the line where they differ least (Efros and Freeman 2001).  A
patch keeps its height on the head as far as it can and its width in millimetres, for the
panorama's columns draw together towards the crown; and it is turned so that its strands run as
those beside it do where the photo ends, and down where nothing is known (Kwatra et al. 2005 guide
a texture by such a field).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.preview.panorama import Panorama, wrap
from dp3d_core.preview.texture import pull_push, toward

Image = NDArray[np.float32]
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SIZES = (88, 64, 46)
_SMALL, _TINY = (32, 24), (16, 12)
"""Rows of a patch; the largest of which the photo shows enough is taken, smaller ones of curls,
whose patches need not be long, and the least of cropped hair."""
_OVERLAP = 0.34
"""Part of a patch that lies on its neighbours."""
_CANDIDATES = 28
_VARIETY = 300
"""Places that the centre of a patch may have, of which fewer would repeat too often."""
_WHOLE, _TURNING = 0.92, 1.15
"""Part of a patch that must be known, and its width beside that of what is laid, for it turns."""
_HEIGHT_COST, _NEAR = 0.25, 3.0
"""Cost of a patch from the other end of the dome, parts of the detail's variance, and by how much
those of one height are tried more often."""
_AGAIN, _REPEAT_COST = 0.3, 0.12
"""Distance, in patches, below which a patch was taken from one place with another, and what each of
those costs: the eye finds what repeats."""
_NARROWEST = 0.22
"""Width of the columns near the crown, beside those at the dome's rim."""
_SEAM = 1.2
"""Texels over which patches go over into each other beside the cut."""
_FLOW_SOFT, _FLOW_REACH = 9.0, 70.0
"""Texels over which a direction is measured, and within which it goes half over into down."""
_CURLS, _CURLED = 0.12, 0.5
"""Coherence of directions below which a place has none, and below which hair is curly."""


@dataclass(frozen=True)
class _Patch:
    """A place where a patch is laid; ``left`` counts columns that wrap around."""

    top: int
    left: int
    high: int
    wide: int


@dataclass(frozen=True)
class _Examples:
    """Patches that may be laid: (n,) rows and columns of their centres, ``size`` rows each."""

    size: int
    row: NDArray[np.int64]
    column: NDArray[np.int64]


def quilted(
    detail: Image,
    known: Mask,
    wanted: Mask,
    grid: Panorama,
    rng: np.random.Generator,
    cropped: bool = False,
) -> Image | None:
    """(rows, columns, 3) detail of hair where it is known or wanted.

    Args:
        detail: (rows, columns, 3), mean about 0, of the known texels.
        known: (rows, columns) texels that serve as examples; they are kept.
        wanted: (rows, columns) texels to be laid.
        grid: of the panorama.
        rng: chooses the patches.
        cropped: hair too short to lie in a direction: small patches do, and none is turned.

    Returns:
        None where too little is known.

    """
    flow = _flow(detail, known, grid)
    curly = flow.coherence <= _CURLED
    long = not curly and not cropped
    sizes = _SIZES if long else (*_SIZES, *_SMALL, *(_TINY if cropped and curly else ()))
    examples = _examples(known, grid, sizes)
    if examples is None:
        return None
    laid = np.where(known[..., None], detail, 0).astype(np.float32)
    done = known.copy()
    laid_from = np.zeros((0, 2))
    spread = float(detail[known].var(0).sum())
    for patch in _places(wanted & ~known, examples.size, grid):
        index = (patch.left + np.arange(patch.wide)) % grid.columns
        down = slice(patch.top, patch.top + patch.high)
        there, filled = laid[down, index], done[down, index]
        if not (wanted[down, index] & ~filled).any():
            continue
        middle = patch.top + patch.high // 2, int(index[patch.wide // 2])
        goal = flow.everywhere[middle]
        # the nearest in height are tried most
        away = np.abs(examples.row - middle[0]) / grid.dome_rows
        chance = np.exp(-_NEAR * away)
        tried = rng.choice(
            away.size, min(_CANDIDATES, away.size), replace=False, p=chance / chance.sum()
        )
        best, least, origin = there, np.inf, (0, 0)
        for number in tried:
            at = int(examples.row[number]), int(examples.column[number])
            own = np.nan if cropped else float(flow.own[at])
            source = _turned(detail, at, patch, own, goal, grid)
            again = np.hypot(*(laid_from - at).T) < _AGAIN * examples.size if len(laid_from) else 0
            cost = (_HEIGHT_COST * away[number] + _REPEAT_COST * np.sum(again)) * spread
            if filled.any():
                cost += float(((source - there) ** 2).sum(-1)[filled].mean())
            if cost < least:
                best, least, origin = source, cost, at
        laid_from = np.vstack([laid_from, origin])
        share = _cut(best, there, filled) * ~known[down, index]
        laid[down, index] = there + (best - there) * share[..., None]
        done[down, index] = True
    return laid


def _narrowing(row: float, grid: Panorama) -> float:
    """Width of a column at a row, parts of that at the dome's rim."""
    latitude = max(0.0, 1 - (row + 0.5) / grid.dome_rows) * np.pi / 2
    return max(float(np.cos(latitude)), _NARROWEST)


def _examples(known: Mask, grid: Panorama, sizes: tuple[int, ...]) -> _Examples | None:
    filled = known.astype(np.float32)
    for size in sizes:
        high = round(size * _TURNING) | 1
        rows, columns = [], []
        for row in range(high // 2, grid.rows - high // 2, 2):
            wide = round(high / _narrowing(row, grid)) | 1
            if wide > grid.columns // 2:
                continue
            band = filled[row - high // 2 : row + high // 2 + 1].mean(0)
            share = cv2.blur(band[None], (wide, 1))[0]
            share[: wide // 2 + 1], share[-wide // 2 - 1 :] = 0, 0
            good = np.flatnonzero(share > _WHOLE)[::2]
            rows.append(np.full(len(good), row))
            columns.append(good)
        if sum(map(len, rows)) > _VARIETY:
            return _Examples(size, np.concatenate(rows), np.concatenate(columns))
    return None


@dataclass(frozen=True)
class _Flow:
    """Directions of strands, radians from down.

    Attributes:
        own: (rows, columns) where they are seen; NaN where hair has no direction.
        everywhere: (rows, columns) continued.
        coherence: of those that are seen, 0 to 1: low for curls.

    """

    own: Array
    everywhere: Array
    coherence: float


def coherence(detail: Image, known: Mask, grid: Panorama) -> float:
    """How much strands run in one direction with those beside them, 0 to 1: low for curls."""
    return float(_directions(detail, known, grid)[1][known].mean())


def _directions(detail: Image, known: Mask, grid: Panorama) -> tuple[Image, Image, Image]:
    """The structure tensor (Bigun and Granlund 1987), in millimetres of the head.

    Returns:
        (r, c, 3) cosine and sine of twice the gradient's angle, and 0; (r, c) their coherence, 0
        to 1; (r, c) 1 well within what is known.

    """
    inner = cv2.erode(known.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    soft = cv2.GaussianBlur(detail.mean(-1), (0, 0), 1.0)
    narrow = np.array([_narrowing(row, grid) for row in range(grid.rows)], np.float32)[:, None]
    across = cv2.Sobel(soft, cv2.CV_32F, 1, 0) / narrow * inner
    along = cv2.Sobel(soft, cv2.CV_32F, 0, 1) * inner
    products = np.dstack([across**2 - along**2, 2 * across * along, across**2 + along**2, inner])
    pad = 32
    mean = cv2.GaussianBlur(wrap(products, pad), (0, 0), _FLOW_SOFT)[:, pad:-pad]
    energy = np.maximum(mean[..., 2], 1e-9)
    direction = np.dstack([mean[..., 0] / energy, mean[..., 1] / energy, 0 * energy])
    return direction, np.hypot(direction[..., 0], direction[..., 1]), inner


def _flow(detail: Image, known: Mask, grid: Panorama) -> _Flow:
    """Directions of strands, which lie across the gradients, continued all over the head."""
    direction, coherent, inner = _directions(detail, known, grid)
    own = np.arctan2(direction[..., 1], direction[..., 0]) / 2
    own = np.where(coherent > _CURLS, own, np.nan)
    weight = np.asarray(inner * np.clip(coherent, 0, 1), np.float32)
    down = np.array([1.0, 0.0, 0.0], np.float32)
    smooth = pull_push(direction.astype(np.float32), weight, down)
    smooth = toward(smooth, known, down * 0.5, _FLOW_REACH)
    everywhere = np.arctan2(smooth[..., 1], smooth[..., 0]) / 2
    return _Flow(own, everywhere, float(coherent[known].mean()))


def _turned(
    detail: Image, at: tuple[int, int], patch: _Patch, own: float, goal: float, grid: Panorama
) -> Image:
    """The patch around a texel as it is laid: as wide on the head, its strands along ``goal``."""
    turn = 0.0 if np.isnan(own) else (goal - own + np.pi / 2) % np.pi - np.pi / 2
    here = _narrowing(at[0], grid)
    there = _narrowing(patch.top + patch.high / 2, grid)
    c, s = np.cos(turn), np.sin(turn)
    # from texels of the place to texels of the example, both through millimetres
    inverse = np.array([[c * there / here, s / here], [-s * there, c]])
    centre = np.array([patch.wide / 2 - 0.5, patch.high / 2 - 0.5])
    shift = np.array([at[1], at[0]]) - inverse @ centre
    return np.asarray(
        cv2.warpAffine(
            detail,
            np.column_stack([inverse, shift]),
            (patch.wide, patch.high),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
    )


def _places(wanted: Mask, size: int, grid: Panorama) -> list[_Patch]:
    """Where patches are laid: from the crown down, in each row from the face to the back."""
    hop = round(size * (1 - _OVERLAP))
    rows = np.flatnonzero(wanted.any(1))
    if not rows.size:
        return []
    places = []
    for first in range(int(rows[0]), int(rows[-1]) + 1, hop):
        top = min(first, grid.rows - size)
        wide = min(round(size / _narrowing(top + size / 2, grid)), grid.columns // 3)
        step = wide * (1 - _OVERLAP)
        for number in range(int(np.ceil(grid.columns / 2 / step)) + 1):
            for side in (-1, 1):
                left = grid.columns / 2 + side * number * step - wide / 2
                places.append(_Patch(top, round(left) % grid.columns, size, wide))
    return places


def _cut(patch: Image, there: Image, filled: Mask) -> Image:
    """(r, c) 1 where a patch is laid, 0 where what lies there stays."""
    differ = np.where(filled, ((patch - there) ** 2).sum(-1), 0).astype(np.float32)
    high, wide = filled.shape
    share = np.ones((high, wide), np.float32)
    across, down = round(wide * _OVERLAP), round(high * _OVERLAP)
    # from the left, from the right, from above
    left = share[:, :across], filled[:, :across], differ[:, :across]
    right = (
        share[:, : -across - 1 : -1],
        filled[:, : -across - 1 : -1],
        differ[:, : -across - 1 : -1],
    )
    above = share.T[:, :down], filled.T[:, :down], differ.T[:, :down]
    for band, laid, cost in (left, right, above):
        if laid.mean() < 0.6:
            continue
        seam = _cheapest(cost)
        beyond = np.arange(band.shape[1])[None] - seam[:, None]
        band[:] = np.minimum(band, np.clip(0.5 + beyond / (2 * _SEAM), 0, 1))
    return np.where(filled, share, 1).astype(np.float32)


def _cheapest(cost: Image) -> NDArray[np.int64]:
    """(r,) column of the path from the first row to the last that costs least."""
    framed = np.full((len(cost), cost.shape[1] + 2), np.inf)
    framed[:, 1:-1] = cost
    total = framed[:, 1:-1]
    for row in range(1, len(total)):
        left, above, right = framed[row - 1, :-2], framed[row - 1, 1:-1], framed[row - 1, 2:]
        total[row] += np.minimum(np.minimum(left, above), right)
    path = np.empty(len(total), np.int64)
    path[-1] = int(total[-1].argmin())
    for row in range(len(total) - 2, -1, -1):
        low = max(path[row + 1] - 1, 0)
        path[row] = low + int(total[row, low : path[row + 1] + 2].argmin())
    return path
