"""Further photos of a person in an engine: their use, and what a view set records about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dp3d_core.limits import PhotoSide
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.portraits.pose import Alignment, HeadAngles, crop_camera
from dp3d_core.portraits.references import SIDE_YAW_DEG


@dataclass(frozen=True, eq=False)
class PhotoUse:
    """What an engine does with a further photo."""

    name: str
    """Name of the photo in messages."""
    sha256: str
    side: PhotoSide
    """Side of the head that it shows: ``front``, ``left``, ``back`` or ``right``."""
    portrait: Portrait
    """Crop and matte, with the camera of the fitted pose."""
    used: bool
    """Whether the views depend on it."""
    reason: str
    """Sentence on why it is left out; empty for a used photo."""

    @property
    def yaw_pitch_roll_deg(self) -> tuple[float, float, float]:
        """Angles of the photo's camera about the head, degrees."""
        return Alignment(self.portrait.camera, {}, 0.0).yaw_pitch_roll_deg

    def left_out(self, reason: str) -> PhotoUse:
        """The photo, left out for a reason."""
        return replace(self, used=False, reason=reason)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record; angles as those of a portrait's report."""
        yaw, pitch, roll = (round(angle, 1) for angle in self.yaw_pitch_roll_deg)
        return {
            "name": self.name,
            "sha256": self.sha256,
            "side": self.side,
            "yaw_deg": yaw,
            "pitch_deg": pitch,
            "roll_deg": roll,
            "used": self.used,
            "reason": self.reason,
        }


def photo_uses(portrait: Portrait) -> tuple[PhotoUse, ...]:
    """Further photos of a portrait by their own poses: a face's, else that of the side by hand."""
    uses = []
    for reference in portrait.references:
        photo, side = reference.portrait, reference.side
        yaw = SIDE_YAW_DEG[side]
        if photo.face is None and yaw is not None:
            photo = replace(photo, camera=crop_camera(HeadAngles(yaw)))
        use = PhotoUse(reference.name, photo.sha256, side, photo, True, "")
        use = replace(use, side=_side_of(use.yaw_pitch_roll_deg[0]))
        if photo.face is None and yaw is None:
            use = use.left_out("It shows no face, and its side is not named.")
        uses.append(use)
    return tuple(uses)


def _side_of(yaw_deg: float) -> PhotoSide:
    if abs(yaw_deg) <= 45:
        return "front"
    if abs(yaw_deg) > 135:
        return "back"
    return "left" if yaw_deg > 0 else "right"


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
    """A sentence for each record of :meth:`PhotoUse.to_dict` of a photo that is left out."""
    return [f"{r['name']} is left out: {r['reason']}" for r in records if not r["used"]]


def photo_line(record: Mapping[str, Any]) -> str:
    """Sentence for the user on a record of :meth:`PhotoUse.to_dict` of a used photo."""
    return (
        f"{record['name']} shows the head from the {record['side']} "
        f"(yaw {record['yaw_deg']:.0f}, pitch {record['pitch_deg']:.0f} degrees)."
    )


def person_warnings(portrait: Portrait) -> list[str]:
    """Warnings of a portrait's report, followed by those of its further photos with their names."""
    further = [f"{r.name}: {w}" for r in portrait.references for w in r.portrait.report.warnings]
    return [*portrait.report.warnings, *further]
