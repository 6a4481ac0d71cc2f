"""A textured mesh seen from all around: the picture that shows what the mesh is worth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from dp3d_core.errors import Dp3dError
from dp3d_core.mesh import Mesh
from dp3d_core.raycast import Hits, RayCaster, Shader, render
from dp3d_core.trajectories import capture_sphere

Array = NDArray[np.float64]

_BACKGROUND = (255, 255, 255)
_CLAY = np.array([0.72, 0.68, 0.64])


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
    mesh, textured = _load(mesh_file)
    caster = RayCaster(mesh)
    for camera in capture_sphere(frames, (5.0,), size):
        # A lamp at the camera: clay shows the form, the texture keeps its own colours.
        eye = np.asarray(camera.position)

        def clay(hits: Hits, eye: Array = eye) -> Array:
            to_eye = eye - hits.points
            to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
            facing = np.abs(np.einsum("kx,kx->k", hits.normals, to_eye))
            return np.asarray(_CLAY * (0.25 + 0.75 * facing[:, None]))

        pictures = [render(caster, camera, s).composite(_BACKGROUND) for s in (textured, clay)]
        yield np.hstack(pictures)


def _load(mesh_file: Path) -> tuple[Mesh, Shader]:
    try:
        loaded: Any = trimesh.load(mesh_file, force="mesh", process=False)
        uv = np.asarray(loaded.visual.uv, np.float64)
        texture = np.asarray(loaded.visual.material.baseColorTexture.convert("RGB"))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise Dp3dError(
            "mesh.unreadable",
            f"{mesh_file} is not a textured mesh ({error}).",
            "Make it again with 'dp3d mesh'.",
        ) from error
    mesh = Mesh(
        np.asarray(loaded.vertices, np.float64),
        np.asarray(loaded.faces, np.int32),
        np.asarray(loaded.vertex_normals, np.float64),
        np.zeros(len(loaded.vertices), np.uint8),
    )

    def textured(hits: Hits) -> Array:
        at = np.einsum("kc,kcx->kx", hits.weights, uv[mesh.faces[hits.face]])
        return _bilinear(texture, at[:, 0], 1 - at[:, 1])  # trimesh's v points up

    return mesh, textured


def _bilinear(texture: NDArray[np.uint8], u: Array, v: Array) -> Array:
    """Colours (k, 3), 0 to 1, of a texture at u to the right and v down, 0 to 1."""
    height, width = texture.shape[:2]
    x = np.clip(u * width - 0.5, 0, width - 1)
    y = np.clip(v * height - 0.5, 0, height - 1)
    x0, y0 = x.astype(np.int64), y.astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    upper = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    lower = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    return np.asarray((upper * (1 - fy) + lower * fy) / 255)
