"""Portrait: an upright photo with a head crop, a matte, a camera in head space and a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.portraits.crop import Crop
from dp3d_core.portraits.detection import Face

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class PortraitReport:
    """Faces, crop, pose and matte of a portrait, for people and for ``meta.json``."""

    width: int
    """Of the upright photo as used."""
    height: int
    scale: float
    """Used photo over file: below 1 when a huge photo was scaled down."""
    faces: list[Face]
    chosen: Face | None
    confidence: float
    """Of the head, 0 to 1: how sure its face is, and how much of it the photo shows."""
    crop: Crop
    crop_source: str
    """``face``, ``manual`` or ``centre``."""
    yaw_deg: float
    """Of the camera about the head: positive when it stands to the head's +x side."""
    pitch_deg: float
    """Positive when it looks down."""
    roll_deg: float
    """Of the head in the picture, counter-clockwise."""
    alignment: float
    """Score of the pose (``pose.Alignment``): 4 for landmarks like those of faces, 0 without."""
    shape: dict[str, float]
    """Shape parameters of the fitted head."""
    matte_source: str
    """``alpha`` (of the file), ``segmenter``, or ``template``: a standard outline."""
    matte_confidence: float
    warnings: list[str] = field(default_factory=list)
    """Sentences for a person."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "width": self.width,
            "height": self.height,
            "scale": round(self.scale, 6),
            "faces": [face.to_dict() for face in self.faces],
            "chosen": self.chosen.to_dict() if self.chosen else None,
            "confidence": round(self.confidence, 3),
            "crop": [round(self.crop.x, 2), round(self.crop.y, 2), round(self.crop.side, 2)],
            "crop_source": self.crop_source,
            "yaw_deg": round(self.yaw_deg, 2),
            "pitch_deg": round(self.pitch_deg, 2),
            "roll_deg": round(self.roll_deg, 2),
            "alignment": round(self.alignment, 3),
            "shape": {name: round(value, 3) for name, value in self.shape.items()},
            "matte_source": self.matte_source,
            "matte_confidence": round(self.matte_confidence, 3),
            "warnings": self.warnings,
        }

    @property
    def place(self) -> dict[str, Any]:
        """Crop and angles, as the parameters of a view set keep them."""
        return {
            "crop": [self.crop.x, self.crop.y, self.crop.side],
            "yaw_deg": self.yaw_deg,
            "pitch_deg": self.pitch_deg,
            "roll_deg": self.roll_deg,
        }


@dataclass(frozen=True, eq=False)
class Portrait:
    """A prepared photo.

    Attributes:
        image: (640, 640, 3) uint8 RGB head crop; what lies outside the photo is continued.
        matte: (640, 640) uint8 foreground alpha of the crop, 0 outside the photo.
        inside: (640, 640) bool, pixels that come from the photo itself.
        camera: the camera that sees the crop, in head space.
        report: faces, crop, pose and matte.
        sha256: of the file.
        photo: (h, w, 3) uint8 upright photo.
        opaque: whether no part of the photo is transparent.

    """

    image: Pixels
    matte: Pixels
    inside: NDArray[np.bool_]
    camera: Camera
    report: PortraitReport
    sha256: str
    photo: Pixels
    opaque: bool = True

    def shows(self, uv: NDArray[np.floating], margin: float = 0.0) -> NDArray[np.bool_]:
        """(n,) whether the photo itself lies at places (n, 2), pixels of the crop.

        Args:
            uv: the places.
            margin: pixels of the crop's edges that do not count.

        """
        side = self.camera.width
        at = np.clip(uv.astype(int), 0, side - 1)
        within = ((uv > margin) & (uv < side - margin)).all(1)
        return np.asarray(within & self.inside[at[:, 1], at[:, 0]])

    def reaches(self, uv: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(n,) whether the photo goes on at places (n, 2), pixels of the crop or beside it.

        Of a cut-out nothing is known beside its crop.
        """
        report = self.report
        if not self.opaque:
            return self.shows(uv)
        at = report.crop.to_photo(np.asarray(uv, np.float64), self.camera.width)
        return np.asarray(((at > 0) & (at < [report.width, report.height])).all(-1))
