"""Refinement of camera poses by points of the face (bundle adjustment, Triggs et al. 2000).

A generative network misses the requested pose of a head by some degrees.  The views then contradict
each other, and a fit makes double eyes and dented noses.  Points of the face are detected in every
frame, and the cameras are moved until the points agree.  Each camera's motion is small, and the
mean motion is zero.

This corrects the position of a face in its frame, and its rotation only in part: the detector errs
by some degrees itself, and a weaker prior on the poses would turn exact cameras by four degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import lil_matrix
from scipy.spatial.transform import Rotation

from dp3d_core.arrays import Array, Float, Pixels, UInt8
from dp3d_core.cameras.camera import Camera, invert_rigid
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, check_cancel, never_cancel
from dp3d_core.viewsets.viewset import ViewSet, over

PointsOf = Callable[[UInt8[Pixels, "h w 3"]], Float[Array, "n 2"] | None]
"""Detector: (h, w, 3) uint8 frame -> (n, 2) pixels of n fixed points of a face; None: no face."""

LEAST_FACES = 4
"""Least number of views with a trusted face."""
SUSPICIOUS = 0.007
"""Median reprojection error of the face's points, frame widths, above which the given cameras are
suspicious.  Exact cameras give 0.0033 to 0.0045, those published with DiffPortrait3D 0.0095."""
_NOISE = 0.004
"""Standard error of a detected point, frame widths, for faces of ``_NOISE_POINTS`` points."""
_NOISE_POINTS = 150
"""Number of points that ``_NOISE`` is for; the points of faces with fewer weigh more."""
_TURN_DEG = 0.1
"""Standard deviation of the prior on a camera's rotation, degrees.  It is small against the errors
of generated views, since the errors of a face's points are correlated."""
_SHIFT = 0.0004
"""Standard deviation of the prior on a camera's translation, in parts of its distance."""
_MOST_TURN_DEG = 12.0
"""Largest rotation of a camera, degrees: beyond it, the view's points count as wrong."""
_MOST_SHIFT = 0.05
"""Largest translation of a camera, in parts of its distance: beyond it, the view's points count as
wrong."""
_MOST_FACE_ANGLE_DEG = 45.0
"""Largest angle between a camera and the face's front, degrees, at which points are trusted."""
_OUTLIER_RATIO = 3.0
"""Ratio of a view's reprojection error to the median of all views above which it is rejected."""
_MEAN_MOTION_WEIGHT = 100.0
"""Weight of the residual that keeps the cameras' mean motion at zero."""
_MOST_EVALUATIONS = 60
"""Most evaluations of the residuals in the adjustment."""
_ADJUSTED_POINTS = 75
"""Approximate number of points that take part in the adjustment."""
_CHECKED_VIEWS = 24
"""Approximate number of views in which given poses are checked."""


@dataclass(frozen=True)
class Disagreement:
    """How far the given cameras disagree with the faces.

    Attributes:
        median: median reprojection error of the face's points, frame widths.
        odd: indices of views whose faces disagree with the other views.
        points: (n, 3) triangulated points of the face, head space.

    """

    median: float
    odd: tuple[int, ...]
    points: Float[Array, "n 3"]

    @property
    def suspicious(self) -> bool:
        """Whether the reprojection error is larger than that of exact cameras."""
        return self.median > SUSPICIOUS


@dataclass(frozen=True)
class Registration:
    """Cameras refined by points of the face.

    Attributes:
        cameras: of all views; views without a trusted face keep the given camera.
        faces: indices of the views whose face took part.
        before: median reprojection error with the given cameras, frame widths.
        after: median reprojection error with the refined cameras, frame widths.
        turns_deg: rotation of each camera, degrees; 0 for an unchanged one.
        shifts: translation of each camera in parts of its distance; 0 for an unchanged one.
        left: indices of the views whose points were rejected; they keep the given camera.
        points: (n, 3) points of the face, triangulated with the refined cameras, head space.

    """

    cameras: tuple[Camera, ...]
    faces: tuple[int, ...]
    before: float
    after: float
    turns_deg: tuple[float, ...]
    shifts: tuple[float, ...]
    left: tuple[int, ...]
    points: Float[Array, "n 3"]

    @property
    def moved(self) -> int:
        """Number of cameras that were moved."""
        moves = zip(self.turns_deg, self.shifts, strict=True)
        return sum(turn > 0 or shift > 0 for turn, shift in moves)

    @property
    def suspicious(self) -> bool:
        """Whether the reprojection error of the given cameras is larger than that of exact ones."""
        return self.before > SUSPICIOUS

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "faces": list(self.faces),
            "before": round(self.before, 5),
            "after": round(self.after, 5),
            "largest_turn_deg": round(max(self.turns_deg), 3),
            "largest_shift": round(max(self.shifts), 5),
            "turns_deg": [round(turn, 3) for turn in self.turns_deg],
            "shifts": [round(shift, 5) for shift in self.shifts],
            "left": list(self.left),
        }


