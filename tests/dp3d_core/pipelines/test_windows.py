"""Every view is in a window, and what windows say of a view sums to one."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.pipelines.windows import plan_windows


@pytest.mark.parametrize("count", [1, 5, 8, 9, 13, 16, 32, 33, 72])
@pytest.mark.parametrize("mode", ["overlap", "blocks"])
@pytest.mark.parametrize("closed", [False, True])
def test_weights_sum_to_one(count, mode, closed):
    total = np.zeros(count)
    for window in plan_windows(count, 8, mode=mode, closed=closed):
        assert len(set(window.views)) == len(window.views) <= 8
        assert min(window.weights) > 0
        np.add.at(total, list(window.views), window.weights)
    assert total == pytest.approx(np.ones(count))


def test_blocks_are_those_of_the_published_code():
    assert [w.views for w in plan_windows(16, 8, mode="blocks")] == [
        tuple(range(8)),
        tuple(range(8, 16)),
    ]
    assert plan_windows(13, 8, mode="blocks")[1].views == tuple(range(8, 13))


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("overlap", [1, 2, 4])
@pytest.mark.parametrize("count", [13, 32, 33])
def test_neighbours_share_views(count, overlap, closed):
    windows = plan_windows(count, 8, overlap=overlap, closed=closed)
    pairs = list(zip(windows, windows[1:] + windows[:1], strict=True))
    for one, next_one in pairs if closed else pairs[:-1]:
        assert len(set(one.views) & set(next_one.views)) >= overlap
    together = {(a, b) for w in windows for a, b in zip(w.views, w.views[1:], strict=False)}
    wanted = {(i, (i + 1) % count) for i in range(count if closed else count - 1)}
    assert wanted <= together  # no two neighbours without a window of both


def test_a_window_is_no_longer_than_the_views():
    (window,) = plan_windows(5, 8, closed=True)
    assert window.views == (0, 1, 2, 3, 4)
    assert set(window.weights) == {1.0}


@pytest.mark.parametrize(
    "wrong", [{"mode": "spiral"}, {"overlap": 8}, {"overlap": -1}, {"count": 0}]
)
def test_what_cannot_be_divided(wrong):
    arguments = {"count": 9, "size": 8, **wrong}
    with pytest.raises(Dp3dError) as caught:
        plan_windows(**arguments)
    assert caught.value.code == "engine.bad_option"
