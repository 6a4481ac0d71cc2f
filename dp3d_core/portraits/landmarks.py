"""Face landmarks: BlazeFace detects faces, the face mesh places 468 points on each.

The mesh handles yaw up to about 70 degrees.  A detection that the mesh does not confirm is most
likely a profile; :func:`search_faces` returns it with BlazeFace's six key points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from dp3d_core.arrays import Array, Pixels
from dp3d_core.heads.face_mesh import FACE_OVAL, LEFT_EYE, POINTS, RIGHT_EYE
from dp3d_core.portraits.face_models import DETECTOR, MESH, run

_STABLE = (
    *(RIGHT_EYE, LEFT_EYE, 9, 200),  # between the brows, and the front of the chin
    *(i for i in range(POINTS) if i not in (*FACE_OVAL, RIGHT_EYE, LEFT_EYE, 9, 200)),
)
"""Landmarks inside the outline; the outline itself slides over the cheeks as the head turns."""

_DETECTOR_SIDE = 128
"""Side of BlazeFace's input, pixels."""
_MESH_SIDE = 192
"""Side of the face mesh's input, pixels."""
_MIN_SCORE = 0.5
"""Least detector score of a detection."""
_MIN_PRESENCE = 0.5
"""Least presence at which the mesh confirms a detection."""
_MIN_INVERTED_PRESENCE = 0.95
"""Least presence of an upside-down face: true ones reach 0.999, misread profiles up to 0.9."""
_INVERTED_ODDS = 50.0
"""Least ratio of the odds of the inverted to those of the upright face.  Photos upside down have
90 and more; a grinning bearded face with shut eyes has 36."""
_WINDOWS = ((1, 1.0), (2, 0.6), (3, 0.4), (5, 0.25), (8, 0.15))
"""Search levels, coarse to fine: windows along each side of a photo, and their side as a fraction
of the photo's longer side."""
_LAST_FULL_LEVEL = 1
"""Level up to which all faces are collected; finer levels are searched only without a face."""
_MAX_DETECTIONS = 6
"""Greatest number of detections per level that the mesh examines."""
_SAME_FACE = 0.45
"""Distance of a detection from a face within which both are one face, box sides."""
_MESH_MARGIN = 1.5
"""Side of the mesh's window, box sides."""
_REPEAT_SIDE = 3.2
"""Side of the windows in which a detection is repeated, box sides."""
_REPEAT_OFFSETS = (-0.15, 0.15)
"""Horizontal offsets of the windows in which a detection is repeated, box sides."""
_MIN_REPEAT_SCORE = 0.4
"""Least detector score of a repeated detection."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Landmarks of a face.

    Attributes:
        points: (468, 2) pixels of the photo, in the order of MediaPipe's face mesh.
        depth: (468,) pixels, relative to the face's middle, positive farther from the camera.
        presence: the mesh's probability of a face, 0 to 1.

    """

    points: Array
    depth: Array
    presence: float

    @property
    def odds(self) -> float:
        """Odds of a face, presence / (1 - presence)."""
        return self.presence / max(1.0 - self.presence, 1e-12)


@dataclass(frozen=True, eq=False)
class Detection:
    """A face detected by BlazeFace.

    Attributes:
        centre: (2,) centre of the box, pixels of the photo.
        side: side of the box, brow to chin, pixels.
        points: (6, 2) key points, pixels: right eye, left eye, tip of the nose, mouth, right
            tragus, left tragus (in front of the ear); right and left of the person.
        score: the detector's probability of a face, 0 to 1.

    """

    centre: Array
    side: float
    points: Array
    score: float

    @property
    def roll(self) -> float:
        """Angle of the line between the eyes in the image, radians, clockwise."""
        eye_line = self.points[1] - self.points[0]
        return float(np.arctan2(eye_line[1], eye_line[0]))

    def is_near(self, point: Array, sides: float) -> bool:
        """Whether a point (2,) lies within ``sides`` box sides of the centre along each axis."""
        return bool(np.abs(self.centre - point).max() < sides * self.side)


def stable_points(rgb: Pixels) -> Array | None:
    """(n, 2) landmarks of the best face that stay on the skin as the head turns, pixels.

    Args:
        rgb: (h, w, 3) uint8, upright.

    Returns:
        Right, left, top and bottom of the face, then the others; None without a face.

    """
    faces = find_landmarks(rgb)
    return faces[0].points[list(_STABLE)] if faces else None


def find_landmarks(rgb: Pixels) -> list[Landmarks]:
    """Landmarks of all confirmed faces, best first; see :func:`search_faces`."""
    return search_faces(rgb)[0]


def search_faces(rgb: Pixels) -> tuple[list[Landmarks], list[Detection]]:
    """Search a photo for faces, coarse to fine.

    Args:
        rgb: (h, w, 3) uint8, upright.

    Returns:
        Faces that the mesh confirms, best first.  If there are none, detections that it does not
        confirm, best first; otherwise an empty list.

    Raises:
        Dp3dError: ``portrait.model_missing``.

    """
    faces: list[Landmarks] = []
    unconfirmed: list[Detection] = []
    for level, (parts, fraction) in enumerate(_WINDOWS):
        if level > _LAST_FULL_LEVEL and faces:
            break
        for detection in _detect(rgb, parts, fraction):
            if any(detection.is_near(face.points.mean(0), _SAME_FACE) for face in faces):
                continue
            face = _landmarks_of(rgb, detection)
            if face.presence < _MIN_PRESENCE:
                unconfirmed.append(detection)
                continue
            middle, width = face.points.mean(0), np.ptp(face.points[:, 0])
            if all(np.abs(other.points.mean(0) - middle).max() > 0.5 * width for other in faces):
                faces.append(face)
    faces.sort(key=lambda face: -face.presence * np.sqrt(np.ptp(face.points[:, 0])))
    return faces, [] if faces else _repeated(rgb, unconfirmed)


