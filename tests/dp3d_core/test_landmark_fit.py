"""Pose and shape from landmarks: of points projected from a known head, and of real subjects."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dp3d_core import face_models, landmark_fit, landmarks
from dp3d_core.alignment import Known, Turn
from dp3d_core.heads.space import MM
from dp3d_core.landmark_fit import fit_landmarks, head_points, measure_head_points
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.trajectories import canonical_camera

SIDE, FOCAL = 640, 3.0


def project(camera, shape):
    """(468, 2) landmarks of a shape as a camera sees them; those without a place are absurd."""
    head = head_points()
    values = np.array([shape.get(name, 0.0) for name in head.names])
    points = np.full((landmarks.POINTS, 2), -1e4)
    moved = head.points + np.tensordot(values, head.moves, 1)
    points[head.index] = camera.project(moved * MM)[0]
    return points


@pytest.mark.parametrize("yaw", [-50, -20, 0, 35])
@pytest.mark.parametrize("pitch", [-12, 9])
def test_a_known_head_is_recovered(yaw, pitch):
    shape = {"face_length": 0.4, "mouth_open": 0.8, "nose_length": -0.4}
    camera = canonical_camera(yaw, pitch, SIDE, focal=FOCAL * 1.1)
    found = fit_landmarks(project(camera, shape), SIDE, FOCAL)
    assert found.yaw_pitch_roll_deg[0] == pytest.approx(yaw, abs=1.5)
    # a pitch is held back a little: a long face and a bowed head look alike
    assert found.yaw_pitch_roll_deg[1] == pytest.approx(pitch, abs=3.0)
    assert found.yaw_pitch_roll_deg[2] == pytest.approx(0, abs=0.5)
    assert found.camera.K[0, 0] == pytest.approx(camera.K[0, 0], rel=0.04)
    assert found.shape["mouth_open"] == pytest.approx(0.8, abs=0.35)
    assert found.score > 3.5


def test_what_is_known_is_kept():
    camera = canonical_camera(12, 0, SIDE, focal=FOCAL)
    points = project(camera, {})
    known = Known(Turn(5.0, -7.0, 3.0), place=True)
    found = fit_landmarks(points, SIDE, FOCAL, known)
    assert found.yaw_pitch_roll_deg == pytest.approx((5.0, -7.0, 3.0), abs=1e-6)
    assert found.camera.K[0, 0] == pytest.approx(FOCAL * SIDE)
    assert found.camera.K[0, 2] == pytest.approx(SIDE / 2)


def test_a_few_wild_points_do_no_harm():
    camera = canonical_camera(15, 4, SIDE, focal=FOCAL)
    points = project(camera, {})
    rng = np.random.default_rng(0)
    points[rng.choice(head_points().index, 40, replace=False)] += rng.normal(0, 60, (40, 2))
    found = fit_landmarks(points, SIDE, FOCAL)
    assert found.yaw_pitch_roll_deg[0] == pytest.approx(15, abs=2.5)


def test_the_table_is_symmetric_and_on_a_face():
    head = head_points()
    mirrored = head.points * [-1, 1, 1]
    distance = np.linalg.norm(head.points[None] - mirrored[:, None], axis=2).min(1)
    assert distance.max() < 0.3
    assert len(head.index) > 350
    assert head.points[:, 2].min() > 0  # all before the ears


@pytest.mark.skipif(not face_models.installed(), reason="face models absent: dp3d setup models")
def test_the_table_is_what_the_models_say():
    """Measured anew on other subjects, most points lie where the table has them."""
    table = np.array(json.loads(landmark_fit._TABLE.read_text())["points"])
    anew = measure_head_points(range(9100, 9106), size=512)
    common, ours, theirs = np.intersect1d(table[:, 0], anew[:, 0], return_indices=True)
    assert len(common) > 300
    away = np.linalg.norm(table[ours, 1:4] - anew[theirs, 1:4], axis=1)
    assert np.median(away) < 2.0


@pytest.mark.skipif(not face_models.installed(), reason="face models absent: dp3d setup models")
@pytest.mark.parametrize("yaw", [-40, 0, 25])
def test_the_pose_of_a_subject(yaw):
    head = SyntheticHead(random_subject(40))
    camera = canonical_camera(yaw, 6, SIDE, focal=FOCAL)
    face = landmarks.find_landmarks(head.render(camera).rgb)[0]
    found = fit_landmarks(face.points, SIDE, FOCAL)
    turn = camera.c2w[:3, :3].T @ found.camera.c2w[:3, :3]
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 10


@pytest.mark.parametrize("lean", [-170, -90, -40, 90, 180])
def test_a_head_that_lies_on_its_side_or_stands_on_its_head(lean):
    """Counter-clockwise is positive."""
    upright = project(canonical_camera(10, 3, SIDE, focal=FOCAL), {}) - SIDE / 2
    a = np.radians(lean)
    turned = upright @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) + SIDE / 2
    found = fit_landmarks(turned, SIDE, FOCAL)
    off = (found.yaw_pitch_roll_deg[2] - lean + 180) % 360 - 180
    assert abs(off) < 3
    assert found.yaw_pitch_roll_deg[0] == pytest.approx(10, abs=2)
