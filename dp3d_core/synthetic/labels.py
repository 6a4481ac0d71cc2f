"""Semantic labels of a synthetic head: functions of where a point lies on the average head."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import BustPart, BustRegion, bust
from dp3d_core.heads.mouth import hidden_vertices
from dp3d_core.heads.space import EYE, MOUTH_HALF, MOUTH_Y
from dp3d_core.raycast import Hits
from dp3d_core.synthetic.head import HeadMesh, Surface

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
_OF_REGION = {
    BustRegion.EAR: Label.EARS,
    BustRegion.NECK: Label.NECK,
    BustRegion.TORSO: Label.SHOULDERS,
}

_LIP_X = np.array([0, 3.5, 6.5, 11, 16, 21, 25.5])
_LIP_TOP = np.array([-33.0, -32.0, -32.1, -34.0, -36.5, -39.0, -41.6])
_LIP_BOTTOM = np.array([-52.4, -52.3, -51.9, -50.6, -48.2, -45.2, -42.4])
_LIP_FRONT = 68.0
"""Depth in front of which skin can be red of the lips."""

_BROW_X = np.array([9, 15, 24, 34, 42, 51.0])
_BROW_Y = np.array([43.5, 45.4, 47.8, 48.8, 47.4, 42.6])
_BROW_HALF = np.array([2.6, 3.4, 3.3, 2.8, 2.0, 0.6])

_MOUTH_BOX = ((-30, -62, 20), (30, -18, 96))
_SOCKET = 19.0
"""Distance from an eyeball's centre within which hidden skin lines the socket."""


def lip_line(x: Array) -> Array:
    """Height of the line between the average head's closed lips at abs(x), millimetres."""
    return np.asarray(MOUTH_Y - 0.8 * np.cos(np.clip(x / MOUTH_HALF, 0, 1) * 2 * np.pi))


def lips(rest: Array) -> Array:
    """(n,) signed distance-like value, millimetres, negative on the red of the lips."""
    x = np.abs(rest[:, 0])
    top = np.interp(x, _LIP_X, _LIP_TOP)
    bottom = np.interp(x, _LIP_X, _LIP_BOTTOM)
    d = np.maximum(np.maximum(rest[:, 1] - top, bottom - rest[:, 1]), x - 25.5)
    return np.asarray(np.maximum(d, _LIP_FRONT - rest[:, 2]))


def brows(rest: Array, thickness: float = 1.0) -> Array:
    """(n,) signed value, millimetres, negative on the eyebrows."""
    x = np.abs(rest[:, 0])
    middle = np.interp(x, _BROW_X, _BROW_Y)
    half = np.interp(x, _BROW_X, _BROW_HALF, left=-1, right=-1) * thickness
    return np.asarray(np.maximum(np.abs(rest[:, 1] - middle) - half, 40 - rest[:, 2]))


@lru_cache(maxsize=1)
def skin_labels() -> NDArray[np.uint8]:
    """(n,) label of each vertex of ``bust(inner=True)``, without the painted lips and brows."""
    shape = bust(inner=True)
    labels = np.full(len(shape.rest), int(Label.SKIN), np.uint8)
    for region, label in _OF_REGION.items():
        labels[shape.region == region] = label
    hidden = hidden_vertices(shape.rest, shape.faces)
    low, high = _MOUTH_BOX
    mouth = ((shape.rest > low) & (shape.rest < high)).all(1)
    side = np.stack([np.abs(shape.rest[:, 0]), *shape.rest[:, 1:].T], -1)
    socket = np.linalg.norm(side - EYE, axis=1) < _SOCKET
    labels[hidden & mouth] = Label.MOUTH
    labels[hidden & socket] = Label.EYES
    labels[np.isin(shape.part, (BustPart.EYE_LEFT, BustPart.EYE_RIGHT))] = Label.EYES
    labels[shape.part >= BustPart.UPPER_TEETH] = Label.MOUTH
    return labels


def vertex_labels(head: HeadMesh) -> NDArray[np.uint8]:
    """(n,) label of every vertex, without the painted ones (lips and brows)."""
    table = np.zeros(len(Surface), np.uint8)
    for surface, label in _OF_SURFACE.items():
        table[surface] = label
    labels = table[head.mesh.parts]
    own = skin_labels()
    labels[: len(own)] = own
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
    labels[skin] = painted
    return np.asarray(labels)
