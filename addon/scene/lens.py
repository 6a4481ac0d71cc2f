# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinhole intrinsics to the lens of a Blender camera.  No bpy here.

Blender keeps a focal length in millimetres over a sensor and a shift in units of the side the
sensor is fitted to.  With the sensor fitted horizontally (w, h the picture in pixels; K as the
server sends it, u right, v down):

    lens    = fx * 36 / w
    shift_x = 1/2 - cx / w
    shift_y = (cy - h/2) / w * fx / fy
    pixel aspect y / x = fx / fy

Only the last belongs to the scene, not to the camera.  All four follow from
``BKE_camera_params_compute_viewplane`` and are tested against ``calc_matrix_camera``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SENSOR_WIDTH = 36.0
"""Sensor width of every camera that the add-on makes, millimetres (35 mm film)."""


class Lens(NamedTuple):
    """What to set on a Blender camera with a horizontal sensor fit of 36 mm."""

    focal_mm: float
    shift_x: float
    shift_y: float
    pixel_aspect: float
    """Height of a pixel over its width: 1 unless K has two focal lengths."""


def lens_from_intrinsics(K: Sequence[Sequence[float]], width: int, height: int) -> Lens:
    """Lens of a 3x3 K in pixels of a width x height picture."""
    fx, fy, cx, cy = K[0][0], K[1][1], K[0][2], K[1][2]
    aspect = fx / fy
    return Lens(
        fx * SENSOR_WIDTH / width,
        0.5 - cx / width,
        (cy - height / 2) / width * aspect,
        aspect,
    )
