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

from dp3d_core.cameras import Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.faces import Face, detect_faces
from dp3d_core.matting import grabcut_matte, head_prior, keep_symmetric
from dp3d_core.photos import decode_photo, read_photo
from dp3d_core.trajectories import canonical_camera

Pixels = NDArray[np.uint8]

CROP_SIZE = 640
"""Side of the head crop, pixels."""
CROP_MARGIN = 1.25
"""Width of the crop over what the canonical camera sees: room for hats and shoulders."""
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
    """Of the crop, 0 to 1; 1 for a manual crop."""
    crop: Crop
    crop_source: str
    """``face``, ``manual`` or ``centre``."""
    yaw_deg: float
    matte_source: str
    """``alpha`` (of the file), ``grabcut`` or ``template``."""
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
            "matte_source": self.matte_source,
            "matte_confidence": round(self.matte_confidence, 3),
            "warnings": self.warnings,
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
    yaw_deg: float | None = None,
) -> Portrait:
    """Prepare a photo.

    Args:
        source: image file or its bytes; any format Pillow reads, any mode, any orientation.
        crop: manual crop (x, y, side) in pixels of the upright photo as stored in the file.
        yaw_deg: manual yaw of the head, degrees, -180 to 180; None uses an estimate.

    Returns:
        The portrait.  No face is a warning in the report and a centre crop, not a failure.

    Raises:
        Dp3dError: ``portrait.not_found``, ``portrait.unreadable``, ``portrait.too_small``,
            ``portrait.too_large``, ``portrait.bad_crop``, ``portrait.bad_turn``.

    """
    if yaw_deg is not None and not -180 <= yaw_deg <= 180:  # also false for a NaN
        raise Dp3dError(
            "portrait.bad_turn",
            f"A head cannot be turned by {yaw_deg} degrees.",
            "Give a yaw from -180 to 180; 0 looks at the camera.",
        )
    data = read_photo(source)
    rgb, alpha, scale = decode_photo(data)
    warnings: list[str] = []
    faces = detect_faces(rgb)
    chosen = faces[0] if faces else None
    if crop is not None:
        window, source_name, confidence = _manual_crop(crop, rgb, scale), "manual", 1.0
        chosen = _face_inside(faces, window)
    elif chosen is not None and chosen.confidence >= LEAST_CONFIDENCE:
        window, source_name, confidence = crop_around(chosen), "face", chosen.confidence
    else:
        chosen = None
        window, source_name, confidence = _centre_crop(rgb), "centre", 0.0
    yaw = yaw_deg if yaw_deg is not None else (chosen.yaw_deg if chosen else 0.0)
    warnings += _warnings(rgb, faces, chosen, source_name, confidence)

    image, inside = _cut(rgb, window)
    if alpha is not None and not _is_cut_out(_cut_grey(alpha, window), inside, yaw):
        alpha = None  # before anything else is judged by it
        warnings.append(
            "The photo's transparency does not outline the head, so it is not used; the head was "
            "looked for in the colours."
        )
    if chosen is not None and yaw_deg is None and abs(yaw) < 1 and source_name == "face":
        # The cascades say only "frontal"; how far the head reaches beside the face says more.
        outline, trust = (
            (_cut_grey(alpha, window), 1.0) if alpha is not None else grabcut_matte(image)
        )
        yaw = estimate_yaw(outline, chosen, window) if trust > 0.5 else 0.0
        if yaw:
            chosen = replace(chosen, yaw_deg=yaw)
            window = crop_around(chosen)
            image, inside = _cut(rgb, window)
    elif chosen is not None and chosen.detector == "profileface" and source_name == "face":
        window = fit_profile_crop(rgb, alpha, chosen, window)
        image, inside = _cut(rgb, window)
    if alpha is not None:
        matte, matte_source, matte_confidence = _cut_grey(alpha, window), "alpha", 1.0
    else:
        matte, matte_confidence = grabcut_matte(image, yaw)
        matte_source = "grabcut"
        if chosen is not None and abs(yaw) < 20:
            middle = window.from_photo(np.array([chosen.x, chosen.y]))[0]
            matte = keep_symmetric(matte, float(middle))
        if source_name == "centre":
            # Without a face nobody knows where the head is, and an outline that follows
            # some shape in the middle does more harm than a plain one.
            matte_source, matte_confidence = "template", 0.0
            matte = _prior_matte(yaw)
        elif matte_confidence < 0.25:
            matte_source = "template"
            matte = _prior_matte(yaw)
            warnings.append(
                "The head could not be told from the background, so a standard outline is used; "
                "a photo with a plainer background, or a cut-out PNG, gives a better head."
            )
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
        matte_source,
        matte_confidence,
        warnings,
    )
    camera = crop_camera(yaw)
    return Portrait(image, matte, inside, camera, report, hashlib.sha256(data).hexdigest(), rgb)


