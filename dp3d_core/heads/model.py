"""Heads as meshes: base head, eyes, teeth, hair and wear, brought into one shape.

Every piece is extracted once per process around the base head (:func:`piece`), together with
the displacement of its vertices by each shape parameter; building a head is then one sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.errors import Dp3dError
from dp3d_core.heads import anatomy, hair, wear
from dp3d_core.heads.anatomy import BUST_CUT_MM, EYE, EYE_RADIUS, MM
from dp3d_core.heads.fields import ellipsoid, rotation, union
from dp3d_core.heads.shape import NAMES, basis, coefficients
from dp3d_core.heads.surface import graded_axis, largest_part, surface_nets, symmetric_surface_nets
from dp3d_core.mesh import Mesh

Array = NDArray[np.float64]

_COARSE = 9.0
"""Millimetres between the grid lines of coarse pieces."""


class Surface(IntEnum):
    """What a triangle is made of."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    HAIR = 4
    BEARD = 5
    GLASSES = 6
    HAT = 7
    CLOTHES = 8


@dataclass(frozen=True)
class HeadSpec:
    """What a head is: shape and what it wears.

    Attributes:
        shape: named shape parameters (``shape.NAMES``); the rest are 0.
        hair: a name of ``hair.HAIR_STYLES``; None is bald.
        beard: length, millimetres; 0 is none.
        glasses, hat, clothes: names of ``wear.GLASSES``, ``HATS``, ``CLOTHES``; None is none.
        gaze: yaw (towards +x) and pitch (up) of the eyes, degrees.

    """

    shape: Mapping[str, float] = field(default_factory=dict)
    hair: str | None = None
    beard: float = 0.0
    glasses: str | None = None
    hat: str | None = None
    clothes: str | None = "crew"
    gaze: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for what, value, known in (
            ("hair", self.hair, tuple(hair.HAIR_STYLES)),
            ("glasses", self.glasses, wear.GLASSES),
            ("hat", self.hat, wear.HATS),
            ("clothes", self.clothes, wear.CLOTHES),
        ):
            if value is not None and value not in known:
                raise Dp3dError(
                    "heads.bad_shape",
                    f"There is no {what} {value!r}.",
                    f"Choose one of {', '.join(known)}, or none.",
                )
        coefficients(self.shape)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "shape": {name: round(float(value), 4) for name, value in self.shape.items()},
            "hair": self.hair,
            "beard": round(self.beard, 2),
            "glasses": self.glasses,
            "hat": self.hat,
            "clothes": self.clothes,
            "gaze": [round(v, 2) for v in self.gaze],
        }


@dataclass(frozen=True)
class Piece:
    """A part around the base head.

    Attributes:
        vertices: (n, 3) millimetres.
        faces: (m, 3).
        basis: (p, n, 3) float32, millimetres per unit of each shape parameter.
        surface: what it is made of.

    """

    vertices: Array
    faces: NDArray[np.int32]
    basis: NDArray[np.float32]
    surface: Surface

    def shaped(self, values: Array) -> Array:
        """(n, 3) vertices for coefficients (p,)."""
        used = np.flatnonzero(values)
        return np.asarray(self.vertices + np.tensordot(values[used], self.basis[used], 1))


@dataclass(frozen=True)
class HeadMesh:
    """A head in head space.

    Attributes:
        mesh: all pieces as one mesh; its ``parts`` are :class:`Surface`.
        rest: (n, 3) where each vertex lies on the base head, millimetres: what textures and
            labels are functions of.
        spec: what it is.

    """

    mesh: Mesh
    rest: Array
    spec: HeadSpec


def build_head(spec: HeadSpec) -> HeadMesh:
    """The mesh of a head, eyes and wear included."""
    values = coefficients(spec.shape)
    names: list[tuple[str, Any]] = [("skin", None), ("teeth", None), ("tongue", None)]
    if spec.hair:
        names.append(("hair", (spec.hair, spec.hat)))
    if spec.beard > 0:
        names.append(("beard", round(spec.beard)))
    for what in ("glasses", "hat", "clothes"):
        chosen = getattr(spec, what)
        if chosen and not (what == "clothes" and spec.hat == "scarf"):
            names.append((what, chosen))
    pieces = [piece(*name) for name in names]
    vertices = [p.shaped(values) for p in pieces]
    rests = [p.vertices for p in pieces]
    faces = [p.faces for p in pieces]
    kinds = [int(p.surface) for p in pieces]
    for side in (1, -1):
        ball, local, triangles = _eye(side, values, spec.gaze)
        vertices.append(ball)
        rests.append(local)
        faces.append(triangles)
        kinds.append(int(Surface.EYE))
    starts = np.cumsum([0, *(len(v) for v in vertices[:-1])])
    joined = np.concatenate(vertices) * MM
    triangles = np.concatenate([f + s for f, s in zip(faces, starts, strict=True)])
    parts = np.repeat(np.array(kinds, np.uint8), [len(v) for v in vertices])
    mesh = Mesh.of(joined, np.ascontiguousarray(triangles, np.int32), parts)
    return HeadMesh(mesh, np.concatenate(rests), spec)


def eye_centre(values: Array, side: int) -> Array:
    """(3,) millimetres, centre of the left (1) or right (-1) eyeball of a shape."""
    rest = (EYE * [side, 1, 1])[None]
    return np.asarray((rest + np.tensordot(values, basis(rest), 1))[0])


