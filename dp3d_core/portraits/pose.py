"""Pose and shape of the head in a crop, from what was seen of its face.

468 landmarks give both.  Their places on the head are a measured table
(``heads/bust_landmarks.json``); the pose is the one that brings them onto the points that were
seen.  The face mesh is drawn towards an average face, and a fit that believes it inherits that
bias: pose, shape and expression start from, and are held to, what maps learned on renders say
(``heads.landmark_map``, and ``picture_map`` where there is a picture).  A profile has only the six
key points of BlazeFace, which give a rough pose (:func:`fit_key_points`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from dp3d_core.cameras import CANONICAL_RADIUS, Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.heads.landmark_map import POSE, Frame, landmark_map
from dp3d_core.heads.space import MM
from dp3d_core.portraits.crop import CROP_FOCAL, CROP_SIZE, Crop
from dp3d_core.portraits.detection import PROFILE_YAW_DEG, Face
from dp3d_core.portraits.head_state import (
    COMPONENTS,
    EXPRESSIONS,
    MOST,
    HeadState,
    landmark_state,
    landmark_table,
    rotations,
)
from dp3d_core.trajectories import orbit_pose

Array = NDArray[np.float64]

MOST_ANGLES_DEG = (180, 80, 180)
"""Largest yaw, pitch and roll that :class:`HeadAngles` takes, degrees."""

_EXPRESSION_SPREAD = 0.45
"""Weight up to which an expression is nothing strange."""
_HOLD = 0.55
"""Standard deviations that a component may reasonably differ from the learned one."""
_PITCH_PRIOR_DEG = 25.0
_PITCH_TRUST = 0.72
"""Part of the pitch that is believed: hundreds of points share one bias, so that their fit is
surer of it than it may be (6 degrees of error where photos have a spread of 10)."""
_JAW_DOUBT = 0.6
"""Part of that belief that an open jaw takes away."""
_SURE = np.concatenate(
    [
        np.radians([0.25, 0.25, 0.25]),
        [0.003, 0.001, 0.001],
        np.full(COMPONENTS, 0.05),
        np.full(len(EXPRESSIONS), 0.05),
    ]
)
"""Standard deviations of what the picture says: angles (radians), log of the scale, shift (parts
of the picture), components and expression.  Hundreds of landmarks share one bias, so that these
are narrower than the errors."""
_STEP = 1e-6
"""Of differences for derivatives."""
_LEAST_EXPRESSION = 0.02
_STRANGE = 0.05
"""Root mean square of normalised landmarks that the map's components do not explain, for one
point of the score."""

_KEY_POINTS = np.array(
    [
        [-0.070, 0.057, 0.165],
        [0.070, 0.057, 0.165],
        [0.0, -0.024, 0.253],
        [0.0, -0.091, 0.216],
        [-0.159, 0.031, 0.015],
        [0.159, 0.031, 0.015],
    ]
)
"""Places of BlazeFace's key points in head space, in its order: fitted to its detections on 24
rendered subjects, 0 to 45 degrees from the front."""
_KEY_POINT_SCATTER = 0.125
"""Standard deviation of a key point, spans of all six."""
_KEY_SPAN = 0.3
"""Head units that the key points of a profile span."""
_YAW_SPREAD_DEG, _PITCH_SPREAD_DEG, _ROLL_SPREAD_DEG = 10.0, 8.0, 20.0
"""Standard deviations of a profile's yaw about ``PROFILE_YAW_DEG``, of its pitch and roll."""


@dataclass(frozen=True)
class HeadAngles:
    """Angles of a photo's camera about the head, given by hand, degrees; None is estimated.

    Raises:
        Dp3dError: ``portrait.bad_turn``.

    """

    yaw_deg: float | None = None
    """-180 to 180, positive when the camera stands to the head's +x side."""
    pitch_deg: float | None = None
    """-80 to 80, positive when the camera looks down."""
    roll_deg: float | None = None
    """-180 to 180, of the head in the picture, counter-clockwise."""

    def __post_init__(self) -> None:
        limits = zip(("yaw", "pitch", "roll"), self.values, MOST_ANGLES_DEG, strict=True)
        for name, value, most in limits:
            if value is not None and not abs(value) <= most:  # also for a NaN
                raise Dp3dError(
                    "portrait.bad_turn",
                    f"A head cannot have a {name} of {value} degrees.",
                    f"Give a {name} from -{most} to {most}; 0 looks straight at the camera.",
                )

    @property
    def values(self) -> tuple[float | None, float | None, float | None]:
        """Yaw, pitch and roll."""
        return self.yaw_deg, self.pitch_deg, self.roll_deg

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """(3,) which of yaw, pitch and roll are estimated."""
        return np.array([value is None for value in self.values])

    def onto(self, angles: Array) -> Array:
        """(3,) yaw, pitch and roll, radians: those by hand, else ``angles``."""
        by_hand = [np.nan if value is None else np.radians(value) for value in self.values]
        return np.where(self.unknown, angles, by_hand)


