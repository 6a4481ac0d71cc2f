"""Pictures of one camera as another camera at the same place sees them.

The diffusion networks know one framing: square pictures, a narrow lens aimed at the head.  From the
same place any other lens and direction sees the same rays, so frames for any camera are cut out of
theirs exactly, without knowing depth.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from dp3d_core.arrays import Array32, Mask, Pixels
from dp3d_core.cameras.camera import (
    CANONICAL_FOCAL,
    CANONICAL_RADIUS,
    Camera,
    camera_from_eg3d,
    camera_to_eg3d,
)
from dp3d_core.cameras.trajectories import look_at
from dp3d_core.errors import Dp3dError

_NEAREST = 1e-3
"""Head units from the middle that a camera can be aimed from."""
_FINER = 4.0
"""Largest factor by which a picture is sampled more finely, so that nothing is skipped."""


def network_camera(camera: Camera, size: int = 512, eg3d: bool = False) -> Camera:
    """The camera at the same place as the published networks expect it.

    It is aimed at the head, upright, with a lens that shows the head as large as the canonical
    camera does, however far away it stands.

    Args:
        camera: any, head space.
        size: width and height of the picture, pixels.
        eg3d: framed as EG3D (and DiffPortrait3D) does, not as PanoHead (and DiffPortrait360).

    Raises:
        Dp3dError: ``camera.invalid`` for one in the middle of the head.

    """
    place = camera_to_eg3d(camera) if eg3d else camera
    distance = float(np.linalg.norm(place.position))
    if distance < _NEAREST:
        raise Dp3dError(
            "camera.invalid",
            "A camera stands in the middle of the head.",
            "Move it outside: the networks look at the head from where the camera is.",
        )
    focal = CANONICAL_FOCAL * distance / CANONICAL_RADIUS * size
    matrix = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    aimed = Camera(look_at(place.position), matrix, size, size)
    return camera_from_eg3d(aimed) if eg3d else aimed


def reframe(picture: Pixels, seen_by: Camera, wanted: Camera) -> Pixels:
    """What another camera at the same place would have seen.

    Args:
        picture: (h, w) or (h, w, c) uint8 that ``seen_by`` took.
        seen_by: its camera.
        wanted: camera at the same position; lens, direction and size are its own.

    Returns:
        uint8 in the wanted size; beyond the picture its border goes on.

    """
    finer = 1
    while finer < _FINER and _scale(seen_by, wanted) * finer < 0.75:
        finer *= 2
    large = wanted.resized(wanted.width * finer, wanted.height * finer)
    u, v = _places(seen_by, large)
    found = cv2.remap(picture, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if finer > 1:
        found = cv2.resize(found, (wanted.width, wanted.height), interpolation=cv2.INTER_AREA)
    return np.asarray(found, np.uint8)


def shown_by(seen_by: Camera, wanted: Camera) -> Mask:
    """(h, w) pixels of ``wanted`` that a picture of ``seen_by`` really shows."""
    u, v = _places(seen_by, wanted)
    return np.asarray(
        (u >= -0.5) & (v >= -0.5) & (u <= seen_by.width - 0.5) & (v <= seen_by.height - 0.5)
    )


def _scale(seen_by: Camera, wanted: Camera) -> float:
    """Pixels of ``wanted`` for a pixel of ``seen_by``, in the middle."""
    return float(wanted.K[0, 0] / seen_by.K[0, 0])


def _places(seen_by: Camera, wanted: Camera) -> tuple[Array32, Array32]:
    """Column and row in a picture of ``seen_by``, as OpenCV counts, of each pixel of ``wanted``."""
    directions: Any = wanted.directions(wanted.pixel_centres())
    uv, depth = seen_by.project(seen_by.position + directions.reshape(-1, 3))
    uv = np.where((depth > 1e-6)[:, None], uv, -1e4)  # behind the camera
    u, v = (np.clip(uv, -1e4, 1e4).T - 0.5).astype(np.float32)
    return u.reshape(wanted.height, wanted.width), v.reshape(wanted.height, wanted.width)
