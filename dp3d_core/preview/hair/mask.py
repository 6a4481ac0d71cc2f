"""Mask of hair over the panorama: where it grows or hangs."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from dp3d_core.arrays import Array, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import unit
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.hair.length import TURNED_DEG
from dp3d_core.preview.hair.outline_marks import GRID
from dp3d_core.preview.hair.styles import HANGS, default_mask, extended_to_crown
from dp3d_core.preview.photo.parsing import Kind, Parsing
from dp3d_core.preview.texture.panorama import wrap

EDGE = (0.30, 0.62)
"""Mask values below which there is no hair, and above which it has its full thickness."""
_FAR_PENALTY = 0.35
"""Additional facing cosine that hair on the far half needs."""
_TURNED = (4.0, 14.0)
"""Absolute yaws between which that penalty begins, degrees."""
_NOTCH = 7
"""Texels of GRID across the largest notch or tab that is smoothed away."""
_BESIDE_FACE = 64.0
"""Longitude beyond which the lower edge of hair is smoothed, degrees."""
_EDGE_SIGMA = 9.0
"""Blur of the lower edge, columns."""
_TAB_ROWS = 3.0
"""Rows by which hair may extend below its smoothed lower edge."""


def hair_mask(
    photos: Sequence[tuple[Portrait, Parsing]], radius: Array, length: Array, bald: RayCaster
) -> Array:
    """(GRID) mask of hair, 0 to 1: from the photos, else mirrored, else the default.

    Args:
        photos: the portrait and further photos, each with its parsing.
        radius: (GRID) radius of the hair's surface, head units.
        length: (GRID.columns,) height of the ends of hair, head units.
        bald: the head without hair.

    """
    origin, outward = GRID.rays()
    points = origin + outward * radius.reshape(-1, 1)
    shape = GRID.rows, GRID.columns
    sums, weights, confidence = np.zeros(len(points)), np.zeros(len(points)), np.zeros(len(points))
    for portrait, parsing in photos:
        shown, certain = _seen(portrait, parsing, points, bald)
        sums += shown * certain**2
        weights += certain**2
        confidence = np.maximum(confidence, certain)
    covered = sums / np.maximum(weights, 1e-9)
    covered, confidence = covered.reshape(shape), confidence.reshape(shape)
    default = np.maximum(default_mask(GRID, length), extended_to_crown(GRID, covered * confidence))
    mirrored, mirrored_confidence = covered[:, ::-1], confidence[:, ::-1]
    height = (origin[:, 1] / MM).reshape(shape)
    angle = np.abs(np.degrees(np.arctan2(outward[:, 0], outward[:, 2]))).reshape(shape)
    # hanging hair comes from the temples and does not cover the cheeks; without hanging hair,
    # whatever looks like hair beside the neck is a beard
    low = smoothstep(height, -5, -25) * smoothstep(height, -165, -145)
    hangs = (length < HANGS * MM)[None]
    curtain = 1 - low * (1 - smoothstep(angle, 46, 60))
    sideburn = 1 - smoothstep(height, 14, 2) * (1 - smoothstep(angle, 70, 78))
    sideburn *= 1 - low * (1 - smoothstep(angle, 86, 94))
    front = np.where(hangs, curtain, sideburn)
    mirrored_weight = np.minimum(mirrored_confidence, 1 - confidence) * 0.95
    default_weight = np.maximum(1 - confidence - mirrored_weight, 0.0)
    mask = covered * confidence + mirrored * mirrored_weight + default * default_weight
    mask *= front
    # strands in front of the temple make no notches in the shell; the texture shows them
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_NOTCH, _NOTCH))
    closed = cv2.morphologyEx(wrap(mask, 16), cv2.MORPH_CLOSE, kernel)
    closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel)
    soft = cv2.GaussianBlur(closed, (0, 0), 1.6)
    return _without_holes(_one_growth(_without_tabs(np.asarray(soft[:, 16:-16], np.float64))))


def _seen(
    portrait: Portrait, parsing: Parsing, points: Array, bald: RayCaster
) -> tuple[Array, Array]:
    """Share of hair (n,) that a photo shows at points (n, 3) of GRID, and its confidence (n,)."""
    _, outward = GRID.rays()
    camera = portrait.camera
    to_camera = unit(camera.position - points)
    facing = np.einsum("ni,ni->n", to_camera, outward)
    uv, _ = camera.project(points)
    probabilities = parsing.at(uv, camera.width)
    inside = portrait.shows(uv)
    blocked = bald.blocked(points + 0.004 * outward, to_camera)
    covered = probabilities[:, Kind.HAIR] / np.maximum(1 - probabilities[:, Kind.BACKGROUND], 0.15)
    # hair in front of the far cheek in the photo hangs behind it
    yaw = portrait.report.yaw_deg
    far = smoothstep(points[:, 0] * -np.sign(yaw), -8 * MM, 8 * MM)
    turned = abs(yaw) if abs(yaw) < 90 else 180 - abs(yaw)
    far_penalty = _FAR_PENALTY * smoothstep(np.array(turned), *_TURNED)
    confidence = smoothstep(facing - far_penalty * far, 0.10, 0.35) * inside * ~blocked
    # background at the surface means that the surface is too large there, not that it is bald
    confidence *= 1 - smoothstep(probabilities[:, Kind.BACKGROUND], 0.5, 0.8)
    if turned > TURNED_DEG:
        confidence *= 1 - far
    return np.clip(covered, 0, 1), confidence


def _without_tabs(mask: Array) -> Array:
    """(GRID) mask without narrow tabs at its lower edge beside and behind the face.

    A dark collar, or the shade of the jaw beside hair, looks like hair.
    """
    angle = GRID.longitude_deg()
    beside = np.flatnonzero(angle > _BESIDE_FACE)
    rows = np.arange(GRID.rows)[:, None]
    grown = (mask > EDGE[0]) | (rows < GRID.dome_rows // 2)
    # below a gap there is no hair
    edge = np.logical_and.accumulate(grown, axis=0).sum(0).astype(float)
    # from one temple over the back to the other
    order = beside[np.argsort((beside + GRID.columns // 2) % GRID.columns)]
    lowest = gaussian_filter1d(edge[order], _EDGE_SIGMA, mode="nearest") + _TAB_ROWS
    trimmed = mask.copy()
    trimmed[:, order] *= 1 - smoothstep(rows - lowest, 0.0, 3.0)
    return trimmed


def _without_holes(mask: Array) -> Array:
    """(GRID) mask whose gaps are all connected to the face or to the neck below the hair."""
    columns = mask.shape[1]
    doubled = np.concatenate([mask, mask], 1)
    count, components = cv2.connectedComponents(
        (doubled <= EDGE[1]).astype(np.uint8), connectivity=4
    )
    front = components[:, [columns // 2, columns + columns // 2]]
    is_open = np.isin(np.arange(count), np.unique(np.concatenate([front.ravel(), components[-1]])))
    is_open[0] = True
    hole = ~is_open[components]
    hole = hole[:, :columns] | hole[:, columns:]
    return np.where(hole, 1.0, mask)


def _one_growth(mask: Array) -> Array:
    """(GRID) mask without components that do not reach the upper skull."""
    columns = mask.shape[1]
    doubled = np.concatenate([mask, mask], 1)
    count, components = cv2.connectedComponents(
        (doubled > EDGE[0]).astype(np.uint8), connectivity=4
    )
    rooted = np.unique(components[: GRID.dome_rows * 2 // 3])
    is_loose = ~np.isin(np.arange(count), rooted)
    is_loose[0] = False
    loose = is_loose[components]
    loose = loose[:, :columns] & loose[:, columns:]
    return np.where(loose, 0.0, mask)
