"""Portrait: any photo in, an upright picture with a head crop, a matte and a report out.

The crop is the window that the canonical camera (``cameras.canonical_camera``, turned by the
estimated yaw) would see with a somewhat wider lens (``CROP_MARGIN``), so that a pixel of the
crop is a ray in head space.  Everything that
was decided is recorded in :class:`PortraitReport` and can be overridden by a manual crop.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dp3d_core.alignment import Alignment, Known, Turn, align, posed_camera, search
from dp3d_core.cameras import CANONICAL_FOCAL, Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.face_models import installed
from dp3d_core.faces import Face, detect_eyes, detect_faces
from dp3d_core.head_fit import fit_head
from dp3d_core.matting import find_matte, grabcut_matte, head_prior, keep_symmetric
from dp3d_core.photos import decode_photo, read_photo

Pixels = NDArray[np.uint8]

CROP_SIZE = 640
"""Side of the head crop, pixels."""
CROP_MARGIN = 1.25
"""Width of the crop over what the canonical camera sees: room for hats and shoulders."""
CROP_FOCAL = CANONICAL_FOCAL / CROP_MARGIN
"""Focal length of the crop, image widths."""
MAX_CROP = 4
"""A manual crop may be so many times as large as the photo's longest side."""

# Where a detected face box lies in the canonical crop: measured on portraits whose framing is
# known (the published DiffPortrait3D samples), then scaled to the roomier PanoHead framing.
CROP_PER_FACE = 1.64 * CROP_MARGIN
"""Crop side over face box side."""
CROP_DROP = 0.05 / CROP_MARGIN
"""Crop centre below the face box centre, crop sides."""
CROP_BEHIND = 0.25 / CROP_MARGIN
"""Crop centre behind the face box centre for a head seen from the side, crop sides."""

SMALL_FACE = 96
LEAST_CONFIDENCE = 0.3
"""A face found with less is taken for chance."""
LOW_CONFIDENCE = 0.45
"""A face found with less is used with a warning."""
LEAST_SCORE = 1.2
"""An alignment with less is not believed."""
RESCALE = (0.85, 1.3)
"""A crop's side may change so much by what the alignment found."""
SURE_SCORE = 3.2
"""With more, no other candidate is looked at."""
_LARGEST_HOLE = 0.02
"""Of a cut-out's crop: between an arm and the head, say."""
LYING_DEG = 50.0
FAR_TURN_DEG = 25.0
TURNED_DEG, PROFILE_DEG, TILTED_DEG = 22.0, 55.0, 22.0
"""Yaw from which a head counts as turned and as a profile, and pitch from which as tilted."""
_MARGINS = (
    ("the top of the head", (0.0, 0.285, -0.02)),
    ("the neck", (0.0, -0.27, 0.03)),
    ("a side of the head", (0.19, 0.05, -0.05)),
    ("a side of the head", (-0.19, 0.05, -0.05)),
)
"""Places around an average head, head units, that a photo of all of it shows."""
LEAST_SCORE_ALONE = 3.0
"""The same where no detector saw a face."""


@dataclass(frozen=True)
class Crop:
    """Square window of the upright photo; it may reach outside.

    Attributes:
        x, y: left and top edge, pixels of the upright photo.
        side: pixels.

    """

    x: float
    y: float
    side: float

    def to_photo(self, uv: NDArray[np.float64], size: int = CROP_SIZE) -> NDArray[np.float64]:
        """(..., 2) crop pixels (of a crop of ``size``) to photo pixels."""
        return np.asarray(uv) * (self.side / size) + [self.x, self.y]

    def from_photo(self, uv: NDArray[np.float64], size: int = CROP_SIZE) -> NDArray[np.float64]:
        """Inverse of :meth:`to_photo`."""
        return (np.asarray(uv) - [self.x, self.y]) * (size / self.side)


