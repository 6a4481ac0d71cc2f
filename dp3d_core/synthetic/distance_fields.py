"""Signed distance fields: primitives and operations for hair volumes, hats, glasses and clothes.

Functions take points (n, 3) and return distances (n,), negative inside.  Smooth operations return
pseudo-distances, hardly steeper than true ones, which suffice for surface extraction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dp3d_core.arrays import Array

Vector = Sequence[float]


def ellipsoid(p: Array, centre: Vector, radii: Vector) -> Array:
    """First-order distance to an ellipsoid (value over gradient length), exact on the surface."""
    q = (p - np.asarray(centre)) / np.asarray(radii)
    k0 = np.linalg.norm(q, axis=-1)
    k1 = np.linalg.norm(q / np.asarray(radii), axis=-1)
    # the quotient has no limit at the centre, where the distance is at most the least radius
    return np.asarray(np.maximum(k0 * (k0 - 1) / np.maximum(k1, 1e-9), -float(min(radii))))


def rotation(degrees: Vector) -> Array:
    """(3, 3) rotation about x, then y, then z, in degrees, for column vectors."""
    a, b, c = np.radians(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(z @ y @ x)


def capsule(p: Array, a: Vector, b: Vector, ra: float, rb: float | None = None) -> Array:
    """Distance to a rod with round ends, of radius ``ra`` at ``a`` and ``rb`` at ``b``."""
    start = np.asarray(a, float)
    axis = np.asarray(b, float) - start
    t = np.clip((p - start) @ axis / (axis @ axis), 0, 1)
    radius = ra + ((rb if rb is not None else ra) - ra) * t
    return np.asarray(np.linalg.norm(p - start - t[:, None] * axis, axis=-1) - radius)


def polyline(p: Array, points: Sequence[Vector], radii: Sequence[float], k: float = 0.0) -> Array:
    """Distance to a chain of rods through points with radii; joints are blended over ``k``."""
    d = np.full(len(p), np.inf)
    for i in range(len(points) - 1):
        piece = capsule(p, points[i], points[i + 1], radii[i], radii[i + 1])
        d = union(d, piece, k) if k else np.minimum(d, piece)
    return d


def mirrored(p: Array) -> Array:
    """Points with abs(x), for fields that are symmetric about x = 0."""
    m = p.copy()
    m[:, 0] = np.abs(m[:, 0])
    return m


def union(a: Array, b: Array, k: float) -> Array:
    """Smooth union with blending radius ``k`` (polynomial smooth minimum)."""
    h = np.maximum(k - np.abs(a - b), 0) / k
    return np.asarray(np.minimum(a, b) - h * h * k / 4)


def intersection(a: Array, b: Array, k: float) -> Array:
    """Smooth intersection with blending radius ``k``."""
    return -union(-a, -b, k)


def cut(a: Array, b: Array, k: float) -> Array:
    """Smooth difference, ``a`` without ``b``, with blending radius ``k``."""
    return -union(-a, b, k)


def bump(p: Array, centre: Vector, radii: Vector) -> Array:
    """(n,) smooth weight: 1 at the centre, 0 outside the ellipsoid with these radii."""
    q2 = (((p - np.asarray(centre)) / np.asarray(radii)) ** 2).sum(-1)
    return np.asarray(np.maximum(1 - q2, 0) ** 2)
