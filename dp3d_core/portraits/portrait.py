"""The result of ``load``: head crop, matte, camera in head space, and a report on all decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Mask, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.limits import PhotoSide
from dp3d_core.portraits.crop import Crop
from dp3d_core.portraits.detection import Face


@dataclass(frozen=True, kw_only=True)
class PortraitReport:
    """Faces, crop, pose and matte of a portrait, for people and for ``meta.json``."""

    width: int
    """Width of the decoded, upright photo, pixels."""
    height: int
    """Height of the decoded, upright photo, pixels."""
    scale: float
    """Size of the decoded photo over that of the file; below 1 if it was scaled down."""
    faces: list[Face]
    """All detected faces, best first."""
    chosen: Face | None
    """The face in the crop; None if there is none."""
    confidence: float
    """Confidence in the head, 0 to 1: that of its face, reduced by what the photo hides."""
    crop: Crop
    """The head crop."""
    crop_source: str
    """``face``, ``manual`` or ``centre``."""
    yaw_deg: float
    """Yaw of the camera about the head, positive on the head's +x side."""
    pitch_deg: float
    """Pitch of the camera about the head, positive looking down."""
    roll_deg: float
    """Roll of the head in the image, counter-clockwise."""
    alignment: float
    """Score of the pose (``pose.Alignment``): 4 for typical landmarks, 0 without landmarks."""
    shape: dict[str, float]
    """Shape coefficients and expression weights (``pose.Alignment.shape``)."""
    matte_source: str
    """``alpha`` of the file, ``segmenter``, or ``template`` for a standard outline."""
    matte_confidence: float
    """Confidence in the matte, 0 to 1."""
    warnings: list[str] = field(default_factory=list)
    """Sentences for the user."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready, rounded values."""
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

    def pose_parameters(self) -> dict[str, Any]:
        """Crop and angles, unrounded, as a view set's parameters record them."""
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
        image: (640, 640, 3) uint8 RGB head crop, with the photo's border repeated beyond it.
        matte: (640, 640) uint8 foreground alpha of the crop, 0 beyond the photo.
        inside: (640, 640) bool, valid mask: pixels inside the photo.
        camera: the camera that sees the crop, in head space.
        report: faces, crop, pose, matte and warnings.
        sha256: hash of the file.
        photo: (h, w, 3) uint8 decoded, upright photo.
        opaque: whether the photo has no transparent part.
        references: further photos of the person (``references.load_person``).

    """

    image: Pixels
    matte: Pixels
    inside: Mask
    camera: Camera
    report: PortraitReport
    sha256: str
    photo: Pixels
    opaque: bool = True
    references: tuple[Reference, ...] = ()

    @property
    def face(self) -> Face | None:
        """The chosen face if it has landmarks, which determine pose and shape; else None."""
        face = self.report.chosen
        return face if face is not None and face.points is not None else None

    def shows(self, uv: NDArray[np.floating], margin: float = 0.0) -> Mask:
        """(n,) whether the photo covers positions of the crop.

        Args:
            uv: (n, 2) positions, pixels of the crop.
            margin: width of the crop's margin that does not count, pixels.

        """
        side = self.camera.width
        pixel = np.clip(uv.astype(int), 0, side - 1)
        within = ((uv > margin) & (uv < side - margin)).all(1)
        return np.asarray(within & self.inside[pixel[:, 1], pixel[:, 0]])

    def reaches(self, uv: NDArray[np.floating]) -> Mask:
        """(n,) whether the photo covers positions (n, 2), pixels of the crop, beyond it as well.

        Beyond the crop of a cut-out nothing counts as covered.
        """
        report = self.report
        if not self.opaque:
            return self.shows(uv)
        positions = report.crop.to_photo(np.asarray(uv, np.float64), self.camera.width)
        return np.asarray(((positions > 0) & (positions < [report.width, report.height])).all(-1))

    def background_colour(self) -> tuple[int, int, int]:
        """Median colour outside the matte, 8-bit RGB; white if the matte covers the photo."""
        outside = self.image[(self.matte < 10) & self.inside]
        if not len(outside):
            return 255, 255, 255
        r, g, b = (int(value) for value in np.median(outside, axis=0))
        return r, g, b


@dataclass(frozen=True, eq=False)
class Reference:
    """A further photo of the person.

    Attributes:
        portrait: the prepared photo; ``portrait.face`` tells whether its pose is reliable.
        side: side of the head that it shows, by hand; ``auto`` if it is estimated.
        name: name of the photo in messages.
        shape_distance: distance of its own shape from the portrait's
            (``references.shape_distance``); None without landmarks in both.

    """

    portrait: Portrait
    side: PhotoSide
    name: str
    shape_distance: float | None = None
