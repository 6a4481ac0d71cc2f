"""Semantic labels of a head's surface: functions of where a point lies on the base head."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads import anatomy
from dp3d_core.heads.anatomy import EYE, MOUTH_HALF, lip_line, mirrored
from dp3d_core.heads.model import HeadMesh, Surface, piece
from dp3d_core.raycast import Hits

Array = NDArray[np.float64]


class Label(IntEnum):
    """Classes of a semantic mask."""

    BACKGROUND = 0
    SKIN = 1
    LIPS = 2
    BROWS = 3
    EYES = 4
    EARS = 5
    HAIR = 6
    NECK = 7
    SHOULDERS = 8
    GLASSES = 9
    HAT = 10
    MOUTH = 11
    """Teeth, tongue and the hollow behind the lips."""


PALETTE = np.array(
    [
        (0, 0, 0), (224, 172, 138), (190, 60, 70), (110, 70, 40), (70, 140, 230), (240, 130, 60),
        (120, 60, 160), (160, 200, 90), (60, 110, 60), (250, 220, 40), (200, 40, 160),
        (90, 10, 20),
    ],
    np.uint8,
)  # fmt: skip
"""(12, 3) a colour for each label, for people."""

_OF_SURFACE = {
    Surface.EYE: Label.EYES,
    Surface.TEETH: Label.MOUTH,
    Surface.TONGUE: Label.MOUTH,
    Surface.HAIR: Label.HAIR,
    Surface.BEARD: Label.HAIR,
    Surface.GLASSES: Label.GLASSES,
    Surface.HAT: Label.HAT,
    Surface.CLOTHES: Label.SHOULDERS,
}

_LIP_X = np.array([0, 3.5, 6.5, 11, 16, 21, 25.5])
_LIP_TOP = np.array([-34.6, -33.6, -33.7, -35.6, -38.0, -40.4, -42.8])
_LIP_BOTTOM = np.array([-53.4, -53.3, -52.9, -51.6, -49.2, -46.2, -43.2])

BROW_X = np.array([9, 15, 24, 34, 42, 51.0])
BROW_Y = np.array([38.5, 40, 42.8, 44.2, 42.6, 37.5])
_BROW_HALF = np.array([2.6, 3.4, 3.3, 2.8, 2.0, 0.6])


def lips(rest: Array) -> Array:
    """(n,) signed distance-like value, millimetres, negative on the red of the lips."""
    x = np.abs(rest[:, 0])
    top = np.interp(x, _LIP_X, _LIP_TOP)
    bottom = np.interp(x, _LIP_X, _LIP_BOTTOM)
    d = np.maximum(np.maximum(rest[:, 1] - top, bottom - rest[:, 1]), x - 25.5)
    return np.asarray(np.maximum(d, 72 - rest[:, 2]))


def inside_mouth(rest: Array) -> NDArray[np.bool_]:
    """(n,) whether points of the skin lie in the hollow behind the lips."""
    x, z = np.abs(rest[:, 0]), rest[:, 2]
    front = 86 - 0.010 * x**2
    between = np.abs(rest[:, 1] - lip_line(x)) < 11
    return np.asarray((z > 35) & (z < front) & (x < MOUTH_HALF) & between)


def brows(rest: Array, thickness: float = 1.0) -> Array:
    """(n,) signed value, millimetres, negative on the eyebrows."""
    x = np.abs(rest[:, 0])
    middle = np.interp(x, BROW_X, BROW_Y)
    half = np.interp(x, BROW_X, _BROW_HALF, left=-1, right=-1) * thickness
    return np.asarray(np.maximum(np.abs(rest[:, 1] - middle) - half, 40 - rest[:, 2]))


@lru_cache(maxsize=1)
def _skin_classes() -> NDArray[np.uint8]:
    """(n,) label of each vertex of the base skin: skin, ears, neck or shoulders."""
    m = mirrored(piece("skin").vertices)
    ear = anatomy.ear(m)
    head = anatomy.face_only(m)
    neck, body = anatomy.neck(m), anatomy.shoulders(m)
    label = np.full(len(m), int(Label.SKIN), np.uint8)
    label[(neck < head) & (m[:, 1] < 0)] = Label.NECK
    label[body < np.minimum(neck, head)] = Label.SHOULDERS
    label[(ear < 1.2) & (head > 1.0) & (m[:, 1] > -45)] = Label.EARS
    return label


def vertex_labels(head: HeadMesh) -> NDArray[np.uint8]:
    """(n,) label of every vertex, without the painted ones (lips and brows)."""
    table = np.zeros(len(Surface), np.uint8)
    for surface, label in _OF_SURFACE.items():
        table[surface] = label
    labels = table[head.mesh.parts]
    skin = head.mesh.parts == Surface.SKIN
    labels[skin] = _skin_classes()
    return np.asarray(labels)


def hit_labels(
    head: HeadMesh,
    hits: Hits,
    rest: Array,
    of_vertices: NDArray[np.uint8],
    brow_thickness: float = 1.0,
) -> NDArray[np.uint8]:
    """(k,) :class:`Label` of ray hits.

    Args:
        head: what was hit.
        hits: the hits.
        rest: (k, 3) rest positions of the hits.
        of_vertices: :func:`vertex_labels` of the head.
        brow_thickness: as in :func:`brows`.

    """
    corner = head.mesh.faces[hits.face, hits.weights.argmax(1)]
    labels = of_vertices[corner].copy()
    skin = np.flatnonzero(labels == Label.SKIN)
    at = rest[skin]
    painted = np.full(len(skin), int(Label.SKIN), np.uint8)
    painted[brows(at, brow_thickness) < 0] = Label.BROWS
    painted[lips(at) < 0] = Label.LIPS
    painted[inside_mouth(at)] = Label.MOUTH
    hollow = np.linalg.norm(np.abs(at) * [1, 0, 0] + at * [0, 1, 1] - EYE, axis=1) < 12.6
    painted[hollow] = Label.EYES
    labels[skin] = painted
    return np.asarray(labels)
