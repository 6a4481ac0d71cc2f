"""Renders a textured mesh from an orbit of cameras."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dp3d_core.arrays import Array, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import WHOLE_HEAD_FOCAL, full_orbit
from dp3d_core.evaluation.textured import TexturedMesh
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage

_BACKGROUND = (255, 255, 255)
_DIAGONAL = 1.2
"""Diagonal of the bounding box of a head with its neck that fills the frames, head units."""
_UPRIGHT = np.eye(3)
"""Rotation of a mesh in head space."""


def _orbit_around(vertices: Array, turn: Array, frames: int, size: int) -> list[Camera]:
    """Cameras of a full turn around vertices of any position and size.

    Args:
        vertices: (n, 3), units of the mesh.
        turn: (3, 3) rotation from head space to the space of the mesh.
        frames: number of cameras.
        size: of the frames, pixels.

    """
    low, high = vertices.min(0), vertices.max(0)
    scale, centre = float(np.linalg.norm(high - low)) / _DIAGONAL, (low + high) / 2
    cameras = []
    for camera in full_orbit(frames, 5.0, size, WHOLE_HEAD_FOCAL):
        pose = np.array(camera.c2w)
        pose[:3, :3] = turn @ pose[:3, :3]
        pose[:3, 3] = turn @ pose[:3, 3] * scale + centre
        cameras.append(Camera(pose, camera.K, camera.width, camera.height))
    return cameras


def turntable(
    mesh_file: Path, frames: int = 36, size: int = 256, turn: Array = _UPRIGHT
) -> Iterator[Pixels]:
    """Frames of an orbit around a mesh, textured on the left and as plain clay on the right.

    Args:
        mesh_file: GLB with one mesh and a base colour texture, from ``build_mesh``.
        frames: number of frames of the full turn.
        size: height of a frame, pixels; its width is twice that.
        turn: (3, 3) rotation from head space to the space of the mesh, see
            :func:`nerf_export.field.render.head_rotation`.

    Yields:
        frames, (size, 2 * size, 3) uint8.

    Raises:
        Dp3dError: ``mesh.unreadable``.

    """
    mesh = TexturedMesh.open(mesh_file)
    for camera in _orbit_around(mesh.mesh.vertices, turn, frames, size):
        yield np.hstack([draw(camera).composite(_BACKGROUND) for draw in (mesh.render, mesh.clay)])


def turntable_frames(
    mesh_file: Path,
    frames: int,
    size: int,
    turn: Array = _UPRIGHT,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> list[Pixels]:
    """All frames of :func:`turntable`, with progress (stage ``turntable``) and cancel."""
    stage = Stage("turntable", frames, progress, cancel)
    pictures = []
    for frame in turntable(mesh_file, frames, size, turn):
        pictures.append(frame)
        stage.advance("Turning the mesh")
    return pictures
