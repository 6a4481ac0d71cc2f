"""Mesh of a synthetic head: bust with eyes and teeth, hair, beard, glasses, hat and clothes.

Hair and accessories are extracted once per process around the average bust (:func:`piece`).  They
follow the person's control vertices by a sparse matrix, which makes building a head cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Indices, Indices32, smoothstep
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
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.synthetic import accessories, hair_volumes
from dp3d_core.synthetic.average_bust import outer_surface
from dp3d_core.synthetic.distance_fields import rotation
from dp3d_core.synthetic.surface_nets import surface_nets

_HEM_MM = 2.0
"""Extension of cloth below the bust's cut, millimetres."""
_TUCK_FROM = 165.0
"""Distance below the head's centre from which skin is drawn in under clothes, millimetres."""
_TUCK_MM = 9.0
"""Distance by which skin is drawn in at the cut, millimetres."""
_AXIS_Z = -30.0
"""Depth of the axis towards which skin is drawn in, millimetres."""
_NEIGHBOURS = 12
"""Number of control vertices that a piece's vertex follows."""
_REACH = 9.0
"""Standard deviation of their weights where the piece lies on the skin, millimetres."""


class Surface(IntEnum):
    """Material of a vertex."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    HAIR = 4
    BEARD = 5
    GLASSES = 6
    HAT = 7
    CLOTHES = 8


_SURFACE_OF_PART = np.array(
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
    """Description of a head: a person, hair and accessories.

    Attributes:
        person: sex, age, shape and expression.
        hair: name in ``hair_volumes.HAIR_STYLES``; None for bald.
        beard: length, millimetres; 0 for none.
        glasses, hat, clothes: names in ``accessories.GLASSES``, ``HATS``, ``CLOTHES``; None for
            none.
        gaze: yaw (towards +x) and pitch (upwards) of the eyes, degrees.

    Raises:
        Dp3dError: ``heads.bad_shape`` for an unknown name.

    """

    person: Person = field(default_factory=Person)
    hair: str | None = None
    beard: float = 0.0
    glasses: str | None = None
    hat: str | None = None
    clothes: str | None = "crew"
    gaze: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for kind, value, names in (
            ("hair", self.hair, tuple(hair_volumes.HAIR_STYLES)),
            ("glasses", self.glasses, accessories.GLASSES),
            ("hat", self.hat, accessories.HATS),
            ("clothes", self.clothes, accessories.CLOTHES),
        ):
            if value is not None and value not in names:
                raise Dp3dError(
                    "heads.bad_shape",
                    f"There is no {kind} {value!r}.",
                    f"Choose one of {', '.join(names)}, or none.",
                )

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON-ready values."""
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
    """Hair or an accessory of the average bust.

    Attributes:
        vertices: (n, 3) vertices, millimetres.
        faces: (m, 3) triangles.
        follow: (n, controls) sparse weights: moves of vertices from moves of control vertices;
            rows sum to 1.
        surface: its material.

    """

    vertices: Array
    faces: Indices32
    follow: sparse.csr_matrix
    surface: Surface


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """A head in head space.

    Attributes:
        mesh: the bust followed by all pieces, as one mesh; ``parts`` are :class:`Surface`.
        rest: (n, 3) positions of the vertices on the average head, millimetres; textures and
            labels are functions of them.
        spec: its description.

    """

    mesh: Mesh
    rest: Array
    spec: HeadSpec


def build_head(spec: HeadSpec) -> HeadMesh:
    """Build the mesh of a head."""
    topology, mean = bust(inner=True), prior().mean
    neutral = to_head_space(raw_vertices(spec.person), adult_face_size())
    expression = expression_offsets(spec.person.expression)
    controls = neutral + expression
    body = _with_gaze(topology.vertices(controls), controls, spec.gaze)
    pieces = _pieces(spec)
    if any(name == "clothes" or kind == "scarf" for name, kind in pieces):
        body = _tucked(body)
    vertices = [body]
    rests, faces, parts = [topology.rest], [topology.faces], [_SURFACE_OF_PART[topology.part]]
    for name, kind in pieces:
        part = piece(name, kind)
        # expressions move beards, but neither hair nor hats
        moved_controls = controls if part.surface == Surface.BEARD else neutral
        placed = part.vertices * MM + part.follow @ (moved_controls - mean)
        hem = part.vertices[:, 1] < BUST_CUT_MM
        placed[:, 1] = np.maximum(placed[:, 1], (BUST_CUT_MM - _HEM_MM) * MM)
        placed[hem, 1] = (BUST_CUT_MM - _HEM_MM) * MM
        vertices.append(placed)
        rests.append(part.vertices)
        faces.append(part.faces + sum(len(v) for v in vertices[:-1]))
        parts.append(np.full(len(part.vertices), int(part.surface), np.uint8))
    mesh = Mesh.of(
        np.concatenate(vertices),
        np.ascontiguousarray(np.concatenate(faces), np.int32),
        np.concatenate(parts),
    )
    return HeadMesh(mesh, np.concatenate(rests), spec)