def _landmarks_of(rgb: Pixels, detection: Detection) -> Landmarks:
    """Landmarks of a detection, upright or upside down: BlazeFace does not tell which."""
    side = _MESH_MARGIN * detection.side
    upright = _refine(rgb, detection.centre, side, detection.roll)
    inverted = _refine(rgb, detection.centre, side, detection.roll + np.pi)
    is_inverted = (
        inverted.presence >= _MIN_INVERTED_PRESENCE
        and inverted.odds >= _INVERTED_ODDS * upright.odds
    )
    return inverted if is_inverted else upright


def _repeated(rgb: Pixels, detections: list[Detection]) -> list[Detection]:
    """Detections that BlazeFace repeats in windows centred on them, best first.

    In these windows a face has the size that BlazeFace was trained on.  The mean over them places
    key points better, and false positives of the first search are not repeated.
    """
    repeated: list[Detection] = []
    for first in sorted(detections, key=lambda detection: -detection.score * detection.side):
        if any(other.is_near(first.centre, 1.0) for other in repeated):
            continue
        repeats = []
        for offset in _REPEAT_OFFSETS:
            left, top = first.centre + first.side * (np.array([offset, 0]) - _REPEAT_SIDE / 2)
            side = _REPEAT_SIDE * first.side
            detected = _detect_in(rgb, float(left), float(top), side, _MIN_REPEAT_SCORE)
            repeats += [d for d in detected if first.is_near(d.centre, 0.5)][:1]
        if len(repeats) == len(_REPEAT_OFFSETS):
            repeated.append(_mean_of(repeats))
    return sorted(repeated, key=lambda detection: -detection.score * np.sqrt(detection.side))


def _mean_of(detections: list[Detection]) -> Detection:
    """Mean of several detections of one face."""
    return Detection(
        np.mean([detection.centre for detection in detections], 0),
        float(np.mean([detection.side for detection in detections])),
        np.mean([detection.points for detection in detections], 0),
        float(np.mean([detection.score for detection in detections])),
    )


def _refine(rgb: Pixels, centre: Array, side: float, roll: float) -> Landmarks:
    """Landmarks of the face in a box; each of three rounds reframes it by the landmarks before."""
    presence, points, depth = 0.0, np.zeros((POINTS, 2)), np.zeros(POINTS)
    for _ in range(3):
        presence, points, depth = _mesh(rgb, centre, side, roll)
        eye_line = points[LEFT_EYE] - points[RIGHT_EYE]
        roll = float(np.arctan2(eye_line[1], eye_line[0]))
        low, high = points.min(0), points.max(0)
        centre, side = (low + high) / 2, float(1.5 * (high - low).max())
        if presence < 0.05:
            break
    return Landmarks(points, depth, presence)


def _mesh(rgb: Pixels, centre: Array, side: float, roll: float) -> tuple[float, Array, Array]:
    """Presence, landmarks (468, 2) and depth (468,), pixels, in a rotated square window."""
    step = side / _MESH_SIDE
    rotation = step * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    corner = centre - rotation @ np.full(2, _MESH_SIDE / 2)
    source = rgb
    if step > 1.5:
        source = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.5 * step), np.uint8)
    # OpenCV puts pixel centres at whole numbers, we put them at halves
    matrix = np.column_stack([rotation, corner + rotation @ [0.5, 0.5] - 0.5])
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
    return _sigmoid(score), local[:, :2] @ rotation.T + corner, local[:, 2] * step


def _detect(rgb: Pixels, parts: int, fraction: float) -> list[Detection]:
    """Detections in a grid of windows that covers a photo, best first.

    Args:
        rgb: (h, w, 3) the photo.
        parts: number of windows along each side.
        fraction: side of a window, as a fraction of the photo's longer side.

    """
    height, width = rgb.shape[:2]
    side = fraction * max(height, width)
    positions = np.linspace(0, 1, parts) if parts > 1 else np.array([0.5])
    detections = []
    for y in positions * max(height - side, 0) + min(height - side, 0) / 2:
        for x in positions * max(width - side, 0) + min(width - side, 0) / 2:
            detections += _detect_in(rgb, float(x), float(y), side)
    return sorted(detections, key=lambda detection: -detection.score)[:_MAX_DETECTIONS]


def _detect_in(
    rgb: Pixels, left: float, top: float, side: float, min_score: float = _MIN_SCORE
) -> list[Detection]:
    """Detections in a square window, which may extend beyond the photo, best first."""
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
        if score < min_score:
            break
        # rows of a box: centre, size, six key points
        centre, *points = (boxes[i, [0, 2, 3, 4, 5, 6, 7]] + _anchors()[i]) * side + [left, top]
        if not any(other.is_near(centre, _SAME_FACE) for other in detections):
            size = float(boxes[i, 1].max()) * side
            detections.append(Detection(centre, size, np.array(points), score))
    return detections


@lru_cache(maxsize=1)
def _anchors() -> Array:
    """(896, 2) anchor centres of BlazeFace's boxes, as fractions of its input."""
    anchors = []
    for cells, per_cell in ((16, 2), (8, 6)):
        v, u = np.mgrid[:cells, :cells]
        centres = (np.stack([u, v], -1).reshape(-1, 1, 2) + 0.5) / cells
        anchors.append(np.repeat(centres, per_cell, 1).reshape(-1, 2))
    return np.concatenate(anchors)


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -60, 60))))
