"""Windows cover all views, and their weights for a view sum to one."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.pipelines.windows import Window, check_windows, plan_windows, window_edges


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
    for window, next_window in pairs if closed else pairs[:-1]:
        assert len(set(window.views) & set(next_window.views)) >= overlap
    together = {(a, b) for w in windows for a, b in zip(w.views, w.views[1:], strict=False)}
    neighbours = {(i, (i + 1) % count) for i in range(count if closed else count - 1)}
    assert neighbours <= together  # no two neighbours without a window of both


def test_a_window_is_no_longer_than_the_views():
    (window,) = plan_windows(5, 8, closed=True)
    assert window.views == (0, 1, 2, 3, 4)
    assert set(window.weights) == {1.0}


@pytest.mark.parametrize(
    "wrong", [{"mode": "spiral"}, {"overlap": 8}, {"overlap": -1}, {"count": 0}]
)
def test_bad_divisions_are_refused(wrong):
    arguments = {"count": 9, "size": 8, **wrong}
    with pytest.raises(Dp3dError) as caught:
        plan_windows(**arguments)
    assert caught.value.code == "engine.bad_option"


def test_a_window_counts_most_in_its_middle():
    """Squared sine over the window, and the parts of a view's windows in that proportion."""
    hat = np.sin(np.pi * (np.arange(8) + 0.5) / 8) ** 2
    first, second = plan_windows(14, 8, overlap=2)
    assert first.views[-2:] == second.views[:2] == (6, 7)
    assert first.weights[:6] == pytest.approx(np.ones(6))
    shared = hat[6:] / (hat[6:] + hat[:2])
    assert first.weights[6:] == pytest.approx(shared)
    assert second.weights[:2] == pytest.approx(1 - shared)
    assert shared[0] > 0.5 > shared[1]


def test_edges_are_where_windows_hand_over():
    pairs = [(i, (i + 1) % 16) for i in range(16)]
    blocks = plan_windows(16, 8, mode="blocks")
    assert window_edges(blocks, pairs) == [(7, 8), (15, 0)]
    assert window_edges(blocks, pairs[:-1]) == [(7, 8)]
    assert len(window_edges(plan_windows(16, 8, closed=True), pairs)) == 3
    assert window_edges(plan_windows(8, 8), pairs[:7]) == []


def test_windows_that_omit_a_view_are_refused():
    check_windows(plan_windows(33, 8), 33)
    whole = Window((0, 1), (1.0, 1.0))
    for wrong in ([whole], [whole, Window((2, 3), (1.0, 1.0))], [whole, Window((2,), (0.5,))]):
        with pytest.raises(Dp3dError) as caught:
            check_windows(wrong, 3)
        assert caught.value.code == "engine.bad_option"
    check_windows([whole.moved(1), Window((0,), (1.0,))], 3)
