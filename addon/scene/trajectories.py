# SPDX-License-Identifier: GPL-3.0-or-later
"""Camera presets around the head, and cameras in head space.  No bpy here.

The presets are those of the server (``dp3d_core/cameras/trajectories.py``); a test compares their
numbers.  A camera is a pose with OpenCV axes (x right, y down, z forward) in head space (Y up,
face towards +Z, head units) and a pinhole K in pixels (u right, v down, the first pixel's centre
at 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

RADIUS = 2.7
"""Distance of every preset camera from the head centre, head units."""
CANONICAL_FOCAL = 4.2647
"""Focal length of arc and ellipse, image widths: the lens of the published models."""
WHOLE_HEAD_FOCAL = 3.0
"""Focal length of orbit, capture and sweep, image widths: shows hair and shoulders too."""
CAPTURE_PITCHES_DEG = (-15.0, 5.0, 30.0)
"""Pitches of the three rings of ``capture``."""
ARC_YAW_DEG = 60.0
"""``arc`` runs from minus to plus this yaw."""
ELLIPSE_DEG = (32.0, 20.8)
"""Half axes of ``ellipse`` in yaw and pitch."""
SWEEP_PITCHES_DEG = (-30.0, 60.0)
"""Pitches of the ends of ``sweep``."""

Vector = Sequence[float]
Rows = list[list[float]]


class HeadCamera(NamedTuple):
    """A pinhole camera in head space."""

    c2w: Rows
    """4 x 4 camera-to-head, OpenCV axes, head units."""
    K: Rows
    """3 x 3, pixels, no skew."""
    width: int
    height: int

    def project(self, point: Vector) -> tuple[float, float, float]:
        """Pixel (u, v) and depth along the optical axis of a point in head space.

        The pixel of a point at or behind the camera (depth <= 0) is NaN.
        """
        offset = [point[row] - self.c2w[row][3] for row in range(3)]
        x, y, depth = (
            sum(self.c2w[row][col] * offset[row] for row in range(3)) for col in range(3)
        )
        if depth <= 0:
            return math.nan, math.nan, depth
        return (
            self.K[0][0] * x / depth + self.K[0][2],
            self.K[1][1] * y / depth + self.K[1][2],
            depth,
        )


# -- presets -----------------------------------------------------------------------------------


def look_at(position: Vector) -> Rows:
    """Pose at ``position`` that looks at the head centre, without roll about +Y.

    Straight above or below, where "up" is undefined, the picture's right is +X.
    """
    distance = math.hypot(*position)
    fx, fy, fz = (-value / distance for value in position)
    rx, rz = -fz, fx  # forward x (0, 1, 0)
    length = math.hypot(rx, rz)
    right = (1.0, 0.0, 0.0) if length < 1e-9 else (rx / length, 0.0, rz / length)
    down = (
        fy * right[2] - fz * right[1],
        fz * right[0] - fx * right[2],
        fx * right[1] - fy * right[0],
    )
    forward = (fx, fy, fz)
    pose = [[right[i], down[i], forward[i], float(position[i])] for i in range(3)]
    return [*pose, [0.0, 0.0, 0.0, 1.0]]


def orbit_camera(yaw_deg: float, pitch_deg: float, size: int, focal: float) -> HeadCamera:
    """Square camera on the sphere about the head: yaw towards +X, pitch upwards.

    ``focal`` is in image widths.
    """
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    position = (
        RADIUS * math.sin(yaw) * math.cos(pitch),
        RADIUS * math.sin(pitch),
        RADIUS * math.cos(yaw) * math.cos(pitch),
    )
    K = [[focal * size, 0.0, size / 2], [0.0, focal * size, size / 2], [0.0, 0.0, 1.0]]
    return HeadCamera(look_at(position), K, size, size)


def preset(name: str, views: int, size: int, pitch_deg: float = 0.0) -> list[HeadCamera]:
    """Cameras of a preset.

    Args:
        name: one of ``limits.CAMERA_PRESETS``.
        views: how many cameras, at least 1.
        size: pixels of a side.
        pitch_deg: height of ``orbit`` and ``arc``; the others have pitches of their own.

    Raises:
        ValueError: for an unknown name.

    """
    if name == "orbit":
        angles = [(360.0 * i / views, pitch_deg) for i in range(views)]
    elif name == "capture":
        angles = _capture_angles(views)
    elif name == "arc":
        angles = [(yaw, pitch_deg) for yaw in _between(-ARC_YAW_DEG, ARC_YAW_DEG, views)]
    elif name == "ellipse":
        turns = [2 * math.pi * k / views for k in range(views)]
        angles = [(ELLIPSE_DEG[0] * math.sin(t), -ELLIPSE_DEG[1] * math.cos(t)) for t in turns]
    elif name == "sweep":
        angles = [(0.0, pitch) for pitch in _between(*SWEEP_PITCHES_DEG, views)]
    else:
        raise ValueError(f"no preset {name!r}")
    focal = CANONICAL_FOCAL if name in ("arc", "ellipse") else WHOLE_HEAD_FOCAL
    return [orbit_camera(yaw, pitch, size, focal) for yaw, pitch in angles]


def _capture_angles(views: int) -> list[tuple[float, float]]:
    """Staggered closed rings, the views dealt out evenly."""
    rings = len(CAPTURE_PITCHES_DEG)
    angles = []
    for ring, pitch in enumerate(CAPTURE_PITCHES_DEG):
        count = views // rings + (1 if ring < views % rings else 0)
        angles += [(360.0 * (i + ring / rings) / count, pitch) for i in range(count)]
    return angles


def _between(low: float, high: float, count: int) -> list[float]:
    """Evenly spaced values with both ends; the middle when there is only one."""
    if count == 1:
        return [(low + high) / 2]
    return [low + (high - low) * i / (count - 1) for i in range(count)]


# -- Blender's matrices ------------------------------------------------------------------------


def from_blender(
    camera_world: Rows, anchor_world: Rows, projection: Rows, width: int, height: int
) -> HeadCamera:
    """A Blender camera seen from the head anchor.

    Args:
        camera_world: ``matrix_world`` of the camera (OpenGL axes; Blender ignores its scale).
        anchor_world: ``matrix_world`` of the anchor: a rotation, a translation and one scale.
        projection: ``calc_matrix_camera`` for width x height pixels.
        width: pixels.
        height: pixels.

    """
    anchor_turn = rotation_part(anchor_world)
    camera_turn = rotation_part(camera_world)
    scale = abs(_determinant(anchor_world)) ** (1 / 3)
    offset = [camera_world[i][3] - anchor_world[i][3] for i in range(3)]
    pose = []
    for i in range(3):
        axis = [anchor_turn[k][i] for k in range(3)]
        turned = [sum(axis[k] * camera_turn[k][j] for k in range(3)) for j in range(3)]
        place = sum(axis[k] * offset[k] for k in range(3)) / scale
        pose.append([turned[0], -turned[1], -turned[2], place])
    p = projection
    K = [
        [p[0][0] * width / 2, 0.0, (1 - p[0][2]) * width / 2],
        [0.0, p[1][1] * height / 2, (1 + p[1][2]) * height / 2],
        [0.0, 0.0, 1.0],
    ]
    return HeadCamera([*pose, [0.0, 0.0, 0.0, 1.0]], K, width, height)


def to_blender(c2w: Rows, anchor_world: Rows) -> Rows:
    """``matrix_world`` of a Blender camera for a pose in head space; undoes the above."""
    turn = rotation_part(anchor_world)
    scale = abs(_determinant(anchor_world)) ** (1 / 3)
    world = []
    for i in range(3):
        x, y, z = (sum(turn[i][k] * c2w[k][j] for k in range(3)) for j in range(3))
        place = sum(turn[i][k] * c2w[k][3] for k in range(3))
        world.append([x, -y, -z, scale * place + anchor_world[i][3]])
    return [*world, [0.0, 0.0, 0.0, 1.0]]


def rotation_part(matrix: Rows) -> Rows:
    """3 x 3 rotation nearest to the upper left of a matrix (its polar factor).

    Newton's iteration R <- (R + R^-T) / 2 in double precision: single precision matrices come out
    as exact rotations, and an even scale is taken away.
    """
    size = abs(_determinant(matrix)) ** (1 / 3)
    turn = [[float(matrix[i][j]) / size for j in range(3)] for i in range(3)]
    for _ in range(30):
        cofactors = _cofactors(turn)
        volume = sum(turn[0][j] * cofactors[0][j] for j in range(3))
        improved = [
            [(turn[i][j] + cofactors[i][j] / volume) / 2 for j in range(3)] for i in (0, 1, 2)
        ]
        change = max(abs(improved[i][j] - turn[i][j]) for i in range(3) for j in range(3))
        turn = improved
        if change < 1e-15:
            break
    return turn


def _cofactors(m: Rows) -> Rows:
    return [
        [
            m[(i + 1) % 3][(j + 1) % 3] * m[(i + 2) % 3][(j + 2) % 3]
            - m[(i + 1) % 3][(j + 2) % 3] * m[(i + 2) % 3][(j + 1) % 3]
            for j in range(3)
        ]
        for i in range(3)
    ]


def _determinant(m: Rows) -> float:
    cofactors = _cofactors(m)
    return sum(m[0][j] * cofactors[0][j] for j in range(3))


# -- files -------------------------------------------------------------------------------------


def cameras_document(cameras: Sequence[HeadCamera]) -> dict[str, Any]:
    """Contents of ``cameras.json`` (schema ``dp3d.cameras/1``)."""
    return {
        "schema": "dp3d.cameras/1",
        "coordinates": {
            "world": "head",
            "camera_axes": "opencv",
            "units": "head units; the canonical camera stands 2.7 from the head centre",
            "pixels": "u right, v down, first pixel centre at (0.5, 0.5)",
        },
        "cameras": [camera._asdict() for camera in cameras],
    }


def transforms_document(cameras: Sequence[HeadCamera], file_paths: Sequence[str]) -> dict[str, Any]:
    """Contents of nerfstudio's ``transforms.json``: Z up, OpenGL axes, K per frame."""
    frames = []
    for camera, path in zip(cameras, file_paths, strict=True):
        x_row, y_row, z_row = ([r[0], -r[1], -r[2], r[3]] for r in camera.c2w[:3])
        upright = [x_row, [-value for value in z_row], y_row, [0.0, 0.0, 0.0, 1.0]]
        frames.append(
            {
                "file_path": path,
                "fl_x": camera.K[0][0],
                "fl_y": camera.K[1][1],
                "cx": camera.K[0][2],
                "cy": camera.K[1][2],
                "w": camera.width,
                "h": camera.height,
                "transform_matrix": upright,
            }
        )
    return {"camera_model": "OPENCV", "orientation_override": "none", "frames": frames}
