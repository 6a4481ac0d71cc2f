"""Warnings of a portrait: sentences for the user, and the confidence that its defects cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from dp3d_core.arrays import Mask, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.portraits.crop import CROP_SIZE, Crop
from dp3d_core.portraits.detection import Face
from dp3d_core.portraits.pose import Alignment, HeadAngles, fit_face

SMALL_FACE = 96
"""Side of a face box, pixels, below which the views will be blurred."""
LOW_CONFIDENCE = 0.45
"""Confidence in a face below which the user is asked to check the crop."""
FAR_ANGLE_DEG = 25.0
"""Least angle between angles set by hand and the fitted pose that is a contradiction."""
TURNED_DEG = 22.0
"""Absolute yaw above which a head is turned."""
PROFILE_DEG = 55.0
"""Absolute yaw above which a head is a profile."""
TILTED_DEG = 22.0
"""Absolute pitch above which a head is tilted."""
LYING_DEG = 50.0
"""Absolute roll above which a head is not upright."""
_RIVAL_CONFIDENCE = 0.6
"""Confidence of another face above which a warning mentions the choice."""
_MARGINS = (
    ("the top of the head", (0.0, 0.285, -0.02)),
    ("the neck", (0.0, -0.27, 0.03)),
)
"""Points of an average head, head units, that a photo of the whole head shows, by name."""
_SIDES = ((0.19, 0.05, -0.05), (-0.19, 0.05, -0.05))
"""Points at the left and right side of an average head, head units."""
_HEAD_CENTRE = (0.0, 0.03, -0.02)
"""Centre of the ellipsoid of an average head with hair, head units."""
_HEAD_AXES = (0.18, 0.26, 0.22)
"""Semi-axes of the ellipsoid of an average head with hair, head units."""
_FREE_MISSING = 0.1
"""Fraction of a head beyond the photo that costs no confidence."""
_NO_FACE = "No face was found, so the middle of the photo is used; "
"""Start of the warning about a photo without a face."""
_LOW_CONFIDENCE = "The face was found with low confidence"
_RIVALS = "More than one face was found and the clearest is used"
_GUESSED = ("The head is seen from", "The head is turned by", "The photo does not show")
"""Starts of the warnings about parts of the head that are guessed without further photos."""
_EDGES = ("left", "right", "top", "bottom")
"""Names of the photo's edges."""
_MIN_CUT = 0.02
"""Fraction of the landmarks beyond an edge of the photo above which the edge cuts the face."""


def photo_warnings(rgb: Pixels, faces: list[Face], chosen: Face | None, source: str) -> list[str]:
    """Warnings about the photo, its faces and the crop.

    Args:
        rgb: (h, w, 3) uint8, the photo.
        faces: all detected faces.
        chosen: the face in the crop, if any.
        source: source of the crop, ``face``, ``manual`` or ``centre``.

    """
    warnings = []
    if source == "centre":
        warnings.append(f"{_NO_FACE}set a manual crop around the head if this is wrong.")
    elif source == "manual" and chosen is None:
        warnings.append(
            "No face was found in the crop, so the head is assumed to fill it like a portrait; "
            "if this is wrong, leave the crop out or set one that holds the whole head."
        )
    elif source == "face" and chosen is not None:
        if chosen.confidence < LOW_CONFIDENCE:
            warnings.append(f"{_LOW_CONFIDENCE}; check the crop.")
        if any(f is not chosen and f.confidence > _RIVAL_CONFIDENCE for f in faces):
            warnings.append(f"{_RIVALS}; set a manual crop to choose another.")
    if chosen is not None and chosen.side < SMALL_FACE:
        warnings.append(
            f"The face is only {chosen.side:.0f} pixels wide, so the views will be soft."
        )
    if np.abs(rgb.astype(np.int16) - rgb[..., :1]).max() <= 2:
        warnings.append("The photo is greyscale, so the views will be greyscale too.")
    return warnings


def further_warnings(warnings: Sequence[str]) -> list[str]:
    """Those of a photo's warnings that hold for a further photo of a person.

    A back has no face, the other photos show what one hides, and its crop cannot be set by hand.
    """
    kept = [w for w in warnings if not w.startswith((_NO_FACE, *_GUESSED))]
    cropped = {_LOW_CONFIDENCE: ".", _RIVALS: "; cut the photo to the head if it is another's."}
    return [
        next((start + end for start, end in cropped.items() if warning.startswith(start)), warning)
        for warning in kept
    ]


def angle_warnings(
    alignment: Alignment, face: Face | None, window: Crop, angles: HeadAngles
) -> list[str]:
    """Warning if angles set by hand contradict the landmarks of a face."""
    if face is None or face.points is None or angles.unknown.all():
        return []
    fitted = fit_face(face, window, HeadAngles())
    relative = fitted.camera.c2w[:3, :3].T @ alignment.camera.c2w[:3, :3]
    angle = math.degrees(math.acos(float(np.clip((np.trace(relative) - 1) / 2, -1, 1))))
    if angle < FAR_ANGLE_DEG:
        return []
    yaw, pitch, roll = fitted.yaw_pitch_roll_deg
    return [
        f"The angles set by hand differ by {angle:.0f} degrees from those of the face (yaw "
        f"{round(yaw)}, pitch {round(pitch)}, roll {round(roll)}); the face may be misplaced on "
        "the head."
    ]


