"""Where frames were really taken from, by points of the face that each of them shows.

A network that draws a head from a camera puts it some degrees beside.  A fit then sees views that
contradict each other, and makes eyes double and dents of noses.  Points of the face found in every
frame tell how the head lies there: bundle adjustment (Triggs et al. 2000) moves the cameras, little
and as a whole not at all, until the points meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.sparse import lil_matrix
from scipy.spatial.transform import Rotation

from dp3d_core.cameras import Camera, invert_rigid
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.viewset import ViewSet, over

Floats = NDArray[np.float64]
PointsOf = Callable[[NDArray[np.uint8]], Floats | None]
"""(h, w, 3) uint8 frame -> (n, 2) pixels, each time of the same n points of a face; None: none."""

LEAST_FACES = 4
SUSPICIOUS = 0.007
"""Distance of the points to where the cameras see them, median, frame widths, from which the
cameras are doubted: exact ones give .0033 to .0045, those published with DiffPortrait3D .0095."""
_NOISE = 0.004
"""Error of a found point, frame widths."""
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
        left: views that seemed so far off that they were left.

    """

    cameras: tuple[Camera, ...]
    faces: tuple[int, ...]
    before: float
    after: float
    turns_deg: tuple[float, ...]
    shifts: tuple[float, ...]
    left: tuple[int, ...]

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
    most: int | None = None,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Registration:
    """Move the cameras of views to where their faces say.

    Args:
        views: of one head.
        points_of: finds the points.
        most: views that are looked at, spread over all; None: all.
        progress: stage ``poses``.
        cancel: polled between frames.

    Raises:
        Dp3dError: ``viewset.no_faces`` where fewer than four views show a face.

    """
    chosen = range(len(views))
    if most is not None and len(views) > most:
        chosen = range(0, len(views), -(-len(views) // most))
    stage = Stage("poses", len(chosen) + 1, progress, cancel, "Looking for the face in the views")
    found: dict[int, Floats] = {}
    for i in chosen:
        points = points_of(over(views.rgba(i)))
        if points is not None:
            found[i] = points
        stage.advance()
    registration = register(views.cameras, found)
    stage.advance("The views' faces are compared")
    return registration


def register(cameras: Sequence[Camera], found: dict[int, Floats]) -> Registration:
    """Move cameras until the points that their frames show meet.

    Args:
        cameras: of all views.
        found: (n, 2) pixels of the same n points for each view that shows them.  The first four
            are right, left, top and bottom of the face: they tell where it looks.

    Raises:
        Dp3dError: ``viewset.no_faces``.

    """
    kept = _trusted(cameras, found)
    if len(kept) < LEAST_FACES:
        raise Dp3dError(
            "viewset.no_faces",
            f"The poses cannot be refined: {len(kept)} of {len(cameras)} views show a face "
            "from the front.",
            "Install the face models with 'dp3d setup models', or keep the poses as they are "
            "given.",
        )
    subset = [cameras[i] for i in kept]
    pixels = np.stack([found[i] for i in kept])
    start = meet(subset, pixels)
    pivot = start.mean(0)
    motions, points = _adjust(subset, pixels, start, pivot)
    turns, shifts = np.zeros(len(cameras)), np.zeros(len(cameras))
    moved, left = list(cameras), []
    after = _misses(subset, np.zeros_like(motions), start, pixels, pivot)
    for place, (i, motion) in enumerate(zip(kept, motions, strict=True)):
        turn = float(np.degrees(np.linalg.norm(motion[:3])))
        shift = float(np.linalg.norm(motion[3:]) / np.linalg.norm(cameras[i].position - pivot))
        if turn > _MOST_TURN_DEG or shift > _MOST_SHIFT:
            left.append(i)
            continue
        moved[i], turns[i], shifts[i] = _moved(cameras[i], motion, pivot), turn, shift
        after[place] = _misses(
            subset[place : place + 1], motion[None], points, pixels[place : place + 1], pivot
        )[0]
    before = _misses(subset, np.zeros_like(motions), start, pixels, pivot)
    return Registration(
        tuple(moved),
        tuple(kept),
        float(np.median(before)),
        float(np.median(after)),
        tuple(turns.tolist()),
        tuple(shifts.tolist()),
        tuple(left),
    )


def _trusted(cameras: Sequence[Camera], found: dict[int, Floats]) -> list[int]:
    """Views whose points agree with the others' about, and that see the face from the front."""
    kept = sorted(found)
    if len(kept) < LEAST_FACES:
        return kept
    subset, pixels = [cameras[i] for i in kept], np.stack([found[i] for i in kept])
    points = meet(subset, pixels)
    still = np.zeros((len(kept), 6))
    miss = np.median(_misses(subset, still, points, pixels, points.mean(0)), axis=1)
    right, left, top, bottom = points[:4]
    front = np.cross(left - right, top - bottom)
    away = np.stack([camera.position for camera in subset]) - points.mean(0)
    cosine = away @ front / (np.linalg.norm(away, axis=1) * np.linalg.norm(front)).clip(1e-12)
    good = (miss <= _OUTLIER * np.median(miss)) & (cosine >= np.cos(np.radians(_FURTHEST_DEG)))
    return [i for i, fine in zip(kept, good, strict=True) if fine]


def meet(cameras: Sequence[Camera], pixels: Floats) -> Floats:
    """(n, 3) points nearest to the rays of all (m, n, 2) pixels."""
    matrix, right = np.zeros((pixels.shape[1], 3, 3)), np.zeros((pixels.shape[1], 3))
    for camera, uv in zip(cameras, pixels, strict=True):
        ray = camera.directions(uv)
        across = np.eye(3) - ray[:, :, None] * ray[:, None, :]
        matrix += across
        right += across @ camera.position
    return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0], np.float64)


