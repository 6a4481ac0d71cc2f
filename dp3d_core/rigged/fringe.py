"""A fringe whose lower part is painted on the forehead: its hair comes down to it in a slow curve.

The fitted shell of the hair dives into the forehead within 15 mm.  In a scene's light that is an
overhang in its own shadow, a dark rim across a fringe whose lower part is painted on skin.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Indices, Mask, smoothstep
from dp3d_core.heads.bust import BustRegion, bust
from dp3d_core.heads.space import MM
from dp3d_core.preview.hair.outline_marks import GRID, SHELL
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.parts import Part
from dp3d_core.preview.texture.panorama import wrap
from dp3d_core.rigged.shell import likeness_to_hair

_SLOPE_MM = 40.0
"""Distance above its lower end within which the hair comes down to the skin, millimetres."""
_END_MM = 0.2
"""Height over the skin of the lower end of the hair, millimetres."""
_BELOW_MM = (5.0, 8.0, 11.0)
"""Distances below the lower end of the hair at which the skin may show a fringe, millimetres."""
BEFORE_EARS_MM = (20.0, 50.0)
"""Depths between which hair is that of the forehead, millimetres."""
_PAINTED = (0.25, 0.6)
"""Likeness of the skin below to hair between which the hair above is a fringe."""
_SIGMA = 5.0
"""Blur along the hairline, columns of the grid."""
_LITTLE = 1e-3
"""Share of a fringe in the blur below which there is none."""


def lowered_fringe(head: PreviewHead, height_mm: Array) -> Array:
    """(SHELL, 3) vertices of the shell, nearer to the skin above a fringe that is painted on it.

    Args:
        head: the fitted head, with a shell.
        height_mm: (SHELL,) height of the shell over the skin, millimetres.

    """
    first = len(bust().rest)
    vertices = head.mesh.vertices[first : first + SHELL].copy()
    grid = vertices[:-1].reshape(GRID.rows, GRID.columns, 3)
    height = height_mm[:-1].reshape(GRID.rows, GRID.columns)
    is_hair = head.mesh.parts[first : first + SHELL - 1].reshape(height.shape) == Part.HAIR
    end = _ends(height)
    columns = np.arange(GRID.columns)
    fringe = _painted_below(head, grid[end, columns]) * (end > 0) * is_hair[end, columns]
    fringe *= smoothstep(grid[end, columns, 2] / MM, *BEFORE_EARS_MM)
    if not fringe.any():
        return vertices
    steps = np.linalg.norm(np.diff(grid, axis=0), axis=2) / MM
    along = np.concatenate([np.zeros((1, GRID.columns)), np.cumsum(steps, axis=0)])
    upper, lower = np.maximum(height[end, columns], 0), np.minimum(height[end + 1, columns], -0.1)
    share = upper / (upper - lower)
    crossing = along[end, columns] * (1 - share) + along[end + 1, columns] * share
    # ends that jump from column to column would bend the strands; hair beside a fringe has its own
    above = _smooth(crossing * fringe) / np.maximum(_smooth(fringe), _LITTLE) - along
    drop = (height - _END_MM) * (1 - smoothstep(above, 0.0, _SLOPE_MM)) * is_hair
    drop *= _smooth(fringe) * _inside(fringe > 0)
    # the alpha of the texture ends before the next row
    drop[np.arange(GRID.rows)[:, None] > end + 1] = 0
    _, inwards = GRID.inward_rays()
    vertices[:-1] += inwards * (drop.ravel() * MM)[:, None]
    return vertices


def _smooth(values: Array) -> Array:
    """(columns,) values blurred along the hairline."""
    margin = GRID.columns // 4
    wide = wrap(values[None].astype(np.float32), margin)
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), _SIGMA, sigmaY=0.1)[0, margin:-margin])


def _inside(fringe: Mask) -> Array:
    """(columns,) 0 beside a fringe and at its sides, 1 ten columns further in.

    The hair beside it stays, so a fringe that came down up to its sides would leave a step there.
    """
    return np.asarray(np.clip(2 * _smooth(fringe.astype(np.float64)) - 1, 0, 1))


def _ends(height: Array) -> Indices:
    """(columns,) last row, from the crown downwards, before the shell goes below the skin."""
    covers = height > 0
    below = np.where(covers.all(0), 0, covers.argmin(0))
    return np.asarray(np.maximum(below - 1, 0))


def _painted_below(head: PreviewHead, ends: Array) -> Array:
    """(k,) 0 to 1: whether the skin below the ends (k, 3) of the hair shows hair."""
    topology = bust()
    skin = np.isin(topology.region, (BustRegion.FOREHEAD, BustRegion.SCALP, BustRegion.FACE))
    index = np.flatnonzero(skin & (head.mesh.vertices[: len(skin), 2] > 0))
    used, corner = np.unique(head.mesh.faces.ravel(), return_index=True)
    kept = np.isin(used, index)
    face, corner = corner[kept] // 3, corner[kept] % 3
    _, delit = head.surface_looks(face, np.eye(3)[corner])
    likeness = likeness_to_hair(head, delit)
    tree = cKDTree(head.mesh.vertices[used[kept]])
    below = ends[:, None] - np.array(_BELOW_MM)[:, None] * MM * np.array([0.0, 1.0, 0.0])
    _, nearest = tree.query(below)
    return smoothstep(likeness[nearest].mean(1), *_PAINTED)