@dataclass(frozen=True)
class Alignment:
    """Pose and shape of a head in a picture.

    Attributes:
        camera: sees the picture in head space.
        shape: named shape parameters; empty for the average head.
        score: 4 for landmarks like those of faces, less for strange ones; 0 without landmarks.

    """

    camera: Camera
    shape: dict[str, float]
    score: float

    @property
    def yaw_pitch_roll_deg(self) -> tuple[float, float, float]:
        """Of the camera about the head."""
        yaw, pitch = self.camera.yaw_pitch_deg
        upright = orbit_pose(yaw, pitch)
        inside = upright[:3, :3].T @ self.camera.c2w[:3, :3]
        return yaw, pitch, float(np.degrees(np.arctan2(inside[1, 0], inside[0, 0])))


def posed_camera(theta: Array, side: int, focal: float) -> Camera:
    """The camera in head space that pose parameters stand for.

    Args:
        theta: yaw, pitch and roll, radians, log scale, shift x and y, parts of the picture;
            what follows is not looked at.
        side: of the square picture, pixels.
        focal: of its lens at scale 1, image widths.

    """
    pose = np.eye(4)
    pose[:3, :3] = rotations(theta[None, :3])[0].T
    pose[:3, 3] = -CANONICAL_RADIUS * pose[:3, 2]
    scale = focal * side * float(np.exp(theta[3]))
    K = np.array([[scale, 0, 0.5 * side], [0, scale, 0.5 * side], [0, 0, 1.0]])
    K[:2, 2] += theta[4:POSE] * side
    return Camera(pose, K, side, side)


def crop_camera(angles: HeadAngles) -> Camera:
    """The camera that sees a crop without a face: canonical, with room around the head.

    Args:
        angles: by hand; those left out are 0.

    """
    theta = np.concatenate([angles.onto(np.zeros(3)), np.zeros(3)])
    return posed_camera(theta, CROP_SIZE, CROP_FOCAL)


def fit_face(face: Face, window: Crop, angles: HeadAngles) -> Alignment:
    """Pose and shape of a face in a crop, from its landmarks or else its key points."""
    if face.points is not None and face.depth is not None:
        points = window.from_photo(face.points)
        scale = CROP_SIZE / window.side
        state = None if face.state is None else face.state.placed(window.x, window.y, scale)
        return fit_head(points, face.depth * scale, CROP_SIZE, CROP_FOCAL, angles, state)
    if face.key_points is not None:
        return fit_key_points(window.from_photo(face.key_points), CROP_SIZE, CROP_FOCAL, angles)
    return Alignment(crop_camera(angles), {}, 0.0)