def roll_warnings(alignment: Alignment) -> list[str]:
    """Warning if a head lies on its side or is upside down."""
    if abs(alignment.yaw_pitch_roll_deg[2]) <= LYING_DEG:
        return []
    return ["The head does not stand upright in the photo; turn the photo for a better head."]


def hidden_parts(alignment: Alignment, inside: Mask) -> tuple[list[str], float]:
    """Warnings about parts of the head that the photo does not show.

    Args:
        alignment: pose of the head in the crop.
        inside: (640, 640) bool, where the crop lies inside the photo.

    Returns:
        Warnings, and the fraction of the confidence that they cost, 0 to 0.9.

    """
    yaw, pitch, _ = alignment.yaw_pitch_roll_deg
    warnings = []
    penalty = 0.65 * float(np.clip((abs(yaw) - TURNED_DEG) / 50, 0, 1))
    if abs(yaw) > PROFILE_DEG:
        warnings.append(
            f"The head is seen from the side ({abs(yaw):.0f} degrees): the front of the face and "
            "its far half are guessed."
        )
    elif abs(yaw) > TURNED_DEG:
        warnings.append(
            f"The head is turned by {abs(yaw):.0f} degrees: the far half of the face is guessed "
            "from the near one."
        )
    if abs(pitch) > TILTED_DEG:
        direction = "above" if pitch > 0 else "below"
        penalty += 0.3 * float(np.clip((abs(pitch) - TILTED_DEG) / 25, 0, 1))
        warnings.append(
            f"The head is seen from {direction} ({abs(pitch):.0f} degrees): the parts this hides "
            "are guessed."
        )
    cut = [name for name, point in _MARGINS if not _shown(point, alignment.camera, inside)]
    cut += _cut_sides(alignment.camera, inside)
    missing = 1 - _head_shown(alignment.camera, inside)
    # each further cut costs more than the one before, because less remains to fit
    penalty += 0.12 * len(cut) + 0.03 * len(cut) * (len(cut) - 1)
    penalty += 0.8 * max(0.0, missing - _FREE_MISSING)
    if cut:
        names = " and ".join([", ".join(cut[:-1]), cut[-1]] if cut[1:] else cut)
        warnings.append(f"The photo does not show {names}: that is guessed.")
    return warnings, min(penalty, 0.9)


def cut_face(face: Face | None, rgb: Pixels) -> tuple[list[str], float]:
    """Warning if edges of the photo cut the face, and the fraction of the confidence it costs."""
    if face is None or face.points is None:
        return [], 0.0
    x, y = face.points.T
    height, width = rgb.shape[:2]
    beyond = [(x < 0).mean(), (x > width).mean(), (y < 0).mean(), (y > height).mean()]
    edges = [edge for edge, part in zip(_EDGES, beyond, strict=True) if part > _MIN_CUT]
    if not edges:
        return [], 0.0
    names = f"edge{'s' if edges[1:] else ''} of the photo cut{'' if edges[1:] else 's'}"
    return [
        f"The {' and '.join(edges)} {names} the face: the missing part is guessed, and the pose "
        "is less certain."
    ], min(0.8, 2 * float(sum(beyond)))


def _cut_sides(camera: Camera, inside: Mask) -> list[str]:
    """Names of the sides of a head that a photo does not show, left and right in the photo."""
    order = np.argsort(camera.project(_SIDES)[0][:, 0])
    return [
        f"the side of the head on the photo's {name}"
        for name, i in zip(("left", "right"), order, strict=True)
        if not _shown(_SIDES[i], camera, inside)
    ]


def _head_shown(camera: Camera, inside: Mask) -> float:
    """Fraction of an average head's projection that lies inside the photo."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, 24), np.linspace(0, 2 * np.pi, 48))
    sphere = np.stack(
        [np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], -1
    )
    points = sphere.reshape(-1, 3) * _HEAD_AXES + _HEAD_CENTRE
    hull = cv2.convexHull(camera.project(points)[0].astype(np.float32)).astype(np.int32)
    head = np.zeros((3 * CROP_SIZE, 3 * CROP_SIZE), np.uint8)  # the head may extend beyond the crop
    cv2.fillConvexPoly(head, hull + CROP_SIZE, 1)
    middle = head[CROP_SIZE:-CROP_SIZE, CROP_SIZE:-CROP_SIZE] > 0
    return float((middle & inside).sum() / max(1, head.sum()))


def _shown(point: tuple[float, float, float], camera: Camera, inside: Mask) -> bool:
    """Whether a point (3,) of head space projects inside the photo."""
    u, v = camera.project([point])[0][0].astype(int)
    return bool(0 <= u < CROP_SIZE and 0 <= v < CROP_SIZE and inside[v, u])