@dataclass(frozen=True)
class PortraitReport:
    """What was found and decided, for people and for ``meta.json``."""

    width: int
    """Of the upright photo as used."""
    height: int
    scale: float
    """Used photo over file: below 1 when a huge photo was scaled down."""
    faces: list[Face]
    chosen: Face | None
    confidence: float
    """Of the head, 0 to 1: how sure its place is, and how much of it the photo shows."""
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
    """Score of the alignment (``alignment.align``)."""
    shape: dict[str, float]
    """Shape parameters that the alignment found."""
    matte_source: str
    """``alpha`` (of the file), ``segmenter``, ``grabcut`` or ``template``."""
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
        """Crop and turn, as the parameters of a view set keep them."""
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
        matte: (640, 640) uint8 foreground alpha of the crop.
        inside: (640, 640) bool, pixels that come from the photo itself.
        camera: the camera that sees the crop, in head space.
        report: what was found and decided.
        sha256: of the file.
        photo: (h, w, 3) uint8 upright photo.

    """

    image: Pixels
    matte: Pixels
    inside: NDArray[np.bool_]
    camera: Camera
    report: PortraitReport
    sha256: str
    photo: Pixels


def load_portrait(
    source: Path | bytes,
    crop: tuple[float, float, float] | None = None,
    turn: Turn | None = None,
) -> Portrait:
    """Prepare a photo.

    Args:
        source: image file or its bytes; any format Pillow reads, any mode, any orientation.
        crop: manual crop (x, y, side) in pixels of the upright photo as stored in the file.
        turn: manual yaw, pitch and roll; what it leaves out is estimated.

    Returns:
        The portrait.  No face is a warning in the report and a centre crop, not a failure.

    Raises:
        Dp3dError: ``portrait.not_found``, ``portrait.unreadable``, ``portrait.too_small``,
            ``portrait.too_large``, ``portrait.bad_crop``.

    """
    turn = turn or Turn()
    data = read_photo(source)
    rgb, alpha, scale = decode_photo(data)
    if alpha is not None and int(alpha.max()) < 8:
        raise Dp3dError(
            "portrait.unreadable",
            "The photo is transparent all over.",
            "Save it again with the head visible.",
        )
    warnings: list[str] = []
    faces = detect_faces(rgb)
    known = Known(turn, place=crop is not None)
    if crop is not None:
        window, source_name, confidence = _manual_crop(crop, rgb, scale), "manual", 1.0
        chosen = _face_inside(faces, window)
        rough = None
    else:
        window, chosen, rough = _find_head(rgb, alpha, faces, known)
        source_name = "centre" if rough is None else "face"
        confidence = 0.0 if rough is None else _confidence(rough.score, chosen)
    warnings += _warnings(rgb, faces, chosen, source_name, confidence)

    image, inside = _cut(rgb, window)
    yaw = turn.yaw_deg
    if yaw is None:
        yaw = rough.yaw_pitch_roll_deg[0] if rough else 0.0
    if alpha is not None and not _is_cut_out(_cut_grey(alpha, window), inside, yaw):
        alpha = None  # before anything else is judged by it
        warnings.append(
            "The photo's transparency does not outline the head, so it is not used; the head was "
            "looked for in the colours."
        )
    if alpha is not None:
        matte, matte_source, matte_confidence = _cut_grey(alpha, window), "alpha", 1.0
    elif source_name == "centre":
        # Without a face nobody knows where the head is, and an outline that follows
        # some shape in the middle does more harm than a plain one.
        matte, matte_source, matte_confidence = _prior_matte(yaw), "template", 0.0
    else:
        matte, matte_confidence, matte_source = find_matte(image, yaw, inside)
        if matte_confidence < 0.25:
            matte_source = "template"
            matte = _prior_matte(yaw)
            warnings.append(
                "The head could not be told from the background, so a standard outline is used; "
                "a photo with a plainer background, or a cut-out PNG, gives a better head."
            )
    outline = None if matte_source == "template" else matte
    known = replace(
        known,
        about_deg=_expected(chosen),
        eyes=_eyes_in(rgb, chosen, window),
        framed=_framed(chosen),
    )
    if chosen is not None and chosen.points is not None:
        points = window.from_photo(chosen.points)
        # a crop by hand says which face and how much of the photo; where the head is in it,
        # the landmarks know better
        seen = replace(known, place=False)
        depth = _crop_depth(chosen, window)
        aligned = fit_head(points, depth, CROP_SIZE, CROP_FOCAL, seen)
        warnings += _turn_warnings(aligned, points, depth, seen)
    elif source_name == "centre":
        aligned = Alignment(crop_camera(turn, yaw), {}, 0.0)  # nothing to align
    else:
        starts = _starts(yaw, rough)
        aligned = align(image, inside, CROP_FOCAL, outline, yaws_deg=starts, known=known)
    trusted = aligned.score >= LEAST_SCORE
    if not trusted and source_name != "centre":
        warnings.append(
            "The head in the photo could not be aligned with the model; check the crop, and give "
            "it or the turn by hand."
        )
    if not trusted:
        aligned = Alignment(crop_camera(turn, yaw), {}, aligned.score)
    yaw, pitch, roll = aligned.yaw_pitch_roll_deg
    if matte_source == "grabcut" and abs(yaw) < 12 and abs(roll) < 6:
        middle = aligned.camera.project([[0.0, 0.0, 0.1]])[0][0][0]
        matte = keep_symmetric(matte, float(middle))
    if abs(roll) > LYING_DEG:
        warnings.append(
            "The head does not stand upright in the photo; turn the photo for a better head."
        )
    if source_name != "centre":
        hidden, doubt = _hidden(aligned, inside)
        warnings += hidden
        confidence *= 1 - doubt
    report = PortraitReport(
        rgb.shape[1],
        rgb.shape[0],
        scale,
        faces,
        chosen,
        confidence,
        window,
        source_name,
        yaw,
        pitch,
        roll,
        aligned.score,
        aligned.shape,
        matte_source,
        matte_confidence,
        warnings,
    )
    sha256 = hashlib.sha256(data).hexdigest()
    return Portrait(image, matte, inside, aligned.camera, report, sha256, rgb)


def _likely_yaws(face: Face | None) -> tuple[float, ...]:
    """Where the search for a face's yaw starts: a detector knows frontal faces from others."""
    if face is None:
        return (-50.0, -25.0, 0.0, 25.0, 50.0)
    if face.detector == "profileface":
        side = math.copysign(1.0, face.yaw_deg)
        return (20.0 * side, 40.0 * side, 60.0 * side)
    return (face.yaw_deg - 30, face.yaw_deg, face.yaw_deg + 30)


