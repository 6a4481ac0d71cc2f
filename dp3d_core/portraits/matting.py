"""Foreground matte of a head crop: a learned segmenter's, moved onto edges by GrabCut.

GrabCut: Rother et al. 2004, in a band around the segmenter's outline only.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from dp3d_core.portraits.face_models import SEGMENTER, run

Pixels = NDArray[np.uint8]

WORKING_SIDE = 384
_LARGEST_HOLE = 0.0015
"""Holes up to this part of the crop are filled."""
_SEGMENTER_SIDE = 256
_SURE = (0.04, 0.96)
"""Chances of foreground below and above which the segmenter is believed."""
_BAND = 13
"""Working pixels across the segmenter's outline in which GrabCut looks for the true one."""
_PHOTO_RIM = 10
"""Working pixels within a photo's border in which the segmenter is not believed."""
_FADE = 0.04
"""Distance beyond a photo's border in which it fades for the segmenter, crop sides."""
_LARGEST_GAP = 0.02
"""Enclosed clear part of a crop, such as between an arm and the head, up to which its alpha is
that of a cut-out."""
LEAST_CONFIDENCE = 0.85
"""Confidence of :func:`find_matte` up to which its alpha is not to be used."""


def head_prior(side: int, yaw_deg: float = 0.0) -> NDArray[np.float32]:
    """(side, side) rough chance of foreground in a head crop (``crop.Crop``), 0 to 1.

    1 in the face, 0 in the upper corners, in between where hair, hat and shoulders may be.
    """
    v, u = np.mgrid[0:side, 0:side].astype(np.float32) / side
    # in units of what the canonical camera sees, centred
    u, v = (u - 0.5) * 1.25, (v - 0.5) * 1.25
    u = u - 0.10 * np.sin(np.radians(yaw_deg))  # a turned head reaches out to one side
    head = np.hypot(u / 0.36, (v + 0.05) / 0.48)
    neck = np.maximum(np.abs(u) / 0.22, np.where(v > 0.2, 0, 9))
    shoulders = np.maximum(np.abs(u) / (0.2 + 1.2 * np.clip(v - 0.24, 0, 1)), (v < 0.28) * 9)
    nearest = np.minimum(np.minimum(head, neck), shoulders)
    return np.asarray(np.clip(1.6 - nearest, 0, 1), np.float32)


def template_matte(side: int, yaw_deg: float = 0.0) -> Pixels:
    """(side, side) uint8 soft outline of where a head crop is expected to show a head."""
    soft = np.clip((head_prior(side, yaw_deg) - 0.5) * 12 + 0.5, 0, 1)
    return np.asarray(np.rint(soft * 255), np.uint8)


def is_cut_out(alpha: Pixels, inside: NDArray[np.bool_], yaw_deg: float) -> bool:
    """Whether a crop's own alpha separates a head from its background.

    Args:
        alpha: (s, s) uint8.
        inside: (s, s) where the crop lies inside the photo.
        yaw_deg: of the head.

    """
    clear = (alpha < 128).astype(np.uint8)
    _, numbers = cv2.connectedComponents(np.pad(clear, 1, constant_values=1))
    holes = (numbers[1:-1, 1:-1] != numbers[0, 0]) & (clear > 0)
    if holes.mean() > _LARGEST_GAP:
        return False
    prior = head_prior(alpha.shape[0], yaw_deg)
    if (alpha[prior > 0.9] > 127).mean() < 0.5:
        return False
    around = (prior <= 0) & inside
    return around.mean() < 0.02 or bool((alpha[around] < 128).mean() > 0.5)


def find_matte(rgb: Pixels, inside: NDArray[np.bool_] | None = None) -> tuple[Pixels, float]:
    """Foreground alpha of a canonical head crop: the segmenter's, moved onto the edges.

    Args:
        rgb: (s, s, 3) uint8, the head as in a canonical crop.
        inside: (s, s) where the crop shows the photo, a rectangle.  What lies beyond it says
            nothing and gets alpha 0.

    Returns:
        (s, s) uint8 alpha, and the part of the face's place that the segmenter takes for a
        person, 0 to 1; up to :data:`LEAST_CONFIDENCE` the alpha is not to be used.

    Raises:
        Dp3dError: ``portrait.model_missing``.

    """
    core = _core(_SEGMENTER_SIDE)
    if inside is None or inside.all():
        chance = segment(rgb)
        return _outline(rgb, chance, None), float((chance > 0.5)[core].mean())
    if not inside.any():
        return np.zeros(inside.shape, np.uint8), 0.0
    chance = _chance_within(rgb, inside)
    side = (_SEGMENTER_SIDE, _SEGMENTER_SIDE)
    shown = cv2.resize(inside.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST) > 0
    core &= shown
    confidence = float((chance > 0.5)[core].mean()) if core.any() else 0.0
    return np.where(inside, _outline(rgb, chance, inside), 0).astype(np.uint8), confidence


