"""Faces and their landmarks: BlazeFace looks for faces, the face mesh places 468 points on each.

The mesh knows faces up to about 70 degrees from the front.  A face that BlazeFace sees and the
mesh does not confirm is most likely a profile: :func:`search_faces` hands its six key points on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.portraits.face_models import DETECTOR, MESH, run

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
_LEAST_DETECTION, _LEAST_PRESENCE, _LEAST_INVERTED = 0.5, 0.5, 0.95
"""Least score of the detector, least presence of the mesh, and of a face that stands on its head:
photos of those reach 0.999, profiles that the mesh takes for them up to 0.9."""
_INVERTED_ODDS = 50.0
"""Odds of the inverted face over those of the upright one from which it is taken.  Photos on their
head have 90 and more; a grinning beard below shut eyes has 36."""
_WINDOWS = ((1, 1.0), (2, 0.6), (3, 0.4), (5, 0.25), (8, 0.15))
"""Windows along each side of a photo and their size: the finer ones for small faces."""
_ALWAYS = 1
"""Up to this pair several faces are looked for, then the search ends with the first."""
_MOST = 6
"""Boxes of each pair that are looked at."""
_SAME_FACE = 0.45
"""Distance from a face's middle within which a detection is of that face, box sides."""
_MESH_MARGIN = 1.5
"""Side of the mesh's window, box sides."""
_AGAIN_SIDE, _AGAIN_ASIDE, _AGAIN_LEAST = 3.2, (-0.15, 0.15), 0.4
"""Side and horizontal offsets of the windows of the second look, box sides, and the least score
that repeats a detection."""


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

    @property
    def odds(self) -> float:
        """Of presence."""
        return self.presence / max(1.0 - self.presence, 1e-12)


@dataclass(frozen=True, eq=False)
class Detection:
    """A face that BlazeFace sees.

    Attributes:
        centre: (2,) pixels of the photo, middle of the box.
        side: of the box, pixels: brow to chin.
        points: (6, 2) key points, pixels: right eye, left eye, tip of the nose, mouth, right and
            left tragus (before the ear); right and left of the person.
        score: how sure the detector is, 0 to 1.

    """

    centre: Array
    side: float
    points: Array
    score: float

    @property
    def roll(self) -> float:
        """Of the line between the eyes in the picture, radians, clockwise."""
        across = self.points[1] - self.points[0]
        return float(np.arctan2(across[1], across[0]))

    def is_near(self, point: Array, sides: float) -> bool:
        """Whether a point lies within so many box sides of the centre, along each axis."""
        return bool(np.abs(self.centre - point).max() < sides * self.side)


def stable_points(rgb: Pixels) -> Array | None:
    """(n, 2) pixels of points of the surest face that stay where they are as the head turns.

    Args:
        rgb: (h, w, 3) uint8, upright.

    Returns:
        Right, left, top and bottom of the face, then others; None where no face is found.

    """
    faces = find_landmarks(rgb)
    return faces[0].points[list(_STABLE)] if faces else None


def find_landmarks(rgb: Pixels) -> list[Landmarks]:
    """Faces with their landmarks, the surest first; see :func:`search_faces`."""
    return search_faces(rgb)[0]


def search_faces(rgb: Pixels) -> tuple[list[Landmarks], list[Detection]]:
    """Faces of a photo.

    Args:
        rgb: (h, w, 3) uint8, upright.

    Returns:
        Faces that the mesh confirms, and detections that it does not; the surest first.  The
        second list is empty where the first is not.

    Raises:
        Dp3dError: ``portrait.model_missing``.

    """
    faces: list[Landmarks] = []
    doubtful: list[Detection] = []
    for level, (parts, size) in enumerate(_WINDOWS):
        if level > _ALWAYS and faces:
            break
        for detection in _detect(rgb, parts, size):
            if any(detection.is_near(face.points.mean(0), _SAME_FACE) for face in faces):
                continue
            face = _landmarks_of(rgb, detection)
            if face.presence < _LEAST_PRESENCE:
                doubtful.append(detection)
                continue
            middle, width = face.points.mean(0), np.ptp(face.points[:, 0])
            if all(np.abs(other.points.mean(0) - middle).max() > 0.5 * width for other in faces):
                faces.append(face)
    faces.sort(key=lambda face: -face.presence * np.sqrt(np.ptp(face.points[:, 0])))
    return faces, [] if faces else _look_again(rgb, doubtful)


