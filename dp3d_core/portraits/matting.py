"""Foreground matte of a head crop: a learned segmentation, refined by GrabCut.

GrabCut (Rother et al. 2004) runs only in a band around the segmenter's outline, where it moves
the outline onto image edges.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from dp3d_core.arrays import Array32, Mask, Pixels
from dp3d_core.portraits.face_models import SEGMENTER, SEGMENTER_SIDE, run

WORKING_SIDE = 384
"""Side at which GrabCut runs, pixels."""
_MAX_HOLE = 0.0015
"""Area of the largest hole that is filled, as a fraction of the crop."""
_UNCERTAIN = (0.04, 0.96)
"""Foreground probabilities between which GrabCut decides instead of the segmenter."""
_EXPECTED_WITHIN = 26
"""Depth inside an expected outline from which pixels are the person's, working pixels."""
_EXPECTED_BEYOND = 45
"""Distance from an expected outline beyond which pixels are background, working pixels."""
_BAND = 13
"""Width of the band around the segmenter's outline that GrabCut decides, working pixels."""
_PHOTO_RIM = 10
"""Width of the rim along a photo's border that GrabCut decides, working pixels."""
_FADE = 0.04
"""Decay length of border colours beyond a photo, for the segmenter, crop sides."""
_MAX_GAP = 0.02
"""Largest transparent area enclosed by a cut-out, such as between arm and head, as a fraction of
the crop."""
LEAST_CONFIDENCE = 0.85
"""Confidence of :func:`find_matte` that a usable alpha exceeds."""


def head_prior(side: int, yaw_deg: float = 0.0) -> Array32:
    """(side, side) prior probability of foreground in a head crop (``crop.Crop``), 0 to 1.

    1 in the face, 0 in the upper corners, between them where hair, hat or shoulders may be.
    """
    v, u = np.mgrid[0:side, 0:side].astype(np.float32) / side
    # centred, in widths of the canonical view
    u, v = (u - 0.5) * 1.25, (v - 0.5) * 1.25
    u = u - 0.10 * np.sin(np.radians(yaw_deg))  # a turned head extends to one side
    head = np.hypot(u / 0.36, (v + 0.05) / 0.48)
    neck = np.maximum(np.abs(u) / 0.22, np.where(v > 0.2, 0, 9))
    shoulders = np.maximum(np.abs(u) / (0.2 + 1.2 * np.clip(v - 0.24, 0, 1)), (v < 0.28) * 9)
    nearest = np.minimum(np.minimum(head, neck), shoulders)
    return np.asarray(np.clip(1.6 - nearest, 0, 1), np.float32)


def template_matte(side: int, yaw_deg: float = 0.0) -> Pixels:
    """(side, side) uint8 alpha of an average head in a head crop, with a soft edge."""
    soft = np.clip((head_prior(side, yaw_deg) - 0.5) * 12 + 0.5, 0, 1)
    return np.asarray(np.rint(soft * 255), np.uint8)


def is_cut_out(alpha: Pixels, inside: Mask, yaw_deg: float) -> bool:
    """Whether a crop's own alpha separates a head from its background.

    Args:
        alpha: (s, s) uint8 alpha of the file.
        inside: (s, s) bool, where the crop lies inside the photo.
        yaw_deg: yaw of the head.

    """
    clear = (alpha < 128).astype(np.uint8)
    _, components = cv2.connectedComponents(np.pad(clear, 1, constant_values=1))
    holes = (components[1:-1, 1:-1] != components[0, 0]) & (clear > 0)
    if holes.mean() > _MAX_GAP:
        return False
    prior = head_prior(alpha.shape[0], yaw_deg)
    if (alpha[prior > 0.9] > 127).mean() < 0.5:
        return False
    background = (prior <= 0) & inside
    return background.mean() < 0.02 or bool((alpha[background] < 128).mean() > 0.5)


