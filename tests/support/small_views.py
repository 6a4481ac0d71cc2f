"""A small view set for tests of its files."""

from __future__ import annotations

import numpy as np

from dp3d_core.cameras.trajectories import full_orbit
from dp3d_core.viewsets.viewset import ViewMeta

CAMERAS = full_orbit(4, size=32)
META = ViewMeta(engine="test", seed=3, parameters={"a": 1}, background=(255, 0, 0))


def picture(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Random frame and mask of a view."""
    rng = np.random.default_rng(i)
    return (
        rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        rng.integers(0, 256, (32, 32), dtype=np.uint8),
    )
