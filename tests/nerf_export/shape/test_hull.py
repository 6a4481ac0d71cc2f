from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dp3d_core.cameras.camera import Z_UP_FROM_HEAD, Camera
from dp3d_core.cameras.trajectories import canonical_camera, capture_sphere, full_orbit, look_at
from dp3d_core.errors import Dp3dError
from nerf_export.shape.hull import Hull, Silhouette, carving_views, hull_distances, visual_hull
from tests.support.scene import HIGH, LOW, trace


def ball_mask(camera: Camera, centre: np.ndarray, radius: float) -> np.ndarray:
    rays = camera.directions(camera.pixel_centres())
    to_centre = centre - camera.position
    ray_distances = np.linalg.norm(to_centre - (rays @ to_centre)[..., None] * rays, axis=-1)
    return np.where(ray_distances < radius, 255, 0).astype(np.uint8)


def corners(hull: Hull) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, hull.distance.shape), indexing="ij"), -1)
    return hull.low + hull.cell * index


def in_world_n(points: np.ndarray) -> np.ndarray:
    return points @ Z_UP_FROM_HEAD[:3, :3].T


def test_hull_distances_of_a_ball() -> None:
    centre, radius = np.array([0.03, -0.05, 0.02]), 0.2
    cameras = capture_sphere(30, (-50.0, 0.0, 50.0), 128)
    hull = visual_hull(cameras, [ball_mask(c, centre, radius) for c in cameras], 48)
    truth = np.linalg.norm(corners(hull) - in_world_n(centre), axis=-1) - radius
    near = np.abs(truth) < 0.1
    error = hull.distance[near] - truth[near]
    assert np.abs(np.median(error)) < hull.cell / 2
    # A hull contains the body: it may be larger between the views, but never smaller.
    assert error.max() < 1.5 * hull.cell


def test_box_fits_tightly_whatever_the_camera_distance() -> None:
    centre, radius = np.array([0.5, 1.0, -0.5]), 0.4
    for distance in (3.0, 30.0):
        cameras = []
        for yaw in np.arange(0, 360, 45):
            height = 1.0 if yaw % 90 else -1.0
            direction = np.array([np.sin(np.radians(yaw)), height, np.cos(np.radians(yaw))])
            focal = 100 * distance
            K = np.array([[focal, 0, 64], [0, focal, 64], [0, 0, 1.0]])
            cameras.append(Camera(look_at(centre + distance * direction, centre), K, 128, 128))
        hull = visual_hull(cameras, [ball_mask(c, centre, radius) for c in cameras], 40)
        extent = hull.high - hull.low
        assert np.all(extent > 2 * radius)
        assert np.all(extent < 4 * radius)
        assert np.abs((hull.low + hull.high) / 2 - in_world_n(centre)).max() < 0.3 * radius


def test_ellipsoid_head_is_inside_its_hull() -> None:
    cameras = capture_sphere(18, (-20.0, 5.0, 35.0), 96)
    hull = visual_hull(cameras, [trace(c)[1] for c in cameras], 48)
    inside = in_world_n(np.array([LOW, HIGH]))
    low, high = inside.min(0), inside.max(0)
    solid = corners(hull)[hull.distance < 0]
    assert np.all(solid.min(0) < low + 1.5 * hull.cell)
    assert np.all(solid.max(0) > high - 1.5 * hull.cell)


def test_body_cut_by_the_frame_ends_at_the_frame() -> None:
    cameras = full_orbit(12, size=64)
    masks = []
    for camera in cameras:
        mask = ball_mask(camera, np.zeros(3), 0.15)
        columns = slice(24, 40)
        mask[32:, columns] = 255  # a neck that runs out of the picture
        masks.append(mask)
    hull = visual_hull(cameras, masks, 48)
    solid = corners(hull)[hull.distance < 0]
    bottom = 2.7 / 4.2647 / 2  # half the canonical frame, head units
    assert solid[:, 2].min() == pytest.approx(-bottom, abs=0.03)


