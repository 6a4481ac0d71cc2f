"""Face detection: where the head is, with what works offline.

Default: the frontal and profile Haar cascades bundled with OpenCV 4 (no download, no
weights; OpenCV 5 dropped them).  Better: face landmarks, used when their model is installed
(``dp3d setup models``, ``dp3d_core.face_models``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.errors import Dp3dError
from dp3d_core.face_models import installed
from dp3d_core.landmarks import CHIN, FOREHEAD, Landmarks, find_landmarks

Pixels = NDArray[np.uint8]

DETECTION_SIDE = 1024
"""Longest image side given to the cascades, pixels."""

_SIDES = (234, 454)
_NOSE_TIP = 4
"""Landmarks: the right and the left edge of the face, and the tip of the nose."""

PROFILE_YAW_DEG = 65.0
"""Yaw assumed for a face that only the profile cascade finds."""


@dataclass(frozen=True)
class Face:
    """One face found in an upright photo."""

    x: float
    """Centre of the face box, pixels."""
    y: float
    side: float
    """Side of the square face box, pixels: brow to chin, cheek to cheek."""
    confidence: float
    """0 to 1."""
    yaw_deg: float
    """Direction the head is turned: the yaw of the camera that would see it frontally is 0;
    positive when the camera stands to the head's +x side."""
    detector: str
    points: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    """(468, 2) landmarks, pixels, where the detector gives them."""
    depth: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    """(468,) their depth, pixels."""

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
    """Faces in a photo, the most promising first.

    Args:
        rgb: (h, w, 3) uint8, upright.

    Returns:
        Faces ordered by confidence and size; empty when there is none.

    """
    faces = [_face_from_landmarks(found) for found in find_landmarks(rgb)]
    if not faces:
        faces = _detect_with_cascades(rgb)
        boxes = [(face.x, face.y, 1.5 * face.side) for face in faces]
        seen = [_face_from_landmarks(found) for found in find_landmarks(rgb, boxes)]
        if seen or installed():
            # what looks like a face to the cascades alone is none, unless seen from the side
            faces = seen or [face for face in faces if face.detector == "profileface"]
    return sorted(faces, key=lambda face: -face.confidence * math.sqrt(face.side))


# -- cascades ------------------------------------------------------------------------------


def _cascade(name: str) -> cv2.CascadeClassifier:
    path = Path(cv2.data.haarcascades) / f"{name}.xml"  # type: ignore[attr-defined]
    if not path.is_file():
        raise Dp3dError(
            "portrait.model_missing",
            "The installed OpenCV carries no face cascades.",
            'Install an OpenCV 4: pip install "opencv-python-headless<5".',
            str(path),
        )
    return cv2.CascadeClassifier(str(path))


def _detect_with_cascades(rgb: Pixels) -> list[Face]:
    scale = min(1.0, DETECTION_SIDE / max(rgb.shape[:2]))
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    elif max(grey.shape) < 320:
        scale = 320 / max(grey.shape)
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)

    # Stage weights of the two frontal cascades live on different scales; both put true faces
    # of our samples near their upper reference and chance hits near the lower one.
    runs = [
        ("haarcascade_frontalface_default", False, 0.0, (0.5, 6.0)),
        ("haarcascade_frontalface_alt2", False, 0.0, (54.5, 57.0)),
        # the cascade knows faces that look to the picture's left
        ("haarcascade_profileface", False, PROFILE_YAW_DEG, (0.0, 2.0)),
        ("haarcascade_profileface", True, -PROFILE_YAW_DEG, (0.0, 2.0)),
    ]
    found: list[Face] = []
    for name, mirrored, yaw, (low, high) in runs:
        image = np.ascontiguousarray(grey[:, ::-1]) if mirrored else grey
        least = max(24, int(min(grey.shape) * 0.06))
        boxes, _, weights = _cascade(name).detectMultiScale3(
            image, 1.05, 4, minSize=(least, least), outputRejectLevels=True
        )
        for (x, y, w, h), weight in zip(boxes, np.ravel(weights), strict=True):
            left = grey.shape[1] - x - w if mirrored else x
            confidence = float(np.clip((weight - low) / (high - low), 0.02, 1))
            if "profile" in name:
                # A profile hit on a frontal face is common, the other way round is not.
                confidence *= 0.8
                # its box reaches to the ear: move it to where a frontal box would be
                left -= int(math.copysign(0.21 * w, yaw))
            found.append(
                Face(
                    float(left + w / 2) / scale,
                    float(y + h / 2) / scale,
                    float(w) / scale,
                    confidence,
                    yaw,
                    name.removeprefix("haarcascade_"),
                )
            )
    return _merge(found)


