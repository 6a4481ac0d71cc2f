"""Blender's matrices for cameras in head space: inverses of ``dp3d_core.cameras.camera``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dp3d_core.cameras.camera import Z_UP_FROM_HEAD, Array, CameraAxes, convert_pose, split_anchor


def projection_from_intrinsics(
    K: ArrayLike, width: int, height: int, near: float = 0.1, far: float = 100.0
) -> Array:
    """(4, 4) OpenGL projection matrix of intrinsics; inverse of ``intrinsics_from_projection``."""
    K = np.asarray(K, np.float64)
    projection = np.zeros((4, 4))
    projection[0, 0], projection[0, 2] = 2 * K[0, 0] / width, 1 - 2 * K[0, 2] / width
    projection[1, 1], projection[1, 2] = 2 * K[1, 1] / height, 2 * K[1, 2] / height - 1
    projection[2, 2] = -(far + near) / (far - near)
    projection[2, 3] = -2 * far * near / (far - near)
    projection[3, 2] = -1
    return projection


def blender_pose_from_head(c2w: ArrayLike, anchor_world: ArrayLike) -> Array:
    """``matrix_world`` of a Blender camera for a camera in head space (inverse of ``head_pose_from_blender``)."""
    anchor, scale = split_anchor(anchor_world)
    pose = convert_pose(c2w, axes=(CameraAxes.OPENCV, CameraAxes.OPENGL))
    pose[:3, 3] *= scale
    return anchor @ pose


def default_anchor(location: Sequence[float] = (0, 0, 0), scale: float = 1.0) -> Array:
    """``matrix_world`` of an upright head anchor in Blender, facing the front view (-Y)."""
    anchor = Z_UP_FROM_HEAD.copy()
    anchor[:3, :3] *= scale
    anchor[:3, 3] = location
    return anchor
