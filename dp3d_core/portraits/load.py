"""Load a portrait: from a photo file to a :class:`~dp3d_core.portraits.portrait.Portrait`.

Five steps: file, faces and crop, matte, pose, report.  The report records every decision; a crop
or angles set by hand override the estimates.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dp3d_core.arrays import Mask, Pixels
from dp3d_core.errors import Dp3dError
from dp3d_core.portraits.crop import (
    Crop,
    canonical_crop,
    centre_crop,
    crop_around,
    cut,
    cut_alpha,
    face_inside,
    manual_crop,
)
from dp3d_core.portraits.detection import Face, detect_faces
from dp3d_core.portraits.matting import (
    LEAST_CONFIDENCE,
    find_matte,
    is_cut_out,
    template_matte,
)
from dp3d_core.portraits.photo_file import decode_photo, read_photo
from dp3d_core.portraits.portrait import Portrait, PortraitReport
from dp3d_core.portraits.pose import Alignment, HeadAngles, crop_camera, fit_face
from dp3d_core.portraits.report_warnings import (
    angle_warnings,
    cut_face,
    hidden_parts,
    photo_warnings,
    roll_warnings,
)
from dp3d_core.progress import CancelCheck, never_cancel
from dp3d_core.threads import one_blas_thread


@one_blas_thread
def load_portrait(
    source: Path | bytes,
    crop: tuple[float, float, float] | None = None,
    angles: HeadAngles | None = None,
    *,
    cancel: CancelCheck = never_cancel,
) -> Portrait:
    """Load a photo and estimate crop, matte and pose of the head.

    Args:
        source: image file or its bytes, in a format of :mod:`dp3d_core.decoding.formats`
            (HEIC with the extra of that name), of any mode, colour profile and orientation.
        crop: crop set by hand, (x, y, side) in pixels of the upright photo as stored in the file.
        angles: yaw, pitch and roll set by hand; those left out are estimated.
        cancel: polled ten times a second while the file is decoded.

    Returns:
        The portrait.  Without a face it has a centre crop and a warning; that is no error.

    Raises:
        Dp3dError: ``portrait.not_found``, ``portrait.unreadable``, ``portrait.too_small``,
            ``portrait.too_large``, ``portrait.too_slow``, ``portrait.decoder_failed``,
            ``portrait.package_missing``, ``portrait.bad_crop``, ``portrait.model_missing``,
            ``job.cancelled``.

    """
    angles = angles or HeadAngles()
    # 1. Read and decode the file
    data = read_photo(source)
    decoded = decode_photo(data, cancel)
    rgb, alpha = decoded.rgb, decoded.alpha
    if alpha is not None and int(alpha.max()) < 8:
        raise Dp3dError(
            "portrait.unreadable",
            "The photo is completely transparent.",
            "Save it again with the head visible.",
        )
    # 2. Detect faces, choose the crop: its centre and side come from a rough pose
    faces = detect_faces(rgb)
    by_hand = None if crop is None else manual_crop(crop, rgb, decoded.scale)
    framing = _frame(rgb, faces, by_hand, angles)
    window, face = framing.window, framing.face
    warnings = decoded.notes + photo_warnings(rgb, faces, face, framing.source)
    # 3. Estimate the matte
    image, inside = cut(rgb, window)
    matte = _outline(image, inside, alpha, framing)
    warnings += matte.warnings
    # 4. Fit the pose in the crop, and estimate how much of the head the photo hides
    alignment = framing.rough if face is None else fit_face(face, window, angles)
    warnings += angle_warnings(alignment, face, window, angles) + roll_warnings(alignment)
    cut_warnings, cut_penalty = cut_face(face, rgb)
    warnings += cut_warnings
    confidence = framing.confidence * (1 - cut_penalty)
    if framing.source != "centre":
        hidden_warnings, hidden_penalty = hidden_parts(alignment, inside)
        warnings += hidden_warnings
        confidence *= 1 - hidden_penalty
    # 5. Write the report
    yaw, pitch, roll = alignment.yaw_pitch_roll_deg
    report = PortraitReport(
        width=rgb.shape[1],
        height=rgb.shape[0],
        scale=decoded.scale,
        faces=faces,
        chosen=face,
        confidence=confidence,
        crop=window,
        crop_source=framing.source,
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        alignment=alignment.score,
        shape=alignment.shape,
        matte_source=matte.source,
        matte_confidence=matte.confidence,
        warnings=warnings,
    )
    sha256 = hashlib.sha256(data).hexdigest()
    opaque = alpha is None or int(alpha.min()) == 255
    return Portrait(image, matte.alpha, inside, alignment.camera, report, sha256, rgb, opaque)


class _Framing(NamedTuple):
    """Crop, chosen face, and the pose from which the fit in the crop starts."""

    window: Crop
    source: str
    face: Face | None
    rough: Alignment
    confidence: float


def _frame(rgb: Pixels, faces: list[Face], by_hand: Crop | None, angles: HeadAngles) -> _Framing:
    """The crop set by hand, else that of the best face, else the middle of the photo."""
    unfitted = Alignment(crop_camera(angles), {}, 0.0)
    if by_hand is not None:
        return _Framing(by_hand, "manual", face_inside(faces, by_hand), unfitted, 1.0)
    if not faces:
        return _Framing(centre_crop(rgb), "centre", None, unfitted, 0.0)
    window = crop_around(faces[0])
    rough = fit_face(faces[0], window, angles)
    window = canonical_crop(window, rough.camera)
    return _Framing(window, "face", faces[0], rough, faces[0].confidence)


class _Matte(NamedTuple):
    """Alpha (640, 640), its source and confidence as in the report, and warnings."""

    alpha: Pixels
    source: str
    confidence: float
    warnings: list[str]


def _outline(image: Pixels, inside: Mask, alpha: Pixels | None, framing: _Framing) -> _Matte:
    """The file's alpha if it cuts out the head, else the segmentation, else a standard outline."""
    yaw, warnings = framing.rough.yaw_pitch_roll_deg[0], []
    if alpha is not None:
        matte = cut_alpha(alpha, framing.window)
        if is_cut_out(matte, inside, yaw):
            return _Matte(matte, "alpha", 1.0, [])
        warnings.append(
            "The photo's transparency does not cut out the head, so it is not used; the head was "
            "segmented by its colours instead."
        )
    template = np.where(inside, template_matte(image.shape[0], yaw), 0).astype(np.uint8)
    if framing.source == "centre":
        # The position of the head is unknown; an outline that follows some shape in the middle
        # would be worse than a standard one.
        return _Matte(template, "template", 0.0, warnings)
    matte, confidence = find_matte(image, inside)
    if confidence > LEAST_CONFIDENCE:
        return _Matte(matte, "segmenter", confidence, warnings)
    warnings.append(
        "The head could not be separated from the background, so a standard outline is used; "
        "a photo with a plainer background, or a cut-out PNG, gives a better head."
    )
    return _Matte(template, "template", confidence, warnings)
