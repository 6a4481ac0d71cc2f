"""What a person should know of a portrait before its views are made, in sentences."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.portraits.crop import CROP_SIZE, Crop
from dp3d_core.portraits.detection import Face
from dp3d_core.portraits.pose import Alignment, HeadAngles, fit_face

Pixels = NDArray[np.uint8]

SMALL_FACE = 96
"""Side of a face box below which the views are soft, pixels."""
LOW_CONFIDENCE = 0.45
"""Confidence in a face below which its crop should be checked."""
FAR_ANGLE_DEG = 25.0
"""Angle between the pose by hand and that of the landmarks above which the two contradict."""
TURNED_DEG, PROFILE_DEG, TILTED_DEG = 22.0, 55.0, 22.0
"""Yaw from which a head counts as turned and as a profile, and pitch from which as tilted."""
LYING_DEG = 50.0
"""Roll from which a head does not count as upright."""
_RIVAL_CONFIDENCE = 0.6
"""Confidence of another face from which it is worth a word."""
_MARGINS = (
    ("the top of the head", (0.0, 0.285, -0.02)),
    ("the neck", (0.0, -0.27, 0.03)),
    ("a side of the head", (0.19, 0.05, -0.05)),
    ("a side of the head", (-0.19, 0.05, -0.05)),
)
"""Places around an average head, head units, that a photo of all of it shows."""


def photo_warnings(rgb: Pixels, faces: list[Face], chosen: Face | None, source: str) -> list[str]:
    """Warnings of the photo, its faces and the source of the crop.

    Args:
        rgb: (h, w, 3) uint8, the photo.
        faces: all of them.
        chosen: the one in the crop.
        source: ``face``, ``manual`` or ``centre``.

    """
    warnings = []
    if source == "centre":
        warnings.append(
            "No face was found, so the middle of the photo is used; set a manual crop around "
            "the head if this is wrong."
        )
    elif source == "manual" and chosen is None:
        warnings.append(
            "No face was found in the crop, so the head is taken to fill it as a portrait does; "
            "if this is wrong, leave the crop out or give one with the whole head in it."
        )
    elif source == "face" and chosen is not None:
        if chosen.confidence < LOW_CONFIDENCE:
            warnings.append("The face was found with low confidence; check the crop.")
        if any(f is not chosen and f.confidence > _RIVAL_CONFIDENCE for f in faces):
            warnings.append(
                "More than one face was found and the clearest is used; set a manual crop to "
                "choose another."
            )
    if chosen is not None and chosen.side < SMALL_FACE:
        warnings.append(
            f"The face is only {chosen.side:.0f} pixels wide, so the views will be soft."
        )
    if np.abs(rgb.astype(np.int16) - rgb[..., :1]).max() <= 2:
        warnings.append("The photo is greyscale, and so will the views be.")
    return warnings


def angle_warnings(
    aligned: Alignment, face: Face | None, window: Crop, angles: HeadAngles
) -> list[str]:
    """A warning where angles by hand contradict the landmarks of a face."""
    if face is None or face.points is None or angles.unknown.all():
        return []
    own = fit_face(face, window, HeadAngles())
    between = own.camera.c2w[:3, :3].T @ aligned.camera.c2w[:3, :3]
    angle = math.degrees(math.acos(float(np.clip((np.trace(between) - 1) / 2, -1, 1))))
    if angle < FAR_ANGLE_DEG:
        return []
    yaw, pitch, roll = own.yaw_pitch_roll_deg
    return [
        f"The turn given by hand is {angle:.0f} degrees from what the face shows (yaw {yaw:.0f}, "
        f"pitch {pitch:.0f}, roll {roll:.0f}); the face may not lie where it should."
    ]


def roll_warnings(aligned: Alignment) -> list[str]:
    """A warning of a head that lies on its side or stands on its crown."""
    if abs(aligned.yaw_pitch_roll_deg[2]) <= LYING_DEG:
        return []
    return ["The head does not stand upright in the photo; turn the photo for a better head."]


def hidden_parts(aligned: Alignment, inside: NDArray[np.bool_]) -> tuple[list[str], float]:
    """What the photo does not show of a head.

    Args:
        aligned: pose of the head in the crop.
        inside: (640, 640) where the crop lies inside the photo.

    Returns:
        Warnings, and the part of the confidence that they cost, 0 to 0.9.

    """
    yaw, pitch, _ = aligned.yaw_pitch_roll_deg
    warnings = []
    doubt = 0.65 * float(np.clip((abs(yaw) - TURNED_DEG) / 50, 0, 1))
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
        doubt += 0.3 * float(np.clip((abs(pitch) - TILTED_DEG) / 25, 0, 1))
        warnings.append(
            f"The head is seen from {direction} ({abs(pitch):.0f} degrees): what that hides is "
            "guessed."
        )
    cut = [name for name, point in _MARGINS if not _shown(point, aligned.camera, inside)]
    if cut:
        doubt += 0.12 * len(cut)
        names = " and ".join(dict.fromkeys(cut))
        warnings.append(f"The photo does not show {names}: that is guessed.")
    return warnings, min(doubt, 0.9)


def _shown(point: tuple[float, float, float], camera: Camera, inside: NDArray[np.bool_]) -> bool:
    """Whether a photo shows the place of a point of head space."""
    u, v = camera.project([point])[0][0].astype(int)
    return bool(0 <= u < CROP_SIZE and 0 <= v < CROP_SIZE and inside[v, u])
