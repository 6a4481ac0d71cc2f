"""Pose and shape of a head from face landmarks: a regression learned on renders.

MediaPipe's face mesh is biased towards an average face, and a geometric fit to its points would
inherit that bias; a regression learned on renders of random people corrects it.  Landmarks are
normalised for position, size and roll and projected on principal components; pose, origin and
shape coefficients are a ridge regression (Hoerl and Kennard 1970) on these and their products.
``portraits.pose`` starts from its prediction; ``synthetic.landmark_training`` learns it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.heads.face_mesh import FACE_OVAL, LEFT_EYE, POINTS, RIGHT_EYE

FILE_NAME = "landmark_map.npz"
"""File of the map in this package."""
POSE = 6
"""Number of pose outputs, the first ones: yaw, pitch, roll relative to the eye line (radians), log
of (pixels per head unit / landmark size), and the head's origin (2) in the landmarks' frame."""
_COMPONENTS = 60
"""Number of principal components of the landmarks."""
_QUADRATIC = 36
"""Number of leading components whose pairwise products are features."""
_INNER = np.setdiff1d(np.arange(POINTS), FACE_OVAL)
"""Landmarks inside the face oval."""
_OUTLIER = 2.5
"""Standard deviations to which component scores are clipped."""


@dataclass(frozen=True)
class Frame:
    """Similarity transform that normalises landmarks.

    Attributes:
        centre: (2,) mean of the inner landmarks, pixels.
        size: root mean square distance of the inner landmarks from the centre, pixels.
        roll: angle of the line through the outer eye corners, radians.

    """

    centre: Array
    size: float
    roll: float

    @classmethod
    def of(cls, points: Array) -> Frame:
        """The frame of landmarks (468, 2)."""
        eye_line = points[LEFT_EYE] - points[RIGHT_EYE]
        centre = points[_INNER].mean(0)
        size = float(np.sqrt(((points[_INNER] - centre) ** 2).sum(1).mean()))
        return cls(centre, size, float(np.arctan2(eye_line[1], eye_line[0])))

    def turn(self) -> Array:
        """(2, 2) rotation from the normalised frame to the image."""
        c, s = np.cos(self.roll), np.sin(self.roll)
        return np.array([[c, -s], [s, c]])

    def normalised(self, points: Array, depth: Array) -> Array:
        """(1404,) normalised landmarks, from points (468, 2) and depth (468,), pixels."""
        image_plane = (points - self.centre) @ self.turn() / self.size
        line_of_sight = (depth - depth[_INNER].mean()) / self.size
        return np.column_stack([image_plane, line_of_sight]).ravel()


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """The learned regression.

    Attributes:
        mean: (1404,) mean of normalised landmarks.
        components: (_COMPONENTS, 1404) principal components, scaled for scores of variance 1.
        weights: (features, POSE + shape) regression weights.
        residual: (POSE + shape,) root mean square error on people held out of training.

    """

    mean: Array
    components: Array
    weights: Array
    residual: Array

    def __call__(self, points: Array, depth: Array) -> tuple[Frame, Array]:
        """Frame and outputs (POSE + shape,) of landmarks (468, 2) with depth (468,), pixels."""
        frame = Frame.of(points)
        normalised = frame.normalised(points, depth)
        scores = np.clip((normalised - self.mean) @ self.components.T, -_OUTLIER, _OUTLIER)
        return frame, features(scores[None])[0] @ self.weights

    def save(self, path: Path) -> None:
        """Write the map; components in half precision."""
        from dp3d_core.storage.files import write_atomic

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
    """The map shipped in the package."""
    data = resources.files("dp3d_core.heads").joinpath(FILE_NAME).read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return LandmarkMap(
            *(archive[n].astype(np.float64) for n in ("mean", "components", "weights", "residual"))
        )


def features(scores: Array) -> Array:
    """(n, features) from scores (n, _COMPONENTS): 1, scores, products of the leading scores."""
    i, j = np.triu_indices(_QUADRATIC)
    products = scores[:, i] * scores[:, j]
    return np.column_stack([np.ones(len(scores)), scores, products])


def learn(points: Array, depth: Array, outputs: Array, held_out: float = 0.15) -> LandmarkMap:
    """Fit the regression.

    Args:
        points: (n, 468, 2) landmarks, pixels.
        depth: (n, 468) depth of the landmarks, pixels.
        outputs: (n, POSE + shape) targets, with the pose of :func:`pose_outputs`.
        held_out: fraction of people, the last ones, on which each output's ridge is selected.

    """
    normalised = np.array(
        [Frame.of(p).normalised(p, d) for p, d in zip(points, depth, strict=True)]
    )
    count = len(normalised)
    training = count - int(held_out * count)
    mean = normalised[:training].mean(0)
    _, values, rows = np.linalg.svd(normalised[:training] - mean, full_matrices=False)
    deviations = values[:_COMPONENTS] / np.sqrt(training)
    components = rows[:_COMPONENTS] / deviations[:, None]
    design = features(np.clip((normalised - mean) @ components.T, -_OUTLIER, _OUTLIER))
    gram = design[:training].T @ design[:training]
    moments = design[:training].T @ outputs[:training]
    norms = np.sqrt(np.diag(gram))
    best = np.full(outputs.shape[1], np.inf)
    weights = np.zeros((design.shape[1], outputs.shape[1]))
    for ridge in (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
        penalty = ridge * norms**2
        penalty[0] = 0.0
        candidate = np.linalg.solve(gram + np.diag(penalty), moments)
        error = np.sqrt(((design[training:] @ candidate - outputs[training:]) ** 2).mean(0))
        better = error < best
        weights[:, better], best[better] = candidate[:, better], error[better]
    return LandmarkMap(mean, components, weights, best)


def pose_outputs(points: Array, angles: Array, scale: float, origin: Array) -> Array:
    """(POSE,) regression targets of a known pose; inverse of :func:`pose_of`.

    Args:
        points: (468, 2) landmarks, pixels.
        angles: (3,) yaw, pitch and roll, radians.
        scale: pixels per head unit at the head's origin.
        origin: (2,) projection of the head's origin, pixels.

    """
    frame = Frame.of(points)
    offset = (origin - frame.centre) @ frame.turn() / frame.size
    roll = (angles[2] + frame.roll + np.pi) % (2 * np.pi) - np.pi
    return np.array([angles[0], angles[1], roll, np.log(scale / frame.size), *offset])


def pose_of(frame: Frame, outputs: Array) -> tuple[Array, float, Array]:
    """Angles (3,), radians, scale and origin (2,), pixels: inverse of :func:`pose_outputs`."""
    angles = np.array([outputs[0], outputs[1], outputs[2] - frame.roll])
    origin = frame.centre + frame.turn() @ outputs[4:POSE] * frame.size
    return angles, float(np.exp(outputs[3]) * frame.size), origin
