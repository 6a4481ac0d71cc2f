"""Further photos of a person in an engine: their use, and what a view set records about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from dp3d_core.cameras.trajectories import yaw_pitch_roll_deg
from dp3d_core.limits import PhotoSide

if TYPE_CHECKING:  # the command line imports this module before it knows which packages are there
    from dp3d_core.cameras.camera import Camera
    from dp3d_core.portraits.portrait import Portrait


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

    @property
    def note(self) -> str:
        """Sentences on what is doubtful in a used photo, or empty."""
        ...


def photo_records(portrait: Portrait, uses: Sequence[PlacedPhoto]) -> list[dict[str, Any]]:
    """JSON-ready records of the further photos of a portrait, for ``meta.json`` and results.

    Args:
        portrait: the portrait; its references name the photos, since a kept head may have been
            fitted to photos of other names.
        uses: of each reference.

    Returns:
        ``name``, ``sha256``, ``side``, ``yaw_deg``, ``pitch_deg`` and ``roll_deg`` (as those of a
        portrait's report), ``used``, ``reason`` and ``note`` of each.

    """
    return [
        photo_record(use) | {"name": reference.name}
        for reference, use in zip(portrait.references, uses, strict=True)
    ]


def photo_record(use: PlacedPhoto) -> dict[str, Any]:
    """JSON-ready record of a further photo, see :func:`photo_records`."""
    yaw, pitch, roll = yaw_pitch_roll_deg(use.camera)
    return {
        "name": use.name,
        "sha256": use.sha256,
        "side": use.side,
        "yaw_deg": round(yaw, 1),
        "pitch_deg": round(pitch, 1),
        "roll_deg": round(roll, 1),
        "used": use.used,
        "reason": use.reason,
        "note": use.note,
    }


def used_hashes(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Hashes of the used photos among records of :func:`photo_record`, in their order."""
    return [record["sha256"] for record in records if record["used"]]


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
    """Sentences on records of :func:`photo_record`: photos left out, and notes on used ones."""
    warnings = []
    if records and not any(record["used"] for record in records):
        warnings.append("None of the further photos is used: the head is that of one photo.")
    for record in records:
        reason, note = record["reason"], record.get("note", "")  # earlier versions wrote none
        if not record["used"]:
            warnings.append(f"{record['name']} is left out: {reason[:1].lower()}{reason[1:]}")
        elif note:
            warnings.append(f"{record['name']}: {note}")
    return warnings


def photo_line(record: Mapping[str, Any]) -> str:
    """Sentence for the user on a record of :func:`photo_record` of a used photo."""
    return (
        f"{record['name']} shows the head from the {record['side']} "
        f"(yaw {round(record['yaw_deg'])}, pitch {round(record['pitch_deg'])} degrees)."
    )


def person_warnings(portrait: Portrait) -> list[str]:
    """Warnings of a portrait's report, followed by those of its further photos with their names."""
    further = [f"{r.name}: {w}" for r in portrait.references for w in r.portrait.report.warnings]
    return [*portrait.report.warnings, *further]