def find_matte(rgb: Pixels, inside: Mask | None = None) -> tuple[Pixels, float]:
    """Estimate the foreground alpha of a canonical head crop.

    Args:
        rgb: (s, s, 3) uint8, framed like a canonical crop.
        inside: (s, s) bool, the rectangle of the crop that lies inside the photo; alpha is 0
            beyond it.  None: everywhere.

    Returns:
        Alpha (s, s) uint8, and its confidence, 0 to 1: the fraction of the face's expected area
        that is segmented as a person.  Use the alpha only above :data:`LEAST_CONFIDENCE`.

    Raises:
        Dp3dError: ``portrait.model_missing``.

    """
    core = _core(SEGMENTER_SIDE)
    if inside is None or inside.all():
        probability = segment(rgb)
        return _outline(rgb, probability, None), float((probability > 0.5)[core].mean())
    if not inside.any():
        return np.zeros(inside.shape, np.uint8), 0.0
    probability = _probability_within(rgb, inside)
    side = (SEGMENTER_SIDE, SEGMENTER_SIDE)
    valid = cv2.resize(inside.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST) > 0
    core &= valid
    confidence = float((probability > 0.5)[core].mean()) if core.any() else 0.0
    return np.where(inside, _outline(rgb, probability, inside), 0).astype(np.uint8), confidence