def _chance_within(rgb: Pixels, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(256, 256) chance of a person within a photo that fills a part of the crop only.

    The segmenter follows whatever stands beyond the photo.  Three surroundings that have little
    in common are tried and their answers averaged: grey, the photo's border fading to its mean
    colour, and none at all.
    """
    grey, faded = rgb.copy(), rgb.copy()
    grey[~inside] = 128
    away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)[~inside]
    weight = np.exp(-away / (_FADE * rgb.shape[0]))[:, None]
    faded[~inside] = np.rint(rgb[~inside] * weight + rgb[inside].mean(0) * (1 - weight))
    rows, columns = _rectangle(inside)
    alone = np.zeros(inside.shape, np.float32)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    alone[rows, columns] = cv2.resize(segment(np.ascontiguousarray(rgb[rows, columns])), size)
    small = cv2.resize(alone, (_SEGMENTER_SIDE, _SEGMENTER_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray((segment(grey) + segment(faded) + small) / 3, np.float32)


def _rectangle(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns that hold all of a mask."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def segment(rgb: Pixels) -> NDArray[np.float32]:
    """(256, 256) chance that a pixel of a picture belongs to a person, 0 to 1."""
    side = (_SEGMENTER_SIDE, _SEGMENTER_SIDE)
    small = np.asarray(cv2.resize(rgb, side, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(run(SEGMENTER, small, 0.0)[0], np.float32).reshape(side)


def _outline(
    rgb: Pixels, chance: NDArray[np.float32], inside_photo: NDArray[np.bool_] | None
) -> Pixels:
    """The segmenter's outline, moved onto the picture's edges.

    The segmenter takes a photo's border for the head's: there it is only asked what goes on
    further inside, and the colours of the photo alone decide.
    """
    side, size = rgb.shape[0], (WORKING_SIDE, WORKING_SIDE)
    chance = np.asarray(cv2.resize(chance, size, interpolation=cv2.INTER_LINEAR), np.float32)
    border, within = np.zeros(size, bool), (slice(0, size[0]), slice(0, size[1]))
    if inside_photo is not None:
        shown = cv2.resize(inside_photo.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        within = _rectangle(shown > 0)
        shown = cv2.copyMakeBorder(shown, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=[1])
        border = (cv2.distanceTransform(shown, cv2.DIST_L2, 5) <= _PHOTO_RIM)[1:-1, 1:-1]
        if not border.all():
            _, nearest = distance_transform_edt(border, return_indices=True)
            chance = chance[nearest[0], nearest[1]]
    inside = (chance > 0.5).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_BAND, _BAND))
    band = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, kernel) > 0
    band |= (chance > _SURE[0]) & (chance < _SURE[1])
    band |= border
    labels = np.where(inside > 0, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    labels[band] = np.where(inside[band] > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = _grabcut(small[within], labels[within])
    # goes on beyond the photo, so that its border is no edge of the mask
    rows, columns = within
    margins = (rows.start, size[0] - rows.stop, columns.start, size[1] - columns.stop)
    mask = np.asarray(cv2.copyMakeBorder(mask, *margins, cv2.BORDER_REPLICATE), np.uint8)
    return _softened(_one_piece(mask), side)


def _grabcut(rgb: Pixels, labels: Pixels) -> Pixels:
    """(h, w) 1 where GrabCut finds foreground; ``labels`` (h, w) are its start."""
    labels = labels.copy()
    smooth = cv2.bilateralFilter(np.ascontiguousarray(rgb), 5, 30, 5)
    foreground = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    # GrabCut needs pixels of both kinds
    if foreground.any() and (labels == cv2.GC_BGD).sum() > 50:
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(smooth, labels, None, *models, 3, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
        foreground = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return np.asarray(foreground, np.uint8)


def _core(side: int) -> NDArray[np.bool_]:
    """(side, side) where the face of a canonical crop surely is."""
    v, u = np.mgrid[0:side, 0:side] / side
    return np.asarray(np.hypot((u - 0.5) / 0.17, (v - 0.485) / 0.215) < 1)


def _one_piece(mask: Pixels) -> Pixels:
    """A mask with the piece in the middle only, without holes and thin strings of clutter."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel), np.uint8)
    _, pieces = cv2.connectedComponents(mask)
    piece = pieces[int(0.5 * WORKING_SIDE), int(0.5 * WORKING_SIDE)]
    mask = ((pieces == piece) & (piece > 0)).astype(np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), np.uint8)
    # small holes are highlights or folds; a large one is background seen through a gap
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(1 - mask)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < _LARGEST_HOLE * WORKING_SIDE**2:
            mask[pieces == label] = 1
    return mask


def _softened(mask: Pixels, side: int) -> Pixels:
    """Alpha of a mask: an edge about two working pixels wide."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.2)
    large = cv2.resize(soft, (side, side), interpolation=cv2.INTER_CUBIC)
    alpha = np.clip((large - 0.5) * 1.8 + 0.5, 0, 1)
    return np.asarray(np.rint(alpha * 255), np.uint8)
