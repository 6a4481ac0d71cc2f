"""Where frames were really taken from, by points of the face that each of them shows.

A network that draws a head from a camera puts it some degrees beside.  A fit then sees views that
contradict each other, and makes eyes double and dents of noses.  Points of the face found in every
frame tell how the head lies there: bundle adjustment (Triggs et al. 2000) moves the cameras, little
and as a whole not at all, until the points meet.

What this mends is where a face lies in its frame; how it is turned only in part, since what finds
the points errs by degrees itself: held less, exact cameras would be turned by four of them.
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
"""(h, w, 3) uint8 frame -> (n, 2) pixels, each time of the same n points of a face; None: none."""

LEAST_FACES = 4
SUSPICIOUS = 0.007
"""Distance of the points to where the cameras see them, median, frame widths, from which the
cameras are doubted: exact ones give .0033 to .0045, those published with DiffPortrait3D .0095."""
_NOISE, _POINTS = 0.004, 150
"""Error of a found point, frame widths, where a face has that many: of fewer, each counts more."""
_TURN_DEG, _SHIFT = 0.1, 0.0004
"""How strongly a view is held where its camera says: turn, and shift as a part of the distance.
Small beside what views are off, since the points of a face err together, not each by itself."""
_MOST_TURN_DEG, _MOST_SHIFT = 12.0, 0.05
"""A view that seems to be further off is left where it was: its points are wrong."""
_FURTHEST_DEG = 45.0
"""Angle to the face's front up to which its points are to be trusted."""
_OUTLIER = 3.0
"""Times the median distance from which a view's points belong to no face."""
_MEAN = 100.0
"""Weight that keeps the views' common motion at zero."""
_ROUNDS = 60
_ADJUSTED = 75
"""Points, about, that take part in the adjustment."""
_GLANCE = 24
"""Views, about, that are looked at where the poses are only doubted."""


@dataclass(frozen=True)
class Disagreement:
    """How far given cameras and faces are apart.

    Attributes:
        median: distance of found points to where the cameras see them, median, widths of a frame.
        odd: views whose faces lie elsewhere than the others'.
        points: (n, 3) points of the face where the cameras see them, head space.

    """

    median: float
    odd: tuple[int, ...]
    points: Float[Array, "n 3"]

    @property
    def suspicious(self) -> bool:
        """Whether the cameras see the face elsewhere than the frames show it."""
        return self.median > SUSPICIOUS


