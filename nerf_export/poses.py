"""Which cameras a fit takes: the given ones, or those moved to the faces; and what to tell."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.camera_files import cameras_to_dict
from dp3d_core.errors import Dp3dError
from dp3d_core.files import read_json, write_json
from dp3d_core.viewset import ViewSet
from nerf_export.agreement import listed
from nerf_export.registration import (
    Disagreement,
    PointsOf,
    Registration,
    disagreement,
    register_views,
)

POSES = ("auto", "given", "refined")
"""What is done with cameras that see faces elsewhere than the frames show them: ``auto`` moves
those of views that a network drew and tells the others, ``given`` takes all as they are,
``refined`` moves all (see :mod:`nerf_export.registration`)."""


def settled_poses(
    views: ViewSet, path: Path, poses: str, points_of: PointsOf | None, calls: dict[str, Any]
) -> dict[str, Any]:
    """Cameras of the fit, what was done to them, what to tell, and the face; same after a stop.

    ``face`` are (n, 3) points of its surface, head space, or None where no faces are found.  Kept
    in ``path``: what finds faces may have changed in between, and a fit that goes on with other
    cameras would be none.
    """
    with contextlib.suppress(OSError, ValueError):
        settled: dict[str, Any] = read_json(path)
        return settled
    registration, face, warnings = _registration(views, poses, points_of, calls)
    cameras = views.cameras if registration is None else registration.cameras
    settled = {
        "cameras": cameras_to_dict(cameras),
        "registration": None if registration is None else registration.to_dict(),
        "face": None if face is None else face.tolist(),
        "warnings": warnings,
    }
    write_json(path, settled)
    return settled


def _registration(
    views: ViewSet, poses: str, points_of: PointsOf | None, calls: dict[str, Any]
) -> tuple[Registration | None, NDArray[np.float64] | None, list[str]]:
    """Cameras to take instead of the given ones, points of the face, and what to tell."""
    if points_of is None and poses != "refined":
        return None, None, []
    if points_of is None:
        raise Dp3dError(
            "engine.bad_option",
            "The poses cannot be refined: nothing here finds faces.",
            "Keep the poses as they are given.",
        )
    drawn = views.meta.approximate_poses
    try:
        if poses == "given" or (poses == "auto" and not drawn):
            seen = disagreement(views, points_of, **calls)
            return None, seen.points, _doubts(seen) if poses == "auto" else []
        found = register_views(views, points_of, **calls)
    except Dp3dError as error:
        if poses == "refined" or error.code != "viewset.no_faces":
            raise
        unsure = "A network drew these views, and no faces tell how far they are off their cameras."
        return None, None, [unsure] if drawn and poses == "auto" else []
    if poses == "auto" and not found.suspicious:
        return None, found.points, []
    told = [
        f"The cameras of {found.moved} views were moved to where their faces lie, by up to "
        f"{max(found.turns_deg):.1f} degrees."
    ]
    return found, found.points, told + _oddity(found.left)


def _doubts(seen: Disagreement) -> list[str]:
    doubt = (
        f"The faces lie {seen.median:.1%} of a frame's width beside where the cameras see them: "
        "poses refined by the faces may give a better head (dp3d fit --poses refined)."
    )
    return ([doubt] if seen.suspicious else []) + _oddity(seen.odd)


def _oddity(odd: Sequence[int]) -> list[str]:
    if not odd:
        return []
    return [
        f"In {listed(odd)} the face lies elsewhere than in the others: check frame and camera, "
        "which is taken as given."
    ]
