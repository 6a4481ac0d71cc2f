"""Points of faces for the poses of fits, where this installation finds faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerf_export.registration import PointsOf


def face_points() -> PointsOf | None:
    """What finds the points; None without the packages of ``core``, which fits do not need."""
    try:
        from dp3d_core.landmarks import stable_points
    except ImportError:
        return None
    return stable_points
