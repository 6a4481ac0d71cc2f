"""Glasses, hats and clothes of the average head, as distance fields in millimetres.

Points ``p`` are (n, 3), distances (n,), negative inside.  ``head`` extracts their surfaces.
"""

from __future__ import annotations

import numpy as np

from dp3d_core.arrays import Array, smoothstep
from dp3d_core.heads.space import BUST_CUT_MM
from dp3d_core.synthetic.average_bust import bare_body, draped_body
from dp3d_core.synthetic.distance_fields import (
    capsule,
    cut,
    ellipsoid,
    intersection,
    mirrored,
    polyline,
    union,
)
from dp3d_core.synthetic.hair_volumes import azimuth
from dp3d_core.synthetic.noise import noise

GLASSES = ("round", "square", "sun")
"""Kinds of :func:`glasses`."""
HATS = ("beanie", "cap", "brim", "turban", "scarf")
"""Kinds of :func:`hat`."""
CLOTHES = ("crew", "v_neck", "collar", "turtleneck")
"""Kinds of :func:`clothes`."""

_LOWEST = BUST_CUT_MM - 30
"""Height of the lower end of cloth, millimetres; ``head`` clips it at the bust's cut."""
_NECKLINE = 74.0
"""Distance from the neck's axis beyond which shoulders are covered, millimetres."""
HAT_LINES = {"beanie": 36.0, "cap": 54.0, "brim": 68.0, "turban": 40.0, "scarf": 84.0}
"""Height above which each hat flattens the hair, millimetres."""


def _rim(kind: str, t: Array) -> Array:
    """(k, 3) points of the frame around the left eye at parameters ``t`` (k,), radians."""
    power = {"round": 2.0, "square": 4.0, "sun": 3.0}[kind]
    half_width, half_height = {"round": (22, 20), "square": (23, 16), "sun": (25, 20)}[kind]
    c, s = np.cos(t), np.sin(t)
    x = np.sign(c) * np.abs(c) ** (2 / power) * half_width
    y = np.sign(s) * np.abs(s) ** (2 / power) * half_height
    # the frame curves around the face: its outer end lies further back
    return np.stack([34 + x, 24 + y, 91.5 - 0.16 * (x + half_width) - 0.05 * y], -1)


def glasses(p: Array, kind: str) -> Array:
    """Distance to glasses: frame, bridge and arms, and lenses of sunglasses."""
    folded = mirrored(p)
    radius = {"round": 1.5, "square": 2.2, "sun": 2.0}[kind]
    frame = _rim(kind, np.linspace(0, 2 * np.pi, 25))
    d = polyline(folded, [tuple(v) for v in frame], [radius] * 25)
    d = np.minimum(d, capsule(folded, (0, 33, 93), (14, 31, 91.5), radius))
    hinge = _rim(kind, np.array([0.35]))[0]
    d = np.minimum(
        d,
        polyline(
            folded,
            [tuple(hinge), (70, 33, 60), (79, 33, -12), (80, 16, -30)],
            [radius, radius, radius, radius * 0.9],
        ),
    )
    if kind == "sun":
        d = np.minimum(d, lens(folded, kind))
    return d


def lens(folded: Array, kind: str) -> Array:
    """Distance to the lens inside a frame; ``folded`` are points with abs(x)."""
    power = {"round": 2.0, "square": 4.0, "sun": 3.0}[kind]
    half_width, half_height = {"round": (22, 20), "square": (23, 16), "sun": (25, 20)}[kind]
    x, y = folded[:, 0] - 34, folded[:, 1] - 24
    edge = (np.abs(x / half_width) ** power + np.abs(y / half_height) ** power) ** (1 / power)
    plane = np.abs(folded[:, 2] - (91.5 - 0.16 * (x + half_width) - 0.05 * y)) - 0.9
    return np.maximum((edge - 1) * half_height, plane)