def _tucked(body: Array) -> Array:
    """Vertices of the bust with the chest drawn in, so that it does not pierce the clothes."""
    rest = bust(inner=True).rest
    outward = rest - [0.0, 0.0, _AXIS_Z]
    outward[:, 1] = 0.0
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1.0)
    weight = smoothstep(-rest[:, 1], _TUCK_FROM, -BUST_CUT_MM)[:, None]
    return np.asarray(body - _TUCK_MM * MM * weight * outward)


def _pieces(spec: HeadSpec) -> list[tuple[str, Any]]:
    """Name and kind of each piece of a head, arguments of :func:`piece`."""
    pieces: list[tuple[str, Any]] = []
    if spec.hair:
        pieces.append(("hair", (spec.hair, spec.hat)))
    if spec.beard > 0:
        pieces.append(("beard", round(spec.beard)))
    for name in ("glasses", "hat", "clothes"):
        kind = getattr(spec, name)
        if kind and not (name == "clothes" and spec.hat == "scarf"):
            pieces.append((name, kind))
    return pieces


def eye_centre(controls: Array, side: int) -> Array:
    """(3,) centre of the left (``side`` 1) or right (-1) eyeball, from control vertices (n, 3)."""
    joint = head_data().joints["joint-l-eye" if side > 0 else "joint-r-eye"]
    return np.asarray(controls[joint].mean(0))


def _with_gaze(vertices: Array, controls: Array, gaze: tuple[float, float]) -> Array:
    """Vertices (n, 3) of the bust with the eyeballs rotated by (yaw, pitch) degrees."""
    eye_rotation = rotation((-gaze[1], gaze[0], 0))
    for side, part in ((1, BustPart.EYE_LEFT), (-1, BustPart.EYE_RIGHT)):
        eyeball = bust(inner=True).part == part
        centre = eye_centre(controls, side)
        vertices[eyeball] = centre + (vertices[eyeball] - centre) @ eye_rotation.T
    return vertices


@lru_cache(maxsize=64)
def piece(name: str, kind: Any = None) -> Piece:
    """Extract a piece of the average bust: hair, beard, glasses, hat or clothes."""
    vertices, faces = surface_nets(*_field_of(name, kind))
    return Piece(vertices, faces, _follow(vertices), Surface[name.upper()])


def _follow(vertices: Array) -> sparse.csr_matrix:
    """(n, controls) weights by which points (n, 3) follow the nearest control vertices of skin."""
    skin = _outer_controls()
    mean = prior().mean / MM
    distances, nearest = map(np.asarray, cKDTree(mean[skin]).query(vertices, k=_NEIGHBOURS))
    reach = np.maximum(_REACH, distances[:, :1])
    weights = np.exp(-0.5 * (distances / reach) ** 2)
    weights /= weights.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(vertices)), _NEIGHBOURS)
    return sparse.csr_matrix(
        (weights.ravel(), (rows, skin[nearest].ravel())), (len(vertices), len(mean))
    )


@lru_cache(maxsize=1)
def _outer_controls() -> Indices:
    """Control vertices on the outer surface of the average bust, without the ears."""
    distance, _ = cKDTree(outer_surface()[0]).query(prior().mean / MM)
    data = head_data()
    body = np.zeros(len(data.vertices), bool)
    body[np.unique(data.quads[data.quad_part == BustPart.SKIN])] = True
    return np.flatnonzero((distance < 4.0) & body)


def _field_of(name: str, kind: Any) -> tuple[Callable[[Array], Array], tuple[Array, Array, Array]]:
    """Distance field of a piece, and the grid on which its surface is extracted."""

    def box(low: tuple[float, ...], high: tuple[float, ...], step: float) -> Any:
        return tuple(
            np.arange(a, b + step, step, dtype=float) for a, b in zip(low, high, strict=True)
        )

    if name == "hair":
        style, hat_name = kind
        line = accessories.HAT_LINES[hat_name] if hat_name else None
        hair_style = hair_volumes.HAIR_STYLES[style]
        return (
            lambda p: hair_volumes.hair(p, hair_style, line),
            box((-140, -212, -180), (140, 210, 130), 4.2),
        )
    if name == "beard":
        return lambda p: hair_volumes.beard(p, float(kind)), box(
            (-90, -150, -40), (90, 10, 125), 3.0
        )
    if name == "glasses":
        return lambda p: accessories.glasses(p, kind), box((-90, -4, -40), (90, 54, 106), 1.3)
    if name == "hat":
        step = 5.0 if kind == "scarf" else 3.6
        return lambda p: accessories.hat(p, kind), box((-256, -246, -215), (256, 194, 184), step)
    return lambda p: accessories.clothes(p, kind), box((-256, -246, -160), (256, -70, 120), 3.4)
