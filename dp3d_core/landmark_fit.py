"""Pose and shape of a head from face landmarks: least squares over the parametric head.

Where each landmark lies on the base head was measured, not drawn: synthetic subjects whose
geometry is exactly known were shown to the landmark model, and what lies under each point was
looked up (``measure_head_points``, kept in ``heads/landmark_points.json``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from dp3d_core.alignment import Alignment, Known, posed_camera, rotations
from dp3d_core.cameras import CANONICAL_RADIUS, Camera
from dp3d_core.heads.shape import AVERAGE, HIGH, LOW, NAMES, basis
from dp3d_core.heads.space import MM
from dp3d_core.landmarks import LEFT_EYE, POINTS, RIGHT_EYE, Landmarks, find_landmarks
from dp3d_core.synthetic.head import Surface
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.trajectories import canonical_camera

Array = NDArray[np.float64]

_TABLE = Path(__file__).parent / "heads" / "landmark_points.json"
_STRAY = 7.0
"""Landmarks whose place varies more, millimetres, mean nothing on a head."""
_CONTOUR = (
    127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148,
    356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
)  # fmt: skip
"""Landmarks of the face's edge: where they lie on the head depends on where it is seen from."""
_CONTOUR_YAW = 24.0
"""From the front they are places of the jaw; turned by so much, degrees, they mean nothing."""
SHAPE_PRIOR = 2.0
_POINT_WEIGHT = 0.35
"""The points are not independent: each counts this much."""
_CONTOUR_WEIGHT = 0.7
_WILD = 30.0
"""Landmarks farther from the average head's, millimetres, are mistakes."""
_POSE = 6  # yaw, pitch, roll (radians), log scale, shift x and y (parts of the picture)


@dataclass(frozen=True)
class HeadPoints:
    """Landmarks on the average head.

    Attributes:
        index: (n,) into the landmarks.
        points: (n, 3) millimetres.
        moves: (p, n, 3) displacement by each of ``names``.
        spread: (n,) how far a landmark strays, millimetres.
        contour: (n,) bool, points of the face's edge.
        names: shape parameters that move them.

    """

    index: NDArray[np.int64]
    points: Array
    moves: Array
    spread: Array
    contour: NDArray[np.bool_]
    names: tuple[str, ...]


@lru_cache(maxsize=1)
def head_points() -> HeadPoints:
    """The measured landmarks."""
    table = json.loads(_TABLE.read_text(encoding="utf-8"))
    rows = np.array(table["points"], float)
    rest = rows[:, 1:4]
    moves = basis(rest)
    points = rest + np.tensordot(AVERAGE, moves, 1)
    used = np.flatnonzero(np.abs(moves).max(axis=(1, 2)) > 1.0)
    return HeadPoints(
        rows[:, 0].astype(np.int64),
        points,
        moves[used],
        rows[:, 4],
        np.isin(rows[:, 0], _CONTOUR),
        tuple(NAMES[i] for i in used),
    )


