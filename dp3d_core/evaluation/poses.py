"""Whether a view shows the head from where its camera says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import CANONICAL_FOCAL, Camera
from dp3d_core.framing import network_camera, reframe
from dp3d_core.portraits.crop import CROP_SIZE
from dp3d_core.portraits.landmarks import find_landmarks
from dp3d_core.portraits.pose import fit_head
from dp3d_core.trajectories import WHOLE_HEAD_FOCAL

Pixels = NDArray[np.uint8]

FURTHEST_DEG = 60.0
"""Yaw from the front up to which a face tells the pose."""


@dataclass(frozen=True)
class PoseError:
    """Angles between the directions that cameras and faces say a view was taken from, degrees."""

    median_deg: float
    worst_deg: float
    found: int
    """Views in which a face was found."""
    asked: int
    """Views from the front."""


def pose_error(frames: Sequence[Pixels], cameras: Sequence[Camera]) -> PoseError:
    """Find the head's turn in each view from the front and compare it with the camera.

    The estimate itself is off by some four degrees on single photos (``docs/benchmarks.md``):
    compare sets of views with each other, not with zero.

    Args:
        frames: (h, w, 3) uint8, each of its camera's size.
        cameras: of the frames, head space.

    Raises:
        Dp3dError: ``portrait.model_missing``.

    """
    errors, asked = [], 0
    for frame, camera in zip(frames, cameras, strict=True):
        if abs(camera.yaw_pitch_deg[0]) > FURTHEST_DEG:
            continue
        asked += 1
        # as photos of heads are, upright and with some room around
        upright = network_camera(camera, CROP_SIZE)
        matrix = np.array(upright.K)
        matrix[[0, 1], [0, 1]] *= WHOLE_HEAD_FOCAL / CANONICAL_FOCAL
        seen = Camera(upright.c2w, matrix, CROP_SIZE, CROP_SIZE)
        picture = reframe(frame, camera, seen)
        faces = find_landmarks(picture)
        if not faces:
            continue
        focal = matrix[0, 0] / CROP_SIZE
        fitted = fit_head(faces[0].points, faces[0].depth, CROP_SIZE, focal).camera.position
        true = camera.position
        cosine = fitted @ true / (np.linalg.norm(fitted) * np.linalg.norm(true))
        errors.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
    if not errors:
        return PoseError(float("nan"), float("nan"), 0, asked)
    return PoseError(float(np.median(errors)), max(errors), len(errors), asked)
