"""The landmark map and table come out of views of subjects again, in small."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads import base_files
from dp3d_core.heads.people import prior
from dp3d_core.portraits import face_models
from dp3d_core.portraits.head_state import landmark_table
from dp3d_core.synthetic.landmark_training import (
    learn_pictures,
    measure_table,
    picture_samples,
    sample_subject,
)

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


def test_a_picture_map_is_learned_and_kept(tmp_path) -> None:
    """A few people are enough to explain themselves, and the file keeps the map."""
    views = [view for seed in range(100_000, 100_003) for view in picture_samples(seed)]
    learned = learn_pictures(views)
    inputs = np.array([seen for seen, _ in views], np.float64)
    truth = np.array([difference for _, difference in views])
    scaled = np.nan_to_num(np.clip((inputs - learned.mean) / learned.spread, -4, 4))
    left = truth - scaled @ learned.weights - learned.offset
    assert (left**2).sum() < 0.5 * ((truth - truth.mean(0)) ** 2).sum()
    learned.save(tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as archive:
        kept = archive["weights"] * archive["level"]
    assert np.abs(kept - learned.weights).max() <= np.abs(learned.weights).max() / 200