def crop_camera(yaw_deg: float) -> Camera:
    """The camera in head space that sees a crop: canonical, with room around the head."""
    narrow = canonical_camera(yaw_deg, 0.0, CROP_SIZE)
    K = narrow.K.copy()
    K[[0, 1], [0, 1]] /= CROP_MARGIN
    return Camera(narrow.c2w, K, CROP_SIZE, CROP_SIZE)


def _is_cut_out(alpha: Pixels, inside: NDArray[np.bool_], yaw_deg: float) -> bool:
    """Whether a crop's alpha tells a head from what is around it."""
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


def estimate_yaw(matte: Pixels, face: Face, window: Crop) -> float:
    """Yaw of a head from how far it reaches to the two sides of the face.

    Seen at yaw t, the middle of the face stands beside the middle of the head's outline by
    0.40 sin(t) face sides (the face lies 0.155 head units before the head's axis, and a face
    box is 0.386 wide).  On the 32 published DiffPortrait3D frames with known cameras (yaw up to
    32 degrees) the median error is 8 degrees; where the photo cuts the back of the head it says
    too little, and hair that hangs to one side misleads it.

    Args:
        matte: (640, 640) uint8 alpha of the crop.
        face: the face whose crop it is.
        window: the crop.

    Returns:
        Degrees, -55 to 55; 0 when the face stands nearly in the middle.
    """
    centre, side = (
        window.from_photo(np.array([face.x, face.y])),
        face.side * CROP_SIZE / window.side,
    )
    rows = np.linspace(centre[1] - 0.35 * side, centre[1] + 0.05 * side, 15).astype(int)
    middles = []
    for row in matte[np.clip(rows, 0, CROP_SIZE - 1)]:
        columns = np.flatnonzero(row > 127)
        if columns.size and columns[0] > 2 and columns[-1] < CROP_SIZE - 3:
            middles.append((columns[0] + columns[-1] + 1) / 2)
    if len(middles) < 8:
        return 0.0
    offset = (float(np.median(middles)) - centre[0]) / side
    if abs(offset) < 0.06:
        return 0.0
    return math.degrees(math.asin(float(np.clip(offset / 0.40, -0.82, 0.82))))


def fit_profile_crop(rgb: Pixels, alpha: Pixels | None, face: Face, window: Crop) -> Crop:
    """Crop of a head in profile, sized by its outline from the forehead to the back.

    The profile cascade's box says where the face is but not how large: on known heads it is
    off by a quarter either way.  In a canonical crop of a head turned by 65 degrees the
    template's outline above the eyes is 0.549 crop sides wide, its middle 0.031 behind the
    centre.

    Returns:
        The better crop; ``window`` itself where the outline is not whole.
    """
    behind = math.copysign(1.0, face.yaw_deg)
    for room in (1.2, 1.0):
        middle = (window.x + window.side / 2, window.y + window.side / 2)
        side = window.side * room
        wide = Crop(middle[0] - side / 2, middle[1] - side / 2, side)
        if alpha is not None:
            matte = _cut_grey(alpha, wide)
        else:
            matte, _ = grabcut_matte(_cut(rgb, wide)[0], face.yaw_deg)
        rows = wide.from_photo(
            np.stack([np.zeros(12), window.y + window.side * np.linspace(0.33, 0.46, 12)], -1)
        )[:, 1].astype(int)
        spans = []
        for row in matte[np.clip(rows, 0, CROP_SIZE - 1)]:
            columns = np.flatnonzero(row > 127)
            if columns.size and columns[0] > 2 and columns[-1] < CROP_SIZE - 3:
                spans.append((columns[0], columns[-1] + 1))
        if len(spans) < 6:
            return window
        left, right = (np.median(spans, axis=0) * (side / CROP_SIZE)).tolist()
        fitted = float(np.clip((right - left) / 0.549, 0.7 * window.side, 1.45 * window.side))
        x = wide.x + (left + right) / 2 - behind * 0.031 * fitted
        y = face.y + CROP_DROP * fitted
        window = Crop(x - fitted / 2, y - fitted / 2, fitted)
    return window


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
    elif source == "face" and confidence < LOW_CONFIDENCE:
        found.append("The face was found with low confidence; check the crop.")
    if source == "face" and chosen is not None:
        rivals = [f for f in faces if f is not chosen and f.confidence > 0.6]
        if rivals:
            found.append(
                "More than one face was found and the clearest is used; set a manual crop to "
                "choose another."
            )
        if chosen.side < SMALL_FACE:
            found.append(
                f"The face is only {chosen.side:.0f} pixels wide, so the views will be soft."
            )
    if np.abs(rgb.astype(np.int16) - rgb[..., :1]).max() <= 2:
        found.append("The photo is greyscale, and so will the views be.")
    return found


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
