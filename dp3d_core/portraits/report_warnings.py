"""What a person should know of a portrait before its views are made, in sentences."""

from __future__ import annotations

import math

import cv2
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
)
_SIDES = ((0.19, 0.05, -0.05), (-0.19, 0.05, -0.05))
"""Places around an average head, head units, that a photo of all of it shows."""
_HEAD_CENTRE, _HEAD_AXES = (0.0, 0.03, -0.02), (0.18, 0.26, 0.22)
"""Ellipsoid of an average head with its hair, head units."""
_MISSING = 0.1
"""Part of a head beyond the photo that costs no confidence."""
_EDGES = ("left", "right", "top", "bottom")
_LEAST_CUT = 0.02
"""Part of a face's landmarks beyond an edge of the photo from which it cuts the face."""


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
    cut += _cut_sides(aligned.camera, inside)
    missing = 1 - _head_shown(aligned.camera, inside)
    # each further cut costs more than the one before: less is left to go by
    doubt += 0.12 * len(cut) + 0.03 * len(cut) * (len(cut) - 1)
    doubt += 0.8 * max(0.0, missing - _MISSING)
    if cut:
        names = " and ".join([", ".join(cut[:-1]), cut[-1]] if cut[1:] else cut)
        warnings.append(f"The photo does not show {names}: that is guessed.")
    return warnings, min(doubt, 0.9)


def cut_face(face: Face | None, rgb: Pixels) -> tuple[list[str], float]:
    """A warning of a face that the photo's edges cut, and the part of the confidence it costs."""
    if face is None or face.points is None:
        return [], 0.0
    x, y = face.points.T
    height, width = rgb.shape[:2]
    beyond = [(x < 0).mean(), (x > width).mean(), (y < 0).mean(), (y > height).mean()]
    edges = [edge for edge, part in zip(_EDGES, beyond, strict=True) if part > _LEAST_CUT]
    if not edges:
        return [], 0.0
    names = f"edge{'s' if edges[1:] else ''} of the photo cut{'' if edges[1:] else 's'}"
    return [
        f"The {' and '.join(edges)} {names} the face: what is missing is guessed, and the pose is "
        "less sure."
    ], min(0.8, 2 * float(sum(beyond)))


def _cut_sides(camera: Camera, inside: NDArray[np.bool_]) -> list[str]:
    """The sides of a head that a photo does not show, by the photo's own left and right."""
    order = np.argsort(camera.project(_SIDES)[0][:, 0])
    return [
        f"the side of the head on the photo's {name}"
        for name, i in zip(("left", "right"), order, strict=True)
        if not _shown(_SIDES[i], camera, inside)
    ]


def _head_shown(camera: Camera, inside: NDArray[np.bool_]) -> float:
    """Part of an average head, as the camera sees it, that lies within the photo."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, 24), np.linspace(0, 2 * np.pi, 48))
    sphere = np.stack(
        [np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], -1
    )
    points = sphere.reshape(-1, 3) * _HEAD_AXES + _HEAD_CENTRE
    hull = cv2.convexHull(camera.project(points)[0].astype(np.float32)).astype(np.int32)
    head = np.zeros((3 * CROP_SIZE, 3 * CROP_SIZE), np.uint8)  # it may reach beyond the crop
    cv2.fillConvexPoly(head, hull + CROP_SIZE, 1)
    middle = head[CROP_SIZE:-CROP_SIZE, CROP_SIZE:-CROP_SIZE] > 0
    return float((middle & inside).sum() / max(1, head.sum()))


def _shown(point: tuple[float, float, float], camera: Camera, inside: NDArray[np.bool_]) -> bool:
    """Whether a photo shows the place of a point of head space."""
    u, v = camera.project([point])[0][0].astype(int)
    return bool(0 <= u < CROP_SIZE and 0 <= v < CROP_SIZE and inside[v, u])
