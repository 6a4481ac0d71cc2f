"""Training windows of the view map."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import orbit_pose
from dp3d_core.portraits.view_map import gradient_features, person_features
from dp3d_core.synthetic import view_training
from dp3d_core.synthetic.view_training import learn_views, render_views, training_windows


def test_outputs_are_the_poses_half_of_them_mirrored() -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 176, 176, 3), np.uint8)
    poses = np.repeat(orbit_pose(70.0, 10.0)[None], 40, 0)
    features, outputs = training_windows(
        images, poses, (0.1, 0.05), gradient_features, np.random.default_rng(1)
    )
    values = np.array(outputs)
    assert len(features) == len(values) == 40 * view_training._WINDOWS
    yaw = np.degrees(np.arctan2(values[:, 1], values[:, 0]))
    np.testing.assert_allclose(np.abs(yaw), 70, atol=1e-6)
    assert 0.25 < (yaw > 0).mean() < 0.75
    np.testing.assert_allclose(np.degrees(values[:, 2]), 10, atol=1e-6)
    np.testing.assert_allclose(values[:, 3], 0, atol=1e-6)
    assert 0.05 < values[:, 4].std() < 0.15
    assert 0.02 < values[:, 5:].std() < 0.08


@pytest.mark.slow
def test_a_map_learned_from_four_subjects_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_training, "_WINDOWS", 12)
    subjects = [render_views(subject) for subject in range(4)]
    learned = learn_views(subjects)
    windows, outputs = training_windows(
        *subjects[0], (0.03, 0.01), person_features, np.random.default_rng(5)
    )
    predicted = learned.fine(np.array(windows))
    yaw, true = (np.arctan2(v[:, 1], v[:, 0]) for v in (predicted, np.array(outputs)))
    error = np.degrees(np.abs((yaw - true + np.pi) % (2 * np.pi) - np.pi))
    assert np.median(error) < 15  # a guess is off by 60
