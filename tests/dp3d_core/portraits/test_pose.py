"""The learned fit: pose and shape of people it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.heads.landmark_map import Frame, landmark_map, learn, pose_of, pose_outputs
from dp3d_core.portraits.crop import CROP_FOCAL, CROP_SIZE
from dp3d_core.portraits.landmarks import find_landmarks
from dp3d_core.portraits.pose import (
    _KEY_POINTS,
    HeadAngles,
    components_of,
    fit_head,
    fit_key_points,
    rotations,
)
from tests.support.synthetic import PaintedHead


def test_pose_outputs_are_undone() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(468, 2)) * 40 + 300
    angles, origin = np.array([0.3, -0.1, 0.2]), np.array([310.0, 280.0])
    outputs = pose_outputs(points, angles, 700.0, origin)
    back = pose_of(Frame.of(points), outputs)
    turned = (back[0] - angles + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(turned, 0, atol=1e-9)
    assert back[1] == pytest.approx(700.0)
    np.testing.assert_allclose(back[2], origin)


def test_a_turned_picture_turns_the_head_and_nothing_else() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(468, 2)) * 40 + 300
    depth = rng.normal(size=468) * 20
    turn = np.radians(25)
    c, s = np.cos(turn), np.sin(turn)
    rotated = (points - 300) @ np.array([[c, -s], [s, c]]).T + 300
    first = Frame.of(points).normalised(points, depth)
    second = Frame.of(rotated).normalised(rotated, depth)
    np.testing.assert_allclose(first, second, atol=1e-9)
    assert Frame.of(rotated).roll == pytest.approx(Frame.of(points).roll + turn)


def test_a_linear_world_is_learned() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=(468, 2)) * 40
    modes = rng.normal(size=(5, 468, 2)) * 4
    truth = rng.normal(size=(900, 5))
    points = base + np.einsum("nk,kpc->npc", truth, modes) + 300
    learned = learn(points, np.zeros((900, 468)), np.column_stack([truth, truth[:, :2] ** 2]))
    assert learned.residual[:5].max() < 0.2
    assert learned.residual[5:].max() < 0.8


@pytest.mark.parametrize("yaw", [-30.0, 0.0, 20.0])
def test_the_pose_of_a_head_it_has_not_seen(yaw: float) -> None:
    camera = canonical_camera(yaw, 5.0, CROP_SIZE, focal=CROP_FOCAL)
    view = PaintedHead().render(camera).composite((120, 130, 140))
    face = find_landmarks(view)[0]
    fitted = fit_head(face.points, face.depth, CROP_SIZE, CROP_FOCAL)
    between = fitted.camera.c2w[:3, :3].T @ camera.c2w[:3, :3]
    angle = np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1)))
    assert angle < 9, angle
    assert fitted.camera.K[0, 0] == pytest.approx(camera.K[0, 0], rel=0.12)
    assert fitted.score > 2
    components = components_of(fitted.shape)
    assert len(components) > 20
    assert np.abs(components).max() <= 2.5


def test_angles_by_hand_are_kept() -> None:
    camera = canonical_camera(10.0, 0.0, CROP_SIZE, focal=CROP_FOCAL)
    face = find_landmarks(PaintedHead().render(camera).composite((120, 130, 140)))[0]
    by_hand = HeadAngles(yaw_deg=25.0)
    fitted = fit_head(face.points, face.depth, CROP_SIZE, CROP_FOCAL, by_hand)
    assert fitted.yaw_pitch_roll_deg[0] == pytest.approx(25.0, abs=1e-6)


@pytest.mark.parametrize("yaw", [-85.0, 70.0])
def test_key_points_of_a_profile_give_its_pose(yaw: float) -> None:
    camera = canonical_camera(yaw, 3.0, CROP_SIZE, focal=1.1 * CROP_FOCAL)
    points = camera.project(_KEY_POINTS)[0]
    fitted = fit_key_points(points, CROP_SIZE, CROP_FOCAL)
    assert fitted.yaw_pitch_roll_deg[0] == pytest.approx(yaw, abs=6)
    assert fitted.camera.K[0, 0] == pytest.approx(camera.K[0, 0], rel=0.05)
    np.testing.assert_allclose(fitted.camera.K[:2, 2], CROP_SIZE / 2, atol=8)
    assert fitted.shape == {}
    by_hand = fit_key_points(points, CROP_SIZE, CROP_FOCAL, HeadAngles(60.0, 0.0, 10.0))
    assert by_hand.yaw_pitch_roll_deg == pytest.approx((60.0, 0.0, 10.0), abs=1e-6)


def test_noise_is_no_face() -> None:
    rng = np.random.default_rng(4)
    points = rng.normal(size=(468, 2)) * 60 + 320
    fitted = fit_head(points, rng.normal(size=468) * 30, CROP_SIZE, CROP_FOCAL)
    assert fitted.score < 1.2


def test_the_map_travels_with_the_package() -> None:
    learned = landmark_map()
    assert learned.weights.shape[1] == len(learned.residual)
    assert np.degrees(learned.residual[:3]).max() < 6
    np.testing.assert_allclose(rotations(np.zeros((1, 3)))[0], np.diag([1, -1, -1]), atol=1e-12)
