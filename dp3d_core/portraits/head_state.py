"""Head state: pose, position, shape coefficients and expression of a head in an image.

Landmarks give a first state (:func:`landmark_state`), ``picture_map`` corrects it by the image,
and ``pose`` starts its fit from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from dp3d_core.arrays import Array, Indices
from dp3d_core.cameras.camera import CANONICAL_RADIUS
from dp3d_core.heads.landmark_map import POSE, LandmarkMap, landmark_map, pose_of
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.heads.space import MM

COMPONENTS = 60
"""Number of shape coefficients of a state."""
EXPRESSIONS = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeWideLeft", "eyeWideRight", "jawLeft", "jawOpen",
    "jawRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPucker", "mouthRight", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft",
    "mouthUpperUpRight",
)  # fmt: skip
"""Blend shapes that are fitted, each with a weight from 0 to 1."""
MAX_COMPONENT = 2.5
"""Standard deviations to which shape coefficients are clipped."""
_LANDMARK_WEIGHT = 0.35
"""Weight of a landmark without scatter; at one millimetre of scatter it is half."""


@dataclass(frozen=True, eq=False)
class HeadState:
    """A head in an image.

    Attributes:
        angles: (3,) yaw, pitch and roll, radians; signs as in ``pose.HeadAngles``.
        scale: pixels per head unit at the head's origin.
        origin: (2,) projection of the head's origin, pixels.
        components: (COMPONENTS,) coefficients of ``heads.people.prior``, standard deviations.
        expression: (len(EXPRESSIONS),) weights of :data:`EXPRESSIONS`.

    """

    angles: Array
    scale: float
    origin: Array
    components: Array
    expression: Array

    @property
    def upright(self) -> Array:
        """(2, 2) rotation from an image in which the head is upright to this image."""
        c, s = np.cos(self.angles[2]), np.sin(self.angles[2])
        return np.array([[c, s], [-s, c]])

    def project(self, points: Array) -> Array:
        """(n, 2) projection, pixels, of points (n, 3), head units, from the canonical distance."""
        local = points @ rotations(self.angles[None])[0].T
        perspective = CANONICAL_RADIUS / (local[:, 2:] + CANONICAL_RADIUS)
        return np.asarray(self.origin + local[:, :2] * perspective * self.scale)

    def in_window(self, left: float, top: float, scale: float) -> HeadState:
        """The state in a window whose corner is (left, top), pixels, enlarged by ``scale``."""
        origin = (self.origin - [left, top]) * scale
        return HeadState(self.angles, self.scale * scale, origin, self.components, self.expression)

    def mirrored(self, width: float, mirror: Array) -> HeadState:
        """The state in the mirrored image.

        Args:
            width: width of the image, pixels.
            mirror: (COMPONENTS, COMPONENTS) matrix from coefficients of a head to those of its
                mirror image.

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
        """(n,) parameters of ``other`` relative to this state; inverse of :meth:`moved`.

        Angles (radians), log of the scale ratio, shift in head units of the upright head,
        coefficients, expression weights.
        """
        rotation = (other.angles - self.angles + np.pi) % (2 * np.pi) - np.pi
        shift = (other.origin - self.origin) @ self.upright / self.scale
        return np.concatenate(
            [
                rotation,
                [np.log(other.scale / self.scale)],
                shift,
                other.components - self.components,
                other.expression - self.expression,
            ]
        )

    def moved(self, difference: Array) -> HeadState:
        """The state at a :meth:`difference` (n,) from this one."""
        rotation, shift, first_expression = difference[:3], difference[4:6], 6 + COMPONENTS
        return HeadState(
            self.angles + rotation,
            self.scale * float(np.exp(difference[3])),
            self.origin + self.upright @ shift * self.scale,
            self.components + difference[6:first_expression],
            self.expression + difference[first_expression:],
        )


def _twin(name: str) -> str:
    """Name of a blend shape's counterpart on the other side; its own name if symmetric."""
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def rotations(angles: Array) -> Array:
    """(n, 3, 3) world-to-camera rotations, OpenCV axes, of yaw, pitch and roll (n, 3), radians."""
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
    """Landmark positions on the average head, and their derivatives by shape and expression.

    Attributes:
        index: (n,) landmarks of the face mesh.
        points: (n, 3) positions on the average head, millimetres.
        moves: (COMPONENTS + len(EXPRESSIONS), n, 3) offsets at one standard deviation of a
            coefficient, or at weight 1 of a blend shape, millimetres.
        weight: (n,) weight of each landmark in fits.

    """

    index: Indices
    points: Array
    moves: Array
    weight: Array


@lru_cache(maxsize=1)
def landmark_table() -> LandmarkTable:
    """The calibrated table shipped in the package (``synthetic.landmark_training``)."""
    text = resources.files("dp3d_core.heads").joinpath("bust_landmarks.json").read_text("utf-8")
    rows = np.array(json.loads(text)["points"], float)
    corners, shares = rows[:, 1:4].astype(np.int64), rows[:, 4:7]
    heads = prior()

    def at(vertices: Array) -> Array:
        return np.asarray(np.einsum("nc,ncx->nx", shares, vertices[corners])) / MM

    moves = [at(b.astype(np.float64)) for b in heads.basis[:COMPONENTS]]
    moves += [at(expression_offsets({name: 1.0})) for name in EXPRESSIONS]
    weight = _LANDMARK_WEIGHT / (1.0 + rows[:, 7])
    return LandmarkTable(rows[:, 0].astype(np.int64), at(heads.mean), np.array(moves), weight)


def landmark_state(points: Array, depth: Array, learned: LandmarkMap | None = None) -> HeadState:
    """State predicted from landmarks alone, with neutral expression.

    Args:
        points: (468, 2) landmarks, pixels.
        depth: (468,) depth of the landmarks, pixels.
        learned: the regression; None takes the one shipped in the package.

    """
    frame, outputs = (learned or landmark_map())(points, depth)
    angles, scale, origin = pose_of(frame, outputs)
    components = np.clip(outputs[POSE : POSE + COMPONENTS], -MAX_COMPONENT, MAX_COMPONENT)
    return HeadState(angles, scale, origin, components, np.zeros(len(EXPRESSIONS)))
