"""A textured mesh seen from all around: what shows what it is worth."""

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
"""Of a head with its neck, head units: so much fills the frames of the canonical orbit."""
_UPRIGHT = np.eye(3)


def _orbit_around(vertices: Array, turn: Array, frames: int, size: int) -> list[Camera]:
    """Cameras of a full turn around what lies anywhere, of any size."""
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
    """Frames of an orbit about a GLB, textured on the left and as plain clay on the right.

    Args:
        mesh_file: one mesh with a base colour texture, as ``build_mesh`` writes.
        frames: of the full turn.
        size: height of a frame in pixels; it is twice as wide.
        turn: (3, 3) of head space to the mesh's (:func:`nerf_export.field.render.head_rotation`).

    Yields:
        (size, 2 * size, 3) uint8 each.

    Raises:
        Dp3dError: ``mesh.unreadable``.

    """
    mesh = TexturedMesh.open(mesh_file)
    for camera in _orbit_around(mesh.mesh.vertices, turn, frames, size):
        yield np.hstack([way(camera).composite(_BACKGROUND) for way in (mesh.render, mesh.clay)])


def turned(
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
