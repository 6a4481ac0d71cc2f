"""The cheapest path is that of trying all paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dp3d_core.preview.texture.cheapest_path import cheapest_path


def cost_of(path, costs, steps):
    total = costs[np.arange(len(path)), path].sum()
    asides = np.abs(np.diff(path))
    return np.inf if (asides >= len(steps)).any() else total + steps[asides].sum()


@pytest.mark.parametrize("steps", [[0.0], [0.0, 0.0], [0.0, 0.4, 0.5], [0.2, 0.1, 0.0, 0.3]])
def test_no_path_costs_less(steps):
    steps = np.array(steps)
    for seed in range(20):
        costs = np.random.default_rng(seed).random((5, 4))
        every = map(np.array, itertools.product(range(4), repeat=5))
        least = min(cost_of(path, costs, steps) for path in every)
        assert cost_of(cheapest_path(costs, steps), costs, steps) == pytest.approx(least)


def test_of_equal_paths_the_left_one_is_taken():
    assert cheapest_path(np.zeros((3, 4)), np.zeros(2)).tolist() == [0, 0, 0]


def test_one_row_and_one_place():
    assert cheapest_path(np.array([[3.0, 1.0, 2.0]]), np.zeros(2)).tolist() == [1]
    assert cheapest_path(np.ones((3, 1), np.float32), np.zeros(2)).tolist() == [0, 0, 0]