def _eye(side: int, values: Array, gaze: tuple[float, float]) -> tuple[Array, Array, Any]:
    unit, faces = _sphere()
    radius = EYE_RADIUS * (1 + 0.16 * values[NAMES.index("eye_size")])
    turn = rotation((-gaze[1], gaze[0], 0))
    cornea = unit * (1 + 0.05 * np.clip((unit[:, 2:] - 0.88) / 0.12, 0, 1))
    ball = eye_centre(values, side) + radius * cornea @ turn.T
    return ball, EYE * [side, 1, 1] + EYE_RADIUS * unit, faces


@lru_cache(maxsize=1)
def _sphere(rings: int = 28) -> tuple[Array, NDArray[np.int32]]:
    """Unit sphere with its pole, where the triangles are smallest, towards +z."""
    polar = np.linspace(0, np.pi, rings)
    around = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, a = np.meshgrid(polar[1:-1], around, indexing="ij")
    body = np.stack([np.sin(t) * np.cos(a), np.sin(t) * np.sin(a), np.cos(t)], -1).reshape(-1, 3)
    vertices = np.concatenate([[[0, 0, 1.0]], body, [[0, 0, -1.0]]])
    n = 2 * rings
    index = 1 + np.arange((rings - 2) * n).reshape(rings - 2, n)
    right = np.roll(index, -1, 1)
    quads = np.stack([index[:-1], index[1:], right[1:], right[:-1]], -1).reshape(-1, 4)
    caps = [
        np.stack([np.zeros(n, int), index[0], right[0]], -1),
        np.stack([np.full(n, len(vertices) - 1), right[-1], index[-1]], -1),
    ]
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], *caps]).astype(np.int32)
    return vertices, faces


@lru_cache(maxsize=64)
def piece(name: str, kind: Any = None) -> Piece:
    """A part of the base head by name: skin, teeth, tongue, hair, beard, glasses, hat, clothes."""
    surface = Surface[name.upper()]
    if name == "skin":
        axes = (
            graded_axis(-0.85, 240, [(0, 54, 1.7), (62, 92, 2.4)], 8),
            graded_axis(BUST_CUT_MM - 9, 160, [(-62, -24, 1.5), (10, 44, 1.5), (-90, 45, 2.2)], 8),
            graded_axis(-130, 125, [(-34, 4, 2.4), (58, 112, 1.7)], 8),
        )
        vertices, faces, _ = symmetric_surface_nets(anatomy.skin, axes)
        vertices, faces, _ = largest_part(vertices, faces)
    else:
        vertices, faces = surface_nets(*_field_of(name, kind))
    return Piece(vertices, faces, basis(vertices).astype(np.float32), surface)


@lru_cache(maxsize=32)
def coarse_piece(name: str, kind: Any) -> Piece:
    """:func:`piece` in large triangles: to compare outlines with."""
    field, axes = _field_of(name, kind)
    wide = tuple(np.arange(axis[0], axis[-1] + _COARSE, _COARSE) for axis in axes)
    vertices, faces = surface_nets(field, (wide[0], wide[1], wide[2]), steps=1)
    return Piece(vertices, faces, basis(vertices).astype(np.float32), Surface[name.upper()])


def _field_of(name: str, kind: Any) -> tuple[Any, tuple[Array, Array, Array]]:
    def box(low: tuple[float, ...], high: tuple[float, ...], step: float) -> Any:
        return tuple(np.arange(a, b + step, step) for a, b in zip(low, high, strict=True))

    if name == "teeth":
        return _teeth, box((-26, -58, 46), (26, -30, 84), 1.1)
    if name == "tongue":
        return (
            lambda p: union(
                ellipsoid(p, (0, -52, 56), (18, 6, 22)), ellipsoid(p, (0, -54, 50), (22, 6, 18)), 4
            ),
            box((-28, -64, 26), (28, -42, 84), 2.0),
        )
    if name == "hair":
        style, hat_name = kind
        line = wear.HAT_LINES[hat_name] if hat_name else None
        chosen = hair.HAIR_STYLES[style]
        return (
            lambda p: hair.hair(p, chosen, line),
            box((-140, -200, -180), (140, 210, 130), 4.2),
        )
    if name == "beard":
        return lambda p: hair.beard(p, float(kind)), box((-90, -150, -40), (90, 10, 125), 3.0)
    if name == "glasses":
        return lambda p: wear.glasses(p, kind), box((-86, -4, -36), (86, 50, 98), 1.3)
    if name == "hat":
        step = 5.0 if kind == "scarf" else 3.6
        return (
            lambda p: wear.hat(p, kind),
            box((-252, -225, -215), (252, 190, 180), step),
        )
    return lambda p: wear.clothes(p, kind), box((-245, -222, -145), (245, -78, 110), 3.4)


def _teeth(p: Array) -> Array:
    """Two rows of teeth on an arch, open behind."""
    arch = np.hypot(p[:, 0] / 23.0, np.clip(p[:, 2] - 54, 0, None) / 26.0)
    wall = np.abs(arch - 1) * 23.0 - 2.6
    wall = np.maximum(wall, 52 - p[:, 2])
    upper = np.maximum(wall, np.abs(p[:, 1] + 35.8) - 4.6)
    lower = np.maximum(wall + 0.8, np.abs(p[:, 1] + 49.6) - 5.0)
    return np.asarray(np.minimum(upper, lower) - 0.3)
