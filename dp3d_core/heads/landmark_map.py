"""From face landmarks to pose and shape: a map learned on renders of random people.

The face mesh is drawn towards an average face, so a geometric fit to its points inherits its
bias; a regression learned on renders knows it.  The points, brought to one place, size and roll,
are projected on their principal components; pose, the head's place and its shape components are
a ridge regression (Hoerl and Kennard 1970) on these and their products.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dp3d_core.portraits.landmarks import FACE_OVAL, LEFT_EYE, POINTS, RIGHT_EYE

Array = NDArray[np.float64]

FILE_NAME = "landmark_map.npz"
POSE = 6
"""Outputs that are pose: yaw, pitch and roll (radians; roll beyond that of the eyes' line), log
of pixels for a head unit over the landmarks' size, and the head's origin about their middle."""
_LINEAR, _SQUARED = 60, 36
"""Principal components, and of how many of them the products are used."""
_INNER = np.setdiff1d(np.arange(POINTS), FACE_OVAL)
_OUTLIER = 2.5
"""Standard deviations to which a principal component is limited."""


@dataclass(frozen=True)
class Frame:
    """Where landmarks were before they were brought to one place, size and roll.

    Attributes:
        centre: (2,) pixels.
        size: pixels.
        roll: radians, of the line through the eyes.

    """

    centre: Array
    size: float
    roll: float

    @classmethod
    def of(cls, points: Array) -> Frame:
        """The frame of landmarks (468, 2)."""
        across = points[LEFT_EYE] - points[RIGHT_EYE]
        centre = points[_INNER].mean(0)
        size = float(np.sqrt(((points[_INNER] - centre) ** 2).sum(1).mean()))
        return cls(centre, size, float(np.arctan2(across[1], across[0])))

    def turn(self) -> Array:
        """(2, 2) rotation from the frame to the picture."""
        c, s = np.cos(self.roll), np.sin(self.roll)
        return np.array([[c, -s], [s, c]])

    def normalised(self, points: Array, depth: Array) -> Array:
        """(1404,) landmarks (468, 2) and their depth (468,) in the frame."""
        flat = (points - self.centre) @ self.turn() / self.size
        deep = (depth - depth[_INNER].mean()) / self.size
        return np.column_stack([flat, deep]).ravel()


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """The learned map.

    Attributes:
        mean: (1404,) of normalised landmarks.
        components: (_LINEAR, 1404) for one standard deviation each.
        weights: (features, POSE + shape) of the regression.
        residual: (POSE + shape,) standard deviation of what it leaves on people it has not seen.

    """

    mean: Array
    components: Array
    weights: Array
    residual: Array

    def __call__(self, points: Array, depth: Array) -> tuple[Frame, Array]:
        """Frame and outputs (POSE + shape,) for landmarks (468, 2) and their depth (468,)."""
        frame = Frame.of(points)
        normalised = frame.normalised(points, depth)
        scores = np.clip((normalised - self.mean) @ self.components.T, -_OUTLIER, _OUTLIER)
        return frame, features(scores[None])[0] @ self.weights

    def save(self, path: Path) -> None:
        """Write the map, in half precision."""
        from dp3d_core.files import write_atomic

        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            mean=self.mean.astype(np.float32),
            components=self.components.astype(np.float16),
            weights=self.weights.astype(np.float32),
            residual=self.residual.astype(np.float32),
        )
        write_atomic(path, buffer.getvalue())


@lru_cache(maxsize=1)
def landmark_map() -> LandmarkMap:
    """The map that travels with the package."""
    data = resources.files("dp3d_core.heads").joinpath(FILE_NAME).read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return LandmarkMap(
            *(archive[n].astype(np.float64) for n in ("mean", "components", "weights", "residual"))
        )


def features(scores: Array) -> Array:
    """(n, features) of component scores (n, _LINEAR): one, themselves, products of the first."""
    i, j = np.triu_indices(_SQUARED)
    products = scores[:, i] * scores[:, j]
    return np.column_stack([np.ones(len(scores)), scores, products])


def learn(points: Array, depth: Array, outputs: Array, held_out: float = 0.15) -> LandmarkMap:
    """Learn the map.

    Args:
        points: (n, 468, 2) landmarks.
        depth: (n, 468) their depth.
        outputs: (n, POSE + shape) truth, pose as :func:`pose_outputs` gives it.
        held_out: part of the people on which the ridges are chosen, one for each output.

    """
    normalised = np.array(
        [Frame.of(p).normalised(p, d) for p, d in zip(points, depth, strict=True)]
    )
    count = len(normalised)
    last = count - int(held_out * count)
    mean = normalised[:last].mean(0)
    _, values, rows = np.linalg.svd(normalised[:last] - mean, full_matrices=False)
    spread = values[:_LINEAR] / np.sqrt(last)
    components = rows[:_LINEAR] / spread[:, None]
    table = features(np.clip((normalised - mean) @ components.T, -_OUTLIER, _OUTLIER))
    gram = table[:last].T @ table[:last]
    right = table[:last].T @ outputs[:last]
    size = np.sqrt(np.diag(gram))
    best = np.full(outputs.shape[1], np.inf)
    weights = np.zeros((table.shape[1], outputs.shape[1]))
    for strength in (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
        penalty = strength * size**2
        penalty[0] = 0.0
        solved = np.linalg.solve(gram + np.diag(penalty), right)
        error = np.sqrt(((table[last:] @ solved - outputs[last:]) ** 2).mean(0))
        better = error < best
        weights[:, better], best[better] = solved[:, better], error[better]
    return LandmarkMap(mean, components, weights, best)


def pose_outputs(points: Array, angles: Array, scale: float, origin: Array) -> Array:
    """(POSE,) outputs of the map for a known pose.

    Args:
        points: (468, 2) landmarks.
        angles: (3,) yaw, pitch and roll, radians.
        scale: pixels for a head unit at the head's origin.
        origin: (2,) pixel of the head's origin.

    """
    frame = Frame.of(points)
    place = (origin - frame.centre) @ frame.turn() / frame.size
    roll = (angles[2] + frame.roll + np.pi) % (2 * np.pi) - np.pi
    return np.array([angles[0], angles[1], roll, np.log(scale / frame.size), *place])


def pose_of(frame: Frame, outputs: Array) -> tuple[Array, float, Array]:
    """Angles (3,), scale and origin (2,) as in :func:`pose_outputs`, from a map's outputs."""
    angles = np.array([outputs[0], outputs[1], outputs[2] - frame.roll])
    origin = frame.centre + frame.turn() @ outputs[4:POSE] * frame.size
    return angles, float(np.exp(outputs[3]) * frame.size), origin
