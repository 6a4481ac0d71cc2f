"""Several photos of one person: the portrait and its references, with one shape for all.

The portrait is the photo that shows the face best from the front.  Shape coefficients of all photos
with landmarks are averaged, then the pose of each is fitted again with that shape held.  Photos
without landmarks (profiles, backs) keep a rough pose; ``preview.further`` fits it against the
head of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.decoding.formats import recognise
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import MAX_PHOTOS, PhotoSide
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.photo_file import read_photo
from dp3d_core.portraits.portrait import Portrait, Reference
from dp3d_core.portraits.pose import HeadAngles, components_of, expression_of, fit_face, shape_of
from dp3d_core.portraits.report_warnings import further_warnings
from dp3d_core.progress import CancelCheck, never_cancel
from dp3d_core.threads import one_blas_thread

SIDE_YAW_DEG: dict[PhotoSide, float | None] = {
    "auto": None,
    "front": 0.0,
    "left": 90.0,
    "back": 180.0,
    "right": -90.0,
}
"""Yaw from which a photo of a side is placed where nothing else estimates it, degrees; the left
photo shows the person's left ear."""
SIDE_RANGE_DEG: dict[PhotoSide, tuple[float, float]] = {
    "auto": (-180.0, 180.0),
    "front": (-60.0, 60.0),
    "left": (10.0, 150.0),
    "back": (120.0, 240.0),
    "right": (-150.0, -10.0),
}
"""Least and greatest yaw of a photo of each side: views that show more of one ear than of the other
are left or right as well."""
_LEADING = 30
"""Number of shape coefficients that are compared."""
_SAME_SHAPE = 0.72
"""Greatest distance of two photos' shapes that are averaged."""
_PORTRAIT_YAW_DEG = 35.0
"""Absolute yaw up to which the first photo remains the portrait."""


@dataclass(frozen=True)
class PhotoSource:
    """A photo to load.

    Attributes:
        source: image file or its bytes.
        side: side of the head that it shows, by hand; ``auto`` is estimated.
        name: name of the photo in messages.

    """

    source: Path | bytes
    side: PhotoSide = "auto"
    name: str = ""


def is_of_side(side: PhotoSide, yaw_deg: float) -> bool:
    """Whether a camera at a yaw, degrees, sees a side of the head (:data:`SIDE_RANGE_DEG`)."""
    least, most = SIDE_RANGE_DEG[side]
    return (yaw_deg - least) % 360 <= most - least


@one_blas_thread
def load_person(
    source: Path | bytes,
    further: Sequence[PhotoSource] = (),
    crop: tuple[float, float, float] | None = None,
    angles: HeadAngles | None = None,
    *,
    cancel: CancelCheck = never_cancel,
) -> Portrait:
    """Load one to :data:`~dp3d_core.limits.MAX_PHOTOS` photos of a person.

    Args:
        source: the first photo, see :func:`~dp3d_core.portraits.load.load_portrait`.
        further: the other photos, in any order.
        crop: crop of the first photo, set by hand.
        angles: angles of the first photo, set by hand.
        cancel: polled while files are decoded, and between photos.

    Returns:
        The portrait with its ``references``.  It is the first photo, unless that is turned by more
        than 35 degrees and another shows the face from nearer the front.

    Raises:
        Dp3dError: ``portrait.too_many_photos``, and those of ``load_portrait``.

    """
    if len(further) + 1 > MAX_PHOTOS:
        raise Dp3dError(
            "portrait.too_many_photos",
            f"There are {len(further) + 1} photos.",
            f"Give at most {MAX_PHOTOS} photos of a person.",
        )
    named = [(photo, photo.name or f"photo {number}") for number, photo in enumerate(further, 2)]
    for photo, name in named:
        with _named(name):  # before any work, as the first photo takes seconds
            recognise(read_photo(photo.source))
    first = load_portrait(source, crop, angles, cancel=cancel)
    if not named:
        return first
    photos = [Reference(first, "auto", "the first photo")]
    for photo, name in named:
        with _named(name):
            portrait = load_portrait(photo.source, cancel=cancel)
        photos.append(Reference(portrait, photo.side, name))
    main = _portrait_index(photos)
    distances = [shape_distance(photos[main].portrait, photo.portrait) for photo in photos]
    components = shared_components(
        [
            photo.portrait
            for photo, distance in zip(photos, distances, strict=True)
            if distance is not None and distance < _SAME_SHAPE
        ]
    )
    by_hand = angles or HeadAngles()
    fitted = [
        replace(
            photo,
            portrait=with_shape(photo.portrait, components, by_hand if index == 0 else None),
            shape_distance=distances[index],
        )
        for index, photo in enumerate(photos)
    ]
    references = tuple(_as_further(photo) for i, photo in enumerate(fitted) if i != main)
    portrait, name = fitted[main].portrait, fitted[main].name
    if main:
        warnings = [_chosen_portrait(name, first), *portrait.report.warnings]
        portrait = replace(portrait, report=replace(portrait.report, warnings=warnings))
    return replace(portrait, references=references)


