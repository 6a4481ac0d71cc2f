"""The landmark map and table come out of views of subjects again, in small."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads import base_files
from dp3d_core.heads.people import prior
from dp3d_core.portraits import face_models
from dp3d_core.portraits.head_state import landmark_table
from dp3d_core.synthetic.landmark_training import measure_table, sample_subject

pytestmark = pytest.mark.skipif(
    not (face_models.installed() and base_files.installed()), reason="dp3d setup models"
)


@pytest.fixture(scope="module")
def samples():
    return [sample for seed in range(14) for sample in sample_subject(seed)]


def test_most_views_have_a_face(samples) -> None:
    assert len(samples) > 40
    again = sample_subject(0)
    assert again
    np.testing.assert_array_equal(again[0].points, samples[0].points)


def test_the_table_lies_where_it_is_measured(samples) -> None:
    """A handful of people say to a centimetre what the table says."""
    rest = prior().mean / 0.00228
    small = {int(row[0]): row for row in measure_table(samples)}
    table = landmark_table()
    apart = []
    for index, point in zip(table.index, table.points, strict=True):
        if int(index) in small:
            row = small[int(index)]
            at = np.array(row[4:7]) @ rest[np.array(row[1:4], int)]
            apart.append(np.linalg.norm(at - point))
    assert len(apart) > 150
    assert np.median(apart) < 4
