"""Face detection: the faces of an upright photo, the most promising first."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dp3d_core.portraits.head_state import HeadState, landmark_state
from dp3d_core.portraits.landmarks import CHIN, FOREHEAD, Detection, Landmarks, search_faces
from dp3d_core.portraits.picture_map import picture_map

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_SIDES = (234, 454)
_NOSE_TIP = 4
"""Landmarks: the right and the left edge of the face, and the tip of the nose."""
_LEAST_ASIDE = 0.4
"""Distance of the nose from the middle of the ears that a profile has, spans of its key points."""
PROFILE_YAW_DEG = 78.0
"""Yaw, to either side, of a face that the mesh does not confirm."""
_PROFILE_CONFIDENCE = 0.4
"""Confidence in a face that the mesh does not confirm, at a score of 1."""


@dataclass(frozen=True)
class Face:
    """One face of an upright photo."""

    x: float
    """Centre of the face box, pixels."""
    y: float
    side: float
    """Side of the square face box, pixels: brow to chin, cheek to cheek."""
    confidence: float
    """0 to 1."""
    yaw_deg: float
    """Direction the head is turned, roughly: the yaw of the camera that would see it frontally
    is 0; positive when the camera stands to the head's +x side."""
    detector: Literal["landmarks", "blazeface"]
    """``blazeface``: only the detector sees the face, most likely a profile."""
    points: Array | None = field(default=None, compare=False, repr=False)
    """(468, 2) landmarks, pixels; None for a face that only the detector sees."""
    depth: Array | None = field(default=None, compare=False, repr=False)
    """(468,) their depth, pixels."""
    state: HeadState | None = field(default=None, compare=False, repr=False)
    """The head as landmarks and the picture around them show it, pixels of the photo."""
    key_points: Array | None = field(default=None, compare=False, repr=False)
    """(6, 2) key points of the detector, pixels, where there are no landmarks."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, rounded to a tenth of a pixel."""
        return {
            "x": round(self.x, 1),
            "y": round(self.y, 1),
            "side": round(self.side, 1),
            "confidence": round(self.confidence, 3),
            "yaw_deg": round(self.yaw_deg, 1),
            "detector": self.detector,
        }


def detect_faces(rgb: Pixels) -> list[Face]:
    """Faces in a photo.

    Args:
        rgb: (h, w, 3) uint8, upright.

    Returns:
        Faces ordered by confidence and size; empty when there is none.

    Raises:
        Dp3dError: ``portrait.model_missing``.

    """
    landmarks, doubtful = search_faces(rgb)
    faces = [replace(_face_of_landmarks(face), state=_state(rgb, face)) for face in landmarks]
    faces += [_profile(detection) for detection in doubtful if _is_profile(detection)]
    # cubed: a large something that is hardly a face stands behind a small sure face
    return sorted(faces, key=lambda face: -(face.confidence**3) * math.sqrt(face.side))


def _state(rgb: Pixels, landmarks: Landmarks) -> HeadState:
    """The head as landmarks and the picture around them show it."""
    return picture_map()(rgb, landmark_state(landmarks.points, landmarks.depth))


def _face_of_landmarks(landmarks: Landmarks) -> Face:
    """Box and rough yaw; the box has 1.05 times the height from the hairline to the chin."""
    points = landmarks.points
    centre = points[[FOREHEAD, CHIN, *_SIDES]].mean(0)
    side = 1.05 * float(np.linalg.norm(points[CHIN] - points[FOREHEAD]))
    # the nose stands before the middle of the cheeks by about half their distance
    across = points[_SIDES[1]] - points[_SIDES[0]]
    offset = (points[_NOSE_TIP] - points[list(_SIDES)].mean(0)) @ across / (across @ across)
    yaw = -math.degrees(math.asin(float(np.clip(offset / 0.6, -1, 1))))
    return Face(
        float(centre[0]),
        float(centre[1]),
        side,
        0.99 * landmarks.presence,
        yaw,
        "landmarks",
        landmarks.points,
        landmarks.depth,
    )


def _profile(detection: Detection) -> Face:
    return Face(
        float(detection.centre[0]),
        float(detection.centre[1]),
        detection.side,
        _PROFILE_CONFIDENCE * detection.score,
        math.copysign(PROFILE_YAW_DEG, _ears_aside(detection)),
        "blazeface",
        key_points=detection.points,
    )


def _is_profile(detection: Detection) -> bool:
    """Whether the nose lies beside the ears and not between them, as only a profile has it."""
    return abs(_ears_aside(detection)) > _LEAST_ASIDE


def _ears_aside(detection: Detection) -> float:
    """How far the middle of the ears lies right of the nose in the picture, spans of all points."""
    nose, ears = detection.points[2], detection.points[4:6].mean(0)
    return float((ears[0] - nose[0]) / np.ptp(detection.points, 0).max())
