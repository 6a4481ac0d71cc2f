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
from dp3d_core.heads.landmark_map import POSE, Frame, landmark_map, pose_of
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.heads.space import MM

Array = NDArray[np.float64]

COMPONENTS = 40
"""Shape components that are fitted."""
EXPRESSIONS = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeWideLeft", "eyeWideRight", "jawLeft", "jawOpen",
    "jawRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPucker", "mouthRight", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft",
    "mouthUpperUpRight",
)  # fmt: skip
"""Expression targets that are fitted, each from 0 to 1."""
_EXPRESSION_SPREAD = 0.45
"""Weight up to which an expression is nothing strange."""
_HOLD = 0.55
"""Standard deviations that a component may reasonably differ from the learned one."""
_MOST = 2.5
"""Standard deviations to which a component is limited."""
_POINT = 0.35
"""Weight of a landmark at one millimetre of scatter."""
_PITCH_PRIOR_DEG = 25.0
_PITCH_TRUST = 0.72
"""Part of the pitch that is believed: hundreds of points share one bias, so that their fit is
surer of it than it may be (6 degrees of error where photos have a spread of 10)."""
_JAW_DOUBT = 0.6
"""Part of that belief that an open jaw takes away."""
_LEAST_EXPRESSION = 0.02
_STRANGE = 0.05
"""Root mean square of normalised landmarks that the map's components do not explain, for one
point of the score."""


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
        in standard deviations, and weights of :data:`EXPRESSIONS` apart from them.

    """
    known = known or Known()
    table = landmark_table()
    frame, outputs = landmark_map()(points, depth)
    angles, scale, origin = pose_of(frame, outputs)
    learned = np.clip(outputs[POSE : POSE + COMPONENTS], -_MOST, _MOST)
    shapes = POSE + COMPONENTS
    theta = np.zeros(shapes + len(EXPRESSIONS))
    theta[:3] = known.turn.onto(angles)
    free = np.ones(len(theta), bool)
    free[:3] = known.turn.unknown
    if known.place:
        free[3:POSE] = False
    else:
        theta[3] = np.log(scale * CANONICAL_RADIUS / (focal * side))
        theta[4:POSE] = origin / side - 0.5
    theta[POSE:shapes] = learned
    low = np.full(len(theta), -np.inf)
    high = np.full(len(theta), np.inf)
    low[shapes:], high[shapes:] = -1e-6, 1.0
    seen = points[table.index]

    def residuals(values: Array, moving: NDArray[np.bool_]) -> Array:
        now = theta.copy()
        now[moving] = values
        rotation = rotations(now[None, :3])[0]
        local = (table.points + np.tensordot(now[POSE:], table.moves, 1)) @ rotation.T * MM
        size = focal * side * float(np.exp(now[3]))
        uv = local[:, :2] / (local[:, 2:] + CANONICAL_RADIUS) * size + side * (0.5 + now[4:POSE])
        apart = (uv - seen) / (size / CANONICAL_RADIUS * MM) * table.weight[:, None]
        held = (now[POSE:shapes] - learned) / _HOLD
        calm = now[shapes:] / _EXPRESSION_SPREAD
        tilt = now[1:2] / np.radians(_PITCH_PRIOR_DEG)
        return np.concatenate([apart.ravel(), held, calm, tilt])

    pose = free & (np.arange(len(theta)) < POSE)
    held_pitch = free.copy()
    held_pitch[1] = False
    for moving in (pose, free, held_pitch):
        if moving is held_pitch and free[1]:
            # a jaw that opens lengthens the face as a raised head does
            jaw = float(theta[shapes + EXPRESSIONS.index("jawOpen")])
            theta[1] *= _PITCH_TRUST * (1 - _JAW_DOUBT * jaw)
        if moving.any():
            fitted = least_squares(
                residuals,
                theta[moving],
                bounds=(low[moving], high[moving]),
                loss="huber",
                max_nfev=25,
                args=(moving,),
            )
            theta[moving] = fitted.x
    components = np.clip(theta[POSE:shapes], -_MOST, _MOST)
    shape = {f"c{i:02d}": round(float(v), 4) for i, v in enumerate(components)}
    shape |= {
        name: round(float(v), 4)
        for name, v in zip(EXPRESSIONS, theta[shapes:], strict=True)
        if v > _LEAST_EXPRESSION
    }
    return Alignment(posed_camera(theta, side, focal), shape, _score(points, depth))


def components_of(shape: dict[str, float]) -> Array:
    """(c,) components of an alignment's shape; none for a head of which nothing is known."""
    names = sorted(name for name in shape if name not in EXPRESSIONS)
    return np.array([shape[name] for name in names], float)


def expression_of(shape: dict[str, float]) -> dict[str, float]:
    """Name to weight of an alignment's expression."""
    return {name: value for name, value in shape.items() if name in EXPRESSIONS}


def _score(points: Array, depth: Array) -> float:
    """4 for landmarks like those of faces, less for strange ones."""
    learned = landmark_map()
    apart = Frame.of(points).normalised(points, depth) - learned.mean
    scores = apart @ learned.components.T
    length = 1 / np.einsum("kf,kf->k", learned.components, learned.components)
    left = apart - (scores * length) @ learned.components
    return 4.0 - float(np.sqrt((left**2).mean())) / _STRANGE
