"""Shape parameters: smooth displacement fields that turn the base head into other heads.

Every parameter is a sum of local moves (a direction, or a stretch about a point, under a
smooth weight), so shapes are linear in the parameters, hold for anything placed around the
base head (hair, glasses, hats), and a fit can solve for them.  0 is the base head; 1 and -1
are about as far as one adult in twenty goes; the range allows somewhat more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp3d_core.errors import Dp3dError
from dp3d_core.heads.anatomy import EAR, EYE, MOUTH_HALF, lip_line
from dp3d_core.heads.fields import bump, ramp

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

_EYE: Vector = (float(EYE[0]), float(EYE[1]), float(EYE[2]))
_EAR: Vector = (float(EAR[0]), float(EAR[1]), float(EAR[2]))


@dataclass(frozen=True)
class Move:
    """A smooth local displacement, mirrored to both sides.

    Attributes:
        centre, radii: ellipsoid of the weight (1 at its centre, 0 outside), millimetres.
        shift: displacement, millimetres (x away from the middle).
        stretch: relative growth along x, y and z about ``about``.
        about: fixed point of the stretch; ``centre`` when None.
        side: ``""``, or ``"above"`` / ``"below"`` the line between the lips.

    """

    centre: Vector
    radii: Vector
    shift: Vector = (0, 0, 0)
    stretch: Vector = (0, 0, 0)
    about: Vector | None = None
    side: str = ""

    def __call__(self, m: Array) -> Array:
        """(n, 3) displacement of points with abs(x)."""
        weight = bump(m, self.centre, self.radii)
        if self.side:
            weight = weight * _side(m, self.side)
        about = np.asarray(self.about if self.about is not None else self.centre)
        moved = np.asarray(self.shift) + (m - about) * np.asarray(self.stretch)
        # nothing may leave the middle plane sideways
        middle = np.clip(m[:, 0] / 8, 0, 1)
        moved = np.stack([moved[:, 0] * middle, moved[:, 1], moved[:, 2]], -1)
        return np.asarray(weight[:, None] * moved)


def _side(m: Array, side: str) -> Array:
    """1 on one side of the line between the lips, sharp between the lips, soft beside them."""
    height = m[:, 1] - lip_line(m[:, 0])
    beside = np.clip((m[:, 0] - MOUTH_HALF + 3) / 12, 0, 1)
    width = 0.15 + 14 * beside
    above = ramp(height, -1, 1) * 0 + np.clip(height / (2 * width) + 0.5, 0, 1)
    return above if side == "above" else 1 - above


@dataclass(frozen=True)
class Parameter:
    """A named shape parameter."""

    name: str
    low: float
    high: float
    what: str
    """What growing it does."""
    moves: tuple[Move, ...]
    expression: bool = False
    """Whether it belongs to what the face does rather than to what it is."""


def _p(
    name: str,
    what: str,
    *moves: Move,
    low: float = -1.5,
    high: float = 1.5,
    expression: bool = False,
) -> Parameter:
    return Parameter(name, low, high, what, moves, expression)


_SKULL: Vector = (0, 50, -15)
PARAMETERS: tuple[Parameter, ...] = (
    # skull
    _p(
        "skull_length",
        "longer from forehead to back",
        Move((0, 45, -70), (120, 120, 90), (0, 0, -9)),
    ),
    _p("skull_width", "wider above the ears", Move((55, 60, -20), (75, 95, 110), (6, 0, 0))),
    _p("skull_height", "higher crown", Move((0, 125, -15), (130, 95, 140), (0, 8, 0))),
    _p("forehead_slope", "forehead leaning back", Move((0, 98, 60), (85, 62, 62), (0, 0, -8))),
    _p("temple_width", "fuller temples", Move((68, 42, 42), (30, 45, 45), (4, 0, 2))),
    _p("occiput", "rounder back of the head", Move((0, 18, -95), (75, 60, 55), (0, 0, -7))),
    # face
    _p("face_width", "wider cheekbones", Move((60, 0, 25), (55, 65, 80), (5, 0, 0))),
    _p(
        "face_length",
        "longer from nose to chin",
        Move((0, -75, 45), (140, 105, 130), (0, -8, 0)),
        Move((0, -110, 10), (110, 70, 110), (0, -2, 0)),
    ),
    _p(
        "midface_length",
        "longer from eyes to mouth",
        Move((0, -62, 60), (130, 95, 110), (0, -5, 0)),
    ),
    _p("face_depth", "flatter from side to side", Move((44, 8, 62), (40, 75, 48), (0, 0, 5))),
    _p(
        "face_forward",
        "face further before the skull",
        Move((0, -10, 95), (75, 110, 75), (0, 0, 6)),
    ),
    _p("brow_ridge", "stronger brow ridge", Move((18, 40, 84), (42, 16, 26), (0, 0, 4))),
    _p("cheekbone", "more forward cheekbones", Move((42, 2, 66), (26, 22, 30), (2, 0, 4))),
    _p("cheek", "fuller cheeks", Move((46, -32, 52), (36, 38, 48), (5, 0, 3))),
    # jaw and chin
    _p("jaw_width", "wider angle of the jaw", Move((52, -48, 10), (42, 52, 62), (8, 0, 0))),
    _p("jaw_height", "lower angle of the jaw", Move((50, -55, 8), (45, 45, 55), (0, -9, 0))),
    _p("chin_width", "broader chin", Move((18, -75, 74), (32, 26, 34), (5, 0, 0))),
    _p("chin_length", "longer chin", Move((0, -86, 72), (40, 34, 46), (0, -7, 0))),
    _p("chin_forward", "more forward chin", Move((0, -76, 80), (42, 32, 48), (0, 0, 6))),
    _p(
        "double_chin",
        "fuller below the chin",
        Move((0, -94, 44), (56, 26, 50), (0, -9, 3)),
        Move((46, -72, 28), (34, 30, 50), (4, -3, 0)),
    ),
    # nose
    _p("nose_length", "longer nose", Move((0, -13, 98), (30, 34, 36), (0, -5, 0))),
    _p("nose_width", "wider nostrils", Move((13, -13, 90), (16, 16, 24), (3.2, 0, 0))),
    _p("nose_bridge", "higher bridge", Move((0, 14, 92), (14, 26, 26), (0, 0, 4))),
    _p("nose_bridge_width", "wider bridge", Move((9, 14, 86), (14, 30, 22), (2.2, 0, 0.8))),
    _p("nose_tip", "more forward tip", Move((0, -10, 104), (24, 24, 28), (0, 0, 5))),
    _p("nose_tip_up", "upturned tip", Move((0, -11, 104), (18, 16, 22), (0, 4, 0.5))),
    # eyes
    _p(
        "eye_size",
        "larger eyes",
        Move(_EYE, (27, 20, 30), (0, 0, 0), (0.16, 0.16, 0.05), (_EYE[0], _EYE[1], _EYE[2])),
    ),
    _p("eye_spacing", "eyes further apart", Move(_EYE, (27, 27, 34), (3.4, 0, 0))),
    _p("eye_height", "higher eyes", Move(_EYE, (60, 40, 60), (0, 4, 0))),
    _p(
        "eye_tilt",
        "outer corners up",
        Move((46, 27, 66), (14, 14, 24), (0, 3, 0)),
        Move((17, 27, 72), (11, 12, 24), (0, -1.5, 0)),
    ),
    _p("eye_opening", "more open eyes", Move((32, 34, 74), (20, 8, 14), (0, 2.2, -0.6))),
    # mouth
    _p("mouth_width", "wider mouth", Move((22, -42, 80), (26, 22, 34), (4.5, 0, -0.8))),
    _p("mouth_height", "higher mouth", Move((0, -42, 88), (46, 26, 46), (0, 4, 0))),
    _p("lip_upper", "fuller upper lip", Move((0, -37, 92), (26, 9, 16), (0, 1.6, 2.2))),
    _p("lip_lower", "fuller lower lip", Move((0, -48, 90), (24, 10, 16), (0, -1.8, 2.2))),
    _p("mouth_forward", "more forward mouth", Move((0, -42, 90), (48, 30, 42), (0, 0, 5))),
    # ears
    _p(
        "ear_size",
        "larger ears",
        Move(_EAR, (30, 58, 42), (0, 0, 0), (0.12, 0.22, 0.2), (70, 2, -6)),
    ),
    _p("ear_angle", "ears standing off", Move((88, 10, -26), (24, 46, 34), (8, 0, 3))),
    _p("ear_height", "higher ears", Move(_EAR, (26, 60, 45), (0, 6, 0))),
    _p("ear_lobe", "longer lobes", Move((78, -26, -8), (16, 22, 20), (0, -8, 0))),
    # neck, body and age
    _p(
        "neck_width",
        "thicker neck",
        Move((50, -125, -25), (75, 80, 110), (9, 0, 0)),
        Move((0, -125, -25), (90, 80, 120), (0, 0, 0), (0, 0, 0.10)),
    ),
    _p(
        "neck_forward",
        "head further before the neck",
        Move((0, -170, -30), (280, 130, 200), (0, 0, -14)),
    ),
    _p("neck_length", "shoulders lower", Move((0, -230, -30), (420, 130, 300), (0, -14, 0))),
    _p("shoulder_width", "broader shoulders", Move((170, -200, -35), (170, 130, 170), (22, 0, 0))),
    _p("shoulder_slope", "sloping shoulders", Move((170, -185, -38), (140, 110, 160), (0, -18, 0))),
    _p(
        "age_sag",
        "sagging cheeks, brows and tip of the nose",
        Move((44, -52, 50), (30, 30, 46), (3, -7, 1)),
        Move((46, 36, 66), (20, 14, 30), (0, -3, 0)),
        Move((0, -14, 100), (20, 18, 24), (0, -2.5, 0)),
        Move((0, -96, 50), (40, 26, 44), (0, -5, 0)),
        low=0.0,
    ),
    # expression
    _p(
        "mouth_open",
        "jaw dropped",
        Move((0, -62, 72), (62, 62, 82), (0, -20, -6), side="below"),
        Move((30, -48, 20), (60, 70, 80), (-1, -6, -1), side="below"),
        low=0.0,
        expression=True,
    ),
    _p(
        "smile",
        "corners of the mouth out and up",
        Move((25, -42, 78), (22, 20, 30), (5.5, 5.5, -4)),
        Move((42, -16, 66), (26, 24, 32), (1, 3.5, 4)),
        Move((0, -36, 90), (18, 10, 14), (0, 1.2, -2)),
        low=-0.6,
        expression=True,
    ),
    _p(
        "pucker",
        "lips drawn together",
        Move((23, -42, 80), (26, 16, 30), (-8, 0, 4)),
        Move((0, -43, 92), (22, 14, 20), (0, 0, 4)),
        low=0.0,
        expression=True,
    ),
    _p(
        "brow_raise",
        "raised brows",
        Move((30, 46, 76), (44, 22, 34), (0, 5, 0)),
        low=-1.0,
        expression=True,
    ),
    _p(
        "brow_frown",
        "brows drawn together and down",
        Move((12, 39, 84), (22, 16, 26), (-2.5, -3.5, 1.5)),
        low=0.0,
        expression=True,
    ),
    _p(
        "lids_closed",
        "upper lids down",
        Move((32, 32, 74), (19, 9.5, 13), (0, -9.5, 1.6)),
        low=0.0,
        high=1.0,
        expression=True,
    ),
)

NAMES: tuple[str, ...] = tuple(parameter.name for parameter in PARAMETERS)
_INDEX = {name: i for i, name in enumerate(NAMES)}
LOW = np.array([parameter.low for parameter in PARAMETERS])
HIGH = np.array([parameter.high for parameter in PARAMETERS])


AVERAGE = np.zeros(len(PARAMETERS))
"""What 0 stands for: coefficients that take the base head, written down from tables of single
measures, to the proportions of faces in photographs, whose lower face is shorter and narrower."""
for _name, _value in (
    ("face_length", -0.8),
    ("midface_length", -0.4),
    ("nose_length", -0.3),
    ("eye_height", -0.25),
    ("jaw_width", -1.0),
):
    AVERAGE[_INDEX[_name]] = _value


def coefficients(values: Mapping[str, float]) -> Array:
    """(p,) coefficients of named values, which count from :data:`AVERAGE`.

    Raises:
        Dp3dError: ``heads.bad_shape`` for an unknown name or a value outside its range.

    """
    found = AVERAGE.copy()
    for name, value in values.items():
        if name not in _INDEX:
            raise Dp3dError(
                "heads.bad_shape",
                f"There is no shape parameter {name!r}.",
                "Use names from dp3d_core.heads.shape.NAMES.",
            )
        i = _INDEX[name]
        if not LOW[i] <= value <= HIGH[i]:
            raise Dp3dError(
                "heads.bad_shape",
                f"{name} = {value} lies outside its range.",
                f"Give a value from {LOW[i]:g} to {HIGH[i]:g}.",
            )
        found[i] += value
    return found


def basis(points: Array) -> Array:
    """Displacement fields at points around the base head.

    Args:
        points: (n, 3) millimetres.

    Returns:
        (p, n, 3) millimetres per unit of each parameter.

    """
    m = points.copy()
    m[:, 0] = np.abs(m[:, 0])
    sign = np.where(points[:, 0] < 0, -1.0, 1.0)
    found = np.zeros((len(PARAMETERS), *points.shape))
    for i, parameter in enumerate(PARAMETERS):
        for move in parameter.moves:
            low = np.asarray(move.centre) - move.radii
            high = np.asarray(move.centre) + move.radii
            near = np.flatnonzero(((m >= low) & (m <= high)).all(1))
            found[i, near] += move(m[near])
    found[..., 0] *= sign
    return found
