"""Cameras as Blender has them: the inverse of what ``dp3d_core.cameras.camera`` reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dp3d_core.cameras.camera import Z_UP_FROM_HEAD, Array, CameraAxes, convert_pose, split_anchor


def projection_from_intrinsics(
    K: ArrayLike, width: int, height: int, near: float = 0.1, far: float = 100.0
) -> Array:
    """OpenGL projection matrix of a K; inverse of ``intrinsics_from_projection``."""
    k = np.asarray(K, np.float64)
    p = np.zeros((4, 4))
    p[0, 0], p[0, 2] = 2 * k[0, 0] / width, 1 - 2 * k[0, 2] / width
    p[1, 1], p[1, 2] = 2 * k[1, 1] / height, 2 * k[1, 2] / height - 1
    p[2, 2], p[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
    p[3, 2] = -1
    return p


def blender_pose_from_head(c2w: ArrayLike, anchor_world: ArrayLike) -> Array:
    """``matrix_world`` of a Blender camera for a camera in head space (inverse of ``head_pose_from_blender``)."""
    anchor, scale = split_anchor(anchor_world)
    pose = convert_pose(c2w, axes=(CameraAxes.OPENCV, CameraAxes.OPENGL))
    pose[:3, 3] *= scale
    return anchor @ pose


def default_anchor(location: Sequence[float] = (0, 0, 0), scale: float = 1.0) -> Array:
    """``matrix_world`` of an upright head anchor in Blender, facing the front view (-Y)."""
    m = Z_UP_FROM_HEAD.copy()
    m[:3, :3] *= scale
    m[:3, 3] = location
    return m
