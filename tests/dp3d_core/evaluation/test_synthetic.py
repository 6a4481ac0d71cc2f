"""Scores on synthetic heads: what is measured must tell good heads from bad ones."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.evaluation.synthetic import (
    ANGLES,
    METHODS,
    evaluate_heads,
    mesh_error_percent,
    photograph,
    summary,
    summary_lines,
)
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import neutral_subject


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


def test_photographs_cover_the_yaws_and_come_again():
    cameras = [photograph(i, 5, 3)[1:] for i in (0, 3, 4)]
    assert [round(abs(yaw)) for _, yaw in cameras] == [0, 45, 60]
    again = photograph(3, 5, 3)[1]
    np.testing.assert_array_equal(again.c2w, cameras[1][0].c2w)
    found = cameras[1][0].yaw_pitch_deg
    assert found[0] == pytest.approx(cameras[1][1])
    assert abs(found[1]) <= 12


def test_a_case_is_scored_beside_plane_and_ellipsoid():
    cases = evaluate_heads(1, 2, progress=no_progress, cancel=never_cancel)
    (case,) = cases
    assert set(case.scores) == set(METHODS)
    assert set(case.scores["preview"]) == set(ANGLES)
    # all three repeat the photo (the ellipsoid has no shoulders), from the side a plane is a line,
    # and a head is not
    assert min(case.scores[method][0].psnr for method in ("preview", "plane")) > 17
    assert min(case.scores["ellipsoid"][angle].psnr for angle in ANGLES) > 12
    assert case.scores["preview"][90].psnr > case.scores["plane"][90].psnr + 1
    assert case.pose_deg < 25
    assert 0.2 < case.mesh_percent < 10
    assert case.sheet.shape == (4 * 256, 7 * 256, 3)
    found = summary(cases)
    assert found["count"] == 1
    assert found["scores"]["plane"]["90"]["psnr"] == pytest.approx(
        case.scores["plane"][90].psnr, abs=0.01
    )
    assert len(summary_lines(found)) == 4 + len(METHODS)