def hat(p: Array, kind: str) -> Array:
    """Distance to a hat."""
    m = mirrored(p)
    skull = bare_body(p)
    if kind == "beanie":
        line = np.interp(azimuth(p), [0, 90, 180], [68, 46, 20])
        knit = 0.6 * np.cos(np.radians(azimuth(p)) * 46)
        dome = skull - 11 - 0.10 * np.clip(p[:, 1] - 90, 0, None) - knit
        d = intersection(dome, line - p[:, 1], 6)
        fold = intersection(skull - 15 - knit, np.abs(p[:, 1] - line - 17) - 17, 6)
        return union(d, fold, 3)
    if kind == "cap":
        line = np.interp(azimuth(p), [0, 90, 180], [76, 58, 38])
        d = intersection(skull - 12, line - p[:, 1], 4)
        q = p.copy()
        q[:, 1] -= 77 - 0.0022 * p[:, 0] ** 2 - 0.16 * np.clip(p[:, 2] - 78, 0, None)
        brim = ellipsoid(q, (0, 0, 84), (74, 3.2, 78))
        brim = np.maximum(brim, 66 - p[:, 2])
        return union(d, brim, 4)
    if kind == "turban":
        line = np.interp(azimuth(p), [0, 90, 180], [66, 30, 0]) + 10 * smoothstep(
            np.abs(p[:, 0]), 0, 50
        )
        # folds of wound cloth rise from the temples to the middle of the forehead
        slant = p[:, 1] - 0.55 * np.abs(p[:, 0]) * smoothstep(p[:, 2], -40, 60)
        folds = 3.2 * np.abs(np.sin(np.pi * slant / 17)) + 1.5 * noise(p, (40, 14, 40))
        bulk = 15 + 15 * smoothstep(p[:, 1], 40, 110)
        return intersection(skull - bulk - folds, line - p[:, 1], 10)
    if kind == "brim":
        line = np.interp(azimuth(p), [0, 90, 180], [74, 68, 58])
        crown = ellipsoid(p, (0, 74, -14), (92, 88, 112))
        crown = cut(crown, ellipsoid(m, (0, 172, -14), (18, 22, 90)), 24)
        crown = union(crown, skull - 9, 12)
        d = intersection(crown, line - p[:, 1], 5)
        q = p.copy()
        q[:, 1] -= line + 2 + 0.0012 * p[:, 0] ** 2
        edge = np.hypot(q[:, 0] / 158, (q[:, 2] + 14) / 178) - 1
        return union(d, np.maximum(edge * 158, np.abs(q[:, 1]) - 2.0) - 1.5, 8)
    # scarf over head and neck, open around the face, loose around the neck
    loose = 15 * smoothstep(-p[:, 1], 30, 90) * smoothstep(p[:, 1], -190, -130)
    drape = union(skull - 11, draped_body(p) - 8 - loose, 20)
    face = ellipsoid(m, (0, 4, 70), (64, 92, 90))
    d = cut(drape, face, 10)
    d = d - 1.8 * noise(p, (60, 16, 22)) * np.clip((40 - p[:, 1]) / 60, 0.15, 1)
    return intersection(d, _LOWEST - p[:, 1], 4)


def clothes(p: Array, kind: str) -> Array:
    """Distance to a garment."""
    body = bare_body(p)
    folds = 1.2 * noise(p, (40, 22, 30)) * np.clip((-150 - p[:, 1]) / 30, 0, 1)
    d = body - 4.5 - folds
    neckline = -141 - 0.32 * (p[:, 2] + 30)
    if kind == "v_neck":
        neckline = neckline - np.clip(34 - np.abs(p[:, 0]), 0, None) * (p[:, 2] > -20)
    if kind == "turtleneck":
        neckline = np.interp(azimuth(p), [0, 90, 180], [-106, -98, -90])
        d = body - 5.5 - folds
        rolled = intersection(body - 9, np.abs(p[:, 1] - neckline + 14) - 14, 6)
        return intersection(
            union(intersection(d, p[:, 1] - neckline, 4), rolled, 4), _LOWEST - p[:, 1], 4
        )
    # cloth ends at its line around the neck and covers the shoulders beside it
    from_neck = np.hypot(p[:, 0], p[:, 2] + 34)
    above = union(p[:, 1] - neckline, np.maximum(_NECKLINE - from_neck, p[:, 1] + 100), 12)
    shirt = intersection(d, above, 5)
    edge = intersection(body - 7.0, np.abs(above + 5) - 5, 6)
    shirt = union(shirt, edge, 3)
    if kind == "collar":
        height = np.interp(azimuth(p), [0, 60, 180], [-150, -118, -96])
        stand = intersection(np.abs(body - 8) - 3.2, p[:, 1] - height, 3)
        stand = intersection(stand, from_neck - _NECKLINE - 6, 3)
        opening = 0.55 * (-118 - p[:, 1]) + 5 - np.abs(p[:, 0])
        stand = np.maximum(stand, np.where(p[:, 2] > -10, opening, -99))
        shirt = union(shirt, stand, 4)
    return intersection(shirt, _LOWEST - p[:, 1], 4)