def test_shoulders_that_leave_the_frame_of_most_views_are_kept() -> None:
    """They fill the front and back views' frames; a box that cuts them shows as missing cloth."""
    cameras = full_orbit(24, size=64)
    shoulders = np.stack([np.linspace(-0.5, 0.5, 41), np.full(41, -0.2), np.zeros(41)], -1)
    masks = []
    for camera in cameras:
        mask = ball_mask(camera, np.zeros(3), 0.15)
        for point in shoulders:
            mask = np.maximum(mask, ball_mask(camera, point, 0.06))
        masks.append(mask)
    hull = visual_hull(cameras, masks, 64)
    solid = corners(hull)[hull.distance < 0]
    half_frame = 2.7 * cameras[0].width / cameras[0].K[0, 0] / 2
    assert np.abs(solid[:, 0]).max() > 1.1 * half_frame


def test_one_bad_mask_of_many_does_not_cut_a_hole() -> None:
    cameras = full_orbit(16, size=64)
    masks = [ball_mask(c, np.zeros(3), 0.2) for c in cameras]
    masks[3] = np.zeros_like(masks[3])
    hull = visual_hull(cameras, masks, 32)
    assert hull.distance.min() < -0.1


def test_without_masks_a_ball_in_the_middle_of_the_frames_stands_in() -> None:
    cameras = full_orbit(8, size=32)
    hull = visual_hull(cameras, [np.full((32, 32), 255, np.uint8)] * 8, 24)
    half_frame = 2.7 * 32 / cameras[0].K[0, 0] / 2
    assert hull.distance.min() == pytest.approx(-0.6 * half_frame, abs=hull.cell)
    assert hull.reach > 0.3 * half_frame


@pytest.mark.parametrize("masked", [True, False])
def test_rays_enter_the_box_through_free_space(masked: bool) -> None:
    """Also where the body runs out of every frame."""
    cameras = full_orbit(8, size=32)
    mask = np.full((32, 32), 255, np.uint8)
    if masked:
        mask[:, :10] = mask[:, 22:] = 0
    distance = visual_hull(cameras, [mask] * 8, 24).distance
    for axis in range(3):
        assert distance.take([0, -1], axis).min() > 0


def test_masks_without_common_volume_are_refused() -> None:
    cameras = full_orbit(6, size=32)
    with pytest.raises(Dp3dError) as caught:
        visual_hull(cameras, [np.zeros((32, 32), np.uint8)] * 6, 24)
    assert caught.value.code == "viewset.invalid"


def test_carving_views_are_bounded_and_spread() -> None:
    assert carving_views(range(30)) == list(range(30))
    chosen = carving_views(range(500))
    assert len(chosen) == 72
    assert (chosen[0], chosen[-1]) == (0, 499)
    assert set(np.diff(chosen)) <= {6, 7, 8}


def test_invalid_pixels_do_not_carve() -> None:
    """Each view knows only the middle of its frame, and its mask is empty elsewhere."""
    cameras = full_orbit(12, size=64)
    whole = visual_hull(cameras, [ball_mask(c, np.zeros(3), 0.2) for c in cameras], 40)
    known = np.zeros((64, 64), bool)
    known[20:44, 20:44] = True
    masks = [np.where(known, ball_mask(c, np.zeros(3), 0.2), 0).astype(np.uint8) for c in cameras]
    wide = [canonical_camera(30.0 * i, 40, 64) for i in range(12)]
    others = [ball_mask(c, np.zeros(3), 0.2) for c in wide]
    both = visual_hull(
        [*cameras, *wide], [*masks, *others], 40, [known] * len(masks) + [None] * len(others)
    )
    reach = np.abs(corners(both)[both.distance < 0]).max(0)
    # the others see from 40 degrees above: to them the poles are cones
    assert reach == pytest.approx([0.2, 0.2, 0.2 / np.cos(np.radians(40))], abs=0.03)
    cut = visual_hull([*cameras, *wide], [*masks, *others], 40)
    assert np.abs(corners(cut)[cut.distance < 0]).max(0)[2] < 0.17
    assert whole.distance.min() == pytest.approx(both.distance.min(), abs=0.03)


def moved(cameras: list[Camera], change: Callable[[np.ndarray], None]) -> list[Camera]:
    """Cameras whose (4, 4) poses are changed in place."""
    poses = [np.array(camera.c2w) for camera in cameras]
    for pose in poses:
        change(pose)
    return [Camera(p, c.K, c.width, c.height) for p, c in zip(poses, cameras, strict=True)]


def at(place: tuple[float, float, float]) -> Callable[[np.ndarray], None]:
    def change(pose: np.ndarray) -> None:
        pose[:3, 3] = place

    return change


def on_the_axis(pose: np.ndarray) -> None:
    pose[[0, 2], 3] = 0