def find_matte_of(rgb: Pixels, inside: Mask, expected: Mask) -> tuple[Pixels, float]:
    """Estimate the alpha of a person whose outline is roughly known.

    The segmenter misses backs of heads, and shoulders below them.

    Args:
        rgb: (s, s, 3) uint8, framed like a canonical crop.
        inside: (s, s) bool, where the crop lies inside the photo; alpha is 0 beyond it.
        expected: (s, s) bool, the person's expected outline, filled.

    Returns:
        Alpha (s, s) uint8, and its confidence, 0 to 1: the overlap of the two outlines
        (intersection over union) inside the photo.

    Raises:
        Dp3dError: ``portrait.model_missing``.

    """
    size = (WORKING_SIDE, WORKING_SIDE)
    if not inside.any() or not (expected & inside).any():
        return np.zeros(inside.shape, np.uint8), 0.0
    segmented = segment(rgb) if inside.all() else _probability_within(rgb, inside)
    probability = cv2.resize(segmented, size, interpolation=cv2.INTER_LINEAR)
    solid, valid = (
        cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        for m in (expected, inside)
    )
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
    beyond = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
    labels = np.where(solid > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[(probability > 0.5) & (beyond < _EXPECTED_BEYOND)] = cv2.GC_PR_FGD
    labels[depth > _EXPECTED_WITHIN] = cv2.GC_FGD
    labels[beyond > _EXPECTED_BEYOND] = cv2.GC_BGD
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    photo = _rectangle(valid > 0)
    mask = np.zeros(size, np.uint8)
    mask[photo] = _grabcut(small[photo], labels[photo])
    alpha = np.where(inside, _softened(_one_piece(mask), rgb.shape[0]), 0).astype(np.uint8)
    shown, wanted = alpha > 127, expected & inside
    return alpha, float((shown & wanted).sum() / max((shown | wanted).sum(), 1))


def _probability_within(rgb: Pixels, inside: Mask) -> Array32:
    """(256, 256) probability of a person in a photo that fills only part of the crop.

    The segmenter depends on what surrounds the photo.  Its outputs for three unlike surroundings
    are averaged: grey, the photo's border fading to its mean colour, and none.
    """
    grey, faded = rgb.copy(), rgb.copy()
    grey[~inside] = 128
    distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)[~inside]
    weight = np.exp(-distance / (_FADE * rgb.shape[0]))[:, None]
    faded[~inside] = np.rint(rgb[~inside] * weight + rgb[inside].mean(0) * (1 - weight))
    rows, columns = _rectangle(inside)
    alone = np.zeros(inside.shape, np.float32)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    alone[rows, columns] = cv2.resize(segment(np.ascontiguousarray(rgb[rows, columns])), size)
    small = cv2.resize(alone, (SEGMENTER_SIDE, SEGMENTER_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray((segment(grey) + segment(faded) + small) / 3, np.float32)


def _rectangle(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of a mask's bounding box."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def segment(rgb: Pixels) -> Array32:
    """(256, 256) probability that a pixel shows a person, 0 to 1."""
    side = (SEGMENTER_SIDE, SEGMENTER_SIDE)
    small = np.asarray(cv2.resize(rgb, side, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(run(SEGMENTER, small, 0.0)[0], np.float32).reshape(side)


def _outline(rgb: Pixels, probability: Array32, inside_photo: Mask | None) -> Pixels:
    """(s, s) uint8 alpha: the segmentation, with its outline moved onto image edges.

    The segmenter confuses the photo's border with that of the head.  Near the border its output
    is replaced by the nearest value further inside, and GrabCut decides by colour.
    """
    side, size = rgb.shape[0], (WORKING_SIDE, WORKING_SIDE)
    probability = np.asarray(
        cv2.resize(probability, size, interpolation=cv2.INTER_LINEAR), np.float32
    )
    border, photo = np.zeros(size, bool), (slice(0, size[0]), slice(0, size[1]))
    if inside_photo is not None:
        valid = cv2.resize(inside_photo.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        photo = _rectangle(valid > 0)
        valid = cv2.copyMakeBorder(valid, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=[1])
        border = (cv2.distanceTransform(valid, cv2.DIST_L2, 5) <= _PHOTO_RIM)[1:-1, 1:-1]
        if not border.all():
            _, nearest = distance_transform_edt(border, return_indices=True)
            probability = probability[nearest[0], nearest[1]]
    foreground = (probability > 0.5).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_BAND, _BAND))
    band = cv2.morphologyEx(foreground, cv2.MORPH_GRADIENT, kernel) > 0
    band |= (probability > _UNCERTAIN[0]) & (probability < _UNCERTAIN[1])
    band |= border
    labels = np.where(foreground > 0, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    labels[band] = np.where(foreground[band] > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = _grabcut(small[photo], labels[photo])
    # extend the mask beyond the photo, whose border must not become an edge of the mask
    rows, columns = photo
    margins = (rows.start, size[0] - rows.stop, columns.start, size[1] - columns.stop)
    mask = np.asarray(cv2.copyMakeBorder(mask, *margins, cv2.BORDER_REPLICATE), np.uint8)
    return _softened(_one_piece(mask), side)


def _grabcut(rgb: Pixels, labels: Pixels) -> Pixels:
    """(h, w) 1 where GrabCut finds foreground, starting from ``labels`` (h, w)."""
    labels = labels.copy()
    smooth = cv2.bilateralFilter(np.ascontiguousarray(rgb), 5, 30, 5)
    foreground = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    # GrabCut fails without pixels of both classes
    if foreground.any() and (labels == cv2.GC_BGD).sum() > 50:
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(smooth, labels, None, *models, 3, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
        foreground = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return np.asarray(foreground, np.uint8)


def _core(side: int) -> Mask:
    """(side, side) bool, the area of a canonical crop that the face always covers."""
    v, u = np.mgrid[0:side, 0:side] / side
    return np.asarray(np.hypot((u - 0.5) / 0.17, (v - 0.485) / 0.215) < 1)


def _one_piece(mask: Pixels) -> Pixels:
    """The mask's component at the middle of the crop, without small holes and thin clutter."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel), np.uint8)
    _, components = cv2.connectedComponents(mask)
    middle = components[int(0.5 * WORKING_SIDE), int(0.5 * WORKING_SIDE)]
    mask = ((components == middle) & (middle > 0)).astype(np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), np.uint8)
    # small holes are highlights or folds; large ones show the background
    count, components, stats, _ = cv2.connectedComponentsWithStats(1 - mask)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < _MAX_HOLE * WORKING_SIDE**2:
            mask[components == label] = 1
    return mask


def _softened(mask: Pixels, side: int) -> Pixels:
    """(side, side) uint8 alpha of a mask, with an edge about two working pixels wide."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.2)
    large = cv2.resize(soft, (side, side), interpolation=cv2.INTER_CUBIC)
    alpha = np.clip((large - 0.5) * 1.8 + 0.5, 0, 1)
    return np.asarray(np.rint(alpha * 255), np.uint8)
