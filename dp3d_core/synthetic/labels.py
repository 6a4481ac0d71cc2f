"""Semantic labels of a synthetic head, from positions on the average head."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np

from dp3d_core.arrays import Array, Labels
from dp3d_core.heads.bust import BustPart, BustRegion, bust
from dp3d_core.heads.mouth import hidden_vertices
from dp3d_core.heads.space import EYE, MOUTH_HALF, MOUTH_Y
from dp3d_core.meshes.raycast import Hits
from dp3d_core.synthetic.head import HeadMesh, Surface


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
    """Teeth, tongue and the cavity behind the lips."""


PALETTE = np.array(
    [
        (0, 0, 0), (224, 172, 138), (190, 60, 70), (110, 70, 40), (70, 140, 230), (240, 130, 60),
        (120, 60, 160), (160, 200, 90), (60, 110, 60), (250, 220, 40), (200, 40, 160),
        (90, 10, 20),
    ],
    np.uint8,
)  # fmt: skip
"""(12, 3) uint8 display colour of each label."""

_LABEL_OF_SURFACE = {
    Surface.EYE: Label.EYES,
    Surface.TEETH: Label.MOUTH,
    Surface.TONGUE: Label.MOUTH,
    Surface.HAIR: Label.HAIR,
    Surface.BEARD: Label.HAIR,
    Surface.GLASSES: Label.GLASSES,
    Surface.HAT: Label.HAT,
    Surface.CLOTHES: Label.SHOULDERS,
}
_LABEL_OF_REGION = {
    BustRegion.EAR: Label.EARS,
    BustRegion.NECK: Label.NECK,
    BustRegion.TORSO: Label.SHOULDERS,
}

_LIP_X = np.array([0, 3.5, 6.5, 11, 16, 21, 25.5])
"""Distances from the middle at which the lips are tabulated, millimetres."""
_LIP_TOP = np.array([-33.0, -32.0, -32.1, -34.0, -36.5, -39.0, -41.6])
"""Height of the upper edge of the lips at ``_LIP_X``, millimetres."""
_LIP_BOTTOM = np.array([-52.4, -52.3, -51.9, -50.6, -48.2, -45.2, -42.4])
"""Height of the lower edge of the lips at ``_LIP_X``, millimetres."""
_LIP_FRONT = 68.0
"""Least depth of the lips, millimetres."""

_BROW_X = np.array([9, 15, 24, 34, 42, 51.0])
"""Distances from the middle at which the brows are tabulated, millimetres."""
_BROW_Y = np.array([43.5, 45.4, 47.8, 48.8, 47.4, 42.6])
"""Height of the middle of a brow at ``_BROW_X``, millimetres."""
_BROW_HALF = np.array([2.6, 3.4, 3.3, 2.8, 2.0, 0.6])
"""Half the thickness of a brow at ``_BROW_X``, millimetres."""

_MOUTH_BOX = ((-30, -62, 20), (30, -18, 96))
"""Corners of the box in which hidden skin lines the mouth, millimetres."""
_SOCKET = 19.0
"""Distance from an eyeball's centre within which hidden skin lines the socket, millimetres."""


def lip_line(x: Array) -> Array:
    """(n,) height of the line between the average head's closed lips at x (n,), millimetres."""
    return np.asarray(MOUTH_Y - 0.8 * np.cos(np.clip(x / MOUTH_HALF, 0, 1) * 2 * np.pi))


def lips(rest: Array) -> Array:
    """(n,) signed pseudo-distance of points (n, 3) to the lips, millimetres, negative on them."""
    x = np.abs(rest[:, 0])
    top = np.interp(x, _LIP_X, _LIP_TOP)
    bottom = np.interp(x, _LIP_X, _LIP_BOTTOM)
    d = np.maximum(np.maximum(rest[:, 1] - top, bottom - rest[:, 1]), x - 25.5)
    return np.asarray(np.maximum(d, _LIP_FRONT - rest[:, 2]))


def brows(rest: Array, thickness: float = 1.0) -> Array:
    """(n,) signed pseudo-distance of points (n, 3) to the brows, millimetres, negative on them."""
    x = np.abs(rest[:, 0])
    middle = np.interp(x, _BROW_X, _BROW_Y)
    half_thickness = np.interp(x, _BROW_X, _BROW_HALF, left=-1, right=-1) * thickness
    return np.asarray(np.maximum(np.abs(rest[:, 1] - middle) - half_thickness, 40 - rest[:, 2]))


@lru_cache(maxsize=1)
def skin_labels() -> Labels:
    """(n,) labels of the vertices of ``bust(inner=True)``; lips and brows are labelled as skin."""
    topology = bust(inner=True)
    labels = np.full(len(topology.rest), int(Label.SKIN), np.uint8)
    for region, label in _LABEL_OF_REGION.items():
        labels[topology.region == region] = label
    hidden = hidden_vertices(topology.rest, topology.faces)
    low, high = _MOUTH_BOX
    mouth = ((topology.rest > low) & (topology.rest < high)).all(1)
    folded = np.stack([np.abs(topology.rest[:, 0]), *topology.rest[:, 1:].T], -1)
    socket = np.linalg.norm(folded - EYE, axis=1) < _SOCKET
    labels[hidden & mouth] = Label.MOUTH
    labels[hidden & socket] = Label.EYES
    labels[np.isin(topology.part, (BustPart.EYE_LEFT, BustPart.EYE_RIGHT))] = Label.EYES
    labels[topology.part >= BustPart.UPPER_TEETH] = Label.MOUTH
    return labels


def vertex_labels(head: HeadMesh) -> Labels:
    """(n,) labels of the vertices of a head; lips and brows are labelled as skin."""
    table = np.zeros(len(Surface), np.uint8)
    for surface, label in _LABEL_OF_SURFACE.items():
        table[surface] = label
    labels = table[head.mesh.parts]
    own = skin_labels()
    labels[: len(own)] = own
    return np.asarray(labels)


def hit_labels(
    head: HeadMesh,
    hits: Hits,
    rest: Array,
    of_vertices: Labels,
    brow_thickness: float = 1.0,
) -> Labels:
    """(k,) :class:`Label` of ray hits, with lips and brows.

    Args:
        head: the head.
        hits: k ray hits.
        rest: (k, 3) positions of the hits on the average head, millimetres.
        of_vertices: (n,) :func:`vertex_labels` of the head.
        brow_thickness: factor on the thickness of the brows.

    """
    corner = head.mesh.faces[hits.face, hits.weights.argmax(1)]
    labels = of_vertices[corner].copy()
    skin = np.flatnonzero(labels == Label.SKIN)
    positions = rest[skin]
    painted = np.full(len(skin), int(Label.SKIN), np.uint8)
    painted[brows(positions, brow_thickness) < 0] = Label.BROWS
    painted[lips(positions) < 0] = Label.LIPS
    labels[skin] = painted
    return np.asarray(labels)
