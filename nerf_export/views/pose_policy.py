"""Pose policy: whether a fit takes the given cameras or cameras refined by points of the face."""

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

_MAX_POINTS = 100_000
"""Points of the face that a ``poses.json`` may hold."""
_MAX_WARNINGS = 2000
"""Warnings that a ``poses.json`` may hold."""


@dataclass(frozen=True)
class SettledPoses:
    """Cameras of a fit, and the refinement that they come from."""

    cameras: tuple[Camera, ...]
    """Cameras of all views, head space."""
    registration: dict[str, Any] | None
    """:meth:`Registration.to_dict` of refined cameras; None: the given cameras are taken."""
    face: Array | None
    """(n, 3) points of the face's surface, head space; None where no faces are found."""
    warnings: list[str]
    """Warnings about poses and refinement."""

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
    views: ViewSet, path: Path, poses: str, points_of: PointsOf | None, callbacks: dict[str, Any]
) -> SettledPoses:
    """Choose the cameras of a fit; a resumed fit gets the cameras of its first run.

    They are stored in ``path``, since the face detector may have changed between two runs, and
    training cannot resume with other cameras.

    Args:
        views: to fit.
        path: JSON file that stores the cameras.
        poses: one of :data:`~dp3d_core.limits.POSE_POLICIES`.
        points_of: finds points of the face in a frame; None: no detector is installed.
        callbacks: ``progress`` and ``cancel``.

    Raises:
        Dp3dError: ``fit.bad_option``, ``viewset.no_faces``, ``job.cancelled``.

    """
    with contextlib.suppress(OSError, ValueError, Dp3dError):
        return SettledPoses.from_dict(read_json(path))
    registration, face, warnings = _chosen_poses(views, poses, points_of, callbacks)
    cameras = views.cameras if registration is None else registration.cameras
    moved = None if registration is None else registration.to_dict()
    settled = SettledPoses(tuple(cameras), moved, face, warnings).to_dict()
    write_json(path, settled)
    # read back, as a resumed run will: reading makes poses rigid again
    return SettledPoses.from_dict(settled)


def _chosen_poses(
    views: ViewSet, poses: str, points_of: PointsOf | None, callbacks: dict[str, Any]
) -> tuple[Registration | None, Array | None, list[str]]:
    """Refined cameras (None: the given ones), (n, 3) points of the face, and warnings."""
    if points_of is None and poses != "refined":
        return None, None, []
    if points_of is None:
        raise Dp3dError(
            "fit.bad_option",
            "The poses cannot be refined: nothing here finds faces.",
            "Keep the poses as they are given.",
        )
    approximate = views.meta.approximate_poses
    try:
        if poses == "given" or (poses == "auto" and not approximate):
            mismatch = disagreement(views, points_of, **callbacks)
            return None, mismatch.points, _mismatch_warnings(mismatch) if poses == "auto" else []
        registration = register_views(views, points_of, **callbacks)
    except Dp3dError as error:
        if poses == "refined" or error.code != "viewset.no_faces":
            raise
        unverified = (
            "A network drew these views, and no faces tell how far they are off their cameras."
        )
        return None, None, [unverified] if approximate and poses == "auto" else []
    if poses == "auto" and not registration.suspicious:
        return None, registration.points, []
    warnings = [
        f"The cameras of {registration.moved} views were moved to where their faces lie, by up to "
        f"{max(registration.turns_deg):.1f} degrees."
    ]
    return registration, registration.points, warnings + _odd_view_warnings(registration.left)


def _mismatch_warnings(mismatch: Disagreement) -> list[str]:
    advice = (
        f"The faces lie {mismatch.median:.1%} of a frame's width beside where the cameras see "
        "them: poses refined by the faces may give a better head (dp3d fit --poses refined)."
    )
    return ([advice] if mismatch.suspicious else []) + _odd_view_warnings(mismatch.odd)


def _odd_view_warnings(odd: Sequence[int]) -> list[str]:
    if not odd:
        return []
    return [
        f"In {listed(odd)} the face lies elsewhere than in the others: check frame and camera, "
        "which is taken as given."
    ]
