"""Where the cameras of a preset stand around a fitted field."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Z_UP_FROM_HEAD, Camera
from dp3d_core.cameras.files import cameras_to_dict
from dp3d_core.cameras.trajectories import capture_sphere, frontal_arc, full_orbit
from dp3d_core.viewsets.viewset import ViewMeta
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.field.fit import Fit
from nerf_export.field.fit_meta import FIT_SCHEMA, FitMeta
from nerf_export.field.presets import get_preset
from nerf_export.field.render import render_cameras, render_fit, render_warnings
from tests.support import captures
from tests.support.fits import fit_tiny

ORBIT = {"preset": "orbit", "views": 8, "size": 64}
HALF = np.array([0.3, 0.4, 0.35])
"""Of the field's box, head space."""


def fitted(turn: np.ndarray, scale: float, move: np.ndarray, views: list[Camera]) -> Fit:
    """A fit of a head that was turned, scaled and moved; only its box and cameras are looked at."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * HALF
    corners = (corners @ turn.T * scale + move) @ Z_UP_FROM_HEAD[:3, :3].T
    low, high = corners.min(0), corners.max(0)
    cell = float((high - low).max()) / 39
    size = {"low": low.tolist(), "cell": cell,
            "corners": [round(float(n)) + 1 for n in (high - low) / cell]}  # fmt: skip
    preset = get_preset("tiny").to_dict()
    size |= {"colour_levels": preset["colour_levels"], "hidden": preset["hidden"]}
    meta = {
        "schema": FIT_SCHEMA,
        "job": {"preset": preset, "seed": 0, "views_sha256": "0" * 64},
        "field_size": size,
        "field_sha256": "0" * 64,
        "scores": {},
        "poses": {},
        "versions": {},
    }
    fit = Fit(Path("nowhere"), FitMeta.from_dict(meta))
    cameras = []
    for camera in views:
        pose = np.eye(4)
        pose[:3, :3] = turn @ camera.c2w[:3, :3]
        pose[:3, 3] = turn @ camera.position * scale + move
        cameras.append(Camera(pose, camera.K, camera.width, camera.height))
    fit.__dict__["cameras"] = tuple(cameras)
    return fit


@pytest.mark.parametrize("views", [capture_sphere(12), frontal_arc(9), full_orbit(6)])
def test_a_field_in_head_space_has_the_presets_of_head_space(views):
    fit = fitted(np.eye(3), 1.0, np.array([0.02, -0.1, -0.1]), views)
    cameras, notes = render_cameras(fit, ORBIT)
    assert notes == []
    for camera, true in zip(cameras, full_orbit(8, 0.0, 64, 3.0), strict=True):
        np.testing.assert_array_equal(camera.c2w, true.c2w)


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0, 3000.0])
@pytest.mark.parametrize("sideways", [True, False])
def test_presets_circle_the_head_of_another_world(scale, sideways):
    turn = HEAD_FROM_Z_UP[:3, :3] if sideways else np.eye(3)  # as COLMAP has no up
    move = np.array([40.0, 170, -3]) * scale
    fit = fitted(turn, scale, move, capture_sphere(12, size=64))
    cameras, notes = render_cameras(fit, ORBIT)
    assert "around the field" in notes[0]
    centre = fit.box[0]
    crown = turn @ np.array([0, 0.2, 0]) * scale + move
    for camera in cameras:
        (middle, above), depth = camera.project([centre, crown])
        np.testing.assert_allclose(middle, [32, 32], atol=1e-6)
        assert depth[0] == pytest.approx(2.7 * scale, rel=0.2)
        assert above[1] < 24, "the head does not stand upright"
        assert abs(above[0] - 32) < 1


def test_the_front_is_where_the_views_are():
    turn = np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])  # the face looks along +x
    fit = fitted(turn, 5.0, np.array([9.0, 0, 0]), frontal_arc(9, 40))
    first = render_cameras(fit, ORBIT)[0][0]
    np.testing.assert_allclose(first.c2w[:3, 2], [-1, 0, 0], atol=0.05)


def test_cameras_of_a_file_are_unchanged():
    fit = fitted(np.eye(3), 20.0, np.array([40.0, 170, -3]), capture_sphere(12))
    document = cameras_to_dict(full_orbit(3, size=64))
    cameras, notes = render_cameras(fit, document)
    assert notes == []
    np.testing.assert_allclose(cameras[0].position, [0, 0, 2.7])


@pytest.mark.nerf
def test_a_capture_in_centimetres_is_fitted_and_circled(nerf_environment, tmp_path):
    def moved(data):
        for frame in data["frames"]:
            pose = np.array(frame["transform_matrix"])
            pose[:3, 3] = pose[:3, 3] * 12 + [40, -25, 170]
            frame["transform_matrix"] = pose.tolist()
        data["applied_transform"] = np.eye(4)[:3].tolist()

    captures.write_transforms(tmp_path / "in", change=moved)
    fit = fit_tiny(tmp_path / "in", tmp_path / "fit", steps=30)
    assert fit.meta.source.format == "nerfstudio"
    np.testing.assert_array_equal(fit.applied.transform, np.eye(4))
    cameras, notes = render_cameras(fit, ORBIT | {"views": 3})
    assert notes
    past = captures.cameras()[0]  # where the head would be in head space
    views = render_fit(fit, [*cameras, past], tmp_path / "out", **captures.CALLS)
    for i in range(3):
        assert 0.05 < (views.mask(i) > 127).mean() < 0.8
    (warning,) = render_warnings(views)
    assert warning.startswith("1 of 4 frames shows nothing of the head, the first is frame 4")


def test_warning_about_empty_frames_names_the_place_of_the_field(tmp_path):
    fit = fitted(np.eye(3), 20.0, np.array([40.0, 170, 3]), capture_sphere(12))
    writer = ViewSetWriter(tmp_path, full_orbit(2, size=16), ViewMeta(engine="nerf"))
    for i in range(2):
        writer.write(i, np.full((16, 16, 3), 255, np.uint8), np.zeros((16, 16), np.uint8))
    (warning,) = render_warnings(writer.finish(), fit)
    assert warning.startswith("No frame shows anything of the head")
    place = [float(number) for number in re.search(r"\((.*)\)", warning)[1].split(",")]
    np.testing.assert_allclose(place, [40, -3, 170], atol=0.3)