def _expected(face: Face | None) -> tuple[float, float]:
    """Yaw and its spread, degrees, by the detector that saw the face."""
    if face is None:
        return 0.0, 45.0
    if face.detector == "profileface":
        return math.copysign(42.0, face.yaw_deg), 18.0
    return face.yaw_deg, 22.0


def _framed(face: Face | None) -> bool:
    return face is not None and face.confidence > 0.6 and face.detector != "profileface"


def _eyes_in(rgb: Pixels, face: Face | None, window: Crop) -> Any:
    """The eyes of a frontal face in parts of a crop, None where none are seen."""
    if face is None or face.detector == "profileface":
        return None
    eyes = detect_eyes(rgb, face)
    if eyes is None:
        return None
    return tuple(tuple(window.from_photo(np.array(eye), 1).tolist()) for eye in eyes)


def _starts(yaw: float, rough: Alignment | None) -> tuple[float, ...]:
    """Yaws at which the fine search starts."""
    if rough is None:
        return (-50.0, -25.0, 0.0, 25.0, 50.0)
    return (yaw, yaw - 18, yaw + 18)


def _confidence(score: float, chosen: Face | None) -> float:
    """Of the place of a head, 0 to 1, from the two ways to find it."""
    aligned = float(np.clip((score - 0.8) / 2.2, 0, 1))
    return 1 - (1 - aligned) * (1 - (chosen.confidence if chosen else 0.0))


def _find_head(
    rgb: Pixels, alpha: Pixels | None, faces: list[Face], known: Known
) -> tuple[Crop, Face | None, Alignment | None]:
    """The crop of the head, its face, and how it lies in it; no alignment when there is none.

    Each face that the detector saw is a candidate, and so is the middle of the photo; the base
    head is aligned roughly in each, and the best one wins.
    """
    if faces and faces[0].points is not None:
        return _frame_landmarks(faces[0], known)
    if installed() and not faces:
        return _centre_crop(rgb), None, None
    best: tuple[float, Crop, Face | None, Alignment] | None = None
    candidates: list[Face | None] = []
    candidates += [f for f in faces if f.confidence > 0.05][:3]
    if not faces or faces[0].confidence < LEAST_CONFIDENCE:
        candidates.append(None)
    for face in candidates:
        window = crop_around(face) if face is not None else _centre_crop(rgb)
        image, inside = _cut(rgb, window)
        yaws = _likely_yaws(face)
        turned = face.yaw_deg if face is not None else 0.0
        if alpha is not None and _is_cut_out(_cut_grey(alpha, window), inside, turned):
            matte, trust = _cut_grey(alpha, window), 1.0
        else:
            matte, trust = grabcut_matte(image, turned)
        outline = matte if trust > 0.5 else None
        expected = replace(
            known, about_deg=_expected(face), eyes=_eyes_in(rgb, face, window), framed=_framed(face)
        )
        rough = search(image, inside, CROP_FOCAL, outline, yaws_deg=yaws, known=expected)
        value = rough.score + (1.0 * face.confidence if face is not None else 0.0)
        if best is None or value > best[0]:
            best = value, window, face, rough
        if rough.score > SURE_SCORE:
            break
    assert best is not None
    _, window, face, rough = best
    unsure = face is None or face.confidence < LEAST_CONFIDENCE
    if unsure and rough.score < LEAST_SCORE_ALONE:
        return _centre_crop(rgb), None, None
    K = rough.camera.K
    if rough.score >= LEAST_SCORE and not _framed(face):
        # frame it as the canonical camera would
        scale = float(np.clip(K[0, 0] / (CROP_FOCAL * CROP_SIZE), *RESCALE))
        centre = window.to_photo(K[:2, 2])
        side = window.side * scale
        window = Crop(float(centre[0] - side / 2), float(centre[1] - side / 2), side)
    return window, face, rough


