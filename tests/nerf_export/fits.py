"""Fits that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dp3d_core.progress import never_cancel, no_progress
from nerf_export.fit import Fit, fit_views


def fit_tiny(views: Path, out: Path, **more: Any) -> Fit:
    """A fit of the preset ``tiny``, in silence unless ``more`` says otherwise."""
    return fit_views(
        views, out, **{"preset": "tiny", "progress": no_progress, "cancel": never_cancel, **more}
    )
