"""Conversion between dp3d's cameras (head space) and nerfstudio's (world N, OpenGL axes)."""

from __future__ import annotations

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from dp3d_core.cameras.camera import (
    Camera,
    CameraAxes,
    WorldFrame,
    convert_pose,
    nearest_rigid,
)


def nerfstudio_camera(camera: Camera) -> Cameras:
    """Convert a camera to nerfstudio's ``Cameras`` of length one."""
    pose = convert_pose(
        camera.c2w,
        axes=(CameraAxes.OPENCV, CameraAxes.OPENGL),
        world=(WorldFrame.HEAD, WorldFrame.Z_UP),
    )
    return Cameras(
        camera_to_worlds=torch.tensor(pose[None, :3], dtype=torch.float32),
        fx=float(camera.K[0, 0]),
        fy=float(camera.K[1, 1]),
        cx=float(camera.K[0, 2]),
        cy=float(camera.K[1, 2]),
        width=camera.width,
        height=camera.height,
        camera_type=CameraType.PERSPECTIVE,
    )


def head_cameras(cameras: Cameras) -> list[Camera]:
    """Convert cameras of nerfstudio to a list of ours, in head space."""
    head_space = []
    for i in range(len(cameras)):
        pose = np.vstack([cameras.camera_to_worlds[i].cpu().numpy(), [0, 0, 0, 1]])
        head_space.append(
            Camera(
                K=cameras.get_intrinsics_matrices()[i].cpu().numpy().astype(np.float64),
                c2w=convert_pose(
                    nearest_rigid(pose),  # single precision leaves rounding errors
                    axes=(CameraAxes.OPENGL, CameraAxes.OPENCV),
                    world=(WorldFrame.Z_UP, WorldFrame.HEAD),
                ),
                width=int(cameras.width[i]),
                height=int(cameras.height[i]),
            )
        )
    return head_space
