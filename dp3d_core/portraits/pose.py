"""Fit pose, shape and expression of a head to the landmarks of its face in a crop.

The fit minimises the reprojection error of 468 landmarks, whose positions on the head are a
calibrated table (``head_state.landmark_table``).  The face mesh is biased towards an average
face; learned regressions (``heads.landmark_map``, and ``picture_map`` where there is an image)
correct that bias, and serve as starting point and prior.  A profile has only BlazeFace's six key
points, which give a rough pose (:func:`fit_key_points`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from dp3d_core.arrays import Array, Mask
from dp3d_core.cameras.camera import CANONICAL_RADIUS, Camera
from dp3d_core.cameras.trajectories import yaw_pitch_roll_deg
from dp3d_core.errors import Dp3dError
from dp3d_core.heads.landmark_map import POSE, Frame, landmark_map
from dp3d_core.heads.space import MM
from dp3d_core.limits import HEAD_PITCH_DEG, HEAD_ROLL_DEG, HEAD_YAW_DEG
from dp3d_core.portraits.crop import CROP_FOCAL, CROP_SIZE, Crop
from dp3d_core.portraits.detection import PROFILE_YAW_DEG, Face
from dp3d_core.portraits.head_state import (
    COMPONENTS,
    EXPRESSIONS,
    MAX_COMPONENT,
    HeadState,
    landmark_state,
    landmark_table,
    rotations,
)

_LIMITS_DEG = {"yaw": HEAD_YAW_DEG, "pitch": HEAD_PITCH_DEG, "roll": HEAD_ROLL_DEG}
"""Range of each of :class:`HeadAngles`."""
_EXPRESSION_PRIOR = 0.45
"""Standard deviation of the zero-mean prior of expression weights, without an image."""
_COMPONENT_PRIOR = 0.55
"""Standard deviation of shape coefficients about the regression's, without an image."""
_PITCH_PRIOR_DEG = 25.0
"""Standard deviation of the zero-mean prior of pitch, without an image."""
_PITCH_SHRINK = 0.72
"""Factor on the fitted pitch, without an image: landmarks share a bias that the fit ignores (its
error is 6 degrees, the spread of pitch in photos 10)."""
_JAW_SHRINK = 0.6
"""Fraction by which a fully open jaw reduces that factor."""
_STATE_PRIOR = np.concatenate(
    [
        np.radians([0.25, 0.25, 0.25]),
        [0.003, 0.001, 0.001],
        np.full(COMPONENTS, 0.05),
        np.full(len(EXPRESSIONS), 0.05),
    ]
)
"""Standard deviations of the prior from ``picture_map``: angles (radians), log of the scale, shift
(image widths), coefficients, expression.  They are narrower than its errors, because hundreds of
landmarks share one bias and would outweigh an honest prior."""
_STEP = 1e-6
"""Step of the finite differences in the Jacobian."""
_MIN_EXPRESSION = 0.02
"""Least weight of an expression that is kept."""
_ATYPICAL = 0.05
"""Root mean square residual of normalised landmarks outside the map's components that costs one
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
"""(6, 3) BlazeFace's key points in head space, in its order: fitted to its detections on 24
rendered subjects at yaws of 0 to 45 degrees."""
_KEY_POINT_SCATTER = 0.125
"""Standard deviation of a detected key point, as a fraction of the extent of all six."""
_KEY_SPAN = 0.3
"""Extent of a profile's key points, head units."""
_PROFILE_YAW_PRIOR_DEG = 10.0
"""Standard deviation of a profile's absolute yaw about ``PROFILE_YAW_DEG``."""
_PROFILE_PITCH_PRIOR_DEG = 8.0
"""Standard deviation of a profile's pitch about 0."""
_PROFILE_ROLL_PRIOR_DEG = 20.0
"""Standard deviation of a profile's roll about 0."""


