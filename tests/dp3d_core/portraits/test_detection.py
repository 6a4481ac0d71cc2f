"""Faces: boxes and rough angles from landmarks, profiles from the detector's key points."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Dp3dError
from dp3d_core.portraits import detection, landmarks
from dp3d_core.portraits.landmarks import Detection, Landmarks
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject


def test_landmarks_become_a_face():
    points = np.zeros((468, 2))
    points[[10, 152, 234, 454, 4]] = [[100, 50], [100, 150], [60, 100], [140, 100], [80, 110]]
    face = detection._face_of_landmarks(Landmarks(points, np.zeros(len(points)), 1.0))
    assert (face.x, face.y) == (100, 100)
    assert face.side == pytest.approx(105)
    # the nose points to the left of the picture: the camera stands on the head's +x side
    assert 15 < face.yaw_deg < 40
    assert face.points is points


def profile_points(towards: float) -> np.ndarray:
    """Key points of a profile, the ears on one side of the nose."""
    points = np.array([[30.0, -30], [32, -30], [0, 0], [12, 30], [95, -15], [98, -15]])
    return points * [towards, 1] + 200


def detections_of(monkeypatch: pytest.MonkeyPatch, points: np.ndarray) -> list[detection.Face]:
    seen = Detection(points.mean(0), 120.0, points, 0.8)
    monkeypatch.setattr(detection, "search_faces", lambda rgb: ([], [seen]))
    return detection.detect_faces(np.zeros((400, 400, 3), np.uint8))


@pytest.mark.parametrize("towards", [1, -1])
def test_a_profile_is_a_face_of_low_confidence(monkeypatch, towards):
    (face,) = detections_of(monkeypatch, profile_points(towards))
    assert face.detector == "blazeface"
    assert face.confidence < 0.45
    # the ears lie right of the nose: the camera stands on the head's +x side
    assert np.sign(face.yaw_deg) == towards
    assert abs(face.yaw_deg) > 60
    assert face.points is None
    assert face.to_dict()["detector"] == "blazeface"


def test_a_frontal_face_that_the_mesh_does_not_know_is_none(monkeypatch):
    """A cat, a doll, a pattern: the ears lie on either side of the nose."""
    frontal = np.array([[-20.0, -24], [20, -24], [0, 0], [0, 22], [-45, -15], [45, -15]]) + 200
    assert detections_of(monkeypatch, frontal) == []


def test_a_rendered_profile_is_seen_twice():
    camera = canonical_camera(85, 0, 512, focal=3.0)
    view = SyntheticHead(random_subject(301)).render(camera).rgb
    faces, doubtful = landmarks.search_faces(view)
    assert faces == []
    first = doubtful[0]
    assert first.score > 0.5
    assert first.points.shape == (6, 2)
    # the nose looks to the left of the picture
    assert first.points[2, 0] < first.points[4:, 0].min()


def test_without_models_nothing_is_detected(no_models):
    with pytest.raises(Dp3dError) as error:
        detection.detect_faces(np.zeros((64, 64, 3), np.uint8))
    assert error.value.code == "portrait.model_missing"
