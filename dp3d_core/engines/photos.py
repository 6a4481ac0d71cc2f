"""Further photos of a person in an engine: their use, and what a view set records about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from dp3d_core.cameras.camera import Camera
from dp3d_core.limits import PhotoSide
from dp3d_core.portraits.crop import Crop
from dp3d_core.portraits.portrait import Portrait, Reference
from dp3d_core.portraits.pose import Alignment, HeadAngles, crop_camera
from dp3d_core.portraits.references import SIDE_YAW_DEG


class PlacedPhoto(Protocol):
    """A further photo with its fitted pose."""

    @property
    def name(self) -> str:
        """Name of the photo in messages."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        ...

    @property
    def side(self) -> PhotoSide:
        """Side of the head that it shows: ``front``, ``left``, ``back`` or ``right``."""
        ...

    @property
    def camera(self) -> Camera:
        """Camera of its crop, in head space."""
        ...

    @property
    def used(self) -> bool:
        """Whether the views depend on it."""
        ...

    @property
    def reason(self) -> str:
        """Sentence on why it is left out; empty for a used photo."""
        ...


@dataclass(frozen=True)
class PhotoUse:
    """A :class:`PlacedPhoto` by the pose of the photo alone."""

    name: str
    sha256: str
    side: PhotoSide
    crop: Crop
    camera: Camera
    used: bool
    reason: str = ""

    def portrait(self, reference: Reference) -> Portrait:
        """The photo with this camera."""
        return replace(reference.portrait, camera=self.camera)


def photo_uses(portrait: Portrait) -> tuple[PhotoUse, ...]:
    """Further photos of a portrait by their own poses: a face's, else that of the side by hand."""
    uses = []
    for reference in portrait.references:
        photo, yaw_deg, reason = reference.portrait, SIDE_YAW_DEG[reference.side], ""
        camera = photo.camera
        if photo.face is None:
            if yaw_deg is None:
                reason = "It shows no face, and its side is not named."
            else:
                camera = crop_camera(HeadAngles(yaw_deg))
        side = _side_of(camera.yaw_pitch_deg[0])
        crop = photo.report.crop
        uses.append(PhotoUse(reference.name, photo.sha256, side, crop, camera, not reason, reason))
    return tuple(uses)


def _side_of(yaw_deg: float) -> PhotoSide:
    if abs(yaw_deg) <= 45:
        return "front"
    if abs(yaw_deg) > 135:
        return "back"
    return "left" if yaw_deg > 0 else "right"


def photo_record(use: PlacedPhoto) -> dict[str, Any]:
    """JSON-ready record of a further photo, for ``meta.json`` and results.

    Returns:
        ``name``, ``sha256``, ``side``, ``yaw_deg``, ``pitch_deg`` and ``roll_deg`` (as those of a
        portrait's report), ``used`` and ``reason``.

    """
    yaw, pitch, roll = Alignment(use.camera, {}, 0.0).yaw_pitch_roll_deg
    return {
        "name": use.name,
        "sha256": use.sha256,
        "side": use.side,
        "yaw_deg": round(yaw, 1),
        "pitch_deg": round(pitch, 1),
        "roll_deg": round(roll, 1),
        "used": use.used,
        "reason": use.reason,
    }


def photo_parameters(portrait: Portrait) -> dict[str, Any]:
    """Parameters of ``meta.json`` that name the further photos of a portrait.

    Returns:
        ``references``: hash and side of each photo, sorted, since the order in which photos are
        given changes nothing; empty for a single photo, as earlier versions wrote it.

    """
    if not portrait.references:
        return {}
    photos = [{"sha256": r.portrait.sha256, "side": r.side} for r in portrait.references]
    return {"references": sorted(photos, key=lambda photo: (photo["sha256"], photo["side"]))}


def photo_warnings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each record of :func:`photo_record` of a photo that is left out."""
    return [f"{r['name']} is left out: {r['reason']}" for r in records if not r["used"]]


def photo_line(record: Mapping[str, Any]) -> str:
    """Sentence for the user on a record of :func:`photo_record` of a used photo."""
    return (
        f"{record['name']} shows the head from the {record['side']} "
        f"(yaw {record['yaw_deg']:.0f}, pitch {record['pitch_deg']:.0f} degrees)."
    )


def person_warnings(portrait: Portrait) -> list[str]:
    """Warnings of a portrait's report, followed by those of its further photos with their names."""
    further = [f"{r.name}: {w}" for r in portrait.references for w in r.portrait.report.warnings]
    return [*portrait.report.warnings, *further]