@dataclass(frozen=True)
class HeadAngles:
    """Angles of a photo's camera about the head, set by hand, degrees; None is estimated.

    Raises:
        Dp3dError: ``portrait.bad_turn``.

    """

    yaw_deg: float | None = None
    """Within ``HEAD_YAW_DEG``, positive when the camera stands to the head's +x side."""
    pitch_deg: float | None = None
    """Within ``HEAD_PITCH_DEG``, positive when the camera looks down."""
    roll_deg: float | None = None
    """Within ``HEAD_ROLL_DEG``, of the head in the image, counter-clockwise."""

    def __post_init__(self) -> None:
        for (name, limits), value in zip(_LIMITS_DEG.items(), self.values, strict=True):
            if value is not None and not limits.holds(value):
                raise Dp3dError(
                    "portrait.bad_turn",
                    f"A head cannot have a {name} of {value} degrees.",
                    f"Give a {name} from {limits}; 0 looks straight at the camera.",
                )

    @property
    def values(self) -> tuple[float | None, float | None, float | None]:
        """Yaw, pitch and roll, degrees."""
        return self.yaw_deg, self.pitch_deg, self.roll_deg

    @property
    def unknown(self) -> Mask:
        """(3,) bool, which of yaw, pitch and roll are estimated."""
        return np.array([value is None for value in self.values])

    def override(self, angles: Array) -> Array:
        """(3,) yaw, pitch and roll, radians: those set by hand, else those of ``angles`` (3,)."""
        by_hand = [np.nan if value is None else np.radians(value) for value in self.values]
        return np.where(self.unknown, angles, by_hand)


_LOG_SCALE = 6.0
"""Greatest absolute log scale: the optimiser tries steps that no camera can represent."""


@dataclass(frozen=True)
class Alignment:
    """Fitted pose and shape of a head in an image.

    Attributes:
        camera: the image's camera in head space.
        shape: shape coefficients and expression weights by name; empty for the average head.
        score: 4 for typical landmarks, less for atypical ones, 0 without landmarks.

    """

    camera: Camera
    shape: dict[str, float]
    score: float

    @property
    def yaw_pitch_roll_deg(self) -> tuple[float, float, float]:
        """Angles of the camera about the head, degrees."""
        return yaw_pitch_roll_deg(self.camera)


def posed_camera(theta: Array, side: int, focal: float) -> Camera:
    """The camera of pose parameters, in head space.

    Args:
        theta: (>= POSE,) yaw, pitch and roll, radians; log scale; shift x and y, image widths.
            Further parameters are ignored.
        side: side of the square image, pixels.
        focal: focal length at scale 1, image widths.

    """
    pose = np.eye(4)
    pose[:3, :3] = rotations(theta[None, :3])[0].T
    pose[:3, 3] = -CANONICAL_RADIUS * pose[:3, 2]
    scale = focal * side * float(np.exp(np.clip(theta[3], -_LOG_SCALE, _LOG_SCALE)))
    K = np.array([[scale, 0, 0.5 * side], [0, scale, 0.5 * side], [0, 0, 1.0]])
    K[:2, 2] += theta[4:POSE] * side
    return Camera(pose, K, side, side)


def crop_camera(angles: HeadAngles) -> Camera:
    """The camera of a crop without a face: canonical, with the crop's margin.

    Args:
        angles: set by hand; those left out are 0.

    """
    theta = np.concatenate([angles.override(np.zeros(3)), np.zeros(3)])
    return posed_camera(theta, CROP_SIZE, CROP_FOCAL)