@dataclass(frozen=True)
class Registration:
    """Cameras that agree with the faces.

    Attributes:
        cameras: of all views; those without a face stay as they were.
        faces: views whose face took part.
        before, after: median distance of found points to where the cameras see them, widths of
            a frame.
        turns_deg, shifts: of each view, how far its camera was moved; shifts as a part of
            its distance; 0 where it was left.
        left: views whose points lie so far off, or so unlike the others', that they are not
            believed; their cameras stay.
        points: (n, 3) points of the face where these cameras see them, head space.

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
        """Cameras that are not the given ones."""
        moves = zip(self.turns_deg, self.shifts, strict=True)
        return sum(turn > 0 or shift > 0 for turn, shift in moves)

    @property
    def suspicious(self) -> bool:
        """Whether the given cameras see the face elsewhere than the frames show it."""
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
    """Move the cameras of views to where their faces say.

    Args:
        views: of one head.
        points_of: finds the points.
        progress: stage ``poses``.
        cancel: polled between frames.

    Raises:
        Dp3dError: ``viewset.no_faces`` where fewer than four views show a face.

    """
    found = find_points(views, range(len(views)), points_of, progress=progress, cancel=cancel)
    return register(views.cameras, found, cancel)


def disagreement(
    views: ViewSet, points_of: PointsOf, *, progress: ProgressCallback, cancel: CancelCheck
) -> Disagreement:
    """Compare faces with the given cameras; some views, spread over all, are looked at.

    Arguments and errors as of :func:`register_views`.
    """
    chosen = range(0, len(views), max(1, len(views) // _GLANCE))
    found = find_points(views, chosen, points_of, progress=progress, cancel=cancel)
    kept, odd = _trusted(views.cameras, found)
    points, misses = _apart(views.cameras, found, kept)
    return Disagreement(float(np.median(misses)), tuple(odd), points)


def find_points(
    views: ViewSet,
    chosen: Sequence[int],
    points_of: PointsOf,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> dict[int, Float[Array, "n 2"]]:
    """Points of the views that show a face, by their number; stage ``poses``."""
    stage = Stage("poses", len(chosen), progress, cancel, "Looking for the face in the views")
    found: dict[int, Float[Array, "n 2"]] = {}
    for i in chosen:
        points = points_of(over(views.rgba(i)))
        if points is not None:
            found[i] = points
        stage.advance()
    return found


def register(
    cameras: Sequence[Camera],
    found: dict[int, Float[Array, "n 2"]],
    cancel: CancelCheck = never_cancel,
) -> Registration:
    """Move cameras until the points that their frames show meet.

    Args:
        cameras: of all views.
        found: (n, 2) pixels of the same n points for each view that shows them.  The first four
            are right, left, top and bottom of the face: they tell where it looks.
        cancel: polled at each step of the adjustment.

    Raises:
        Dp3dError: ``viewset.no_faces``, ``job.cancelled``.

    """
    kept, left = _trusted(cameras, found)
    before = float(np.median(_apart(cameras, found, kept)[1]))
    while True:
        subset = [cameras[i] for i in kept]
        pixels = np.stack([_thinned(found[i]) for i in kept])
        start = meet(subset, pixels)
        pivot = start.mean(0)
        motions, points = _adjust(subset, pixels, start, pivot, cancel)
        turn = np.degrees(np.linalg.norm(motions[:, :3], axis=1))
        away = np.stack([camera.position for camera in subset]) - pivot
        shift = np.linalg.norm(motions[:, 3:], axis=1) / np.linalg.norm(away, axis=1)
        wild = (turn > _MOST_TURN_DEG) | (shift > _MOST_SHIFT)
        if not wild.any():
            break
        # without them: what they are off by must not turn the others
        left = sorted([*left, *(i for i, far in zip(kept, wild, strict=True) if far)])
        kept = [i for i, far in zip(kept, wild, strict=True) if not far]
        _check_count(len(kept), len(cameras))
    moved, turns, shifts = list(cameras), np.zeros(len(cameras)), np.zeros(len(cameras))
    for place, i in enumerate(kept):
        moved[i] = _moved(cameras[i], motions[place], pivot)
    turns[kept], shifts[kept] = turn, shift
    after = _misses(subset, motions, points, pixels, pivot)
    return Registration(
        tuple(moved),
        tuple(kept),
        before,
        float(np.median(after)),
        tuple(turns.tolist()),
        tuple(shifts.tolist()),
        tuple(left),
        meet([moved[i] for i in kept], np.stack([found[i] for i in kept])),
    )


def _thinned(points: Float[Array, "n 2"]) -> Float[Array, "_k 2"]:
    """The first four, and some of the others: neighbours err alike and cost time."""
    return np.concatenate([points[:4], points[4 :: max(1, len(points) // _ADJUSTED)]])


def _check_count(faces: int, views: int) -> None:
    if faces < LEAST_FACES:
        raise Dp3dError(
            "viewset.no_faces",
            f"The poses cannot be refined: {faces} of {views} views show a face from the front "
            "that agrees with the others.",
            "Install the face models with 'dp3d setup models', or keep the poses as they are "
            "given.",
        )


def _apart(
    cameras: Sequence[Camera], found: dict[int, Float[Array, "n 2"]], chosen: Sequence[int]
) -> tuple[Float[Array, "n 3"], Float[Array, "m n"]]:
    """(n, 3) points where the chosen of the given cameras see them, and (m, n) misses of these."""
    subset, pixels = [cameras[i] for i in chosen], np.stack([found[i] for i in chosen])
    points = meet(subset, pixels)
    still = np.zeros((len(subset), 6))
    return points, _misses(subset, still, points, pixels, points.mean(0))


def _trusted(
    cameras: Sequence[Camera], found: dict[int, Float[Array, "n 2"]]
) -> tuple[list[int], list[int]]:
    """Views that see the face from the front, and those of them that disagree with the rest."""
    kept = sorted(found)
    _check_count(len(kept), len(cameras))
    points, misses = _apart(cameras, found, kept)
    miss = np.median(misses, axis=1)
    right, left, top, bottom = points[:4]
    front = np.cross(left - right, top - bottom)
    away = np.stack([cameras[i].position for i in kept]) - points.mean(0)
    cosine = away @ front / (np.linalg.norm(away, axis=1) * np.linalg.norm(front)).clip(1e-12)
    facing = cosine >= np.cos(np.radians(_FURTHEST_DEG))
    agreeing = miss <= np.maximum(_OUTLIER * np.median(miss), SUSPICIOUS)
    trusted = [i for i, fine in zip(kept, facing & agreeing, strict=True) if fine]
    _check_count(len(trusted), len(cameras))
    return trusted, [i for i, odd in zip(kept, facing & ~agreeing, strict=True) if odd]


def meet(cameras: Sequence[Camera], pixels: Float[Array, "m n 2"]) -> Float[Array, "n 3"]:
    """(n, 3) points nearest to the rays of all (m, n, 2) pixels."""
    # a little more than nothing, for cameras that all look from one place
    matrix = np.tile(1e-9 * np.eye(3), (pixels.shape[1], 1, 1))
    right = np.zeros((pixels.shape[1], 3))
    for camera, uv in zip(cameras, pixels, strict=True):
        ray = camera.directions(uv)
        across = np.eye(3) - ray[:, :, None] * ray[:, None, :]
        matrix += across
        right += across @ camera.position
    return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0], np.float64)


def _seen(
    camera: Camera,
    motion: Float[Array, " 6"],
    points: Float[Array, "n 3"],
    pivot: Float[Array, " 3"],
) -> Float[Array, "n 2"]:
    """(n, 2) pixels of points after the head's motion: turn about the pivot, then shift."""
    turned = Rotation.from_rotvec(motion[:3]).apply(points - pivot) + pivot + motion[3:]
    return camera.project(turned)[0]


