"""A textured mesh seen from all around: the picture that shows what the mesh is worth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dp3d_core.evaluation.textured import TexturedMesh
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.trajectories import capture_sphere

_BACKGROUND = (255, 255, 255)


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
    for camera in capture_sphere(frames, (5.0,), size):
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