def fit_head(
    points: Array,
    depth: Array,
    side: int,
    focal: float,
    angles: HeadAngles | None = None,
    state: HeadState | None = None,
) -> Alignment:
    """Pose and shape of the head whose landmarks were seen in a square picture.

    Args:
        points: (468, 2) pixels.
        depth: (468,) pixels, about the face's middle.
        side: of the picture, pixels.
        focal: of its lens, image widths.
        angles: by hand; kept.
        state: what the picture says of the head (``picture_map``), in its pixels; None where
            there are only landmarks.

    Returns:
        The alignment; ``shape`` holds components of ``heads.people.prior``, ``c00`` and so on,
        in standard deviations, and weights of :data:`EXPRESSIONS` apart from them.

    """
    angles = angles or HeadAngles()
    table = landmark_table()
    sure = state is not None
    learned = landmark_state(points, depth) if state is None else state
    shapes = POSE + COMPONENTS
    start = np.zeros(shapes + len(EXPRESSIONS))
    start[:3] = angles.onto(learned.angles)
    start[3] = np.log(learned.scale * CANONICAL_RADIUS / (focal * side))
    start[4:POSE] = learned.origin / side - 0.5
    start[POSE:shapes] = np.clip(learned.components, -MOST, MOST)
    start[shapes:] = np.clip(learned.expression, 0, 1)
    theta = start.copy()
    free = np.ones(len(theta), bool)
    free[:3] = angles.unknown
    low = np.full(len(theta), -np.inf)
    high = np.full(len(theta), np.inf)
    low[shapes:], high[shapes:] = -1e-6, 1.0 + 1e-6
    seen = points[table.index]

    def residuals(values: Array, moving: NDArray[np.bool_]) -> Array:
        now = theta.copy()
        now[moving] = values
        rotation = rotations(now[None, :3])[0]
        local = (table.points + np.tensordot(now[POSE:], table.moves, 1)) @ rotation.T * MM
        size = focal * side * float(np.exp(now[3]))
        uv = local[:, :2] / (local[:, 2:] + CANONICAL_RADIUS) * size + side * (0.5 + now[4:POSE])
        apart = (uv - seen) / (size / CANONICAL_RADIUS * MM) * table.weight[:, None]
        if sure:
            return np.concatenate([apart.ravel(), (now - start) / _SURE])
        held = (now[POSE:shapes] - start[POSE:shapes]) / _HOLD
        calm = now[shapes:] / _EXPRESSION_SPREAD
        tilt = now[1:2] / np.radians(_PITCH_PRIOR_DEG)
        return np.concatenate([apart.ravel(), held, calm, tilt])

    def slopes(values: Array, moving: NDArray[np.bool_]) -> Array:
        """Derivatives of the residuals: of shapes exactly, of the pose by differences."""
        now = theta.copy()
        now[moving] = values
        here = residuals(values, moving)
        rows = np.zeros((len(here), len(theta)))
        for i in np.flatnonzero(moving[:POSE]):
            step = values.copy()
            step[np.count_nonzero(moving[:i])] += _STEP
            rows[:, i] = (residuals(step, moving) - here) / _STEP
        rotation = rotations(now[None, :3])[0]
        local = (table.points + np.tensordot(now[POSE:], table.moves, 1)) @ rotation.T * MM
        depth = local[:, 2:] + CANONICAL_RADIUS
        moves = table.moves @ rotation.T * MM
        across = moves[..., :2] / depth - local[:, :2] * moves[..., 2:] / depth**2
        across *= CANONICAL_RADIUS / MM * table.weight[:, None]
        rows[: across[0].size, POSE:] = across.reshape(len(across), -1).T
        shape, weights = np.arange(POSE, shapes), np.arange(shapes, len(theta))
        if sure:
            rows[across[0].size + shape, shape] = 1 / _SURE[shape]
            rows[across[0].size + weights, weights] = 1 / _SURE[weights]
        else:
            rows[across[0].size + shape - POSE, shape] = 1 / _HOLD
            rows[across[0].size + weights - POSE, weights] = 1 / _EXPRESSION_SPREAD
        return rows[:, moving]

    pose = free & (np.arange(len(theta)) < POSE)
    held_pitch = free.copy()
    held_pitch[1] = False
    for moving in (free,) if sure else (pose, free, held_pitch):
        if moving is held_pitch and free[1]:
            # a jaw that opens lengthens the face as a raised head does
            jaw = float(theta[shapes + EXPRESSIONS.index("jawOpen")])
            theta[1] *= _PITCH_TRUST * (1 - _JAW_DOUBT * jaw)
        if moving.any():
            fitted = least_squares(
                residuals,
                theta[moving],
                slopes,
                bounds=(low[moving], high[moving]),
                loss="huber",
                max_nfev=25,
                args=(moving,),
            )
            theta[moving] = fitted.x
    components = np.clip(theta[POSE:shapes], -MOST, MOST)
    shape = {f"c{i:02d}": round(float(v), 4) for i, v in enumerate(components)}
    shape |= {
        name: round(float(v), 4)
        for name, v in zip(EXPRESSIONS, theta[shapes:], strict=True)
        if v > _LEAST_EXPRESSION
    }
    return Alignment(posed_camera(theta, side, focal), shape, _score(points, depth))


def fit_key_points(
    points: Array, side: int, focal: float, angles: HeadAngles | None = None
) -> Alignment:
    """Rough pose of the average head from the key points of a face seen from the side.

    The detector guesses the points that a profile hides, between a frontal face and the true
    place, so yaw is held to what such faces usually have.

    Args:
        points: (6, 2) pixels, in the order of ``landmarks.Detection``.
        side: of the square picture, pixels.
        focal: of its lens, image widths.
        angles: by hand; kept.

    """
    angles = angles or HeadAngles()
    span = float(np.ptp(points, 0).max())
    free = np.append(angles.unknown, [True, True, True])

    def whole(values: Array, start: Array) -> Array:
        theta = start.copy()
        theta[free] = values
        return theta

    def residuals(values: Array, start: Array) -> Array:
        theta = whole(values, start)
        uv = posed_camera(theta, side, focal).project(_KEY_POINTS)[0]
        yaw, pitch, roll = np.degrees(theta[:3])
        held = [
            (abs(yaw) - PROFILE_YAW_DEG) / _YAW_SPREAD_DEG,
            pitch / _PITCH_SPREAD_DEG,
            roll / _ROLL_SPREAD_DEG,
        ]
        return np.append((uv - points) / (_KEY_POINT_SCATTER * span), held)

    fits = []
    scale = np.log(span * CANONICAL_RADIUS / (_KEY_SPAN * focal * side))
    for yaw in (-PROFILE_YAW_DEG, PROFILE_YAW_DEG):
        start = np.array([np.radians(yaw), 0, 0, scale, *(points.mean(0) / side - 0.5)])
        start[:3] = angles.onto(start[:3])
        fit = least_squares(residuals, start[free], loss="soft_l1", max_nfev=60, args=(start,))
        fits.append((fit.cost, whole(fit.x, start)))
    _, theta = min(fits, key=lambda fit: fit[0])
    return Alignment(posed_camera(theta, side, focal), {}, 0.0)


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