def _frame_landmarks(face: Face, known: Known) -> tuple[Crop, Face, Alignment]:
    """The crop of a head with landmarks, framed as the canonical camera would."""
    assert face.points is not None
    window = crop_around(face)
    points, depth = window.from_photo(face.points), _crop_depth(face, window)
    found = fit_head(points, depth, CROP_SIZE, CROP_FOCAL, known)
    K = found.camera.K
    side = window.side * float(K[0, 0]) / (CROP_FOCAL * CROP_SIZE)
    centre = window.to_photo(K[:2, 2])
    return Crop(float(centre[0] - side / 2), float(centre[1] - side / 2), side), face, found


def _crop_depth(face: Face, window: Crop) -> NDArray[np.float64]:
    """(468,) depth of a face's landmarks, pixels of its crop."""
    assert face.depth is not None
    return face.depth * (CROP_SIZE / window.side)


def crop_camera(turn: Turn, yaw_deg: float = 0.0) -> Camera:
    """The camera in head space that sees a crop: canonical, with room around the head.

    Args:
        turn: how it stands about the head.
        yaw_deg: its yaw where ``turn`` has none.

    """
    angles = turn.onto(np.array([np.radians(yaw_deg), 0.0, 0.0]))
    return posed_camera(np.concatenate([angles, np.zeros(3)]), CROP_SIZE, CROP_FOCAL)


def _is_cut_out(alpha: Pixels, inside: NDArray[np.bool_], yaw_deg: float) -> bool:
    """Whether a crop's alpha tells a head from what is around it."""
    # a hole that the head's outline encloses is no background
    clear = (alpha < 128).astype(np.uint8)
    _, numbers = cv2.connectedComponents(np.pad(clear, 1, constant_values=1))
    if ((numbers[1:-1, 1:-1] != numbers[0, 0]) & (clear > 0)).mean() > _LARGEST_HOLE:
        return False
    prior = head_prior(CROP_SIZE, yaw_deg)
    around = (prior <= 0) & inside
    if (alpha[prior > 0.9] > 127).mean() < 0.5:
        return False
    return around.mean() < 0.02 or bool((alpha[around] < 128).mean() > 0.5)


def _prior_matte(yaw_deg: float) -> Pixels:
    """Soft outline of where a head is expected."""
    soft = np.clip((head_prior(CROP_SIZE, yaw_deg) - 0.5) * 12 + 0.5, 0, 1)
    return np.asarray(np.rint(soft * 255), np.uint8)


def crop_around(face: Face) -> Crop:
    """Canonical head crop of a detected face."""
    side = CROP_PER_FACE * face.side
    x = face.x + CROP_BEHIND * math.sin(math.radians(face.yaw_deg)) * side
    y = face.y + CROP_DROP * side
    return Crop(x - side / 2, y - side / 2, side)


def _manual_crop(crop: tuple[float, float, float], rgb: Pixels, scale: float) -> Crop:
    if len(crop) != 3 or not all(math.isfinite(float(v)) for v in crop):
        raise Dp3dError(
            "portrait.bad_crop",
            "The manual crop must be three numbers: x, y and side.",
            "Give the left edge, the top edge and the side in pixels of the upright photo.",
        )
    x, y, side = (float(v) * scale for v in crop)
    height, width = rgb.shape[:2]
    longest = max(width, height)
    if side > MAX_CROP * longest:
        raise Dp3dError(
            "portrait.bad_crop",
            f"The manual crop is {side / longest:.3g} times as large as the photo.",
            f"Give a side of at most {MAX_CROP} times the longest side of the photo.",
        )
    if side < 16 or x >= width or y >= height or x + side <= 0 or y + side <= 0:
        raise Dp3dError(
            "portrait.bad_crop",
            f"The manual crop lies outside the photo of {width} x {height} pixels or is tiny.",
            "Give x, y and side in pixels of the upright photo; the side is at least 16.",
        )
    return Crop(x, y, side)


