"""A textured mesh, or what a fit holds, seen from all around: what shows what they are worth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.evaluation.textured import TexturedMesh
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.trajectories import WHOLE_HEAD_FOCAL, full_orbit

Floats = NDArray[np.float64]

_BACKGROUND = (255, 255, 255)
_DIAGONAL = 1.2
"""Of a head with its neck, head units: so much fills the frames of the canonical orbit."""


def orbit_around(centre: Floats, diagonal: float, frames: int, size: int) -> list[Camera]:
    """Cameras of a full turn around what lies anywhere in head space, of any size.

    Args:
        centre: (3,) of its box.
        diagonal: of its box.
        frames: of the full turn.
        size: width and height, pixels.

    """
    cameras = []
    for camera in full_orbit(frames, 5.0, size, WHOLE_HEAD_FOCAL):
        pose = np.array(camera.c2w)
        pose[:3, 3] = pose[:3, 3] * diagonal / _DIAGONAL + centre
        cameras.append(Camera(pose, camera.K, camera.width, camera.height))
    return cameras


def turntable(mesh_file: Path, frames: int = 36, size: int = 256) -> Iterator[NDArray[np.uint8]]:
    """Frames of an orbit about a GLB, textured on the left and as plain clay on the right.

    Args:
        mesh_file: one mesh in head space with a base colour texture, as ``build_mesh`` writes.
        frames: of the full turn.
        size: height of a frame in pixels; it is twice as wide.

    Yields:
        (size, 2 * size, 3) uint8 each.

    Raises:
        Dp3dError: ``mesh.unreadable``.

    """
    mesh = TexturedMesh.open(mesh_file)
    low, high = mesh.mesh.vertices.min(0), mesh.mesh.vertices.max(0)
    diagonal = float(np.linalg.norm(high - low))
    for camera in orbit_around((low + high) / 2, diagonal, frames, size):
        yield np.hstack([way(camera).composite(_BACKGROUND) for way in (mesh.render, mesh.clay)])


def turned(
    mesh_file: Path, frames: int, size: int, *, progress: ProgressCallback, cancel: CancelCheck
) -> list[NDArray[np.uint8]]:
    """All frames of :func:`turntable`, with progress (stage ``turntable``) and cancel."""
    stage = Stage("turntable", frames, progress, cancel)
    found = []
    for frame in turntable(mesh_file, frames, size):
        found.append(frame)
        stage.advance("Turning the mesh")
    return found