def fit_face(
    face: Face, window: Crop, angles: HeadAngles, components: Array | None = None
) -> Alignment:
    """Fit pose and shape to a face in a crop, by its landmarks, else by its key points.

    Args:
        face: the face, pixels of the photo.
        window: the crop.
        angles: angles set by hand, which are not fitted.
        components: (c,) known shape coefficients, which are not fitted; None fits them.

    """
    if face.points is not None and face.depth is not None:
        points = window.from_photo(face.points)
        scale = CROP_SIZE / window.side
        state = None if face.state is None else face.state.in_window(window.x, window.y, scale)
        return fit_head(
            points, face.depth * scale, CROP_SIZE, CROP_FOCAL, angles, state, components
        )
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
    components: Array | None = None,
) -> Alignment:
    """Fit pose, shape and expression to the landmarks of a square image.

    Args:
        points: (468, 2) landmarks, pixels.
        depth: (468,) depth of the landmarks about the face's middle, pixels.
        side: side of the image, pixels.
        focal: focal length, image widths.
        angles: angles set by hand, which are not fitted.
        state: state estimated from the image (``picture_map``), in pixels of the image; None if
            there are only landmarks.
        components: (c,) known shape coefficients, which are not fitted; None fits them.

    Returns:
        The alignment.  Its ``shape`` holds coefficients of ``heads.people.prior``, ``c00`` and so
        on, in standard deviations, and weights of :data:`EXPRESSIONS` by their names.

    """
    angles = angles or HeadAngles()
    table = landmark_table()
    has_state = state is not None
    initial = landmark_state(points, depth) if state is None else state
    first_expression = POSE + COMPONENTS
    start = np.zeros(first_expression + len(EXPRESSIONS))
    start[:3] = angles.override(initial.angles)
    start[3] = np.log(initial.scale * CANONICAL_RADIUS / (focal * side))
    start[4:POSE] = initial.origin / side - 0.5
    start[POSE:first_expression] = np.clip(initial.components, -MAX_COMPONENT, MAX_COMPONENT)
    start[first_expression:] = np.clip(initial.expression, 0, 1)
    if components is not None:
        start[POSE : POSE + len(components)] = components
    theta = start.copy()
    free = np.ones(len(theta), bool)
    free[:3] = angles.unknown
    free[POSE:first_expression] = components is None
    lower = np.full(len(theta), -np.inf)
    upper = np.full(len(theta), np.inf)
    lower[first_expression:], upper[first_expression:] = -1e-6, 1.0 + 1e-6
    observed = points[table.index]

    def residuals(values: Array, moving: Mask) -> Array:
        parameters = theta.copy()
        parameters[moving] = values
        rotation = rotations(parameters[None, :3])[0]
        camera_points = (
            (table.points + np.tensordot(parameters[POSE:], table.moves, 1)) @ rotation.T * MM
        )
        pixels_per_unit = focal * side * float(np.exp(parameters[3]))
        uv = camera_points[:, :2] / (
            camera_points[:, 2:] + CANONICAL_RADIUS
        ) * pixels_per_unit + side * (0.5 + parameters[4:POSE])
        errors = (uv - observed) / (pixels_per_unit / CANONICAL_RADIUS * MM) * table.weight[:, None]
        if has_state:
            return np.concatenate([errors.ravel(), (parameters - start) / _STATE_PRIOR])
        component_prior = (
            parameters[POSE:first_expression] - start[POSE:first_expression]
        ) / _COMPONENT_PRIOR
        expression_prior = parameters[first_expression:] / _EXPRESSION_PRIOR
        pitch_prior = parameters[1:2] / np.radians(_PITCH_PRIOR_DEG)
        return np.concatenate([errors.ravel(), component_prior, expression_prior, pitch_prior])

    def jacobian(values: Array, moving: Mask) -> Array:
        """Derivatives of the residuals: analytic by shape, finite differences by pose."""
        parameters = theta.copy()
        parameters[moving] = values
        base = residuals(values, moving)
        rows = np.zeros((len(base), len(theta)))
        for i in np.flatnonzero(moving[:POSE]):
            step = values.copy()
            step[np.count_nonzero(moving[:i])] += _STEP
            rows[:, i] = (residuals(step, moving) - base) / _STEP
        rotation = rotations(parameters[None, :3])[0]
        camera_points = (
            (table.points + np.tensordot(parameters[POSE:], table.moves, 1)) @ rotation.T * MM
        )
        depth = camera_points[:, 2:] + CANONICAL_RADIUS
        moves = table.moves @ rotation.T * MM
        projected = moves[..., :2] / depth - camera_points[:, :2] * moves[..., 2:] / depth**2
        projected *= CANONICAL_RADIUS / MM * table.weight[:, None]
        rows[: projected[0].size, POSE:] = projected.reshape(len(projected), -1).T
        shape, weights = np.arange(POSE, first_expression), np.arange(first_expression, len(theta))
        if has_state:
            rows[projected[0].size + shape, shape] = 1 / _STATE_PRIOR[shape]
            rows[projected[0].size + weights, weights] = 1 / _STATE_PRIOR[weights]
        else:
            rows[projected[0].size + shape - POSE, shape] = 1 / _COMPONENT_PRIOR
            rows[projected[0].size + weights - POSE, weights] = 1 / _EXPRESSION_PRIOR
        return rows[:, moving]

    pose = free & (np.arange(len(theta)) < POSE)
    without_pitch = free.copy()
    without_pitch[1] = False
    for moving in (free,) if has_state else (pose, free, without_pitch):
        if moving is without_pitch and free[1]:
            # an opening jaw lengthens the face, as raising the head does
            jaw = float(theta[first_expression + EXPRESSIONS.index("jawOpen")])
            theta[1] *= _PITCH_SHRINK * (1 - _JAW_SHRINK * jaw)
        if moving.any():
            fitted = least_squares(
                residuals,
                theta[moving],
                jacobian,
                bounds=(lower[moving], upper[moving]),
                loss="huber",
                max_nfev=25,
                args=(moving,),
            )
            theta[moving] = fitted.x
    components = np.clip(theta[POSE:first_expression], -MAX_COMPONENT, MAX_COMPONENT)
    shape = shape_of(components)
    shape |= {
        name: round(float(v), 4)
        for name, v in zip(EXPRESSIONS, theta[first_expression:], strict=True)
        if v > _MIN_EXPRESSION
    }
    return Alignment(posed_camera(theta, side, focal), shape, _score(points, depth))