def _centre_crop(rgb: Pixels) -> Crop:
    height, width = rgb.shape[:2]
    head = float(min(width, height))
    side = head * CROP_MARGIN
    # a head usually stands in the upper half of a tall photo
    middle = head / 2 + max(0.0, (height - head) * 0.25)
    return Crop((width - side) / 2, middle - side / 2, side)


def _face_inside(faces: list[Face], window: Crop) -> Face | None:
    for face in faces:
        u, v = window.from_photo(np.array([face.x, face.y]), 1)
        if 0.2 < u < 0.8 and 0.2 < v < 0.8 and 0.25 < face.side / window.side < 1.2:
            return face
    return None


def _warnings(
    rgb: Pixels, faces: list[Face], chosen: Face | None, source: str, confidence: float
) -> list[str]:
    found = []
    if source == "centre":
        found.append(
            "No face was found, so the middle of the photo is used; set a manual crop around "
            "the head if this is wrong."
        )
    elif source == "face" and (confidence < LOW_CONFIDENCE or _by_chance(chosen)):
        found.append("The face was found with low confidence; check the crop.")
    elif source == "manual" and chosen is None:
        found.append(
            "No face was found in the crop, so the head is taken to fill it as a portrait does; "
            "if this is wrong, leave the crop out or give one with the whole head in it."
        )
    if source == "face" and chosen is not None:
        rivals = [f for f in faces if f is not chosen and f.confidence > 0.6]
        if rivals:
            found.append(
                "More than one face was found and the clearest is used; set a manual crop to "
                "choose another."
            )
    if chosen is not None and chosen.side < SMALL_FACE:
        found.append(f"The face is only {chosen.side:.0f} pixels wide, so the views will be soft.")
    if np.abs(rgb.astype(np.int16) - rgb[..., :1]).max() <= 2:
        found.append("The photo is greyscale, and so will the views be.")
    return found


def _turn_warnings(
    aligned: Alignment, points: NDArray[np.float64], depth: NDArray[np.float64], known: Known
) -> list[str]:
    """What there is to say of a turn that was given by hand."""
    if known.turn.unknown.all():
        return []
    own = fit_head(points, depth, CROP_SIZE, CROP_FOCAL, replace(known, turn=Turn()))
    between = own.camera.c2w[:3, :3].T @ aligned.camera.c2w[:3, :3]
    away = math.degrees(math.acos(float(np.clip((np.trace(between) - 1) / 2, -1, 1))))
    if away < FAR_TURN_DEG:
        return []
    yaw, pitch, roll = own.yaw_pitch_roll_deg
    return [
        f"The turn given by hand is {away:.0f} degrees from what the face shows (yaw {yaw:.0f}, "
        f"pitch {pitch:.0f}, roll {roll:.0f}); the face may not lie where it should."
    ]


def _hidden(aligned: Alignment, inside: NDArray[np.bool_]) -> tuple[list[str], float]:
    """What of a head its photo does not show, in sentences, and how much that is, 0 to 1."""
    yaw, pitch, _ = aligned.yaw_pitch_roll_deg
    sentences = []
    doubt = 0.65 * float(np.clip((abs(yaw) - TURNED_DEG) / 50, 0, 1))
    if abs(yaw) > PROFILE_DEG:
        sentences.append(
            f"The head is seen from the side ({abs(yaw):.0f} degrees): the front of the face and "
            "its far half are guessed."
        )
    elif abs(yaw) > TURNED_DEG:
        sentences.append(
            f"The head is turned by {abs(yaw):.0f} degrees: the far half of the face is guessed "
            "from the near one."
        )
    if abs(pitch) > TILTED_DEG:
        seen = "above" if pitch > 0 else "below"
        doubt += 0.3 * float(np.clip((abs(pitch) - TILTED_DEG) / 25, 0, 1))
        sentences.append(
            f"The head is seen from {seen} ({abs(pitch):.0f} degrees): what that hides is guessed."
        )
    cut = [name for name, point in _MARGINS if not _shown(point, aligned.camera, inside)]
    if cut:
        doubt += 0.12 * len(cut)
        names = " and ".join(dict.fromkeys(cut))
        sentences.append(f"The photo does not show {names}: that is guessed.")
    return sentences, min(doubt, 0.9)


