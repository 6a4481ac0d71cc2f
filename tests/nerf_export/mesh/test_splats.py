"""Splats as a viewer draws them: read from the file, sorted, composited."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import canonical_camera, capture_sphere
from dp3d_core.progress import Stage
from nerf_export.mesh.bake import paint
from nerf_export.mesh.splats import to_splats
from tests.support.scene import HEAD, trace

SIZE = 96


def read(data: bytes) -> dict[str, np.ndarray]:
    """Columns of a binary PLY of floats."""
    head, body = data.split(b"end_header\n", 1)
    lines = head.decode("ascii").splitlines()
    names = [line.split()[2] for line in lines if line.startswith("property float")]
    (count,) = (int(line.split()[2]) for line in lines if line.startswith("element vertex"))
    table = np.frombuffer(body, "<f4").reshape(count, len(names)).astype(np.float64)
    return dict(zip(names, table.T, strict=True))


def drawn(splats: dict[str, np.ndarray], camera: Camera) -> np.ndarray:
    """(h, w, 4) colour over black and coverage: the rasteriser of Kerbl et al. 2023, slowly."""
    centre = np.stack([splats[axis] for axis in "xyz"], -1)
    colour = 0.5 + 0.28209479177387814 * np.stack([splats[f"f_dc_{k}"] for k in range(3)], -1)
    opacity = 1 / (1 + np.exp(-splats["opacity"]))
    scale = np.exp(np.stack([splats[f"scale_{k}"] for k in range(3)], -1))
    quaternion = np.stack([splats[f"rot_{k}"] for k in range(4)], -1)
    turn = Rotation.from_quat(quaternion[:, [1, 2, 3, 0]]).as_matrix() * scale[:, None, :]
    world = camera.c2w[:3, :3].T
    local = (centre - camera.position) @ world.T
    spread = world @ turn
    x, y, z = local.T
    f = camera.K[0, 0]
    jacobian = np.zeros((len(z), 2, 3))
    jacobian[:, 0, 0] = jacobian[:, 1, 1] = f / z
    jacobian[:, 0, 2], jacobian[:, 1, 2] = -f * x / z**2, -f * y / z**2
    flat = jacobian @ spread
    covariance = flat @ flat.transpose(0, 2, 1) + 0.3 * np.eye(2)
    inverse = np.linalg.inv(covariance)
    reach = np.ceil(3 * np.sqrt(covariance[:, [0, 1], [0, 1]].max(1))).astype(int)
    uv = camera.project(centre)[0]
    colours, transmittance = np.zeros((SIZE, SIZE, 3)), np.ones((SIZE, SIZE))
    for i in np.argsort(z):
        column, row = np.floor(uv[i]).astype(int)
        area = tuple(
            slice(max(0, at - reach[i]), max(0, min(SIZE, at + reach[i] + 1)))
            for at in (row, column)
        )
        if not transmittance[area].size or transmittance[area].max() < 0.01:
            continue
        offsets = np.stack(np.mgrid[area][::-1], -1) + 0.5 - uv[i]
        power = np.einsum("hwa,ab,hwb->hw", offsets, inverse[i], offsets)
        alpha = (opacity[i] * np.exp(-power / 2)).clip(0, 0.99)
        colours[area] += (transmittance[area] * alpha)[..., None] * colour[i]
        transmittance[area] *= 1 - alpha
    return np.dstack([colours, 1 - transmittance])


@pytest.mark.parametrize("yaw", [20, 160])
def test_rendered_splats_match_the_views(yaw: int) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.apply_scale(HEAD.radii)
    pictures = []
    for camera in capture_sphere(12, (-20.0, 20.0), 128):
        frame, alpha = trace(camera, parts=(HEAD,))
        pictures.append((camera, np.dstack([frame, alpha])))
    painted = paint(mesh, pictures, 128, Stage("mesh", 50))
    (data,) = to_splats(painted).values()
    splats = read(data)
    assert len(splats["x"]) > 5000
    camera = canonical_camera(yaw, 10, SIZE)
    rendered = drawn(splats, camera)
    frame, alpha = trace(camera, parts=(HEAD,))
    inside = alpha >= 128
    # no holes, and no more beyond the outline than the rasteriser's own blur adds
    assert (rendered[inside][:, 3] > 0.9).mean() > 0.995
    around = ndimage.binary_dilation(inside, iterations=2)
    assert rendered[~around][:, 3].max() < 0.3
    error = rendered[inside][:, :3] - frame[inside] / 255
    assert -10 * np.log10((error**2).mean()) > 28