def _misses(
    cameras: Sequence[Camera],
    motions: Float[Array, "m 6"],
    points: Float[Array, "n 3"],
    pixels: Float[Array, "m n 2"],
    pivot: Float[Array, " 3"],
) -> Float[Array, "m n"]:
    """(m, n) distances between points and (m, n, 2) pixels, widths of a frame."""
    off = np.stack(
        [
            (_seen(camera, motion, points, pivot) - uv) / camera.width
            for camera, motion, uv in zip(cameras, motions, pixels, strict=True)
        ]
    )
    distances: Array = np.hypot(off[..., 0], off[..., 1])
    return distances


def _adjust(
    cameras: Sequence[Camera],
    pixels: Float[Array, "m n 2"],
    start: Float[Array, "n 3"],
    pivot: Float[Array, " 3"],
    cancel: CancelCheck,
) -> tuple[Float[Array, "m 6"], Float[Array, "n 3"]]:
    """(m, 6) motions of the head in each view, turn and shift, and (n, 3) points."""
    m, n = pixels.shape[:2]
    noise = _NOISE * np.sqrt(n / _POINTS)
    distance = np.array([np.linalg.norm(camera.position - pivot) for camera in cameras])
    hold = np.empty((m, 6))
    hold[:, :3], hold[:, 3:] = np.radians(_TURN_DEG), _SHIFT * distance[:, None]

    def residuals(x: Array) -> Array:
        check_cancel(cancel, "The comparison of the faces")
        motions, points = x[: 6 * m].reshape(m, 6), x[6 * m :].reshape(n, 3)
        off = [
            (_seen(camera, motion, points, pivot) - uv) / (noise * camera.width)
            for camera, motion, uv in zip(cameras, motions, pixels, strict=True)
        ]
        held = motions / hold
        return np.concatenate([np.ravel(off), held.ravel(), _MEAN * held.mean(0)])

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
        max_nfev=_ROUNDS,
    ).x
    return solved[: 6 * m].reshape(m, 6), solved[6 * m :].reshape(n, 3)


def _moved(camera: Camera, motion: Float[Array, " 6"], pivot: Float[Array, " 3"]) -> Camera:
    """The camera that sees the head at rest as the given one sees it after its motion."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(motion[:3]).as_matrix()
    matrix[:3, 3] = pivot + motion[3:] - matrix[:3, :3] @ pivot
    return replace(camera, c2w=invert_rigid(matrix) @ camera.c2w)
