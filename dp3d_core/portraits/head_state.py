"""A head in a picture as numbers: pose, place, shape components and expression."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import CANONICAL_RADIUS
from dp3d_core.heads.landmark_map import POSE, LandmarkMap, landmark_map, pose_of
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.heads.space import MM

Array = NDArray[np.float64]

COMPONENTS = 60
"""Shape components of a state."""
EXPRESSIONS = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeWideLeft", "eyeWideRight", "jawLeft", "jawOpen",
    "jawRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPucker", "mouthRight", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft",
    "mouthUpperUpRight",
)  # fmt: skip
"""Expression targets that are fitted, each from 0 to 1."""
MOST = 2.5
"""Standard deviations to which a component is limited."""
_POINT = 0.35
"""Weight of a landmark at one millimetre of scatter."""


@dataclass(frozen=True, eq=False)
class HeadState:
    """A head in a picture.

    Attributes:
        angles: (3,) yaw, pitch and roll, radians, as of ``pose.HeadAngles``.
        scale: pixels for a head unit at the head's origin.
        origin: (2,) pixel of the head's origin.
        components: (COMPONENTS,) of ``heads.people.prior``, standard deviations.
        expression: (len(EXPRESSIONS),) weights.

    """

    angles: Array
    scale: float
    origin: Array
    components: Array
    expression: Array

    @property
    def upright(self) -> Array:
        """(2, 2) rotation from a picture in which the head is upright to this one."""
        c, s = np.cos(self.angles[2]), np.sin(self.angles[2])
        return np.array([[c, s], [-s, c]])

    def project(self, points: Array) -> Array:
        """(n, 2) pixels of points (n, 3), head units; the camera stands at its usual distance."""
        local = points @ rotations(self.angles[None])[0].T
        near = CANONICAL_RADIUS / (local[:, 2:] + CANONICAL_RADIUS)
        return np.asarray(self.origin + local[:, :2] * near * self.scale)

    def placed(self, left: float, top: float, scale: float) -> HeadState:
        """The state in a window of the picture that begins at (left, top), scaled by a factor."""
        origin = (self.origin - [left, top]) * scale
        return HeadState(self.angles, self.scale * scale, origin, self.components, self.expression)

    def mirrored(self, width: float, mirror: Array) -> HeadState:
        """The state in the picture seen in a mirror.

        Args:
            width: of the picture, pixels.
            mirror: (COMPONENTS, COMPONENTS) components of a mirrored head from the head's own.

        """
        twins = [EXPRESSIONS.index(_twin(name)) for name in EXPRESSIONS]
        return HeadState(
            self.angles * [-1, 1, -1],
            self.scale,
            np.array([width - self.origin[0], self.origin[1]]),
            mirror @ self.components,
            self.expression[twins],
        )

    def difference(self, other: HeadState) -> Array:
        """(n,) what turns this state into another: :meth:`moved` undoes it.

        Angles (radians), log of the scale, shift in head units of the upright head, components
        and expression.
        """
        turn = (other.angles - self.angles + np.pi) % (2 * np.pi) - np.pi
        shift = (other.origin - self.origin) @ self.upright / self.scale
        return np.concatenate(
            [
                turn,
                [np.log(other.scale / self.scale)],
                shift,
                other.components - self.components,
                other.expression - self.expression,
            ]
        )

    def moved(self, difference: Array) -> HeadState:
        """The state that differs from this one by :meth:`difference`."""
        turn, shift, shapes = difference[:3], difference[4:6], 6 + COMPONENTS
        return HeadState(
            self.angles + turn,
            self.scale * float(np.exp(difference[3])),
            self.origin + self.upright @ shift * self.scale,
            self.components + difference[6:shapes],
            self.expression + difference[shapes:],
        )


def _twin(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def rotations(angles: Array) -> Array:
    """(n, 3, 3) world to camera (OpenCV axes) of (n, 3) yaw, pitch and roll, radians."""
    yaw, pitch, roll = angles.T
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    zero = np.zeros_like(yaw)
    right = np.stack([cy, zero, -sy], -1)
    forward = np.stack([-sy * cp, -sp, -cy * cp], -1)
    down = np.cross(forward, right)
    cr, sr = np.cos(roll)[:, None], np.sin(roll)[:, None]
    return np.stack([cr * right + sr * down, -sr * right + cr * down, forward], 1)


@dataclass(frozen=True, eq=False)
class LandmarkTable:
    """Where landmarks lie on the average head, and how shape components move them.

    Attributes:
        index: (n,) numbers of the landmarks.
        points: (n, 3) millimetres.
        moves: (COMPONENTS + EXPRESSIONS, n, 3) millimetres for one standard deviation of a
            component, or all of an expression.
        weight: (n,) how far they are believed.

    """

    index: NDArray[np.int64]
    points: Array
    moves: Array
    weight: Array


@lru_cache(maxsize=1)
def landmark_table() -> LandmarkTable:
    """The measured table."""
    text = resources.files("dp3d_core.heads").joinpath("bust_landmarks.json").read_text("utf-8")
    rows = np.array(json.loads(text)["points"], float)
    corners, shares = rows[:, 1:4].astype(np.int64), rows[:, 4:7]
    heads = prior()

    def at(vertices: Array) -> Array:
        return np.asarray(np.einsum("nc,ncx->nx", shares, vertices[corners])) / MM

    moves = [at(b.astype(np.float64)) for b in heads.basis[:COMPONENTS]]
    moves += [at(expression_offsets({name: 1.0})) for name in EXPRESSIONS]
    weight = _POINT / (1.0 + rows[:, 7])
    return LandmarkTable(rows[:, 0].astype(np.int64), at(heads.mean), np.array(moves), weight)


def landmark_state(points: Array, depth: Array, learned: LandmarkMap | None = None) -> HeadState:
    """The state that landmarks (468, 2) and their depth (468,), pixels, give.

    Args:
        points: pixels.
        depth: pixels.
        learned: the map; None is that of the package.

    """
    frame, outputs = (learned or landmark_map())(points, depth)
    angles, scale, origin = pose_of(frame, outputs)
    components = np.clip(outputs[POSE : POSE + COMPONENTS], -MOST, MOST)
    return HeadState(angles, scale, origin, components, np.zeros(len(EXPRESSIONS)))