def turned_round(pose: np.ndarray) -> None:
    pose[:3, :3] = pose[:3, :3] @ np.diag([-1.0, 1.0, -1.0])


def scaled(factor: float) -> Callable[[np.ndarray], None]:
    def change(pose: np.ndarray) -> None:
        pose[:3, 3] *= factor

    return change


def shifted(by: float) -> Callable[[np.ndarray], None]:
    def change(pose: np.ndarray) -> None:
        pose[:3, 3] += by

    return change


ROUND = capture_sphere(10, (-20.0, 5.0, 35.0), 32)
SIDEWAYS = [Camera(look_at((x, 0, 2.7), (x, 0, 0)), ROUND[0].K, 32, 32)
            for x in np.linspace(-2e6, 2e6, 10)]  # fmt: skip


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    ("cameras", "why"),
    [
        (moved(ROUND, on_the_axis), "stand inside"),
        (moved(ROUND, turned_round), "look away"),
        (SIDEWAYS, "look away"),
        (ROUND[:9] + moved(ROUND[9:], at((1e9, 1e9, 1e9))), "far off"),
        (moved(ROUND, at((0, 0, 2.7))), "one place"),
        (moved(ROUND, at((0, 0, 0))), "one place"),
        (moved(ROUND, at((1e6, 0, 2.7))), "one place"),
        ([ROUND[0]] * 4, "one place"),
        (moved(ROUND, scaled(1e-9)), "head units"),
        (moved(ROUND, scaled(1e8)), "head units"),
        (moved(ROUND, shifted(1e5)), "single precision"),
    ],
)
def test_unusable_cameras_are_refused(cameras: list[Camera], why: str, masked: bool) -> None:
    masks = [ball_mask(c, np.zeros(3), 0.2) for c in ROUND][: len(cameras)]
    if not masked:
        masks = [np.full_like(mask, 255) for mask in masks]
    with pytest.raises(Dp3dError) as caught:
        visual_hull(cameras, masks, 24, back=0.28)
    assert caught.value.code == "viewset.invalid"
    assert why in caught.value.problem


@pytest.mark.parametrize("factor", [0.01, 1e3, 1e5])
def test_hulls_scale_with_the_cameras(factor: float) -> None:
    masks = [ball_mask(c, np.zeros(3), 0.2) for c in ROUND]
    hull = visual_hull(ROUND, masks, 24)
    scaled_hull = visual_hull(moved(ROUND, scaled(factor)), masks, 24)
    assert scaled_hull.cell == pytest.approx(factor * hull.cell, rel=1e-3)
    near = np.abs(hull.distance) < 2 * hull.cell
    np.testing.assert_allclose(scaled_hull.distance[near] / factor, hull.distance[near], atol=1e-3)


def test_a_head_that_lies_far_from_the_origin() -> None:
    """As in a world that begins at a corner of a map."""
    masks = [ball_mask(c, np.zeros(3), 0.2) for c in ROUND]
    hull, far = visual_hull(ROUND, masks, 24), visual_hull(moved(ROUND, shifted(5e3)), masks, 24)
    np.testing.assert_allclose(far.middle, hull.middle + in_world_n(np.full(3, 5e3)), atol=0.01)
    assert far.cell == pytest.approx(hull.cell, rel=0.01)


@pytest.mark.parametrize("count", [7, 8, 9, 10])
def test_distances_are_finite_outside_most_frames(count: int) -> None:
    """Points behind cameras have no distance, and the quantile falls between two views."""
    cameras = ROUND[:count]
    silhouettes = [Silhouette.of(ball_mask(c, np.zeros(3), 0.2)) for c in cameras]
    points = np.random.default_rng(0).normal(size=(500, 3)) * 10
    distances = hull_distances(cameras, silhouettes, points)
    assert np.isfinite(distances).all()
    assert (distances[np.linalg.norm(points, axis=1) > 1] > 0).all()


def test_room_behind_small_frames_is_bounded() -> None:
    """The back of the head may lie a thousand frames behind the focus of a close-up."""
    cameras = [
        Camera(c.c2w, np.array([[5e3, 0, 16], [0, 5e3, 16], [0, 0, 1]]), 32, 32) for c in ROUND
    ]
    hull = visual_hull(cameras, [ball_mask(c, np.zeros(3), 5e-3) for c in cameras], 24, back=5.0)
    assert (hull.high - hull.low).max() < 0.1
