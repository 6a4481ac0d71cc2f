"""Heads as meshes: a person's bust with eyes and teeth, hair, beard and what is worn.

Hair and wear are extracted once per process around the average bust (:func:`piece`) and follow
the person's control vertices, so that building a head is a sum and a sparse product per piece.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from dp3d_core.errors import Dp3dError
from dp3d_core.heads.bust import BustPart, bust
from dp3d_core.heads.people import (
    Person,
    adult_face_size,
    expression_offsets,
    head_data,
    prior,
    raw_vertices,
    to_head_space,
)
from dp3d_core.heads.space import BUST_CUT_MM, MM
from dp3d_core.mesh import Mesh
from dp3d_core.smoothstep import ramp
from dp3d_core.synthetic import hair_volumes, wear
from dp3d_core.synthetic.average_bust import outer_surface
from dp3d_core.synthetic.distance_fields import rotation
from dp3d_core.synthetic.surface_nets import surface_nets

Array = NDArray[np.float64]

_HEM_MM = 2.0
"""How far cloth reaches below the bust's cut."""
_TUCK_FROM, _TUCK_MM, _AXIS_Z = 165.0, 9.0, -30.0
"""Depth below the head's centre from which on clothed skin is drawn in, how far it is at the cut,
and the axis towards which, millimetres."""
_NEIGHBOURS, _REACH = 12, 9.0
"""Control vertices that a piece's vertex follows, and how far they count, millimetres, where the
piece lies on the skin."""


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


_OF_PART = np.array(
    [
        {
            BustPart.SKIN: Surface.SKIN,
            BustPart.EYE_LEFT: Surface.EYE,
            BustPart.EYE_RIGHT: Surface.EYE,
            BustPart.TONGUE: Surface.TONGUE,
        }.get(part, Surface.TEETH)
        for part in BustPart
    ],
    np.uint8,
)


@dataclass(frozen=True)
class HeadSpec:
    """What a head is: a person and what it wears.

    Attributes:
        person: sex, age, shape and expression.
        hair: a name of ``hair_volumes.HAIR_STYLES``; None is bald.
        beard: length, millimetres; 0 is none.
        glasses, hat, clothes: names of ``wear.GLASSES``, ``HATS``, ``CLOTHES``; None is none.
        gaze: yaw (towards +x) and pitch (up) of the eyes, degrees.

    """

    person: Person = field(default_factory=Person)
    hair: str | None = None
    beard: float = 0.0
    glasses: str | None = None
    hat: str | None = None
    clothes: str | None = "crew"
    gaze: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for what, value, known in (
            ("hair", self.hair, tuple(hair_volumes.HAIR_STYLES)),
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

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "person": asdict(self.person),
            "hair": self.hair,
            "beard": round(self.beard, 2),
            "glasses": self.glasses,
            "hat": self.hat,
            "clothes": self.clothes,
            "gaze": [round(v, 2) for v in self.gaze],
        }


@dataclass(frozen=True, eq=False)
class Piece:
    """What is worn, around the average bust.

    Attributes:
        vertices: (n, 3) millimetres.
        faces: (m, 3).
        follow: (n, controls) sparse; rows sum to 1.
        surface: what it is made of.

    """

    vertices: Array
    faces: NDArray[np.int32]
    follow: sparse.csr_matrix
    surface: Surface


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """A head in head space.

    Attributes:
        mesh: the bust, then all pieces, as one mesh; its ``parts`` are :class:`Surface`.
        rest: (n, 3) where each vertex lies on the average head, millimetres: what textures and
            labels are functions of.
        spec: what it is.

    """

    mesh: Mesh
    rest: Array
    spec: HeadSpec


def build_head(spec: HeadSpec) -> HeadMesh:
    """The mesh of a head, eyes and wear included."""
    shape, mean = bust(inner=True), prior().mean
    neutral = to_head_space(raw_vertices(spec.person), adult_face_size())
    expression = expression_offsets(spec.person.expression)
    controls = neutral + expression
    body = _with_gaze(shape.vertices(controls), controls, spec.gaze)
    pieces = _pieces(spec)
    if any(name == "clothes" or kind == "scarf" for name, kind in pieces):
        body = _tucked(body)
    vertices = [body]
    rests, faces, parts = [shape.rest], [shape.faces], [_OF_PART[shape.part]]
    for name, kind in pieces:
        worn = piece(name, kind)
        # hair and hats stay where they are when the mouth opens
        moved = controls if worn.surface == Surface.BEARD else neutral
        placed = worn.vertices * MM + worn.follow @ (moved - mean)
        hem = worn.vertices[:, 1] < BUST_CUT_MM
        placed[:, 1] = np.maximum(placed[:, 1], (BUST_CUT_MM - _HEM_MM) * MM)
        placed[hem, 1] = (BUST_CUT_MM - _HEM_MM) * MM
        vertices.append(placed)
        rests.append(worn.vertices)
        faces.append(worn.faces + sum(len(v) for v in vertices[:-1]))
        parts.append(np.full(len(worn.vertices), int(worn.surface), np.uint8))
    mesh = Mesh.of(
        np.concatenate(vertices),
        np.ascontiguousarray(np.concatenate(faces), np.int32),
        np.concatenate(parts),
    )
    return HeadMesh(mesh, np.concatenate(rests), spec)


