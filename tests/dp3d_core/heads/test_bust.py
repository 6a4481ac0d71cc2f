"""The bust: its border lies in the cut, whatever its shoulders do."""

from __future__ import annotations

import numpy as np

from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import BUST_CUT_MM, MM


def test_raised_shoulders_leave_no_slit_at_the_arms() -> None:
    shape = bust()
    vertices = shape.rest * MM
    low = vertices[:, 1] < -100 * MM
    vertices[low, 1] += 60 * MM
    shape.level(vertices)
    faces = shape.faces
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    edge, count = np.unique(edges, axis=0, return_counts=True)
    border = np.unique(edge[count == 1])
    border = border[shape.rest[border, 1] < -120]
    assert len(border) > 50
    np.testing.assert_allclose(vertices[border, 1], BUST_CUT_MM * MM, atol=1e-9)
