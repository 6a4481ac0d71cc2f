"""The human head fitted to face landmarks: pose and shape.

The landmarks' places on the head are a measured table (``heads/bust_landmarks.json``); pose is
the one that brings them onto the points that were seen.  The face mesh is drawn towards an
average face, and a fit that believes it inherits that bias: shape starts from, and is held to,
what a map learned on renders says (``heads.landmark_map``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from dp3d_core.alignment import Alignment, Known, posed_camera, rotations
from dp3d_core.cameras import CANONICAL_RADIUS
from dp3d_core.heads.anatomy import MM
from dp3d_core.heads.landmark_map import POSE, Frame, landmark_map, pose_of
from dp3d_core.heads.people import prior

Array = NDArray[np.float64]

COMPONENTS = 40
"""Shape components that are fitted."""
_HOLD = 0.55
"""Standard deviations that a component may reasonably differ from the learned one."""
_MOST = 2.5
"""Standard deviations to which a component is limited."""
_POINT = 0.35
"""Weight of a landmark at one millimetre of scatter."""
_PITCH_PRIOR_DEG = 25.0
_MOUTH = (
    *(0, 11, 12, 13, 14, 15, 16, 17, 37, 38, 39, 40, 41, 42, 61, 62, 72, 73, 74, 76, 77, 78, 80),
    *(81, 82, 84, 85, 86, 87, 88, 89, 90, 91, 95, 96, 146, 178, 179, 180, 181, 183, 184, 185),
    *(191, 267, 268, 269, 270, 271, 272, 291, 292, 302, 303, 304, 306, 307, 308, 310, 311, 312),
    *(314, 315, 316, 317, 318, 319, 320, 321, 324, 325, 375, 402, 403, 404, 405, 407, 408, 409),
    415,
)
"""Landmarks of the lips, which an expression moves more than a shape."""
_MOUTH_WEIGHT = 0.35
_STRANGE = 0.05
"""Root mean square of normalised landmarks that the map's components do not explain, for one
point of the score."""


@dataclass(frozen=True, eq=False)
class LandmarkTable:
    """Where landmarks lie on the average head, and how shape components move them.

    Attributes:
        index: (n,) numbers of the landmarks.
        points: (n, 3) millimetres.
        moves: (COMPONENTS, n, 3) millimetres for one standard deviation.
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

    moves = np.array([at(b.astype(np.float64)) for b in heads.basis[:COMPONENTS]])
    weight = _POINT / (1.0 + rows[:, 7])
    weight[np.isin(rows[:, 0], _MOUTH)] *= _MOUTH_WEIGHT
    return LandmarkTable(rows[:, 0].astype(np.int64), at(heads.mean), moves, weight)


def fit_head(
    points: Array, depth: Array, side: int, focal: float, known: Known | None = None
) -> Alignment:
    """Pose and shape of the head whose landmarks were seen in a square picture.

    Args:
        points: (468, 2) pixels.
        depth: (468,) pixels, about the face's middle.
        side: of the picture, pixels.
        focal: of its lens, image widths.
        known: what is kept (the turn, the place in the picture).

    Returns:
        The alignment; ``shape`` holds components of ``heads.people.prior``, ``c00`` and so on,
        in standard deviations.

    """
    known = known or Known()
    table = landmark_table()
    frame, outputs = landmark_map()(points, depth)
    angles, scale, origin = pose_of(frame, outputs)
    learned = np.clip(outputs[POSE : POSE + COMPONENTS], -_MOST, _MOST)
    theta = np.zeros(POSE + COMPONENTS)
    theta[:3] = known.turn.onto(angles)
    free = np.ones(len(theta), bool)
    free[:3] = known.turn.unknown
    if known.place:
        free[3:POSE] = False
    else:
        theta[3] = np.log(scale * CANONICAL_RADIUS / (focal * side))
        theta[4:POSE] = origin / side - 0.5
    theta[POSE:] = learned
    seen = points[table.index]

    def residuals(values: Array, moving: NDArray[np.bool_]) -> Array:
        now = theta.copy()
        now[moving] = values
        rotation = rotations(now[None, :3])[0]
        local = (table.points + np.tensordot(now[POSE:], table.moves, 1)) @ rotation.T * MM
        size = focal * side * float(np.exp(now[3]))
        uv = local[:, :2] / (local[:, 2:] + CANONICAL_RADIUS) * size + side * (0.5 + now[4:POSE])
        apart = (uv - seen) / (size / CANONICAL_RADIUS * MM) * table.weight[:, None]
        held = (now[POSE:] - learned) / _HOLD
        return np.concatenate([apart.ravel(), held, now[1:2] / np.radians(_PITCH_PRIOR_DEG)])

    pose = free & (np.arange(len(theta)) < POSE)
    for moving in (pose, free):
        if moving.any():
            fitted = least_squares(
                residuals, theta[moving], loss="huber", max_nfev=30, args=(moving,)
            )
            theta[moving] = fitted.x
    components = np.clip(theta[POSE:], -_MOST, _MOST)
    shape = {f"c{i:02d}": round(float(v), 4) for i, v in enumerate(components)}
    return Alignment(posed_camera(theta, side, focal), shape, _score(points, depth))


def components_of(shape: dict[str, float]) -> Array:
    """(c,) components of an alignment's shape; none for a head of which nothing is known."""
    names = sorted(name for name in shape if name.startswith("c"))
    return np.array([shape[name] for name in names], float)


def _score(points: Array, depth: Array) -> float:
    """4 for landmarks like those of faces, less for strange ones."""
    learned = landmark_map()
    apart = Frame.of(points).normalised(points, depth) - learned.mean
    scores = apart @ learned.components.T
    length = 1 / np.einsum("kf,kf->k", learned.components, learned.components)
    left = apart - (scores * length) @ learned.components
    return 4.0 - float(np.sqrt((left**2).mean())) / _STRANGE
