from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Camera
from dp3d_core.cameras.trajectories import capture_sphere
from nerf_export.shape.depth_fusion import poisson_grid, tsdf_grid
from nerf_export.shape.surface import DistanceGrid, extract_surface

CENTRE, RADIUS = np.array([0.05, -0.03, 0.02]), 0.3
CORNERS, CELL = 49, 0.02


def depth_of_ball(camera: Camera) -> np.ndarray:
    """(h, w) float32 exact depth along the optical axis, inf beside the ball."""
    rays = camera.directions(camera.pixel_centres())
    start = camera.position - CENTRE
    b = rays @ start
    root = b**2 - (start @ start - RADIUS**2)
    along = -b - np.sqrt(np.maximum(root, 0))
    return np.where(root > 0, along * (rays @ camera.c2w[:3, 2]), np.inf).astype(np.float32)


@pytest.fixture(scope="module")
def scene() -> tuple[list[Camera], list[np.ndarray], DistanceGrid]:
    cameras = capture_sphere(18, (-30.0, 5.0, 45.0), 128)
    low = np.full(3, -CELL * (CORNERS - 1) / 2)
    empty = DistanceGrid(np.zeros((CORNERS,) * 3, np.float32), low, CELL)
    return list(cameras), [depth_of_ball(c) for c in cameras], empty


@pytest.mark.parametrize("fuse", [tsdf_grid, poisson_grid])
def test_fused_depth_of_a_ball_is_the_ball(scene, fuse) -> None:
    mesh = extract_surface(fuse(*scene), 4000)
    assert mesh.is_watertight
    distances = np.linalg.norm(mesh.vertices - CENTRE, axis=1) - RADIUS
    # above and below, between the rings, few pixels look: the rest is near the truth
    seen = np.abs(mesh.vertices[:, 1] - CENTRE[1]) < 0.7 * RADIUS
    assert np.abs(distances[seen]).mean() < 0.5 * CELL
    assert np.abs(distances).max() < 3 * CELL


def test_distances_are_negative_inside_and_grow_outwards(scene) -> None:
    cameras, depths, like = scene
    place = HEAD_FROM_Z_UP[:3, :3].T @ CENTRE  # in the grid's world
    middle = tuple(np.rint((place - like.low) / CELL).astype(int))
    for fuse in (tsdf_grid, poisson_grid):
        distance = fuse(cameras, depths, like).distance
        assert distance[middle] < 0 < distance[2, 2, 2]
