"""How the further photos of a person are used: poses, and photos that are left out.

Profiles and backs show no face that a landmark model finds.  A learned map (``portraits.view_map``)
estimates their pose, and ``refinement`` moves it onto the head of the portrait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from dp3d_core.arrays import Mask
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import rotation_error_deg, yaw_pitch_roll_deg
from dp3d_core.limits import PhotoSide
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.crop import CROP_FOCAL, CROP_SIZE, Crop, canonical_crop, centre_crop, cut
from dp3d_core.portraits.matting import find_matte_of
from dp3d_core.portraits.portrait import Portrait, Reference
from dp3d_core.portraits.pose import posed_camera
from dp3d_core.portraits.references import SIDE_YAW_DEG, is_of_side
from dp3d_core.portraits.view_map import ViewPose, view_map
from dp3d_core.preview.further.agreement import differences, stranger_note, stranger_reason
from dp3d_core.preview.further.head_model import PHOTO_SIDE, HeadModel, PhotoTarget
from dp3d_core.preview.further.person import head_window
from dp3d_core.preview.further.refinement import refined
from dp3d_core.preview.shape.placement import place_head
from dp3d_core.progress import StepCallback, no_step

_GUESSES = (0.5, 0.75, 1.0)
"""Sides of the windows that are tried where no person is found, centre crops."""
_LEAST_LIKENESS = 0.54
"""Likeness to the windows of training below which such a window shows no head."""
_LEAST_CERTAINTY = 0.6
"""Certainty of the learned map below which it may see a head from the front."""
_ROUNDS = (3, 4)
"""Rounds of fitting in the estimated crop, and in the crop of the pose fitted there."""
_CLEAR_FACE = 0.85
"""Confidence of the detector from which landmarks are believed against a named side.  Of 31 renders
of five synthetic people with landmarks two, both profiles, were taken for fronts, at confidences of
0.55 and 0.70; those above 0.8 were at most 10 degrees off in yaw."""
_LANDMARKS_DEG = 52.0
"""Absolute yaw up to which landmarks tell the pose of a face better than the learned map does."""
_MISREAD_DEG = 60.0
"""Angle to a certain estimate of the learned map beyond which landmarks are misread: the landmark
model turns some profiles upside down."""
_FRONT_DEG = 45.0
"""Absolute yaw up to which a photo shows the front, degrees."""
_PROFILE_CONFIDENCE = 0.2
"""Confidence from which a face that only the detector sees is a profile; it takes buns and
ponytails for faces of less."""


@dataclass(frozen=True)
class PhotoUse:
    """How a further photo is used.

    Attributes:
        name: of the photo, in messages.
        sha256: hash of its file.
        side: side of the head that it shows.
        crop: the head crop.
        camera: camera of the crop, in head space.
        used: whether the head has been made with it.
        reason: sentence on why it is left out; empty if it is used.
        note: sentences on what is doubtful in a photo that is used, or empty.

    """

    name: str
    sha256: str
    side: PhotoSide
    crop: Crop
    camera: Camera
    used: bool
    reason: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, unrounded."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "side": self.side,
            "crop": [self.crop.x, self.crop.y, self.crop.side],
            "camera": self.camera.to_dict(),
            "used": self.used,
            "reason": self.reason,
            "note": self.note,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PhotoUse:
        """Inverse of :meth:`to_dict`."""
        camera = values["camera"]
        return cls(
            values["name"],
            values["sha256"],
            values["side"],
            Crop(*values["crop"]),
            Camera(camera["c2w"], camera["K"], camera["width"], camera["height"]),
            values["used"],
            values["reason"],
            values.get("note", ""),  # earlier versions wrote none
        )

    def portrait(self, reference: Reference, head: RayCaster) -> Portrait:
        """The photo with this crop and camera, and the matte of a head that it shows."""
        return _cropped(reference.portrait, self.crop, self.camera, head)


def _cropped(photo: Portrait, crop: Crop, camera: Camera, head: RayCaster) -> Portrait:
    """A photo with another crop and its camera, and the matte of a head that it shows."""
    image, inside = cut(photo.photo, crop)
    matte, confidence = find_matte_of(image, inside, _silhouette(head, camera))
    yaw, pitch, roll = yaw_pitch_roll_deg(camera)
    report = replace(
        photo.report,
        crop=crop,
        crop_source="head",
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        matte_source="segmenter",
        matte_confidence=confidence,
    )
    return replace(photo, image=image, matte=matte, inside=inside, camera=camera, report=report)


def _silhouette(head: RayCaster, camera: Camera) -> Mask:
    """(CROP_SIZE, CROP_SIZE) pixels in which a camera sees a head."""
    shown = np.isfinite(head.depth(camera.resized(PHOTO_SIDE, PHOTO_SIDE)))
    return np.asarray(cv2.resize(shown.astype(np.float32), (CROP_SIZE, CROP_SIZE)) > 0.5)


def photo_steps(portrait: Portrait) -> int:
    """Number of steps of :func:`fit_photos`."""
    return len(portrait.references)


def fit_photos(
    portrait: Portrait, on_step: StepCallback = no_step
) -> tuple[tuple[PhotoUse, ...], list[Portrait]]:
    """Poses of the references of a portrait.

    Args:
        portrait: the portrait with its references.
        on_step: called :func:`photo_steps` times.

    Returns:
        How each reference is used, and the photos that are used, with their poses.

    """
    uses: list[PhotoUse] = []
    photos: list[Portrait] = []
    if not portrait.references:
        return (), photos
    model = HeadModel.of(place_head(portrait), portrait)
    for number, reference in enumerate(portrait.references, 1):
        on_step(f"Placing further photo {number} of {len(portrait.references)}")
        own = reference.portrait
        placed = posed(reference, model)
        if placed is None:
            crop, camera, side = own.report.crop, own.camera, reference.side
            reason, note = "No person was found in it.", ""
        else:
            crop, camera = placed.report.crop, placed.camera
            side = side_of(camera)
            measured = differences(model, placed, reference.shape_distance)
            cosine = camera.c2w[:3, 2] @ portrait.camera.c2w[:3, 2]
            apart = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
            by_hand = reference.side != "auto" and is_of_side(
                reference.side, camera.yaw_pitch_deg[0]
            )
            reason = stranger_reason(measured, by_hand, side, apart)
            notes = [side_note(reference.side, camera), stranger_note(measured, apart)]
            note = "" if reason else " ".join(sentence for sentence in notes if sentence)
            if not reason:
                photos.append(placed)
        use = PhotoUse(reference.name, own.sha256, side, crop, camera, not reason, reason, note)
        uses.append(use)
    return tuple(uses), photos


def side_note(named: PhotoSide, camera: Camera) -> str:
    """Sentence on a photo whose face contradicts the side that the user named, or empty."""
    yaw = camera.yaw_pitch_deg[0]
    if is_of_side(named, yaw):
        return ""
    return (
        f"Its side is named {named}, but its face is seen at a yaw of {round(yaw)} degrees: it is "
        "placed there."
    )


def side_of(camera: Camera) -> PhotoSide:
    """Side of the head that a camera sees."""
    yaw = camera.yaw_pitch_deg[0]
    if abs(yaw) < _FRONT_DEG:
        return "front"
    if abs(yaw) > 180 - _FRONT_DEG:
        return "back"
    return "left" if yaw > 0 else "right"


def posed(reference: Reference, model: HeadModel) -> Portrait | None:
    """A photo with crop, matte and camera; None if it shows no person.

    Landmarks give the pose where they are reliable; else the learned estimate is fitted to the
    head.

    Args:
        reference: the photo.
        model: the head of the other photos.

    """
    photo = reference.portrait.photo
    view = _estimated(reference)
    if view is None:
        return None
    if _has_landmark_pose(reference, view):
        return reference.portrait
    view = _on_named_side(reference, view)
    window, theta = view.crop, np.concatenate([view.angles, np.zeros(3)])
    for rounds in _ROUNDS:
        image, inside = cut(photo, window)
        expected = _silhouette(model.caster, posed_camera(theta, CROP_SIZE, CROP_FOCAL))
        matte, _ = find_matte_of(image, inside, expected)
        target = PhotoTarget.of(image, (matte > 127) & inside, inside)
        theta = refined(model, target, theta, rounds)
        window = canonical_crop(window, posed_camera(theta, CROP_SIZE, CROP_FOCAL))
        theta = np.concatenate([theta[:3], np.zeros(3)])
    camera = posed_camera(theta, CROP_SIZE, CROP_FOCAL)
    return _cropped(reference.portrait, window, camera, model.caster)


def _has_landmark_pose(reference: Reference, view: ViewPose) -> bool:
    """Whether the pose that landmarks give a photo is more reliable than the learned estimate."""
    portrait = reference.portrait
    yaw = portrait.report.yaw_deg
    if portrait.face is None or abs(yaw) > _LANDMARKS_DEG:
        return False
    # A clear face stays where it is seen, whatever side is named: turned to that side it would be
    # painted onto temple or back of the head.
    if not is_of_side(reference.side, yaw) and not _has_clear_face(portrait):
        return False
    if view.certainty < _LEAST_CERTAINTY:
        return True
    estimate = posed_camera(np.concatenate([view.angles, np.zeros(3)]), CROP_SIZE, CROP_FOCAL)
    return rotation_error_deg(portrait.camera.c2w, estimate.c2w) < _MISREAD_DEG


def _has_clear_face(portrait: Portrait) -> bool:
    """Whether a photo shows a face whose landmarks are believed against a named side."""
    return portrait.face is not None and portrait.face.confidence > _CLEAR_FACE


def _estimated(reference: Reference) -> ViewPose | None:
    """Learned estimate of a photo's pose; None if it shows no person."""
    photo, report = reference.portrait.photo, reference.portrait.report
    face = report.chosen
    if face is not None and (face.points is not None or face.confidence > _PROFILE_CONFIDENCE):
        window: Crop | None = report.crop
    else:
        window = head_window(photo)
    if window is not None:
        view = view_map()(photo, window)
    else:  # the segmenter sees nobody: windows in the middle are tried
        middle = centre_crop(photo)
        x, y = middle.x + middle.side / 2, middle.y + middle.side / 2
        views = [view_map()(photo, Crop.around(x, y, middle.side * factor)) for factor in _GUESSES]
        view = max(views, key=lambda view: view.likeness)
        if view.likeness < _LEAST_LIKENESS:
            return None
    return view


def _on_named_side(reference: Reference, view: ViewPose) -> ViewPose:
    """An estimate, or a start on the side that the user named if the estimate contradicts it.

    The start has the yaw of a clear face that this side shows, else that of the side's middle.  A
    clear face elsewhere overrules the side, see :func:`_has_landmark_pose`.
    """
    report = reference.portrait.report
    by_hand = SIDE_YAW_DEG[reference.side]
    if by_hand is None or is_of_side(reference.side, float(np.degrees(view.angles[0]))):
        return view
    yaw = by_hand
    if _has_clear_face(reference.portrait):
        if not is_of_side(reference.side, report.yaw_deg):
            return view
        yaw = report.yaw_deg
    return replace(view, angles=np.array([np.radians(yaw), 0.0, 0.0]))
