from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Z_UP_FROM_HEAD
from dp3d_core.cameras.trajectories import canonical_camera, capture_sphere
from nerf_export.shape.head_prior import head_distances, room_behind, with_head_like_start
from nerf_export.shape.hull import Hull, grid_points, visual_hull
from tests.support.scene import trace

AT_THE_FACE = np.eye(4)
AT_THE_FACE[2, 3] = 0.28
FRONT = [canonical_camera(yaw, pitch, 96) for yaw in (-32, -16, 0, 16, 32) for pitch in (-15, 15)]


def hull_of(cameras) -> Hull:
    return visual_hull(cameras, [trace(c)[1] for c in cameras], 48)


def test_points_of_a_canonical_head() -> None:
    inside = [(0, 0, 0), (0.15, 0.05, 0), (0, 0.28, 0), (0, -0.2, 0.15), (0, -0.45, 0)]
    outside = [(0, 0, 0.5), (0.4, 0, 0), (0, 0.6, 0), (0, -0.2, -0.35)]
    assert (head_distances(np.array(inside, float)) < 0).all()
    assert (head_distances(np.array(outside, float)) > 0).all()


def test_front_views_start_from_the_head_prior() -> None:
    hull = hull_of(FRONT)
    begun = with_head_like_start(hull, FRONT)
    assert begun.start is not None
    np.testing.assert_array_equal(begun.distance, hull.distance)  # still the limit
    depth = np.argwhere(hull.distance < 0)[:, 1]  # world N: y is the depth
    started = np.argwhere(begun.start < 0)[:, 1]
    true = 0.45  # the scene's head with its nose
    assert np.ptp(depth) * hull.cell > 1.5 * true
    assert 0.8 * true < np.ptp(started) * hull.cell < 1.5 * true
    assert (begun.start >= hull.distance).all()


def test_the_head_prior_passes_through_points_of_the_face() -> None:
    hull = hull_of(FRONT)
    up, across = np.meshgrid(np.linspace(-0.15, 0.15, 12), np.linspace(-0.1, 0.1, 12))
    depth = 0.2 * np.sqrt(1 - (across / 0.18) ** 2 - (up / 0.24) ** 2)  # the scene's head
    face = np.stack([across.ravel(), up.ravel(), depth.ravel()], -1)
    fresh = (face[:-1] + face[1:]) / 2  # points between the given ones

    def miss(start: Hull) -> float:
        assert start.start is not None
        begun = replace(start, distance=start.start)
        return float(np.abs(begun.at(fresh @ Z_UP_FROM_HEAD[:3, :3].T)).mean())

    with_face = with_head_like_start(hull, FRONT, face)
    assert miss(with_face) < 0.005 < 0.03 < miss(with_head_like_start(hull, FRONT))
    without_face = with_head_like_start(hull, FRONT)
    assert with_face.start is not None
    assert without_face.start is not None
    points = grid_points(hull.low, hull.cell, hull.distance.shape) @ HEAD_FROM_Z_UP[:3, :3].T
    face_distances = cKDTree(face).query(points)[0].reshape(hull.distance.shape)
    change = np.abs(with_face.start - without_face.start)
    assert change[face_distances < 0.02].mean() > 0.02
    assert change[face_distances > 0.2].max() < 0.005  # crown, neck and shoulders stay


def test_the_hull_of_a_face_reaches_to_the_back_of_the_head() -> None:
    # as published ones: they turn about a point before the head's middle
    cameras = [replace(camera, c2w=AT_THE_FACE @ camera.c2w) for camera in FRONT]
    masks = [trace(camera)[1] for camera in cameras]
    back = room_behind(cameras)
    assert back is not None
    short, whole = (visual_hull(cameras, masks, 48, back=b) for b in (None, back))
    behind = np.array([[0.0, 0.19, 0.0]])  # world N; the scene's head ends at 0.2
    assert short.at(behind) > 0 > whole.at(behind)
    assert whole.at(np.array([[0.0, back + 0.02, 0.0]])) > 0
    assert room_behind(list(capture_sphere(12, (-15.0, 25.0), 96))) is None


def test_captures_from_all_sides_start_from_the_hull() -> None:
    cameras = list(capture_sphere(12, (-15.0, 25.0), 96))
    assert with_head_like_start(hull_of(cameras), cameras).start is None


def test_a_head_outside_the_prior_starts_from_its_hull() -> None:
    hull = hull_of(FRONT)
    elsewhere = Hull(hull.low + 5.0, hull.cell, hull.distance, hull.reach)
    assert with_head_like_start(elsewhere, FRONT).start is None


def test_a_hull_survives_saving(tmp_path: Path) -> None:
    hull = with_head_like_start(hull_of(FRONT), FRONT)
    hull.save(tmp_path / "hull.npz")
    back = Hull.load(tmp_path / "hull.npz")
    assert back.start is not None
    assert hull.start is not None
    np.testing.assert_array_equal(back.start, hull.start)
    np.testing.assert_array_equal(back.low, hull.low)
    assert (back.cell, back.reach) == (hull.cell, hull.reach)
