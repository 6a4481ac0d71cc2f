"""Which cameras a fit takes: the given ones, or those moved to the faces; and what to tell."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import cameras_from_dict, cameras_to_dict
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import read_json, write_json
from dp3d_core.storage.json_fields import Fields, numbers
from dp3d_core.viewsets.viewset import ViewSet
from nerf_export.views.consistency import listed
from nerf_export.views.registration import (
    Disagreement,
    PointsOf,
    Registration,
    disagreement,
    register_views,
)

_MAX_POINTS, _MAX_WARNINGS = 100_000, 2000


@dataclass(frozen=True)
class SettledPoses:
    """Cameras of a fit, and how they were chosen."""

    cameras: tuple[Camera, ...]
    registration: dict[str, Any] | None
    """How they were moved, as :meth:`Registration.to_dict` has it; None: they were not."""
    face: Array | None
    """(n, 3) points of the face's surface, head space; None where no faces are found."""
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "cameras": cameras_to_dict(self.cameras),
            "registration": self.registration,
            "face": None if self.face is None else self.face.tolist(),
            "warnings": self.warnings,
        }

    @classmethod
    def from_dict(cls, data: Any) -> SettledPoses:
        """From JSON; raises ``ValueError``, or ``camera.*`` for its cameras."""
        poses, face = Fields(data, "poses.json"), None
        if "face" in poses:
            rows = poses.listed("face", _MAX_POINTS)
            points = [numbers(row, 3, -1e9, 1e9, "a point in poses.json") for row in rows]
            face = np.array(points, np.float64).reshape(-1, 3)
        return cls(
            cameras=tuple(cameras_from_dict(poses.object("cameras"))),
            registration=poses.object("registration") if "registration" in poses else None,
            face=face,
            warnings=poses.texts("warnings", _MAX_WARNINGS),
        )


def settled_poses(
    views: ViewSet, path: Path, poses: str, points_of: PointsOf | None, calls: dict[str, Any]
) -> SettledPoses:
    """Cameras of the fit and what to tell; the same after a stop.

    Kept in ``path``: what finds faces may have changed in between, and a fit that goes on with
    other cameras would be none.

    Args:
        views: to fit.
        path: JSON file that keeps them.
        poses: one of :data:`~dp3d_core.limits.POSE_POLICIES`.
        points_of: finds points of the face in a frame; None: nothing does.
        calls: ``progress`` and ``cancel``.

    Raises:
        Dp3dError: ``fit.bad_option``, ``viewset.no_faces``, ``job.cancelled``.

    """
    with contextlib.suppress(OSError, ValueError, Dp3dError):
        return SettledPoses.from_dict(read_json(path))
    registration, face, warnings = _registration(views, poses, points_of, calls)
    cameras = views.cameras if registration is None else registration.cameras
    moved = None if registration is None else registration.to_dict()
    settled = SettledPoses(tuple(cameras), moved, face, warnings).to_dict()
    write_json(path, settled)
    # as a later run reads them: poses are made rigid again when they are read
    return SettledPoses.from_dict(settled)


def _registration(
    views: ViewSet, poses: str, points_of: PointsOf | None, calls: dict[str, Any]
) -> tuple[Registration | None, Array | None, list[str]]:
    """Cameras to take instead of the given ones, points of the face, and what to tell."""
    if points_of is None and poses != "refined":
        return None, None, []
    if points_of is None:
        raise Dp3dError(
            "fit.bad_option",
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