def fit_key_points(
    points: Array, side: int, focal: float, angles: HeadAngles | None = None
) -> Alignment:
    """Fit a rough pose of the average head to the key points of a profile.

    BlazeFace places the points that a profile hides between their true position and that in a
    frontal face, so a prior holds yaw to the usual one of such faces.

    Args:
        points: (6, 2) key points in the order of ``landmarks.Detection``, pixels.
        side: side of the square image, pixels.
        focal: focal length, image widths.
        angles: angles set by hand, which are not fitted.

    """
    angles = angles or HeadAngles()
    extent = float(np.ptp(points, 0).max())
    free = np.append(angles.unknown, [True, True, True])

    def parameters(values: Array, start: Array) -> Array:
        theta = start.copy()
        theta[free] = values
        return theta

    def residuals(values: Array, start: Array) -> Array:
        theta = parameters(values, start)
        uv = posed_camera(theta, side, focal).project(_KEY_POINTS)[0]
        yaw, pitch, roll = np.degrees(theta[:3])
        priors = [
            (abs(yaw) - PROFILE_YAW_DEG) / _PROFILE_YAW_PRIOR_DEG,
            pitch / _PROFILE_PITCH_PRIOR_DEG,
            roll / _PROFILE_ROLL_PRIOR_DEG,
        ]
        return np.append((uv - points) / (_KEY_POINT_SCATTER * extent), priors)

    fits = []
    scale = np.log(extent * CANONICAL_RADIUS / (_KEY_SPAN * focal * side))
    for yaw in (-PROFILE_YAW_DEG, PROFILE_YAW_DEG):
        start = np.array([np.radians(yaw), 0, 0, scale, *(points.mean(0) / side - 0.5)])
        start[:3] = angles.override(start[:3])
        fit = least_squares(residuals, start[free], loss="soft_l1", max_nfev=60, args=(start,))
        fits.append((fit.cost, parameters(fit.x, start)))
    _, theta = min(fits, key=lambda fit: fit[0])
    return Alignment(posed_camera(theta, side, focal), {}, 0.0)


def shape_of(components: Array) -> dict[str, float]:
    """Shape coefficients (c,) by name, rounded; inverse of :func:`components_of`."""
    return {f"c{i:02d}": round(float(v), 4) for i, v in enumerate(components)}


def components_of(shape: dict[str, float]) -> Array:
    """(c,) shape coefficients of an alignment's shape; empty for the average head."""
    names = sorted(name for name in shape if name not in EXPRESSIONS)
    return np.array([shape[name] for name in names], float)


def expression_of(shape: dict[str, float]) -> dict[str, float]:
    """Expression weights of an alignment's shape, by name."""
    return {name: value for name, value in shape.items() if name in EXPRESSIONS}


def _score(points: Array, depth: Array) -> float:
    """4 for typical landmarks (468, 2) with depth (468,), less for atypical ones."""
    learned = landmark_map()
    deviation = Frame.of(points).normalised(points, depth) - learned.mean
    scores = deviation @ learned.components.T
    length = 1 / np.einsum("kf,kf->k", learned.components, learned.components)
    residual = deviation - (scores * length) @ learned.components
    return 4.0 - float(np.sqrt((residual**2).mean())) / _ATYPICAL
