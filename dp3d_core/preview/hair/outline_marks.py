"""Constraints on the hair's surface: its outline in the photo as radii on the panorama."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Mask, Pixels
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh, unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.photo.parsing import PARSING_SIDE, Kind, Parsing
from dp3d_core.preview.texture.panorama import AXIS, Panorama

GRID = Panorama(144, 288)
"""Grid of the hair's surface; arrays of shape (GRID.rows, GRID.columns) are called (GRID)."""
SHELL = GRID.rows * GRID.columns + 1
"""Number of vertices of the hair's surface: the grid and the crown."""
_EAR_TOP = 25.0
"""Height below which a chosen style replaces the photo's outline, millimetres."""

_EAR_HEIGHTS = (-48.0, 20.0)
"""Heights between which ears lie, millimetres."""
_EAR_LONGITUDE = 95.0
"""Absolute longitude of the ears, degrees."""
_EAR_HALF_SPAN = 22.0
"""Half the span of an ear in longitude, degrees."""
_EAR_REACH = 6.0
"""Distance beyond an ear within which an outline is the ear's, millimetres."""


@dataclass(frozen=True)
class Outline:
    """Silhouette of hair against background or cloth.

    Attributes:
        uv: (n, 2) positions, pixels of the PARSING_SIDE image.
        normal: (n, 2) unit normals, outwards.

    """

    uv: Array
    normal: Array

    def __len__(self) -> int:
        return len(self.uv)


@dataclass(frozen=True, eq=False)
class HairView:
    """A further photo of the hair.

    Attributes:
        portrait: the photo, with its pose and matte.
        parsing: classes of its pixels.
        outline: silhouette of its hair.

    """

    portrait: Portrait
    parsing: Parsing
    outline: Outline

    @classmethod
    def of(cls, portrait: Portrait, parsing: Parsing) -> HairView:
        """The hair of a photo, with its outline."""
        return cls(portrait, parsing, hair_outline(portrait, parsing))


