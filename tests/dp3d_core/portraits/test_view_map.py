"""The learned poses of heads seen from the side and from behind."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from dp3d_core.evaluation.photos_benchmark import Shot
from dp3d_core.portraits.crop import CROP_FOCAL, Crop
from dp3d_core.portraits.view_map import (
    OUTPUTS,
    Stage,
    ViewMap,
    moved,
    person_features,
    view_map,
)


def rough_window(shot: Shot) -> Crop:
    """A window that is a tenth too large and off by a twentieth."""
    side = 640 * float(shot.camera.K[0, 0]) / 640 / CROP_FOCAL
    return Crop.around(320 + 0.05 * side, 320 - 0.05 * side, 1.1 * side)


def test_yaw_and_place_of_profiles_and_backs(person_shots: list[Shot]) -> None:
    for shot in person_shots[1:3]:
        view = view_map()(shot.image, rough_window(shot))
        yaw = np.degrees(view.angles[0])
        true = shot.camera.yaw_pitch_deg[0]
        assert abs((yaw - true + 180) % 360 - 180) < 20
        side = float(shot.camera.K[0, 0]) / CROP_FOCAL
        assert abs(np.log(view.crop.side / side)) < 0.15
        centre = np.array([view.crop.x, view.crop.y]) + view.crop.side / 2
        assert np.abs(centre - 320).max() < 0.08 * side


def test_a_mirrored_photo_has_the_mirrored_pose(person_shots: list[Shot]) -> None:
    shot, window = person_shots[1], rough_window(person_shots[1])
    other = Crop(640 - window.x - window.side, window.y, window.side)
    view = view_map()(shot.image, window)
    mirrored = view_map()(np.ascontiguousarray(shot.image[:, ::-1]), other)
    difference = np.degrees(mirrored.angles - view.angles * [-1, 1, -1])
    assert np.abs((difference + 180) % 360 - 180).max() < 6


def test_a_stage_learns_and_a_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 30)).astype(np.float32)
    outputs = np.tanh(features @ rng.normal(size=(30, OUTPUTS)) * 0.2)
    stage = Stage.learn(features[:350], outputs[:350], (30, 350))
    error = np.abs(stage(features[350:]) - outputs[350:]).mean()
    spread = np.abs(outputs[350:] - outputs[:350].mean(0)).mean()
    assert error < 0.7 * spread
    ViewMap(stage, stage).save(tmp_path / "map.npz")
    again = ViewMap.load(io.BytesIO((tmp_path / "map.npz").read_bytes()))
    # the mean is stored in half precision
    np.testing.assert_allclose(again.fine(features[350:]), stage(features[350:]), atol=0.02)


def test_features_are_those_of_the_window_alone(person_shots: list[Shot]) -> None:
    shot = person_shots[2]
    window = rough_window(shot)
    x, y, side = round(window.x - window.side / 4), round(window.y - window.side / 4), window.side
    cut = shot.image[max(y, 0) : y + round(1.5 * side), max(x, 0) : x + round(1.5 * side)]
    moved_window = Crop(window.x - max(x, 0), window.y - max(y, 0), side)
    whole, part = person_features(shot.image, window), person_features(cut, moved_window)
    assert whole.shape == (4096,)
    assert np.abs(whole - part).max() < 0.02 * np.abs(whole).max()


def test_outputs_move_a_window() -> None:
    window = moved(Crop(10, 20, 100), np.array([1, 0, 0, 0, np.log(1.2), 0.1, -0.2]))
    assert np.isclose(window.side, 120)
    assert np.allclose([window.x + 60, window.y + 60], [70, 50])