def _landmarks_of(rgb: Pixels, detection: Detection) -> Landmarks:
    """Landmarks of a detection, upright or upside down: the detector does not know which."""
    side = _MESH_MARGIN * detection.side
    upright = _refine(rgb, detection.centre, side, detection.roll)
    inverted = _refine(rgb, detection.centre, side, detection.roll + np.pi)
    stands = inverted.presence < _LEAST_INVERTED or inverted.odds < _INVERTED_ODDS * upright.odds
    return upright if stands else inverted


def _look_again(rgb: Pixels, detections: list[Detection]) -> list[Detection]:
    """Detections that BlazeFace repeats in windows made for them, the surest first.

    The windows hold the face at the size that BlazeFace was trained for; their mean places key
    points better and drops chance hits of the first search.
    """
    repeated: list[Detection] = []
    for first in sorted(detections, key=lambda detection: -detection.score * detection.side):
        if any(other.is_near(first.centre, 1.0) for other in repeated):
            continue
        looks = []
        for aside in _AGAIN_ASIDE:
            left, top = first.centre + first.side * (np.array([aside, 0]) - _AGAIN_SIDE / 2)
            side = _AGAIN_SIDE * first.side
            seen = _detect_in(rgb, float(left), float(top), side, _AGAIN_LEAST)
            looks += [d for d in seen if first.is_near(d.centre, 0.5)][:1]
        if len(looks) == len(_AGAIN_ASIDE):
            repeated.append(_mean_of(looks))
    return sorted(repeated, key=lambda detection: -detection.score * np.sqrt(detection.side))


def _mean_of(looks: list[Detection]) -> Detection:
    return Detection(
        np.mean([look.centre for look in looks], 0),
        float(np.mean([look.side for look in looks])),
        np.mean([look.points for look in looks], 0),
        float(np.mean([look.score for look in looks])),
    )


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


def _detect(rgb: Pixels, parts: int, size: float) -> list[Detection]:
    """Faces in windows that cover a photo, the surest first.

    Args:
        rgb: the photo.
        parts: windows along each side.
        size: of a window, parts of the photo's longer side.

    """
    height, width = rgb.shape[:2]
    side = size * max(height, width)
    places = np.linspace(0, 1, parts) if parts > 1 else np.array([0.5])
    detections = []
    for y in places * max(height - side, 0) + min(height - side, 0) / 2:
        for x in places * max(width - side, 0) + min(width - side, 0) / 2:
            detections += _detect_in(rgb, float(x), float(y), side)
    return sorted(detections, key=lambda detection: -detection.score)[:_MOST]


def _detect_in(
    rgb: Pixels, left: float, top: float, side: float, least: float = _LEAST_DETECTION
) -> list[Detection]:
    """Faces in a square window, which may reach outside the photo, the surest first."""
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
    detections: list[Detection] = []
    for i in np.argsort(-scores):
        score = _sigmoid(float(scores[i]))
        if score < least:
            break
        # rows of a box: centre, size, six key points
        centre, *points = (boxes[i, [0, 2, 3, 4, 5, 6, 7]] + _anchors()[i]) * side + [left, top]
        if not any(other.is_near(centre, _SAME_FACE) for other in detections):
            size = float(boxes[i, 1].max()) * side
            detections.append(Detection(centre, size, np.array(points), score))
    return detections


@lru_cache(maxsize=1)
def _anchors() -> Array:
    """(896, 2) centres that BlazeFace's boxes are offsets from, parts of its picture."""
    anchors = []
    for cells, each in ((16, 2), (8, 6)):
        v, u = np.mgrid[:cells, :cells]
        centres = (np.stack([u, v], -1).reshape(-1, 1, 2) + 0.5) / cells
        anchors.append(np.repeat(centres, each, 1).reshape(-1, 2))
    return np.concatenate(anchors)


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -60, 60))))
