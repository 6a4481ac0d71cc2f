"""Framing of the networks, and resampling of pictures between cameras at one position.

The diffusion networks have one framing: square pictures, a narrow lens aimed at the head.  Cameras
at one position share their rays, whatever lens and direction they have, so pictures are resampled
from one to another exactly, without depth.
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
"""Smallest distance of a camera from the head centre, head units."""
_MAX_SUPERSAMPLING = 4.0
"""Largest supersampling of a picture that is scaled down, samples per pixel and axis."""


def network_camera(camera: Camera, size: int = 512, eg3d: bool = False) -> Camera:
    """Camera of the published networks' framing at the position of another camera.

    It is upright and aimed at the head.  Its focal length grows with the distance, so that the head
    is as large as in the canonical camera.

    Args:
        camera: any camera in head space.
        size: width and height of the picture, pixels.
        eg3d: whether to use the framing of EG3D and DiffPortrait3D, else that of PanoHead and
            DiffPortrait360.

    Raises:
        Dp3dError: ``camera.invalid`` for a camera at the head centre.

    """
    network_space_camera = camera_to_eg3d(camera) if eg3d else camera
    distance = float(np.linalg.norm(network_space_camera.position))
    if distance < _NEAREST:
        raise Dp3dError(
            "camera.invalid",
            "A camera stands in the middle of the head.",
            "Move it outside: the networks look at the head from where the camera is.",
        )
    focal = CANONICAL_FOCAL * distance / CANONICAL_RADIUS * size
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    aimed = Camera(look_at(network_space_camera.position), K, size, size)
    return camera_from_eg3d(aimed) if eg3d else aimed


def reframe(picture: Pixels, seen_by: Camera, wanted: Camera) -> Pixels:
    """A picture resampled to another camera at its position.

    Args:
        picture: (h, w) or (h, w, c) uint8, seen by ``seen_by``.
        seen_by: camera of the picture.
        wanted: camera at that position with any lens, direction and size.

    Returns:
        uint8 picture of ``wanted``; pixels outside the picture repeat its border.

    """
    supersampling = 1
    while (
        supersampling < _MAX_SUPERSAMPLING
        and _relative_scale(seen_by, wanted) * supersampling < 0.75
    ):
        supersampling *= 2
    large = wanted.resized(wanted.width * supersampling, wanted.height * supersampling)
    u, v = _sample_positions(seen_by, large)
    resampled = cv2.remap(picture, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if supersampling > 1:
        resampled = cv2.resize(
            resampled, (wanted.width, wanted.height), interpolation=cv2.INTER_AREA
        )
    return np.asarray(resampled, np.uint8)


def shown_by(seen_by: Camera, wanted: Camera) -> Mask:
    """(h, w) valid mask: pixels of ``wanted`` that lie inside a picture of ``seen_by``."""
    u, v = _sample_positions(seen_by, wanted)
    return np.asarray(
        (u >= -0.5) & (v >= -0.5) & (u <= seen_by.width - 0.5) & (v <= seen_by.height - 0.5)
    )


def _relative_scale(seen_by: Camera, wanted: Camera) -> float:
    """Focal length of ``wanted`` over that of ``seen_by``, pixels per pixel."""
    return float(wanted.K[0, 0] / seen_by.K[0, 0])


def _sample_positions(seen_by: Camera, wanted: Camera) -> tuple[Array32, Array32]:
    """Columns and rows (h, w) in a picture of ``seen_by``, OpenCV's, per pixel of ``wanted``."""
    directions: Any = wanted.directions(wanted.pixel_centres())
    uv, depth = seen_by.project(seen_by.position + directions.reshape(-1, 3))
    uv = np.where((depth > 1e-6)[:, None], uv, -1e4)  # behind the camera
    u, v = (np.clip(uv, -1e4, 1e4).T - 0.5).astype(np.float32)
    return u.reshape(wanted.height, wanted.width), v.reshape(wanted.height, wanted.width)
