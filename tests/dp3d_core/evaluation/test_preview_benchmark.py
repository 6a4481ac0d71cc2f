"""Scores on synthetic heads: what is measured must tell good heads from bad ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dp3d_core.evaluation import preview_benchmark
from dp3d_core.evaluation.head_summary import profile_agreement, summary, summary_lines
from dp3d_core.evaluation.preview_benchmark import (
    ANGLES,
    METHODS,
    evaluate_heads,
    face_error_percent,
    mesh_error_percent,
    photograph,
)
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.synthetic.head import Surface
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import neutral_subject, random_subject


@pytest.fixture(scope="module")
def neutral():
    return SyntheticHead(neutral_subject())


def test_a_head_is_its_own_best_likeness(neutral):
    mesh = neutral.head.mesh
    own = mesh_error_percent(mesh, neutral)
    grown = mesh_error_percent(mesh.with_vertices(mesh.vertices * 1.06), neutral)
    moved = mesh_error_percent(mesh.with_vertices(mesh.vertices + np.array([0.03, 0, 0])), neutral)
    assert own < 0.3
    assert 1.0 < grown < 4.0
    assert 1.0 < moved < 8.0


def test_the_form_of_a_face_counts_and_its_place_does_not(neutral):
    mesh = neutral.head.mesh
    own = face_error_percent(mesh, neutral)
    moved = face_error_percent(
        mesh.with_vertices(mesh.vertices + np.array([0.03, 0, 0.01])), neutral
    )
    flat = face_error_percent(mesh.with_vertices(mesh.vertices * [1, 1, 0.85]), neutral)
    assert own < 0.01
    assert moved < 0.05
    assert flat > 0.25


def test_photographs_cover_the_yaws_and_come_again():
    cameras = [photograph(i, 5, 3)[1:] for i in (0, 3, 4)]
    assert [round(abs(yaw)) for _, yaw in cameras] == [0, 45, 60]
    again = photograph(3, 5, 3)[1]
    np.testing.assert_array_equal(again.c2w, cameras[1][0].c2w)
    yaw_pitch = cameras[1][0].yaw_pitch_deg
    assert yaw_pitch[0] == pytest.approx(cameras[1][1])
    assert abs(yaw_pitch[1]) <= 12


def test_a_case_is_scored_beside_plane_and_ellipsoid():
    def itself(png, cameras):
        return preview_benchmark._preview_result(png, cameras)[1]

    cases = evaluate_heads(1, 2, itself, progress=no_progress, cancel=never_cancel)
    (case,) = cases
    assert case.beside is not None
    assert case.beside.pose_deg == case.pose_deg
    assert case.beside.mesh_percent == case.mesh_percent
    assert case.beside.scores == case.scores["preview"]
    assert case.sheet.shape == (5 * 256, 7 * 256, 3)
    assert set(case.scores) == set(METHODS)
    assert set(case.scores["preview"]) == set(ANGLES)
    # all three repeat the photo (the ellipsoid has no shoulders), from the side a plane is a line,
    # and a head is not
    assert min(case.scores[method][0].psnr for method in ("preview", "plane")) > 17
    assert min(case.scores["ellipsoid"][angle].psnr for angle in ANGLES) > 12
    assert case.scores["preview"][90].psnr > case.scores["plane"][90].psnr + 1
    assert case.pose_deg < 25
    assert 0.2 < case.mesh_percent < 10
    totals = summary(cases)
    assert totals["count"] == 1
    assert totals["scores"]["plane"]["90"]["psnr"] == pytest.approx(
        case.scores["plane"][90].psnr, abs=0.01
    )
    assert totals["beside"]["pose_deg"] == totals["pose_deg"]
    assert totals["beside"]["face_percent"] == totals["face_percent"]
    lines = summary_lines(totals)
    assert len(lines) == 5 + len(METHODS) + 1 + 4


def test_profiles_differ_as_people_do() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(8, 30))
    assert profile_agreement(true * 0.5, true) == {"spread": 0.5, "correlation": 1.0}
    unlike = profile_agreement(rng.normal(size=(8, 30)), true)
    assert abs(unlike["correlation"] or 0) < 0.3
    true[0, :5] = np.nan
    assert profile_agreement(true, true) == {"spread": 1.0, "correlation": 1.0}


def test_a_profile_has_a_nose_and_no_glasses() -> None:
    subject = random_subject(3)
    plain = dataclasses.replace(subject.spec, glasses=None, hat=None)
    worn = dataclasses.replace(plain, glasses="round")
    profiles = [
        preview_benchmark.profile_of(mesh, mesh.parts == Surface.SKIN)
        for mesh in (
            SyntheticHead(dataclasses.replace(subject, spec=spec)).head.mesh
            for spec in (plain, worn)
        )
    ]
    heights = np.arange(*preview_benchmark._PROFILE)
    assert -20 < heights[np.nanargmax(profiles[0])] < 20  # the tip of the nose
    both = np.isfinite(profiles[0]) & np.isfinite(profiles[1])
    assert both.sum() > 20
