"""Faces of an upright photo, best first: box, rough yaw, landmarks and initial head state.

``landmarks`` finds them; ``picture_map`` corrects the head state that the landmarks imply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from dp3d_core.arrays import Array, Pixels
from dp3d_core.heads.face_mesh import CHIN, FOREHEAD
from dp3d_core.portraits.head_state import HeadState, landmark_state
from dp3d_core.portraits.landmarks import Detection, Landmarks, search_faces
from dp3d_core.portraits.picture_map import picture_map

_CHEEKS = (234, 454)
"""Landmarks at the right and the left edge of the face."""
_NOSE_TIP = 4
"""Landmark at the tip of the nose."""
_MIN_EAR_OFFSET = 0.4
"""Least distance of nose and mid-ears in a profile, as a fraction of the key points' extent."""
PROFILE_YAW_DEG = 78.0
"""Absolute yaw assumed for a face that only the detector sees."""
_PROFILE_CONFIDENCE = 0.4
"""Confidence in a face that only the detector sees, at detector score 1."""


@dataclass(frozen=True)
class Face:
    """One face of an upright photo."""

    x: float
    """Column of the face box's centre, pixels."""
    y: float
    """Row of the face box's centre, pixels."""
    side: float
    """Side of the square face box, pixels: brow to chin, cheek to cheek."""
    confidence: float
    """Confidence that this is a face, 0 to 1."""
    yaw_deg: float
    """Rough yaw of the camera about the head: 0 in front, positive on the head's +x side."""
    detector: Literal["landmarks", "blazeface"]
    """``blazeface`` if only the detector sees the face, most likely a profile."""
    points: Array | None = field(default=None, compare=False, repr=False)
    """(468, 2) landmarks, pixels; None for a face that only the detector sees."""
    depth: Array | None = field(default=None, compare=False, repr=False)
    """(468,) depth of the landmarks, pixels."""
    state: HeadState | None = field(default=None, compare=False, repr=False)
    """Head state estimated from landmarks and image, in pixels of the photo."""
    key_points: Array | None = field(default=None, compare=False, repr=False)
    """(6, 2) key points of the detector, pixels; None where there are landmarks."""

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
    """Detect faces.

    Args:
        rgb: (h, w, 3) uint8, upright.

    Returns:
        Faces, best first by confidence and size; empty if there are none.

    Raises:
        Dp3dError: ``portrait.model_missing``.

    """
    landmarks, unconfirmed = search_faces(rgb)
    faces = [replace(_face_of_landmarks(face), state=_state(rgb, face)) for face in landmarks]
    faces += [_profile(detection) for detection in unconfirmed if _is_profile(detection)]
    # cubed, so that a small face of high confidence precedes a large doubtful one
    return sorted(faces, key=lambda face: -(face.confidence**3) * math.sqrt(face.side))


def _state(rgb: Pixels, landmarks: Landmarks) -> HeadState:
    """Head state of the landmarks, corrected by the image around them."""
    return picture_map()(rgb, landmark_state(landmarks.points, landmarks.depth))


def _face_of_landmarks(landmarks: Landmarks) -> Face:
    """Face with its box, 1.05 times hairline to chin, and a rough yaw from the nose."""
    points = landmarks.points
    centre = points[[FOREHEAD, CHIN, *_CHEEKS]].mean(0)
    side = 1.05 * float(np.linalg.norm(points[CHIN] - points[FOREHEAD]))
    # the tip of the nose lies in front of the mid-cheeks by about half the cheeks' distance
    across = points[_CHEEKS[1]] - points[_CHEEKS[0]]
    offset = (points[_NOSE_TIP] - points[list(_CHEEKS)].mean(0)) @ across / (across @ across)
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
    """Face of a detection without landmarks, taken for a profile."""
    return Face(
        float(detection.centre[0]),
        float(detection.centre[1]),
        detection.side,
        _PROFILE_CONFIDENCE * detection.score,
        math.copysign(PROFILE_YAW_DEG, _ear_offset(detection)),
        "blazeface",
        key_points=detection.points,
    )


def _is_profile(detection: Detection) -> bool:
    """Whether the nose lies beside the ears rather than between them, as in a profile."""
    return abs(_ear_offset(detection)) > _MIN_EAR_OFFSET


def _ear_offset(detection: Detection) -> float:
    """Offset of the mid-ears to the right of the nose, as a fraction of the key points' extent."""
    nose, ears = detection.points[2], detection.points[4:6].mean(0)
    return float((ears[0] - nose[0]) / np.ptp(detection.points, 0).max())