def fit_landmarks(
    landmarks: Array, side: int, focal: float, known: Known | None = None
) -> Alignment:
    """Pose and shape of the head whose landmarks were seen in a square picture.

    Args:
        landmarks: (468, 2) pixels.
        side: of the picture, pixels.
        focal: of its lens, image widths.
        known: what is not searched (the turn, the place in the picture).

    Returns:
        The alignment; its score is 4 less the mean distance of the points in millimetres / 4.

    """
    known = known or Known()
    head = head_points()
    seen = landmarks[head.index]
    low, high = (v[[NAMES.index(n) for n in head.names]] for v in (LOW, HIGH))
    usual = (high - low) / 4
    weight = _POINT_WEIGHT / (1.5 + head.spread)
    weight[head.contour] = 0.0

    def project(theta: Array) -> tuple[Array, float]:
        rotation = rotations(theta[None, :3])[0]
        local = (head.points + np.tensordot(theta[_POSE:], head.moves, 1)) @ rotation.T * MM
        scale = focal * side * float(np.exp(theta[3]))
        uv = local[:, :2] / (local[:, 2:] + CANONICAL_RADIUS) * scale
        return uv + side * (0.5 + theta[4:6]), scale / CANONICAL_RADIUS * MM

    start = np.zeros(_POSE + len(head.names))
    free = np.ones(len(start), bool)
    across = landmarks[LEFT_EYE] - landmarks[RIGHT_EYE]
    leaning = np.array([0, 0, -np.arctan2(across[1], across[0])])
    start[:3], free[:3] = known.turn.onto(leaning), known.turn.unknown
    if known.place:
        free[3:_POSE] = False
    else:
        middle = np.median(seen, 0)
        size = np.median(np.abs(seen - middle)) / np.median(np.abs(head.points[:, :2]))
        start[3] = np.log(size / (MM / CANONICAL_RADIUS * focal * side))
        start[4:6] = middle / side - 0.5

    def residuals(values: Array, only: NDArray[np.bool_] = free) -> Array:
        theta = start.copy()
        theta[only] = values
        uv, millimetre = project(theta)
        away = (uv - seen) / millimetre * weight[:, None]
        return np.concatenate(
            [
                away.ravel(),
                theta[_POSE:] / usual * SHAPE_PRIOR,
                (theta[1:3] - leaning[1:]) / np.radians([5, 65]),
            ]
        )

    # the pose of the average head first: what is far from it then is no landmark of this face
    pose_only = free & (np.arange(len(start)) < _POSE)
    if pose_only.any():
        rough = least_squares(
            residuals, start[pose_only], loss="cauchy", max_nfev=40, args=(pose_only,)
        )
        start[pose_only] = rough.x
    uv, millimetre = project(start)
    weight[np.linalg.norm(uv - seen, axis=1) / millimetre > _WILD] = 0.0
    found = least_squares(residuals, start[free], loss="huber", max_nfev=40)
    start[free] = found.x
    frontal = 1 - abs(float(np.degrees(start[0]))) / _CONTOUR_YAW
    if frontal > 0.05:
        edge = head.contour
        weight[edge] = frontal * _CONTOUR_WEIGHT / (1.5 + head.spread[edge])
        found = least_squares(residuals, found.x, loss="huber", max_nfev=20)
    theta = start.copy()
    theta[free] = found.x
    uv, millimetre = project(theta)
    inner = ~head.contour
    away = float(np.median(np.linalg.norm(uv - seen, axis=1)[inner])) / millimetre
    shape = {
        name: round(float(value), 4)
        for name, value in zip(head.names, np.clip(theta[_POSE:], low, high), strict=True)
    }
    return Alignment(posed_camera(theta, side, focal), shape, 4 - away / 4)


def measure_head_points(seeds: Sequence[int], size: int = 640) -> Array:
    """Measure where the landmarks lie on the base head: how the table was made.

    Random subjects, bare of glasses, hat and beard, are rendered from a few sides; a ray through
    each landmark finds the place under it on the base head.

    Args:
        seeds: of the subjects; 30 are plenty.
        size: of the renders, pixels.

    Returns:
        (n, 5) index, x, y, z (millimetres, made symmetric) and spread (median distance).

    """
    found = []
    for seed in seeds:
        subject = random_subject(seed)
        bare = dataclasses.replace(subject.spec, glasses=None, hat=None, beard=0.0)
        head = SyntheticHead(dataclasses.replace(subject, spec=bare))
        for yaw, pitch in ((0, 0), (-18, 5), (18, -5), (-36, 0), (36, 0)):
            camera = canonical_camera(yaw, pitch, size, focal=3.0)
            for face in find_landmarks(head.render(camera).rgb)[:1]:
                places = _under(head, camera, face)
                if yaw:
                    places[list(_CONTOUR)] = np.nan
                found.append(places)
    places = np.array(found)
    median = np.nanmedian(places, 0)
    spread = np.nanmedian(np.linalg.norm(places - median, axis=2), 0)
    mirrored = median * [-1, 1, 1]
    partner = np.linalg.norm(median[None] - mirrored[:, None], axis=2).argmin(1)
    paired = partner[partner] == np.arange(POINTS)
    contour = np.isin(np.arange(POINTS), _CONTOUR)
    paired |= contour
    partner[list(_CONTOUR)] = np.roll(_CONTOUR, len(_CONTOUR) // 2)
    good = paired & ((spread < _STRAY) | contour) & np.isfinite(spread)
    keep = np.flatnonzero(good & good[partner])
    both = (median[keep] + mirrored[partner[keep]]) / 2
    return np.column_stack([keep, both, (spread[keep] + spread[partner[keep]]) / 2])


def _under(head: SyntheticHead, camera: Camera, face: Landmarks) -> Array:
    """(468, 3) places on the base head under the landmarks; NaN where there is no skin or eye."""
    local = np.column_stack([(face.points - camera.K[:2, 2]) / camera.K[0, 0], np.ones(POINTS)])
    directions = local @ camera.c2w[:3, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    hits = head.caster.cast(np.repeat(camera.position[None], POINTS, 0), directions)
    corners = head.head.mesh.faces[hits.face]
    rest = np.einsum("kc,kcx->kx", hits.weights, head.head.rest[corners])
    facing = -(hits.normals * hits.directions).sum(1) > 0.25
    good = facing & (head.head.mesh.parts[corners[:, 0]] <= Surface.EYE)
    places = np.full((POINTS, 3), np.nan)
    places[hits.ray[good]] = rest[good]
    return places
