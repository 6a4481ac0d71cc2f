"""Pose error of views: direction of the detected face against that of the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Pixels
from dp3d_core.cameras.camera import CANONICAL_FOCAL, Camera
from dp3d_core.cameras.framing import network_camera, reframe
from dp3d_core.cameras.trajectories import WHOLE_HEAD_FOCAL
from dp3d_core.portraits.crop import CROP_SIZE
from dp3d_core.portraits.landmarks import find_landmarks
from dp3d_core.portraits.pose import fit_head

FRONTAL_DEG = 60.0
"""Absolute yaw up to which the pose is estimated from the face."""


@dataclass(frozen=True)
class PoseError:
    """Angles between the directions of cameras and of poses estimated from faces."""

    median_deg: float
    """Median over the views with a detected face; nan without one."""
    worst_deg: float
    """Maximum over the views with a detected face; nan without one."""
    detected: int
    """Number of frontal views with a detected face."""
    frontal: int
    """Number of frontal views."""


def pose_error(frames: Sequence[Pixels], cameras: Sequence[Camera]) -> PoseError:
    """Estimate the head's pose in each frontal view and compare it with the camera.

    The estimate itself has an error of about 4 degrees on single photos (``docs/benchmarks.md``):
    compare values of view sets with each other, not with 0.

    Args:
        frames: (h, w, 3) uint8, each of its camera's size.
        cameras: cameras of the frames, head space.

    Raises:
        Dp3dError: ``portrait.model_missing``.

    """
    errors, frontal = [], 0
    for frame, camera in zip(frames, cameras, strict=True):
        if abs(camera.yaw_pitch_deg[0]) > FRONTAL_DEG:
            continue
        frontal += 1
        # resampled like a portrait: upright, with a margin
        upright = network_camera(camera, CROP_SIZE)
        matrix = np.array(upright.K)
        matrix[[0, 1], [0, 1]] *= WHOLE_HEAD_FOCAL / CANONICAL_FOCAL
        portrait_camera = Camera(upright.c2w, matrix, CROP_SIZE, CROP_SIZE)
        image = reframe(frame, camera, portrait_camera)
        faces = find_landmarks(image)
        if not faces:
            continue
        focal = matrix[0, 0] / CROP_SIZE
        fitted = fit_head(faces[0].points, faces[0].depth, CROP_SIZE, focal).camera.position
        true = camera.position
        cosine = fitted @ true / (np.linalg.norm(fitted) * np.linalg.norm(true))
        errors.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
    if not errors:
        return PoseError(float("nan"), float("nan"), 0, frontal)
    return PoseError(float(np.median(errors)), max(errors), len(errors), frontal)
