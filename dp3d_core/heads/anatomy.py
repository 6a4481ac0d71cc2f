"""The base head: an average adult, sculpted from distance fields in millimetres.

Axes as in head space (X to the head's left, Y up, face towards +Z), origin at the centre of
the head; the eyes lie 27 mm above it.  Proportions follow published means of adult heads
(Farkas, *Anthropometry of the Head and Face*, 1994): 225 mm from chin to crown, 192 mm long,
152 mm wide, pupils 63 mm apart, nose 52 mm long and 35 mm wide, mouth 50 mm wide, ear 62 mm.

Everything is symmetric: fields see abs(x).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.fields import (
    capsule,
    cut,
    ellipsoid,
    intersection,
    polyline,
    rotation,
    turned_ellipsoid,
    union,
)

Array = NDArray[np.float64]

MM = 0.00228
"""Millimetres to head units."""
HEAD_HEIGHT_MM = 225.0
"""Chin to crown."""
BUST_CUT_MM = -205.0
"""Height of the flat cut through the shoulders."""

EYE = np.array([31.5, 27.0, 62.5])
"""Centre of the left eyeball."""
EYE_RADIUS = 12.2
EAR = np.array([77.0, 6.0, -14.0])
"""Middle of the left ear."""
EAR_TURN = rotation((-10, -24, 4))
"""Its axes (columns): outwards, up, forwards."""
MOUTH_Y, MOUTH_HALF = -42.0, 25.0
"""Height of the line between the lips, and half the width of the mouth."""


def mirrored(p: Array) -> Array:
    """Points with abs(x)."""
    m = p.copy()
    m[:, 0] = np.abs(m[:, 0])
    return m


def lip_line(x: Array) -> Array:
    """Height of the line between the closed lips at abs(x)."""
    return np.asarray(MOUTH_Y - 0.8 * np.cos(np.clip(x / MOUTH_HALF, 0, 1) * 2 * np.pi))


def lid_opening(m: Array) -> Array:
    """Distance-like value of the almond between the lids, negative inside, seen from the front."""
    # up the tilt of the axis from the inner to the outer corner
    x = m[:, 0] - EYE[0]
    y = m[:, 1] - (EYE[1] + 0.4 + 0.055 * x)
    half = 15.0
    t = np.clip(x / half, -1, 1)
    upper = 6.3 * (1 - np.abs(t - 0.12 * (1 - t**2)) ** 2.3)
    lower = 4.6 * (1 - np.abs(t + 0.18 * (1 - t**2)) ** 2.4)
    return np.asarray(np.maximum(np.where(y > 0, y - upper, -y - lower), np.abs(x) - half))


def cranium(m: Array) -> Array:
    """Brain case without the face."""
    d = ellipsoid(m, (0, 52, -24), (72, 86, 81))
    d = union(d, ellipsoid(m, (0, 62, 18), (66, 74, 68)), 30)
    d = union(d, ellipsoid(m, (0, 16, -50), (60, 56, 52)), 30)  # occiput
    return union(d, ellipsoid(m, (46, 62, -20), (26, 40, 46)), 20)  # parietal bosses


def face_mass(m: Array) -> Array:
    """Cheekbones, jaws and brow, without features."""
    d = ellipsoid(m, (0, -2, 26), (61, 74, 55))
    d = union(d, ellipsoid(m, (0, -44, 36), (43, 38, 46)), 25)
    # mandible: ramus, angle, body and chin
    jaw = polyline(
        m, [(57, 8, -6), (46, -42, 4), (31, -62, 42), (0, -72, 71)], [9, 11, 10.5, 10], 3
    )
    d = union(d, jaw, 24)
    d = union(d, ellipsoid(m, (0, -71, 73), (24, 12, 14)), 18)
    d = union(d, ellipsoid(m, (36, -30, 40), (25, 38, 32)), 25)  # soft cheek
    d = union(d, ellipsoid(m, (45, -2, 54), (20, 17, 20)), 25)  # cheekbone
    return union(d, capsule(m, (52, 4, 44), (64, 8, 0), 8, 6), 22)  # zygomatic arch


def features(d: Array, m: Array) -> Array:
    """Brows, sockets, lids, nose, lips and chin worked into a head."""
    d = union(d, polyline(m, [(5, 38, 80), (24, 43, 76), (46, 38, 60)], [6, 7, 6], 4), 20)
    d = cut(d, turned_ellipsoid(m, (33, 26, 86), (20, 11, 14), (0, 14, -4)), 14)
    d = cut(d, ellipsoid(m, (17.5, 25, 84), (6, 9, 12)), 9)  # beside the bridge
    # nose
    nose = polyline(m, [(0, 37, 78), (0, 22, 84.5), (0, 4, 93), (0, -9, 100)], [7, 5.6, 6.2, 8], 3)
    nose = union(
        nose, polyline(m, [(4, 30, 74), (11, 2, 79), (13.5, -10, 83)], [6.5, 8.5, 7.5], 4), 12
    )
    nose = union(nose, ellipsoid(m, (0, -9.5, 100.5), (9.5, 8.2, 8.6)), 7)
    nose = union(nose, turned_ellipsoid(m, (12.4, -13, 90.5), (5.4, 7.0, 9.0), (14, -14, 0)), 8)
    nose = union(nose, capsule(m, (0, -16, 100), (0, -21, 87), 4.2, 5), 5)
    d = union(d, nose, 9)
    d = cut(d, turned_ellipsoid(m, (7.2, -21, 94), (3.0, 3.6, 5.6), (20, -22, 0)), 2.5)
    # the masses that carry the red of the lips
    d = union(d, ellipsoid(m, (0, -32, 70), (31, 17, 20)), 14)
    d = union(d, ellipsoid(m, (0, -54, 70), (29, 14, 17)), 14)
    d = cut(d, capsule(m, (0, -25, 96.6), (0, -33, 97.6), 2.6, 3.2), 4)  # philtrum
    upper = [(25, -42.6, 78), (15, -40.2, 86.6), (5.5, -37.8, 91), (0, -38.4, 91.6)]
    d = union(d, polyline(m, upper, [1.6, 4.0, 4.8, 4.4], 2), 4)
    lower = [(25, -43.2, 77.5), (14, -46.2, 86), (0, -47.6, 89.5)]
    d = union(d, polyline(m, lower, [1.6, 4.8, 5.8], 2), 4)
    d = cut(d, ellipsoid(m, (0, -58.5, 96.5), (26, 5, 9)), 10)  # chin crease
    d = cut(d, polyline(m, [(18, -12, 95), (27, -27, 92), (34, -40, 86)], [1.2, 1.5, 0.5]), 12)
    # lids: a shell over the eyeball, with an opening
    from_eye = np.linalg.norm(m - EYE, axis=1)
    d = union(d, from_eye - (EYE_RADIUS + 1.5), 6)
    crease = np.maximum(np.abs(lid_opening(m - [0, 4.6, 0])) - 0.8, EYE[1] + 2 - m[:, 1])
    d = cut(d, np.maximum(crease, np.abs(from_eye - EYE_RADIUS - 2.6) - 0.8), 2.5)
    hole = np.maximum(lid_opening(m), 60 - m[:, 2])
    return cut(d, hole, 1.8)


def mouth_slit(m: Array) -> Array:
    """The gap between the lips and the hollow behind it."""
    fade = np.clip(1.2 - (m[:, 0] / MOUTH_HALF) ** 2, 0, 1)
    gap = np.abs(m[:, 1] - lip_line(m[:, 0])) - 1.2 * fade
    gap = np.maximum(np.maximum(gap, m[:, 0] - MOUTH_HALF), 62 - m[:, 2])
    return union(gap, ellipsoid(m, (0, -43.5, 64), (24, 9, 17)), 3)


def ear(m: Array) -> Array:
    """Auricle: rim, inner ridge, bowl, tragus and lobe."""
    q = (m - EAR) @ EAR_TURN
    plate = ellipsoid(q, (-1, 2, 1), (4.2, 27, 16))
    plate = union(plate, ellipsoid(q, (0, -24, 6.5), (3.6, 9, 8)), 6)
    rim = polyline(
        q,
        [
            (1, 2, 12),
            (3, 10, 14.6),
            (4, 19, 13.5),
            (4.5, 26, 8.5),
            (4.4, 29.5, 1.5),
            (4, 28.5, -6),
            (3.7, 23.5, -12),
            (3.3, 15, -16),
            (3, 5, -17),
            (2.6, -6, -15),
            (1.8, -15, -10),
            (1, -21, -3),
        ],
        [2.2, 2.6, 3.0, 3.2, 3.4, 3.4, 3.4, 3.3, 3.1, 2.8, 2.4, 2.0],
    )
    d = union(plate, rim, 3)
    ridge = polyline(
        q, [(2.5, 19, 3), (3.5, 10, -5), (4, -4, -8), (3, -15, 0)], [2, 2.6, 2.8, 2.2], 1
    )
    d = union(d, ridge, 3)
    d = cut(d, ellipsoid(q, (6, -3, 4), (7.5, 11, 8.5)), 3)
    d = cut(d, ellipsoid(q, (5, 14, 8), (4.5, 6, 5)), 3)
    d = union(d, ellipsoid(q, (2, -6, 13), (4.5, 6, 3.6)), 3)
    return union(d, ellipsoid(q, (-7, -1, 4), (8, 19, 10)), 8)  # root


def neck(m: Array) -> Array:
    """Neck with its two long muscles and the larynx."""
    q = m / [1.0, 1.0, 1.06]
    d = capsule(q, (0, -30, -27), (0, -190, -36), 51, 55)
    d = union(d, capsule(m, (56, -30, -26), (16, -168, 22), 10, 9), 16)
    d = union(d, ellipsoid(m, (0, -112, 18), (10, 16, 12)), 14)
    return union(d, capsule(m, (16, -20, -64), (18, -120, -64), 20, 24), 24)


def shoulders(m: Array) -> Array:
    """Trapezius, collar bones and the upper chest."""
    d = ellipsoid(m, (0, -262, -22), (170, 84, 78))
    d = union(d, capsule(m, (26, -95, -62), (140, -176, -48), 26, 22), 40)
    d = union(d, capsule(m, (40, -186, -30), (172, -198, -38), 30, 34), 36)
    d = union(d, ellipsoid(m, (186, -228, -36), (42, 62, 48)), 30)
    return union(d, capsule(m, (12, -168, 24), (150, -172, -8), 7, 7), 22)


def face_only(m: Array) -> Array:
    """Head without ears, mouth slit, neck and shoulders."""
    d = union(cranium(m), face_mass(m), 28)
    d = cut(d, ellipsoid(m, (91, 40, 44), (18, 32, 34)), 26)  # temple
    return features(d, m)


def skin(p: Array) -> Array:
    """Distance to the skin: head, ears, neck and shoulders, open below the bust cut.

    Args:
        p: (n, 3) millimetres.

    """
    m = mirrored(p)
    head = union(face_only(m), ear(m), 3)
    d = union(head, neck(m), 22)
    d = union(d, shoulders(m), 30)
    d = cut(d, mouth_slit(m), 1.2)
    return intersection(d, BUST_CUT_MM - p[:, 1], 4)
