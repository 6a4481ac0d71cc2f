"""Cheapest path through a grid of costs: seams between patches, the line of a collar."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def cheapest_path(costs: NDArray[np.floating], steps: NDArray[np.floating]) -> NDArray[np.int64]:
    """Cheapest path from the first row to the last (dynamic programming, Viterbi 1967).

    Args:
        costs: (rows, columns) cost of each cell.
        steps: (k + 1,) cost of a step by 0 to k columns between rows; longer steps are not
            allowed.

    Returns:
        (rows,) columns of the path; of equally cheap paths the leftmost.

    """
    rows, columns = costs.shape
    reach = len(steps) - 1
    step_costs = np.concatenate([steps[:0:-1], steps])[:, None]
    # cost of the best path to each cell of a row, with margins that cannot be reached
    padded = np.full(columns + 2 * reach, np.inf)
    total = padded[reach : reach + columns]
    # (2 k + 1, columns) costs of the cells from which each cell is reached
    predecessors = sliding_window_view(padded, columns)
    total[:] = costs[0]
    came_from = np.zeros((rows, columns), np.int64)
    for row in range(1, rows):
        candidates = predecessors + step_costs
        came_from[row] = candidates.argmin(0)
        np.add(candidates.min(0), costs[row], out=total)
    path = np.empty(rows, np.int64)
    path[-1] = int(total.argmin())
    for row in range(rows - 1, 0, -1):
        path[row - 1] = path[row] + came_from[row, path[row]] - reach
    return path