def register_views(
    views: ViewSet,
    points_of: PointsOf,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Registration:
    """Detect faces and refine the cameras of views.

    Args:
        views: of one head.
        points_of: detects points of the face.
        progress: stage ``poses``.
        cancel: polled between frames.

    Raises:
        Dp3dError: ``viewset.no_faces`` where fewer than four views show a trusted face,
            ``job.cancelled``.

    """
    face_pixels = find_points(views, range(len(views)), points_of, progress=progress, cancel=cancel)
    return register(views.cameras, face_pixels, cancel)


def disagreement(
    views: ViewSet, points_of: PointsOf, *, progress: ProgressCallback, cancel: CancelCheck
) -> Disagreement:
    """Compare the given cameras with the faces of about 24 views, spread over all.

    Arguments and errors as of :func:`register_views`.
    """
    checked = range(0, len(views), max(1, len(views) // _CHECKED_VIEWS))
    face_pixels = find_points(views, checked, points_of, progress=progress, cancel=cancel)
    trusted, odd = _trusted_views(views.cameras, face_pixels)
    points, errors = _triangulated_with_errors(views.cameras, face_pixels, trusted)
    return Disagreement(float(np.median(errors)), tuple(odd), points)


def find_points(
    views: ViewSet,
    chosen: Sequence[int],
    points_of: PointsOf,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> dict[int, Float[Array, "n 2"]]:
    """Detect points of the face.

    Args:
        views: of one head.
        chosen: indices of the views in which faces are detected.
        points_of: detects points of the face.
        progress: stage ``poses``.
        cancel: polled between frames.

    Returns:
        (n, 2) pixels by index, for the views that show a face.

    """
    stage = Stage("poses", len(chosen), progress, cancel, "Looking for the face in the views")
    face_pixels: dict[int, Float[Array, "n 2"]] = {}
    for i in chosen:
        points = points_of(over(views.rgba(i)))
        if points is not None:
            face_pixels[i] = points
        stage.advance()
    return face_pixels


def register(
    cameras: Sequence[Camera],
    face_pixels: dict[int, Float[Array, "n 2"]],
    cancel: CancelCheck = never_cancel,
) -> Registration:
    """Refine cameras by bundle adjustment of face points.

    Views whose camera would move too far are rejected, and the others are adjusted again.

    Args:
        cameras: of all views.
        face_pixels: (n, 2) pixels of n fixed points of the face, by index of the view.  The first
            four are right, left, top and bottom of the face, from which its front is computed.
        cancel: polled at each step of the adjustment.

    Raises:
        Dp3dError: ``viewset.no_faces``, ``job.cancelled``.

    """
    trusted, rejected = _trusted_views(cameras, face_pixels)
    before = float(np.median(_triangulated_with_errors(cameras, face_pixels, trusted)[1]))
    while True:
        subset = [cameras[i] for i in trusted]
        pixels = np.stack([_thinned(face_pixels[i]) for i in trusted])
        start = triangulate(subset, pixels)
        pivot = start.mean(0)
        motions, points = _adjust(subset, pixels, start, pivot, cancel)
        turns_deg = np.degrees(np.linalg.norm(motions[:, :3], axis=1))
        to_camera = np.stack([camera.position for camera in subset]) - pivot
        shift_parts = np.linalg.norm(motions[:, 3:], axis=1) / np.linalg.norm(to_camera, axis=1)
        wild = (turns_deg > _MOST_TURN_DEG) | (shift_parts > _MOST_SHIFT)
        if not wild.any():
            break
        # adjusted again without them: their errors must not move the others
        rejected = sorted(
            [*rejected, *(i for i, is_wild in zip(trusted, wild, strict=True) if is_wild)]
        )
        trusted = [i for i, is_wild in zip(trusted, wild, strict=True) if not is_wild]
        _check_count(len(trusted), len(cameras))
    moved, turns, shifts = list(cameras), np.zeros(len(cameras)), np.zeros(len(cameras))
    for index, i in enumerate(trusted):
        moved[i] = _moved_camera(cameras[i], motions[index], pivot)
    turns[trusted], shifts[trusted] = turns_deg, shift_parts
    after = _reprojection_errors(subset, motions, points, pixels, pivot)
    return Registration(
        tuple(moved),
        tuple(trusted),
        before,
        float(np.median(after)),
        tuple(turns.tolist()),
        tuple(shifts.tolist()),
        tuple(rejected),
        triangulate([moved[i] for i in trusted], np.stack([face_pixels[i] for i in trusted])),
    )


def _thinned(points: Float[Array, "n 2"]) -> Float[Array, "_k 2"]:
    """(k, 2) the first four points and a sample of the others, whose neighbours err alike."""
    return np.concatenate([points[:4], points[4 :: max(1, len(points) // _ADJUSTED_POINTS)]])


def _check_count(faces: int, views: int) -> None:
    if faces < LEAST_FACES:
        raise Dp3dError(
            "viewset.no_faces",
            f"The poses cannot be refined: {faces} of {views} views show a face from the front "
            "that agrees with the others.",
            "Install the face models with 'dp3d setup models', or keep the poses as they are "
            "given.",
        )


def _triangulated_with_errors(
    cameras: Sequence[Camera], face_pixels: dict[int, Float[Array, "n 2"]], chosen: Sequence[int]
) -> tuple[Float[Array, "n 3"], Float[Array, "m n"]]:
    """(n, 3) points triangulated by the chosen views, and their (m, n) reprojection errors."""
    subset, pixels = [cameras[i] for i in chosen], np.stack([face_pixels[i] for i in chosen])
    points = triangulate(subset, pixels)
    no_motion = np.zeros((len(subset), 6))
    return points, _reprojection_errors(subset, no_motion, points, pixels, points.mean(0))


def _trusted_views(
    cameras: Sequence[Camera], face_pixels: dict[int, Float[Array, "n 2"]]
) -> tuple[list[int], list[int]]:
    """Indices of views with a trusted face, and of frontal views that disagree with the rest."""
    shown = sorted(face_pixels)
    _check_count(len(shown), len(cameras))
    points, errors = _triangulated_with_errors(cameras, face_pixels, shown)
    view_errors = np.median(errors, axis=1)
    right, left, top, bottom = points[:4]
    front = np.cross(left - right, top - bottom)
    to_camera = np.stack([cameras[i].position for i in shown]) - points.mean(0)
    cosine = (
        to_camera @ front / (np.linalg.norm(to_camera, axis=1) * np.linalg.norm(front)).clip(1e-12)
    )
    facing = cosine >= np.cos(np.radians(_MOST_FACE_ANGLE_DEG))
    agreeing = view_errors <= np.maximum(_OUTLIER_RATIO * np.median(view_errors), SUSPICIOUS)
    trusted = [i for i, is_trusted in zip(shown, facing & agreeing, strict=True) if is_trusted]
    _check_count(len(trusted), len(cameras))
    return trusted, [i for i, is_odd in zip(shown, facing & ~agreeing, strict=True) if is_odd]


def triangulate(cameras: Sequence[Camera], pixels: Float[Array, "m n 2"]) -> Float[Array, "n 3"]:
    """(n, 3) points nearest to the rays of (m, n, 2) pixels of m cameras, in least squares."""
    # regularised, for cameras that all stand in one place
    matrix = np.tile(1e-9 * np.eye(3), (pixels.shape[1], 1, 1))
    right_side = np.zeros((pixels.shape[1], 3))
    for camera, view_pixels in zip(cameras, pixels, strict=True):
        ray = camera.directions(view_pixels)
        projection = np.eye(3) - ray[:, :, None] * ray[:, None, :]
        matrix += projection
        right_side += projection @ camera.position
    return np.asarray(np.linalg.solve(matrix, right_side[..., None])[..., 0], np.float64)


def _projected(
    camera: Camera,
    motion: Float[Array, " 6"],
    points: Float[Array, "n 3"],
    pivot: Float[Array, " 3"],
) -> Float[Array, "n 2"]:
    """(n, 2) pixels of points after the head's motion: rotation about the pivot, translation."""
    turned = Rotation.from_rotvec(motion[:3]).apply(points - pivot) + pivot + motion[3:]
    return camera.project(turned)[0]


def _reprojection_errors(
    cameras: Sequence[Camera],
    motions: Float[Array, "m 6"],
    points: Float[Array, "n 3"],
    pixels: Float[Array, "m n 2"],
    pivot: Float[Array, " 3"],
) -> Float[Array, "m n"]:
    """(m, n) reprojection errors of points at (m, n, 2) pixels, frame widths."""
    errors = np.stack(
        [
            (_projected(camera, motion, points, pivot) - uv) / camera.width
            for camera, motion, uv in zip(cameras, motions, pixels, strict=True)
        ]
    )
    distances: Array = np.hypot(errors[..., 0], errors[..., 1])
    return distances


def _adjust(
    cameras: Sequence[Camera],
    pixels: Float[Array, "m n 2"],
    start: Float[Array, "n 3"],
    pivot: Float[Array, " 3"],
    cancel: CancelCheck,
) -> tuple[Float[Array, "m 6"], Float[Array, "n 3"]]:
    """Bundle adjustment: (m, 6) motions of the head in each view, and (n, 3) points.

    A motion is a rotation vector, radians, and a translation, head units.
    """
    m, n = pixels.shape[:2]
    noise = _NOISE * np.sqrt(n / _NOISE_POINTS)
    distance = np.array([np.linalg.norm(camera.position - pivot) for camera in cameras])
    motion_scale = np.empty((m, 6))
    motion_scale[:, :3], motion_scale[:, 3:] = np.radians(_TURN_DEG), _SHIFT * distance[:, None]

    def residuals(x: Array) -> Array:
        check_cancel(cancel, "The comparison of the faces")
        motions, points = x[: 6 * m].reshape(m, 6), x[6 * m :].reshape(n, 3)
        errors = [
            (_projected(camera, motion, points, pivot) - uv) / (noise * camera.width)
            for camera, motion, uv in zip(cameras, motions, pixels, strict=True)
        ]
        scaled_motions = motions / motion_scale
        return np.concatenate(
            [np.ravel(errors), scaled_motions.ravel(), _MEAN_MOTION_WEIGHT * scaled_motions.mean(0)]
        )

    pattern = lil_matrix((2 * m * n + 6 * m + 6, 6 * m + 3 * n), dtype=np.int8)
    for i in range(m):
        pattern[2 * i * n : 2 * (i + 1) * n, 6 * i : 6 * i + 6] = 1
        for k in range(n):
            row = 2 * (i * n + k)
            pattern[row : row + 2, 6 * m + 3 * k : 6 * m + 3 * k + 3] = 1
    for j in range(6 * m):
        pattern[2 * m * n + j, j] = 1
        pattern[2 * m * n + 6 * m + j % 6, j] = 1
    solved = least_squares(
        residuals,
        np.concatenate([np.zeros(6 * m), start.ravel()]),
        jac_sparsity=pattern,
        loss="soft_l1",
        max_nfev=_MOST_EVALUATIONS,
    ).x
    return solved[: 6 * m].reshape(m, 6), solved[6 * m :].reshape(n, 3)


def _moved_camera(camera: Camera, motion: Float[Array, " 6"], pivot: Float[Array, " 3"]) -> Camera:
    """The camera that sees the head at rest as the given camera sees the moved head."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(motion[:3]).as_matrix()
    matrix[:3, 3] = pivot + motion[3:] - matrix[:3, :3] @ pivot
    return replace(camera, c2w=invert_rigid(matrix) @ camera.c2w)
