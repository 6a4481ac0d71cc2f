"""Landmarks of subjects whose eyes are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.evaluation.preview_benchmark import photograph
from dp3d_core.heads.face_mesh import CHIN, FOREHEAD
from dp3d_core.heads.people import (
    adult_face_size,
    expression_offsets,
    raw_vertices,
    to_head_space,
)
from dp3d_core.heads.space import EYE_RADIUS, MM
from dp3d_core.portraits import landmarks
from dp3d_core.synthetic.head import eye_centre
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject


@pytest.fixture(scope="module")
def seen():
    """A subject 20 degrees from the side, and where its eyes are in the picture."""
    head = SyntheticHead(random_subject(4))
    camera = canonical_camera(20, 5, 512, focal=3.0)
    person = head.subject.spec.person
    controls = to_head_space(raw_vertices(person), adult_face_size())
    controls += expression_offsets(person.expression)
    forward = np.array([0, 0, EYE_RADIUS * MM])
    eyes = np.array([eye_centre(controls, side) + forward for side in (-1, 1)])
    return head.render(camera).rgb, camera.project(eyes)[0]


def eyes_of(face):
    """Middle of the lids of the right and the left eye."""
    return np.array([face.points[[33, 133]].mean(0), face.points[[263, 362]].mean(0)])


def test_the_eyes_of_a_subject_are_found(seen):
    rgb, eyes = seen
    (face,) = landmarks.find_landmarks(rgb)
    assert face.presence > 0.9
    apart = np.linalg.norm(eyes[1] - eyes[0])
    assert np.abs(eyes_of(face) - eyes).max() < 0.12 * apart


@pytest.mark.parametrize("turn_deg", [-35, 25])
def test_a_tilted_face_is_found(seen, turn_deg):
    rgb, eyes = seen
    matrix = cv2.getRotationMatrix2D((255.5, 255.5), turn_deg, 1.0)
    tilted = cv2.warpAffine(rgb, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    moved = (eyes - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    face = landmarks.find_landmarks(tilted)[0]
    apart = np.linalg.norm(eyes[1] - eyes[0])
    assert np.abs(eyes_of(face) - moved).max() < 0.14 * apart


def test_a_face_that_stands_on_its_head_is_found(seen):
    rgb, eyes = seen
    face = landmarks.find_landmarks(np.ascontiguousarray(rgb[::-1, ::-1]))[0]
    apart = np.linalg.norm(eyes[1] - eyes[0])
    assert np.abs(eyes_of(face) - (512 - eyes)).max() < 0.14 * apart


def test_a_small_face_in_a_corner_is_found(seen):
    rgb, eyes = seen
    photo = np.full((1500, 2000, 3), (90, 110, 140), np.uint8)
    photo[1240:1496, 40:296] = cv2.resize(rgb, (256, 256), interpolation=cv2.INTER_AREA)
    face = landmarks.find_landmarks(photo)[0]
    expected = eyes / 2 + [40, 1240]
    apart = np.linalg.norm(expected[1] - expected[0])
    assert np.abs(eyes_of(face) - expected).max() < 0.2 * apart


def test_nobody_is_seen_where_nobody_is():
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    assert landmarks.find_landmarks(noise) == []
    assert landmarks.find_landmarks(np.full((64, 64, 3), 200, np.uint8)) == []


def test_a_grin_below_shut_eyes_stands_upright():
    """A mouth's corners and a beard are no brows of a face that stands on its head."""
    head, camera, _ = photograph(8, 40, 18)
    (face,) = landmarks.find_landmarks(head.render(camera).rgb)
    assert face.points[CHIN, 1] > face.points[FOREHEAD, 1]
