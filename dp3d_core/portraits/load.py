"""Any photo in, a :class:`~dp3d_core.portraits.portrait.Portrait` out.

All that is decided on the way is recorded in the report; a crop and angles by hand override it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from dp3d_core.threads import one_blas_thread

Pixels = NDArray[np.uint8]


@one_blas_thread
def load_portrait(
    source: Path | bytes,
    crop: tuple[float, float, float] | None = None,
    angles: HeadAngles | None = None,
) -> Portrait:
    """Prepare a photo.

    Args:
        source: image file or its bytes; any format Pillow reads, and HEIC with the extra of
            that name; any mode, colour profile and orientation.
        crop: manual crop (x, y, side) in pixels of the upright photo as stored in the file.
        angles: yaw, pitch and roll by hand; those left out are estimated.

    Returns:
        The portrait.  No face is a warning in the report and a centre crop, not a failure.

    Raises:
        Dp3dError: ``portrait.not_found``, ``portrait.unreadable``, ``portrait.too_small``,
            ``portrait.too_large``, ``portrait.package_missing``, ``portrait.bad_crop``,
            ``portrait.model_missing``.

    """
    angles = angles or HeadAngles()
    # 1. The file
    data = read_photo(source)
    rgb, alpha, scale, notes = decode_photo(data)
    if alpha is not None and int(alpha.max()) < 8:
        raise Dp3dError(
            "portrait.unreadable",
            "The photo is transparent all over.",
            "Save it again with the head visible.",
        )
    # 2. The faces and the crop
    faces = detect_faces(rgb)
    by_hand = None if crop is None else manual_crop(crop, rgb, scale)
    framing = _frame(rgb, faces, by_hand, angles)
    window, face = framing.window, framing.face
    warnings = notes + photo_warnings(rgb, faces, face, framing.source)
    # 3. The outline
    image, inside = cut(rgb, window)
    matte = _outline(image, inside, alpha, framing)
    warnings += matte.warnings
    # 4. The pose
    aligned = framing.rough if face is None else fit_face(face, window, angles)
    warnings += angle_warnings(aligned, face, window, angles) + roll_warnings(aligned)
    cut_warnings, cut_doubt = cut_face(face, rgb)
    warnings += cut_warnings
    confidence = framing.confidence * (1 - cut_doubt)
    if framing.source != "centre":
        hidden, doubt = hidden_parts(aligned, inside)
        warnings += hidden
        confidence *= 1 - doubt
    # 5. The report
    yaw, pitch, roll = aligned.yaw_pitch_roll_deg
    report = PortraitReport(
        width=rgb.shape[1],
        height=rgb.shape[0],
        scale=scale,
        faces=faces,
        chosen=face,
        confidence=confidence,
        crop=window,
        crop_source=framing.source,
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        alignment=aligned.score,
        shape=aligned.shape,
        matte_source=matte.source,
        matte_confidence=matte.confidence,
        warnings=warnings,
    )
    sha256 = hashlib.sha256(data).hexdigest()
    whole = alpha is None or int(alpha.min()) == 255
    return Portrait(image, matte.alpha, inside, aligned.camera, report, sha256, rgb, whole)


class _Framing(NamedTuple):
    """The crop, and the head in it as far as it is known before the fit in that crop."""

    window: Crop
    source: str
    face: Face | None
    rough: Alignment
    confidence: float


def _frame(rgb: Pixels, faces: list[Face], by_hand: Crop | None, angles: HeadAngles) -> _Framing:
    """The crop by hand, else that of the most promising face, else the middle of the photo."""
    unknown = Alignment(crop_camera(angles), {}, 0.0)
    if by_hand is not None:
        return _Framing(by_hand, "manual", face_inside(faces, by_hand), unknown, 1.0)
    if not faces:
        return _Framing(centre_crop(rgb), "centre", None, unknown, 0.0)
    window = crop_around(faces[0])
    rough = fit_face(faces[0], window, angles)
    window = canonical_crop(window, rough.camera)
    return _Framing(window, "face", faces[0], rough, faces[0].confidence)


class _Matte(NamedTuple):
    alpha: Pixels
    source: str
    confidence: float
    warnings: list[str]


def _outline(
    image: Pixels, inside: NDArray[np.bool_], alpha: Pixels | None, framing: _Framing
) -> _Matte:
    """The file's own alpha, else the segmenter's outline, else a standard one."""
    yaw, warnings = framing.rough.yaw_pitch_roll_deg[0], []
    if alpha is not None:
        matte = cut_alpha(alpha, framing.window)
        if is_cut_out(matte, inside, yaw):
            return _Matte(matte, "alpha", 1.0, [])
        warnings.append(
            "The photo's transparency does not outline the head, so it is not used; the head was "
            "looked for in the colours."
        )
    template = np.where(inside, template_matte(image.shape[0], yaw), 0).astype(np.uint8)
    if framing.source == "centre":
        # Nobody knows where the head is, and an outline that follows some shape in the middle
        # does more harm than a plain one.
        return _Matte(template, "template", 0.0, warnings)
    matte, confidence = find_matte(image, inside)
    if confidence > LEAST_CONFIDENCE:
        return _Matte(matte, "segmenter", confidence, warnings)
    warnings.append(
        "The head could not be told from the background, so a standard outline is used; "
        "a photo with a plainer background, or a cut-out PNG, gives a better head."
    )
    return _Matte(template, "template", confidence, warnings)
