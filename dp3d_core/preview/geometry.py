"""The template head: our own geometry, as a signed distance field turned into a mesh.

A head is blended from simple solids (skull, jaw, chin, nose, lips, eyes, ears, neck,
shoulders, hair), in **template units**: origin at the centre of the head, Y up, face towards
+Z, about 0.56 units from chin to crown.  The proportions follow measurements of the published
DiffPortrait3D frames (triangulated with their cameras: eyes 0.082 beside the middle plane,
face plane 0.2 before the ears, nose tip 0.06 before the face plane).

``placement`` turns template units into head space.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import EG3D_SCALE
from dp3d_core.mesh import Mesh, vertex_normals

Array = NDArray[np.float64]

HEAD_HEIGHT = 0.56
"""Chin to crown, template units."""
HEAD_SCALE = EG3D_SCALE
"""Template units to head units: the template was measured on EG3D-framed pictures."""
BUST_CUT = -0.47
"""Height of the flat cut through the shoulders, template units."""

EYE_HEIGHT, EYE_SPREAD = 0.068, 0.078
"""Eyes above the head centre, and beside the middle plane, template units."""
MOUTH_HEIGHT = -0.115


class Part(IntEnum):
    """What a point of the template belongs to."""

    SKIN = 0
    HAIR = 1
    BODY = 2


# -- distance fields (points (n, 3) -> (n,), negative inside) ------------------------------


def _ellipsoid(p: Array, centre: tuple[float, ...], radii: tuple[float, ...]) -> Array:
    # First-order distance: value over gradient length; exact on the surface.
    q = (p - centre) / radii
    k0 = np.linalg.norm(q, axis=-1)
    k1 = np.linalg.norm(q / radii, axis=-1)
    return np.asarray(k0 * (k0 - 1) / np.maximum(k1, 1e-9))


def _capsule(
    p: Array, a: tuple[float, ...], b: tuple[float, ...], ra: float, rb: float | None = None
) -> Array:
    a_, b_ = np.asarray(a), np.asarray(b)
    axis = b_ - a_
    t = np.clip((p - a_) @ axis / (axis @ axis), 0, 1)
    radius = ra + ((rb if rb is not None else ra) - ra) * t
    return np.asarray(np.linalg.norm(p - a_ - t[:, None] * axis, axis=-1) - radius)


def _union(a: Array, b: Array, k: float) -> Array:
    """Smooth union with blending radius ``k`` (polynomial smooth minimum)."""
    h = np.maximum(k - np.abs(a - b), 0) / k
    return np.asarray(np.minimum(a, b) - h * h * k / 4)


def _cut(a: Array, b: Array, k: float) -> Array:
    """``a`` with ``b`` taken out, smoothly."""
    return -_union(-a, b, k)


def head_distance(p: Array) -> tuple[Array, Array, Array]:
    """Distances to skin, hair and body of the template at points.

    Args:
        p: (n, 3) template units.

    Returns:
        Three (n,) arrays, negative inside; the head is their union.

    """
    m = p.copy()
    m[:, 0] = np.abs(m[:, 0])  # everything is symmetric

    skull = _ellipsoid(m, (0, 0.085, -0.025), (0.178, 0.205, 0.228))
    face = _ellipsoid(m, (0, -0.045, 0.055), (0.142, 0.205, 0.147))
    d = _union(skull, face, 0.10)
    d = _union(d, _capsule(m, (0.118, -0.07, 0.02), (0.045, -0.205, 0.105), 0.05, 0.042), 0.07)
    d = _union(d, _ellipsoid(m, (0, -0.222, 0.135), (0.055, 0.04, 0.045)), 0.05)  # chin
    d = _union(d, _ellipsoid(m, (0.088, -0.005, 0.128), (0.06, 0.05, 0.05)), 0.06)  # cheek
    d = _union(d, _capsule(m, (0.02, 0.115, 0.188), (0.105, 0.118, 0.148), 0.022, 0.018), 0.04)
    d = _cut(d, _ellipsoid(m, (EYE_SPREAD, EYE_HEIGHT, 0.222), (0.046, 0.026, 0.04)), 0.035)
    d = _union(d, _ellipsoid(m, (EYE_SPREAD, EYE_HEIGHT, 0.150), (0.036, 0.034, 0.034)), 0.012)
    d = _union(d, _capsule(m, (0, 0.085, 0.188), (0, -0.012, 0.232), 0.015, 0.022), 0.03)  # nose
    d = _union(d, _ellipsoid(m, (0.024, -0.028, 0.208), (0.019, 0.016, 0.024)), 0.02)
    d = _union(d, _ellipsoid(m, (0, MOUTH_HEIGHT, 0.172), (0.056, 0.034, 0.03)), 0.03)
    d = _union(d, _ellipsoid(m, (0, MOUTH_HEIGHT + 0.011, 0.193), (0.043, 0.01, 0.012)), 0.012)
    d = _union(d, _ellipsoid(m, (0, MOUTH_HEIGHT - 0.012, 0.192), (0.037, 0.011, 0.013)), 0.012)
    # ears: a tilted flat ellipsoid with a dent
    ear = m - np.array([0.183, 0.012, -0.035])
    tilt = np.array([[0.87, 0, 0.5], [0, 1, 0], [-0.5, 0, 0.87]])
    ear = ear @ tilt
    shell = _ellipsoid(ear, (0, 0, 0), (0.016, 0.06, 0.037))
    shell = _cut(shell, _ellipsoid(ear, (0.018, 0.005, 0.004), (0.012, 0.04, 0.022)), 0.012)
    d = _union(d, shell, 0.02)
    neck = _capsule(m, (0, -0.12, -0.055), (0, -0.46, -0.085), 0.102, 0.11)
    skin = _union(d, neck, 0.06)

    cap = _ellipsoid(m, (0, 0.092, -0.042), (0.196, 0.222, 0.243))
    # hairline: a plane from the forehead to the nape, bent back around the face
    behind = 0.155 - m[:, 2]
    line = 0.196 - m[:, 1] - 0.95 * np.clip(behind, 0, 0.30) + 0.5 * np.clip(0.08 - behind, 0, 1)
    hair = np.maximum(cap, line * 0.7)

    body = _ellipsoid(m, (0, -0.56, -0.095), (0.40, 0.19, 0.155))
    body = _union(body, _capsule(m, (0.06, -0.36, -0.1), (0.25, -0.42, -0.1), 0.06, 0.08), 0.12)
    return skin, hair, body


@lru_cache(maxsize=1)
def template_head(resolution: int = 112) -> Mesh:
    """The template as a mesh, cut flat at :data:`BUST_CUT` and closed there.

    Args:
        resolution: grid cells across the width of the shoulders.

    """
    from skimage.measure import marching_cubes

    low, high = np.array([-0.48, BUST_CUT - 0.03, -0.32]), np.array([0.48, 0.36, 0.30])
    step = (high[0] - low[0]) / resolution
    # half a cell off, so that no grid point lies on the middle plane
    axes = [np.arange(lo + step / 2, hi, step) for lo, hi in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    points = grid.reshape(-1, 3)
    skin, hair, body = head_distance(points)
    d = _union(_union(skin, hair, 0.015), body, 0.05)
    d = np.maximum(d, BUST_CUT - points[:, 1])
    vertices, faces, _, _ = marching_cubes(
        d.reshape(grid.shape[:3]), 0.0, spacing=(step,) * 3, allow_degenerate=False
    )
    vertices = vertices.astype(np.float64) + [axis[0] for axis in axes]
    skin, hair, body = head_distance(vertices)
    parts = np.where(hair < skin + 0.004, Part.HAIR, Part.SKIN)
    parts = np.where(body < np.minimum(skin, hair) - 0.0, Part.BODY, parts).astype(np.uint8)
    faces = np.ascontiguousarray(faces, np.int32)
    return Mesh(vertices, faces, vertex_normals(vertices, faces), parts)
