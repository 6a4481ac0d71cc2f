"""What the picture says beyond the landmarks: of people that the map has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.evaluation.preview_benchmark import photograph
from dp3d_core.portraits.detection import detect_faces
from dp3d_core.portraits.head_state import (
    COMPONENTS,
    EXPRESSIONS,
    HeadState,
    landmark_state,
    rotations,
)
from dp3d_core.portraits.picture_map import mirror_of_components, picture_map


def random_state(seed: int) -> HeadState:
    rng = np.random.default_rng(seed)
    return HeadState(
        rng.normal(0, 0.3, 3),
        float(rng.uniform(200, 400)),
        rng.uniform(100, 500, 2),
        rng.normal(size=COMPONENTS),
        rng.uniform(0, 1, len(EXPRESSIONS)),
    )


def assert_same(first: HeadState, second: HeadState, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(first.difference(second), 0, atol=tolerance)


def test_a_state_moved_by_its_difference_is_the_other_one() -> None:
    first, second = random_state(1), random_state(2)
    assert_same(first.moved(first.difference(second)), second)


def test_a_mirrored_head_lies_in_the_mirrored_picture() -> None:
    state, mirror = random_state(3), mirror_of_components()
    mirrored = state.mirrored(640.0, mirror)
    points = np.random.default_rng(0).normal(0, 0.1, (20, 3))
    seen = state.project(points)
    np.testing.assert_allclose(
        mirrored.project(points * [-1, 1, 1]), [640.0, 0.0] + seen * [-1, 1], atol=1e-9
    )
    twice = mirrored.mirrored(640.0, mirror)
    np.testing.assert_allclose(twice.expression, state.expression)
    np.testing.assert_allclose(twice.angles, state.angles)
    # components are nearly those of whole heads
    assert np.corrcoef(twice.components, state.components)[0, 1] > 0.95


@pytest.fixture(scope="module")
def photos():
    return [(head.render(camera).rgb, camera) for head, camera, _ in map(_photo, (6, 14, 22, 30))]


def _photo(index: int):
    return photograph(index, 40, 18)


def angle_to(state: HeadState, camera) -> float:
    between = rotations(state.angles[None])[0] @ camera.c2w[:3, :3]
    return float(np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))))


def test_the_picture_brings_the_pose_nearer(photos) -> None:
    before, after = [], []
    for rgb, camera in photos:
        face = detect_faces(rgb)[0]
        before.append(angle_to(landmark_state(face.points, face.depth), camera))
        after.append(angle_to(face.state, camera))
    assert np.mean(after) < 0.9 * np.mean(before), (before, after)


def test_a_photo_in_a_mirror_shows_the_mirrored_head(photos) -> None:
    rgb, _ = photos[0]
    first = landmark_state(*_landmarks(rgb))
    own = picture_map()(rgb, first)
    width, mirror = rgb.shape[1], picture_map().mirror
    flipped = np.ascontiguousarray(rgb[:, ::-1])
    other = picture_map()(flipped, first.mirrored(width, mirror)).mirrored(width, mirror)
    assert np.degrees(np.abs(own.difference(other)[:3])).max() < 2
    assert np.abs(own.difference(other)[3:6]).max() < 0.03


def test_what_lies_outside_the_photo_says_nothing(photos) -> None:
    rgb, _ = photos[0]
    state = landmark_state(*_landmarks(rgb))
    top = int(state.origin[1] - 0.1 * state.scale)
    low = HeadState(
        state.angles, state.scale, state.origin - [0, top], state.components, state.expression
    )
    cut = picture_map()(np.ascontiguousarray(rgb[top:]), low)
    assert np.isfinite(low.difference(cut)).all()
    assert np.degrees(np.abs(low.difference(cut)[:3])).max() < 15


def _landmarks(rgb):
    face = detect_faces(rgb)[0]
    return face.points, face.depth