def detect_eyes(rgb: Pixels, face: Face) -> tuple[tuple[float, float], ...] | None:
    """The two eyes of a frontal face, photo pixels, the left one in the picture first.

    Returns:
        Two points, or None where the cascades do not agree on a pair.

    """
    side = face.side
    left, top = face.x - side / 2, face.y - side / 2
    x0, y0 = max(0, int(left)), max(0, int(top + 0.12 * side))
    x1, y1 = int(left + side), int(top + 0.62 * side)
    patch = cv2.cvtColor(rgb[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY) if rgb[y0:y1, x0:x1].size else None
    if patch is None or min(patch.shape) < 20:
        return None
    scale = 240 / side
    patch = cv2.resize(patch, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found: list[tuple[float, float, float, float]] = []
    for name in ("haarcascade_eye", "haarcascade_eye_tree_eyeglasses"):
        boxes, _, weights = _cascade(name).detectMultiScale3(
            patch, 1.05, 3, minSize=(28, 28), maxSize=(90, 90), outputRejectLevels=True
        )
        for (x, y, w, h), weight in zip(boxes, np.ravel(weights), strict=True):
            found.append(
                (x0 + (x + w / 2) / scale, y0 + (y + h / 2) / scale, w / scale, float(weight))
            )
    best: tuple[float, tuple[tuple[float, float], ...]] | None = None
    for a in found:
        for b in found:
            apart, drop = (b[0] - a[0]) / side, abs(b[1] - a[1]) / side
            if 0.26 < apart < 0.56 and drop < 0.3 * apart and 0.6 < a[2] / b[2] < 1.6:
                middle = abs((a[0] + b[0]) / 2 - face.x) / side
                value = a[3] + b[3] - 8 * middle - 10 * abs(apart - 0.40)
                if best is None or value > best[0]:
                    best = value, ((a[0], a[1]), (b[0], b[1]))
    return best[1] if best else None


def _merge(faces: list[Face]) -> list[Face]:
    """Overlapping hits as one: frontal wins over profile; agreement raises confidence."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.confidence):
        for i, other in enumerate(kept):
            distance = math.hypot(face.x - other.x, face.y - other.y)
            if distance < 0.5 * max(face.side, other.side):
                if face.detector != other.detector and 0.75 < face.side / other.side < 1.33:
                    joint = 1 - (1 - face.confidence) * (1 - other.confidence)
                    # the cascades frame a face a little differently: meet in the middle
                    same = face.yaw_deg == other.yaw_deg and distance < 0.15 * other.side
                    x, y, side = (
                        (a + b) / 2 if same else b
                        for a, b in (
                            (face.x, other.x),
                            (face.y, other.y),
                            (face.side, other.side),
                        )
                    )
                    kept[i] = Face(x, y, side, joint, other.yaw_deg, other.detector)
                break
        else:
            kept.append(face)
    return kept


# -- landmarks -----------------------------------------------------------------------------


def _face_from_landmarks(found: Landmarks) -> Face:
    """Face box and rough yaw from the points of the face mesh.

    The box is made comparable to the cascades': about 1.05 face heights around the middle.
    """
    points = found.points
    top, chin = points[FOREHEAD], points[CHIN]
    centre = points[[FOREHEAD, CHIN, *_SIDES]].mean(0)
    side = 1.05 * float(np.linalg.norm(chin - top))
    # the nose stands before the middle of the cheeks by about half their distance
    across = points[_SIDES[1]] - points[_SIDES[0]]
    offset = (points[_NOSE_TIP] - points[list(_SIDES)].mean(0)) @ across / (across @ across)
    yaw = -math.degrees(math.asin(float(np.clip(offset / 0.6, -1, 1))))
    confidence = 0.99 * found.presence
    return Face(
        float(centre[0]),
        float(centre[1]),
        side,
        confidence,
        yaw,
        "landmarks",
        found.points,
        found.depth,
    )