def _seen(camera: Camera, motion: Floats, points: Floats, pivot: Floats) -> Floats:
    """(n, 2) pixels of points after the head's motion: turn about the pivot, then shift."""
    turned = Rotation.from_rotvec(motion[:3]).apply(points - pivot) + pivot + motion[3:]
    return camera.project(turned)[0]


def _misses(
    cameras: Sequence[Camera], motions: Floats, points: Floats, pixels: Floats, pivot: Floats
) -> Floats:
    """(m, n) distances between points and (m, n, 2) pixels, widths of a frame."""
    off = np.stack(
        [
            (_seen(camera, motion, points, pivot) - uv) / camera.width
            for camera, motion, uv in zip(cameras, motions, pixels, strict=True)
        ]
    )
    distances: Floats = np.hypot(off[..., 0], off[..., 1])
    return distances


def _adjust(
    cameras: Sequence[Camera], pixels: Floats, start: Floats, pivot: Floats
) -> tuple[Floats, Floats]:
    """(m, 6) motions of the head in each view, turn and shift, and (n, 3) points."""
    m, n = pixels.shape[:2]
    distance = np.array([np.linalg.norm(camera.position - pivot) for camera in cameras])
    hold = np.empty((m, 6))
    hold[:, :3], hold[:, 3:] = np.radians(_TURN_DEG), _SHIFT * distance[:, None]

    def residuals(x: Floats) -> Floats:
        motions, points = x[: 6 * m].reshape(m, 6), x[6 * m :].reshape(n, 3)
        off = [
            (_seen(camera, motion, points, pivot) - uv) / (_NOISE * camera.width)
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


def _moved(camera: Camera, motion: Floats, pivot: Floats) -> Camera:
    """The camera that sees the head at rest as the given one sees it after its motion."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(motion[:3]).as_matrix()
    matrix[:3, 3] = pivot + motion[3:] - matrix[:3, :3] @ pivot
    return replace(camera, c2w=invert_rigid(matrix) @ camera.c2w)
