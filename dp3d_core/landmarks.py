"""Face landmarks, when the models for them are installed (``dp3d_core.face_models``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.face_models import DETECTOR, MESH, installed, run

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

POINTS = 468
RIGHT_EYE, LEFT_EYE = 33, 263
"""Outer corners; right and left of the person."""
FOREHEAD, CHIN = 10, 152
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Outline of the face, from the hairline around the chin and back."""

_STABLE = (
    *(RIGHT_EYE, LEFT_EYE, 9, 200),  # between the brows, and the front of the chin
    *(i for i in range(POINTS) if i not in (*FACE_OVAL, RIGHT_EYE, LEFT_EYE, 9, 200)),
)
"""The points without the outline, which slides over the cheeks as the head turns."""

_DETECTOR_SIDE, _MESH_SIDE = 128, 192
_LEAST_DETECTION, _LEAST_PRESENCE = 0.5, 0.5
_WINDOWS = ((1, 1.0), (2, 0.6), (3, 0.4), (5, 0.25), (8, 0.15))
"""Windows along each side of a photo and their size: the finer ones for small faces."""
_ALWAYS = 1
"""Up to this pair several faces are looked for, then the search ends with the first."""
_MOST = 6
"""Boxes of each pair that are looked at."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """A face's points.

    Attributes:
        points: (468, 2) pixels of the photo, in the order of MediaPipe's face mesh.
        depth: (468,) pixels, about the face's middle, larger farther away.
        presence: how sure the mesh is that this is a face, 0 to 1.

    """

    points: Array
    depth: Array
    presence: float


def stable_points(rgb: Pixels) -> Array | None:
    """(n, 2) pixels of points of the surest face that stay where they are as the head turns.

    Args:
        rgb: (h, w, 3) uint8, upright.

    Returns:
        Right, left, top and bottom of the face, then others; None where no face is found.

    """
    faces = find_landmarks(rgb)
    return faces[0].points[list(_STABLE)] if faces else None


def find_landmarks(
    rgb: Pixels, boxes: Sequence[tuple[float, float, float]] = ()
) -> list[Landmarks]:
    """Faces with their landmarks, the surest first; none where the models are not installed.

    Args:
        rgb: (h, w, 3) uint8, upright.
        boxes: x, y and side of faces that something else saw, tried as well.

    """
    if not installed():
        return []
    found: list[Landmarks] = []
    for level, (parts, size) in enumerate(_WINDOWS):
        if level > _ALWAYS and found:
            break
        seen = _detect(rgb, parts, size)
        if level == 0:
            seen += [(*box, 0.0) for box in boxes]
        for x, y, side, roll in seen:
            if any(np.abs(f.points.mean(0) - [x, y]).max() < 0.3 * side for f in found):
                continue
            # the detector cannot tell a face that stands on its head from one that does not
            looks = [_refine(rgb, np.array([x, y]), side, roll + turn) for turn in (0, np.pi)]
            face = max(looks, key=lambda look: look.presence)
            if face.presence < _LEAST_PRESENCE:
                continue
            middle, width = face.points.mean(0), np.ptp(face.points[:, 0])
            if all(np.abs(other.points.mean(0) - middle).max() > 0.5 * width for other in found):
                found.append(face)
    return sorted(found, key=lambda face: -face.presence * np.sqrt(np.ptp(face.points[:, 0])))


def _refine(rgb: Pixels, centre: Array, side: float, roll: float) -> Landmarks:
    """Points of the face in a box; each look frames it better than the one before."""
    presence, points, depth = 0.0, np.zeros((POINTS, 2)), np.zeros(POINTS)
    for _ in range(3):
        presence, points, depth = _mesh(rgb, centre, side, roll)
        across = points[LEFT_EYE] - points[RIGHT_EYE]
        roll = float(np.arctan2(across[1], across[0]))
        low, high = points.min(0), points.max(0)
        centre, side = (low + high) / 2, float(1.5 * (high - low).max())
        if presence < 0.05:
            break
    return Landmarks(points, depth, presence)


def _mesh(rgb: Pixels, centre: Array, side: float, roll: float) -> tuple[float, Array, Array]:
    """Presence, (468, 2) points and their depth in a turned square window of the photo."""
    step = side / _MESH_SIDE
    turn = step * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    corner = centre - turn @ np.full(2, _MESH_SIDE / 2)
    source = rgb
    if step > 1.5:
        source = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.5 * step), np.uint8)
    # OpenCV puts pixel centres at whole numbers, we put them at halves
    matrix = np.column_stack([turn, corner + turn @ [0.5, 0.5] - 0.5])
    window = cv2.warpAffine(
        source,
        matrix,
        (_MESH_SIDE, _MESH_SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    outputs = run(MESH, np.asarray(window, np.uint8), 0.0)
    score = next(out for out in outputs if out.size == 1).item()
    local = next(out for out in outputs if out.size == POINTS * 3).reshape(POINTS, 3)
    return _sigmoid(score), local[:, :2] @ turn.T + corner, local[:, 2] * step


def _detect(rgb: Pixels, parts: int, size: float) -> list[tuple[float, float, float, float]]:
    """Centre, side of the mesh's window and roll of faces in windows that cover a photo.

    Args:
        rgb: the photo.
        parts: windows along each side.
        size: of a window, parts of the photo's longer side.

    """
    height, width = rgb.shape[:2]
    side = size * max(height, width)
    places = np.linspace(0, 1, parts) if parts > 1 else np.array([0.5])
    found = []
    for y in places * max(height - side, 0) + min(height - side, 0) / 2:
        for x in places * max(width - side, 0) + min(width - side, 0) / 2:
            found += _detect_in(rgb, float(x), float(y), side)
    return [box for _, box in sorted(found, key=lambda f: -f[0])[:_MOST]]


def _detect_in(
    rgb: Pixels, left: float, top: float, side: float
) -> list[tuple[float, tuple[float, float, float, float]]]:
    """Score and box of the faces in a square window, which may reach outside the photo."""
    step = side / _DETECTOR_SIDE
    source = rgb if step < 1.5 else np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.5 * step), np.uint8)
    matrix = np.array([[step, 0, left + 0.5 * step - 0.5], [0, step, top + 0.5 * step - 0.5]])
    window = cv2.warpAffine(
        source,
        matrix,
        (_DETECTOR_SIDE, _DETECTOR_SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderValue=(127, 127, 127),
    )
    outputs = run(DETECTOR, np.asarray(window, np.uint8), -1.0)
    scores = next(out for out in outputs if out.shape[-1] == 1).ravel()
    boxes = next(out for out in outputs if out.shape[-1] == 16).reshape(-1, 8, 2) / _DETECTOR_SIDE
    found: list[tuple[float, tuple[float, float, float, float]]] = []
    for i in np.argsort(-scores):
        score = _sigmoid(float(scores[i]))
        if score < _LEAST_DETECTION:
            break
        x, y = (boxes[i, 0] + _anchors()[i]) * side + [left, top]
        size = float(boxes[i, 1].max()) * side
        eyes = boxes[i, 3] - boxes[i, 2]
        if all(max(abs(x - b[0]), abs(y - b[1])) > 0.3 * b[2] for _, b in found):
            roll = float(np.arctan2(eyes[1], eyes[0]))
            found.append((score, (float(x), float(y), 1.5 * size, roll)))
    return found


@lru_cache(maxsize=1)
def _anchors() -> Array:
    """(896, 2) centres that BlazeFace's boxes are offsets from, parts of its picture."""
    found = []
    for cells, each in ((16, 2), (8, 6)):
        v, u = np.mgrid[:cells, :cells]
        centres = (np.stack([u, v], -1).reshape(-1, 1, 2) + 0.5) / cells
        found.append(np.repeat(centres, each, 1).reshape(-1, 2))
    return np.concatenate(found)


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -60, 60))))