def _as_further(photo: Reference) -> Reference:
    """A photo without the warnings that hold for a portrait only."""
    report = photo.portrait.report
    report = replace(report, warnings=further_warnings(report.warnings))
    return replace(photo, portrait=replace(photo.portrait, report=report))


def _chosen_portrait(name: str, first: Portrait) -> str:
    """Sentence on why the photo of a name is the portrait instead of the first one."""
    yaw = abs(first.report.yaw_deg)
    shows = "no clear face" if first.face is None else f"the face from {yaw:.0f} degrees aside"
    return f"The portrait is {name}, since the photo that comes first shows {shows}."


def shape_distance(first: Portrait, second: Portrait) -> float | None:
    """Root mean square difference of the leading shape coefficients, standard deviations.

    On synthetic people about 0.5 for two photos of one person and 0.95 for two people.  None
    unless both have landmarks.
    """
    if first.face is None or second.face is None:
        return None
    shapes = [components_of(portrait.report.shape)[:_LEADING] for portrait in (first, second)]
    return float(np.sqrt(np.mean((shapes[0] - shapes[1]) ** 2)))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Let errors of a further photo begin with its name."""
    try:
        yield
    except Dp3dError as error:
        if not error.code.startswith("portrait."):
            raise
        problem = f"{name}: {error.problem}"
        raise Dp3dError(error.code, problem, error.remedy, error.detail) from error


def _portrait_index(photos: Sequence[Reference]) -> int:
    """Index of the photo that becomes the portrait."""

    def frontality(photo: Reference) -> float:
        if photo.portrait.face is None or photo.side == "back":
            return -1.0
        return float(np.cos(np.radians(photo.portrait.report.yaw_deg)))

    best = int(np.argmax([frontality(photo) for photo in photos]))
    first = photos[0].portrait
    is_frontal = first.face is not None and abs(first.report.yaw_deg) < _PORTRAIT_YAW_DEG
    return 0 if is_frontal or frontality(photos[best]) < 0 else best


def shared_components(portraits: Sequence[Portrait]) -> Array:
    """(c,) mean shape coefficients of the photos with landmarks, frontal ones weighted more.

    Empty if no photo has landmarks.
    """
    shapes, weights = [], []
    for portrait in portraits:
        if portrait.face is not None:
            shapes.append(components_of(portrait.report.shape))
            frontality = max(float(np.cos(np.radians(portrait.report.yaw_deg))), 0.05)
            weights.append(portrait.report.confidence * frontality**2 + 1e-3)
    return np.average(shapes, axis=0, weights=weights) if shapes else np.zeros(0)


def with_shape(portrait: Portrait, components: Array, angles: HeadAngles | None = None) -> Portrait:
    """A portrait with its pose and expression fitted again to a head of known shape.

    Args:
        portrait: the photo; without landmarks only its shape is replaced.
        components: (c,) shape coefficients; empty for the average head.
        angles: angles set by hand.

    """
    report = portrait.report
    face = portrait.face
    if face is None or not len(components):
        shape = shape_of(components) | expression_of(report.shape)
        return replace(portrait, report=replace(report, shape=shape))
    alignment = fit_face(face, report.crop, angles or HeadAngles(), components)
    yaw, pitch, roll = alignment.yaw_pitch_roll_deg
    report = replace(report, yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll, shape=alignment.shape)
    return replace(portrait, camera=alignment.camera, report=report)