def _shown(point: tuple[float, float, float], camera: Camera, inside: NDArray[np.bool_]) -> bool:
    """Whether a photo shows the place of a point of head space."""
    u, v = camera.project([point])[0][0].astype(int)
    return bool(0 <= u < CROP_SIZE and 0 <= v < CROP_SIZE and inside[v, u])


def _by_chance(face: Face | None) -> bool:
    """Whether a cascade saw a face from the side that the landmarks' detector did not see."""
    return installed() and face is not None and face.points is None


def _cut(rgb: Pixels, window: Crop) -> tuple[Pixels, NDArray[np.bool_]]:
    """(640, 640, 3) crop and where it lies inside the photo; the outside is continued."""
    matrix, interpolation, source = _warp(rgb, window)
    image = cv2.warpAffine(
        source, matrix, (CROP_SIZE, CROP_SIZE), flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    pixels = np.stack(np.meshgrid(np.arange(CROP_SIZE) + 0.5, np.arange(CROP_SIZE) + 0.5), -1)
    at = window.to_photo(pixels)
    inside = ((at >= 0) & (at <= [rgb.shape[1], rgb.shape[0]])).all(-1)
    return np.asarray(image, np.uint8), np.asarray(inside)


def _cut_grey(alpha: Pixels, window: Crop) -> Pixels:
    matrix, interpolation, source = _warp(alpha, window)
    cut = cv2.warpAffine(
        source, matrix, (CROP_SIZE, CROP_SIZE), flags=interpolation, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(cut, np.uint8)


def _warp(image: Pixels, window: Crop) -> tuple[NDArray[np.float64], int, Pixels]:
    """Inverse-free affine for ``cv2.warpAffine``; a large window is blurred before sampling."""
    factor = window.side / CROP_SIZE
    source = image
    if factor > 1:
        blurred = cv2.GaussianBlur(image, (0, 0), 0.5 * math.sqrt(factor**2 - 1) + 1e-6)
        source = np.asarray(blurred, np.uint8)
    # OpenCV puts pixel centres at whole numbers, we put them at halves
    shift = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
    back = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    scale = np.array(
        [[1 / factor, 0, -window.x / factor], [0, 1 / factor, -window.y / factor], [0, 0, 1.0]]
    )
    return (shift @ scale @ back)[:2], cv2.INTER_CUBIC if factor < 1 else cv2.INTER_LINEAR, source


def report_picture(portrait: Portrait, height: int = 512) -> Pixels:
    """Picture of what was decided: the photo with faces and crop, the crop, the matte.

    Returns:
        (height, w, 3) uint8.

    """
    scale = height / portrait.photo.shape[0]
    width = max(1, round(portrait.photo.shape[1] * scale))
    how = Image.Resampling.LANCZOS
    photo = np.array(Image.fromarray(portrait.photo).resize((width, height), how))

    def draw(x: float, y: float, side: float, colour: tuple[int, int, int]) -> None:
        # A crop may be larger than the photo: its box then runs along the photo's border.
        left, right = (int(np.clip(v * scale, 1, width - 2)) for v in (x, x + side))
        top, bottom = (int(np.clip(v * scale, 1, height - 2)) for v in (y, y + side))
        cv2.rectangle(photo, (left, top), (right, bottom), colour, 2)

    for face in portrait.report.faces:
        colour = (60, 200, 90) if face is portrait.report.chosen else (200, 160, 60)
        draw(face.x - face.side / 2, face.y - face.side / 2, face.side, colour)
    crop = portrait.report.crop
    draw(crop.x, crop.y, crop.side, (230, 60, 60))
    alpha = portrait.matte[..., None] / 255.0
    checker = (np.indices((CROP_SIZE, CROP_SIZE)) // 32).sum(0)[..., None] % 2 * 30 + 200
    matted = np.rint(portrait.image * alpha + checker * (1 - alpha)).astype(np.uint8)
    tiles = [
        np.asarray(
            Image.fromarray(t).resize(
                (max(1, round(t.shape[1] * height / t.shape[0])), height), Image.Resampling.LANCZOS
            )
        )
        for t in (photo, portrait.image, matted)
    ]
    return np.concatenate(tiles, axis=1)