def _tucked(body: Array) -> Array:
    """The bust's vertices with the rim of the chest drawn in, so that no cloth lets it through."""
    rest = bust(inner=True).rest
    out = rest - [0.0, 0.0, _AXIS_Z]
    out[:, 1] = 0.0
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1.0)
    share = ramp(-rest[:, 1], _TUCK_FROM, -BUST_CUT_MM)[:, None]
    return np.asarray(body - _TUCK_MM * MM * share * out)


def _pieces(spec: HeadSpec) -> list[tuple[str, Any]]:
    """Name and kind of what a head wears."""
    pieces: list[tuple[str, Any]] = []
    if spec.hair:
        pieces.append(("hair", (spec.hair, spec.hat)))
    if spec.beard > 0:
        pieces.append(("beard", round(spec.beard)))
    for what in ("glasses", "hat", "clothes"):
        chosen = getattr(spec, what)
        if chosen and not (what == "clothes" and spec.hat == "scarf"):
            pieces.append((what, chosen))
    return pieces


def eye_centre(controls: Array, side: int) -> Array:
    """(3,) centre of the left (1) or right (-1) eyeball of control vertices (n, 3)."""
    joint = head_data().joints["joint-l-eye" if side > 0 else "joint-r-eye"]
    return np.asarray(controls[joint].mean(0))


def _with_gaze(vertices: Array, controls: Array, gaze: tuple[float, float]) -> Array:
    """The bust's vertices (n, 3) with its eyeballs turned by (yaw, pitch) degrees."""
    turn = rotation((-gaze[1], gaze[0], 0))
    for side, part in ((1, BustPart.EYE_LEFT), (-1, BustPart.EYE_RIGHT)):
        ball = bust(inner=True).part == part
        centre = eye_centre(controls, side)
        vertices[ball] = centre + (vertices[ball] - centre) @ turn.T
    return vertices


@lru_cache(maxsize=64)
def piece(name: str, kind: Any = None) -> Piece:
    """What is worn on the average bust: hair, beard, glasses, hat or clothes."""
    vertices, faces = surface_nets(*_field_of(name, kind))
    return Piece(vertices, faces, _follow(vertices), Surface[name.upper()])


def _follow(vertices: Array) -> sparse.csr_matrix:
    """(n, controls) weights by which points (n, 3) follow the skin that lies under them."""
    skin = _outer_controls()
    mean = prior().mean / MM
    distances, nearest = cKDTree(mean[skin]).query(vertices, k=_NEIGHBOURS)
    reach = np.maximum(_REACH, distances[:, :1])
    weights = np.exp(-0.5 * (distances / reach) ** 2)
    weights /= weights.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(vertices)), _NEIGHBOURS)
    return sparse.csr_matrix(
        (weights.ravel(), (rows, skin[nearest].ravel())), (len(vertices), len(mean))
    )


@lru_cache(maxsize=1)
def _outer_controls() -> NDArray[np.int64]:
    """Control vertices on the outer surface of the average bust, without its ears."""
    distance, _ = cKDTree(outer_surface()[0]).query(prior().mean / MM)
    data = head_data()
    body = np.zeros(len(data.vertices), bool)
    body[np.unique(data.quads[data.quad_part == BustPart.SKIN])] = True
    return np.flatnonzero((distance < 4.0) & body)


def _field_of(name: str, kind: Any) -> tuple[Callable[[Array], Array], tuple[Array, Array, Array]]:
    """Distance field of a piece, and the grid on which its surface is looked for."""

    def box(low: tuple[float, ...], high: tuple[float, ...], step: float) -> Any:
        return tuple(
            np.arange(a, b + step, step, dtype=float) for a, b in zip(low, high, strict=True)
        )

    if name == "hair":
        style, hat_name = kind
        line = wear.HAT_LINES[hat_name] if hat_name else None
        chosen = hair_volumes.HAIR_STYLES[style]
        return (
            lambda p: hair_volumes.hair(p, chosen, line),
            box((-140, -212, -180), (140, 210, 130), 4.2),
        )
    if name == "beard":
        return lambda p: hair_volumes.beard(p, float(kind)), box(
            (-90, -150, -40), (90, 10, 125), 3.0
        )
    if name == "glasses":
        return lambda p: wear.glasses(p, kind), box((-90, -4, -40), (90, 54, 106), 1.3)
    if name == "hat":
        step = 5.0 if kind == "scarf" else 3.6
        return lambda p: wear.hat(p, kind), box((-256, -246, -215), (256, 194, 184), step)
    return lambda p: wear.clothes(p, kind), box((-256, -246, -160), (256, -70, 120), 3.4)
