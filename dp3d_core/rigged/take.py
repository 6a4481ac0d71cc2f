"""A take: what ARKit measured of a face over time, to be played on any rigged head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from dp3d_core.arrays import Array
from dp3d_core.rigged.rig import BONES, RiggedPart, arkit_names

TURNED = ("head", "jaw", "eye.L", "eye.R")
"""Bones that a turn of the head moves: itself and its children."""


class Pose(NamedTuple):
    """One moment of a take.

    Attributes:
        weights: blend shape to weight, 0 to 1.
        turn: (3, 3) rotation of the bone ``head``.

    """

    weights: dict[str, float]
    turn: Array


@dataclass(frozen=True, eq=False)
class Take:
    """Blend shapes and turns of the head over time; linear between the moments.

    Attributes:
        times: (n,) seconds, ascending from 0.
        weights: (n, 52) weights of ``rig.arkit_names``, 0 to 1.
        angles: (n, 3) yaw, pitch and roll of the head, radians: positive to the person's left,
            downwards, and towards the right shoulder.

    """

    times: Array
    weights: Array
    angles: Array

    @property
    def duration(self) -> float:
        """Time of the last moment, seconds."""
        return float(self.times[-1])

    def weights_of(self, key: str) -> Array:
        """(n,) weights of a blend shape; 0 for one that is none of ARKit's."""
        names = arkit_names()
        if key not in names:
            return np.zeros(len(self.times))
        return self.weights[:, names.index(key)]

    def quaternions(self) -> Array:
        """(n, 4) unit quaternions x, y, z, w of the bone ``head``, neighbours on one hemisphere."""
        turns = turn_of(self.angles).as_quat()
        flips = np.sign(np.einsum("ni,ni->n", turns[1:], turns[:-1]))
        turns[1:] *= np.cumprod(np.where(flips < 0, -1, 1))[:, None]
        return np.asarray(turns)

    def pose(self, time: float) -> Pose:
        """The pose at a time, seconds; before the first and after the last moment theirs."""
        weights = {
            name: float(np.interp(time, self.times, column))
            for name, column in zip(arkit_names(), self.weights.T, strict=True)
        }
        angles = [np.interp(time, self.times, column) for column in self.angles.T]
        kept = {name: weight for name, weight in weights.items() if weight > 0}
        return Pose(kept, turn_of(np.array(angles)).as_matrix())


def turn_of(angles: Array) -> Rotation:
    """Rotation of yaw, pitch and roll (..., 3), radians: about Y, then own X, then own Z."""
    return Rotation.from_euler("YXZ", angles)


def turned(vertices: Array, part: RiggedPart, bones: Array, turn: Array) -> Array:
    """(n, 3) vertices of a part with the bone ``head`` turned.

    Args:
        vertices: (n, 3) with its keys at their weights, head units.
        part: of the skinning weights.
        bones: (6, 3) heads of ``rig.BONES``, head units.
        turn: (3, 3) rotation.

    """
    names = list(BONES)
    share = part.weights[:, [names.index(name) for name in TURNED]].sum(1)[:, None]
    pivot = bones[names.index("head")]
    return np.asarray(vertices + share * ((vertices - pivot) @ (turn.T - np.eye(3))))
