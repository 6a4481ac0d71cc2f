"""Face landmarks for pose refinement in fits, where the face models are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerf_export.views.registration import PointsOf


def face_points() -> PointsOf | None:
    """The landmark detector for ``fit_views``; None without face models or the extra ``core``."""
    try:
        from dp3d_core.portraits.face_models import installed
        from dp3d_core.portraits.landmarks import stable_points
    except ImportError:
        return None
    return stable_points if installed() else None