def hair_outline(portrait: Portrait, parsing: Parsing) -> Outline:
    """The silhouette of the photo's hair, away from skin and from the photo's border."""
    kind = parsing.probabilities.argmax(-1)
    covered = ((kind == Kind.HAIR) & parsing.valid).astype(np.uint8)
    covered = _largest(covered)
    rim = covered - cv2.erode(covered, np.ones((3, 3), np.uint8))
    other = ((kind == Kind.BACKGROUND) | (kind == Kind.CLOTH)) & parsing.valid
    near_other = cv2.dilate(other.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    invalid = cv2.dilate((~parsing.valid).astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    invalid[[0, 1, -2, -1]] = True
    invalid[:, [0, 1, -2, -1]] = True
    skin = cv2.dilate((kind == Kind.SKIN).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    rows, columns = np.nonzero((rim > 0) & near_other & ~invalid & ~skin)
    smooth = cv2.GaussianBlur(covered.astype(np.float64), (0, 0), 3)
    dy, dx = np.gradient(smooth)
    normal = -np.stack([dx[rows, columns], dy[rows, columns]], -1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    # the silhouette lies half a pixel outside the centres of the rim's pixels
    uv = np.stack([columns, rows], -1) + 0.5 + 0.5 * normal
    return Outline(uv.astype(np.float64), normal)


def _largest(mask: Pixels) -> Pixels:
    """A mask without components smaller than a tenth of the largest."""
    count, components, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 3:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    keep = 1 + np.flatnonzero(areas > 0.1 * areas.max())
    return np.isin(components, keep).astype(np.uint8)


@dataclass(frozen=True)
class Marks:
    """Radii that the photo fixes at positions of the panorama.

    Attributes:
        column, row: (n,) positions on GRID, texels.
        radius: (n,) radius there, head units.

    """

    column: Array
    row: Array
    radius: Array


def joined(marks: Sequence[Marks]) -> Marks:
    """Marks of several photos as one."""
    return Marks(
        np.concatenate([m.column for m in marks]),
        np.concatenate([m.row for m in marks]),
        np.concatenate([m.radius for m in marks]),
    )


def tangents(portrait: Portrait, outline: Outline) -> Marks:
    """Radii at which the silhouette's rays pass nearest to the axis; exact for a sphere."""
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    if not len(outline):
        return Marks(*(np.zeros(0) for _ in range(3)))
    rays = camera.directions(outline.uv)
    eye = camera.position - AXIS
    nearest = -(rays @ eye)
    points = eye + rays * nearest[:, None]
    horizontal = rays * [1, 0, 1]
    low = points[:, 1] < 0
    horizontal_nearest = -(horizontal @ eye) / np.einsum("ni,ni->n", horizontal, horizontal)
    points[low] = (eye + rays * horizontal_nearest[:, None])[low]
    points = points + AXIS
    column, row = GRID.project(points)
    return Marks(column, row, GRID.radius(points))


def above_ears(portrait: Portrait, outline: Outline) -> Outline:
    """The part of an outline above the ears; below them a chosen style has its own."""
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    if not len(outline):
        return outline
    rays = camera.directions(outline.uv)
    height = (camera.position + rays * -(rays @ camera.position)[:, None])[:, 1]
    upper = height > _EAR_TOP * MM
    return Outline(outline.uv[upper], outline.normal[upper])


def free_sides(ears: Array) -> Mask:
    """(2,) whether the ears on -x and +x are uncovered; ``ears`` (GRID) is 1 on uncovered ears."""
    half = GRID.columns // 2
    return np.array([ears[:, :half].max() > 0.5, ears[:, half:].max() > 0.5])


def without_ears(portrait: Portrait, outline: Outline, skin: Array, free: Array) -> Outline:
    """Remove the silhouettes of uncovered ears from an outline.

    Args:
        portrait: the photo, with its pose.
        outline: outline of the hair.
        skin: (GRID) radius of the bare head with ears, head units.
        free: (GRID) 1 on uncovered ears.

    """
    if not len(outline):
        return outline
    marks = tangents(portrait, outline)
    ear_columns = np.abs(GRID.longitude_deg() - _EAR_LONGITUDE) < _EAR_HALF_SPAN
    row = np.clip(marks.row, 0, GRID.rows - 1).astype(int)
    ear_radius = skin[:, ear_columns].max(1)[row]
    height = GRID.rays()[0][:: GRID.columns, 1][row] / MM
    beside = (height > _EAR_HEIGHTS[0]) & (height < _EAR_HEIGHTS[1])
    side_of = (marks.column.astype(int) % GRID.columns) // (GRID.columns // 2)
    beside &= free_sides(free)[side_of]
    of_ear = beside & (marks.radius < ear_radius + _EAR_REACH * MM)
    return Outline(outline.uv[~of_ear], outline.normal[~of_ear])


def corrected(portrait: Portrait, outline: Outline, shell: Mesh, surface: Array) -> Marks:
    """Radii at the shell's own silhouette, corrected so that it meets the photo's outline."""
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    uv, _ = camera.project(shell.vertices[:-1])
    to_camera = unit(camera.position - shell.vertices[:-1])
    cosine = np.einsum("ni,ni->n", to_camera, shell.normals[:-1])
    rim = np.flatnonzero(np.abs(cosine) < 0.30)
    _, outward = GRID.rays()
    pixels_per_mm = camera.project(shell.vertices[:-1] + outward * MM)[0] - uv
    speed = np.linalg.norm(pixels_per_mm, axis=1)
    tree = cKDTree(uv[rim])
    # for each outline pixel, the rim vertex that a change of radius moves onto it most directly
    distances, nearest = tree.query(outline.uv, k=12, distance_upper_bound=60)
    is_finite = np.isfinite(distances)
    candidate = rim[np.where(is_finite, nearest, 0)]
    normal_speed = np.einsum("nkd,nd->nk", pixels_per_mm[candidate], outline.normal)
    offset = outline.uv[:, None] - uv[candidate]
    tangential = np.abs(
        offset[..., 0] * -outline.normal[:, None, 1] + offset[..., 1] * outline.normal[:, None, 0]
    )
    cost = np.where(is_finite & (normal_speed > 0.3 * speed[candidate]), tangential, np.inf)
    best = cost.argmin(1)
    usable = np.isfinite(cost.min(1))
    chosen = candidate[np.arange(len(best)), best][usable]
    step = np.einsum("nd,nd->n", offset[np.arange(len(best)), best][usable], outline.normal[usable])
    step /= normal_speed[np.arange(len(best)), best][usable]
    row, column = np.divmod(chosen, GRID.columns)
    radius = surface.ravel()[chosen] + np.clip(step, -60, 60) * MM
    return Marks(column.astype(float), row.astype(float), radius)
