"""Where a photo shows how far hair stands off: the outline of hair as radii of the panorama."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dp3d_core.heads.space import MM
from dp3d_core.mesh import Mesh, unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.panorama import AXIS, Panorama
from dp3d_core.preview.parsing import PARSING_SIDE, Kind, Parsing

Array = NDArray[np.float64]

GRID = Panorama(144, 288)
"""Of the hair's surface."""
SHELL = GRID.rows * GRID.columns + 1
"""Vertices of that surface."""
_EAR_TOP = 25.0
"""Height, millimetres, below which a style that is chosen has its own outline."""

_EAR_ROWS, _EAR_DEG, _EAR_REACH = (-48.0, 20.0), (95.0, 22.0), 6.0
"""Heights of ears, millimetres, their longitude and half the span of it, and millimetres beyond an
ear within which an outline is its own."""


@dataclass(frozen=True)
class Outline:
    """Pixels where hair ends before background or cloth.

    Attributes:
        uv: (n, 2) pixels of the PARSING_SIDE picture.
        normal: (n, 2) unit, outwards.

    """

    uv: Array
    normal: Array

    def __len__(self) -> int:
        return len(self.uv)


def hair_outline(portrait: Portrait, parsing: Parsing) -> Outline:
    """Where the photo shows that hair ends before background or cloth."""
    kind = parsing.chances.argmax(-1)
    covered = ((kind == Kind.HAIR) & parsing.known).astype(np.uint8)
    covered = _largest(covered)
    rim = covered - cv2.erode(covered, np.ones((3, 3), np.uint8))
    open_ = ((kind == Kind.BACKGROUND) | (kind == Kind.CLOTH)) & parsing.known
    free = cv2.dilate(open_.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    unknown = cv2.dilate((~parsing.known).astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    unknown[[0, 1, -2, -1]] = True
    unknown[:, [0, 1, -2, -1]] = True
    skin = cv2.dilate((kind == Kind.SKIN).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    rows, columns = np.nonzero((rim > 0) & free & ~unknown & ~skin)
    smooth = cv2.GaussianBlur(covered.astype(np.float64), (0, 0), 3)
    dy, dx = np.gradient(smooth)
    normal = -np.stack([dx[rows, columns], dy[rows, columns]], -1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    # the matte's edge is softer than a pixel: where it crosses one half
    uv = np.stack([columns, rows], -1) + 0.5 + 0.5 * normal
    return Outline(uv.astype(np.float64), normal)


def _largest(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask without pieces of less than a tenth of the largest."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 3:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    keep = 1 + np.flatnonzero(areas > 0.1 * areas.max())
    return np.isin(pieces, keep).astype(np.uint8)


@dataclass(frozen=True)
class Marks:
    """Places of the panorama whose radius the photo shows.

    Attributes:
        column, row: (n,) texels of GRID.
        radius: (n,) head units.

    """

    column: Array
    row: Array
    radius: Array


def tangents(portrait: Portrait, outline: Outline) -> Marks:
    """Radii that the outline's rays have where they pass the axis: exact for a sphere."""
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    if not len(outline):
        return Marks(*(np.zeros(0) for _ in range(3)))
    rays = camera.directions(outline.uv)
    eye = camera.position - AXIS
    reach = -(rays @ eye)
    points = eye + rays * reach[:, None]
    level = rays * [1, 0, 1]
    low = points[:, 1] < 0
    flat = -(level @ eye) / np.einsum("ni,ni->n", level, level)
    points[low] = (eye + rays * flat[:, None])[low]
    points = points + AXIS
    column, row = GRID.place(points)
    return Marks(column, row, GRID.radius(points))


def above_ears(portrait: Portrait, outline: Outline) -> Outline:
    """The part of an outline that lies above the ears: below, a style has its own."""
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    if not len(outline):
        return outline
    rays = camera.directions(outline.uv)
    height = (camera.position + rays * -(rays @ camera.position)[:, None])[:, 1]
    upper = height > _EAR_TOP * MM
    return Outline(outline.uv[upper], outline.normal[upper])


def free_sides(ears: Array) -> NDArray[np.bool_]:
    """(2,) whether the ears on -x and +x are free: (GRID) ``ears`` is 1 on those that are."""
    half = GRID.columns // 2
    return np.array([ears[:, :half].max() > 0.5, ears[:, half:].max() > 0.5])


def without_ears(portrait: Portrait, outline: Outline, skin: Array, free: Array) -> Outline:
    """An outline without the places where free ears are what stands out.

    Args:
        portrait: with a pose.
        outline: of the hair.
        skin: (GRID) radius of the bare head with ears, head units.
        free: (GRID) 1 on ears that no hair covers.

    """
    if not len(outline):
        return outline
    marks = tangents(portrait, outline)
    side = np.abs(GRID.aside_deg() - _EAR_DEG[0]) < _EAR_DEG[1]
    row = np.clip(marks.row, 0, GRID.rows - 1).astype(int)
    ear = skin[:, side].max(1)[row]
    height = GRID.rays()[0][:: GRID.columns, 1][row] / MM
    beside = (height > _EAR_ROWS[0]) & (height < _EAR_ROWS[1])
    side_of = (marks.column.astype(int) % GRID.columns) // (GRID.columns // 2)
    beside &= free_sides(free)[side_of]
    own = beside & (marks.radius < ear + _EAR_REACH * MM)
    return Outline(outline.uv[~own], outline.normal[~own])


def corrected(portrait: Portrait, outline: Outline, shell: Mesh, surface: Array) -> Marks:
    """Marks where the shell's own outline lies, moved so that it meets the photo's."""
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    uv, _ = camera.project(shell.vertices[:-1])
    towards = unit(camera.position - shell.vertices[:-1])
    cosine = np.einsum("ni,ni->n", towards, shell.normals[:-1])
    rim = np.flatnonzero(np.abs(cosine) < 0.30)
    _, outward = GRID.rays()
    tip = camera.project(shell.vertices[:-1] + outward * MM)[0] - uv
    pixels = np.linalg.norm(tip, axis=1)
    tree = cKDTree(uv[rim])
    # the rim vertex nearest to each pixel of the outline whose radius moves it along the normal
    distances, nearest = tree.query(outline.uv, k=12, distance_upper_bound=60)
    good = np.isfinite(distances)
    candidate = rim[np.where(good, nearest, 0)]
    along = np.einsum("nkd,nd->nk", tip[candidate], outline.normal)
    away = outline.uv[:, None] - uv[candidate]
    aside = np.abs(
        away[..., 0] * -outline.normal[:, None, 1] + away[..., 1] * outline.normal[:, None, 0]
    )
    cost = np.where(good & (along > 0.3 * pixels[candidate]), aside, np.inf)
    best = cost.argmin(1)
    use = np.isfinite(cost.min(1))
    chosen = candidate[np.arange(len(best)), best][use]
    step = np.einsum("nd,nd->n", away[np.arange(len(best)), best][use], outline.normal[use])
    step /= along[np.arange(len(best)), best][use]
    row, column = np.divmod(chosen, GRID.columns)
    radius = surface.ravel()[chosen] + np.clip(step, -60, 60) * MM
    return Marks(column.astype(float), row.astype(float), radius)
