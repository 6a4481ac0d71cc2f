"""The landmark map and table come out of renders again, in small."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads import base_files
from dp3d_core.heads.landmark_training import measure_table, render_person
from dp3d_core.heads.people import prior
from dp3d_core.portraits import face_models
from dp3d_core.portraits.pose import landmark_table

pytestmark = pytest.mark.skipif(
    not (face_models.installed() and base_files.installed()), reason="dp3d setup models"
)


@pytest.fixture(scope="module")
def samples():
    found = [render_person(seed) for seed in range(40)]
    return [sample for sample in found if sample is not None]


def test_most_people_have_a_face(samples) -> None:
    assert len(samples) > 30
    again = render_person(0)
    first = samples[0]
    if again is not None:
        np.testing.assert_array_equal(again.points, first.points)


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
