"""Meaning of the alpha of another tool's pictures: the head, unknown pixels, or nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Mask
from dp3d_core.progress import Stage
from nerf_export.folders import pictures
from nerf_export.folders.capture import Capture, Frame, listed, unusable
from nerf_export.folders.mask_looks import shared
from nerf_export.folders.uses import DARK, Use

_MOST_OPAQUE_PICTURES = 1 / 3
"""Part of the pictures that may lack the alpha of the others; the head then fills them."""
_LEAST_WHOLE_PICTURES = 0.75
"""Part of the transparent pictures that look like whole pictures from which alpha outlines no
head."""
_LEAST_RIM = 0.75
"""Part of a picture's outermost pixels from which the opaque area is no head."""
_ELLIPSE_SIZE = 0.95
"""Size, relative to the picture, of a centred ellipse that no head fills."""
_LEAST_RECTANGLE = 0.9
"""Part of its smallest bounding rectangle that a rotated picture fills at least, and no head."""
_LEAST_CANVAS = 0.45
"""Part of the canvas that a picture rotated in it fills at least."""
_OUTLINE_SIDE = 128
"""Approximate longer side, pixels, at which outlines are compared."""
_MOST_DIFFERENCE = 0.03
"""Part of the pixels in which a straightened picture may differ from its ideal outline."""
_STRAIGHTENING_ANGLES = np.radians(np.arange(1.0, 41))
"""Angles, radians, by which a straightened picture may have been rotated."""
_RECTANGLE_ANGLES = np.radians(np.arange(0, 90, 1.0))
"""Angles, radians, at which bounding rectangles are measured."""


@dataclass(frozen=True)
class _AlphaLook:
    """Properties of the alpha of one picture."""

    channel: bool
    """Whether the file has an alpha channel."""
    digest: bytes = b""
    """Hash of the alpha; empty where all pixels are opaque."""
    whole: bool = False
    """Whether the opaque area is a whole picture, and no head."""
    empty: bool = False
    """Whether no pixel is opaque."""

    @classmethod
    def of(cls, frame: Frame) -> _AlphaLook:
        if not pictures.has_transparency(frame.picture, frame.name):
            return cls(channel=False)
        alpha = pictures.read_picture(frame.picture, frame.name, frame.turned)[..., 3]
        opaque = alpha >= DARK
        if opaque.all():
            return cls(channel=True)
        digest = hashlib.sha256(alpha.tobytes()).digest()
        return cls(True, digest, is_whole_picture(opaque), not opaque.any())


def alpha_use(capture: Capture, stage: Stage) -> Use:
    """Meaning of the alpha of a capture; ``Use.NOTHING`` where no picture is transparent.

    Args:
        capture: the folder's frames; notes are added to it.
        stage: advanced once for each frame.

    Raises:
        Dp3dError: ``viewset.invalid`` where many pictures lack the alpha of the others, and where
            nothing is opaque; ``job.cancelled``.

    """
    frames, notes = capture.frames, capture.notes
    looks = []
    for frame in frames:
        looks.append(_AlphaLook.of(frame))
        stage.advance()
    transparent = [(look, frame) for look, frame in zip(looks, frames, strict=True) if look.digest]
    if not transparent:
        return Use.NOTHING
    if all(look.empty for look in looks):
        raise unusable(
            "all pictures are transparent all over", "Give pictures whose alpha shows the head."
        )
    if not capture.alpha_is_head:
        if shared([look.digest for look, _ in transparent], [frame for _, frame in transparent]):
            notes.add(
                "Many pictures are transparent in the same places, and no head has the same "
                "outline everywhere: they are taken for unknown there."
            )
            return Use.UNKNOWN
        if np.mean([look.whole for look, _ in transparent]) >= _LEAST_WHOLE_PICTURES:
            notes.add(
                f"{len(transparent)} of {len(frames)} pictures are transparent in holes or at "
                "their corners alone, which outlines no head: they are taken for unknown there."
            )
            return Use.UNKNOWN
    _check_opaque(capture, looks)
    return Use.BACKGROUND


def _check_opaque(capture: Capture, looks: list[_AlphaLook]) -> None:
    """Note pictures without the alpha that others have; refuse more than a third."""
    frames, alpha_is_head = capture.frames, capture.alpha_is_head
    opaque = [
        frame.name
        for frame, look in zip(frames, looks, strict=True)
        if not look.digest and not (alpha_is_head and look.channel)
    ]
    if len(opaque) > _MOST_OPAQUE_PICTURES * len(frames):
        raise unusable(
            f"{len(opaque)} of {len(frames)} pictures have no alpha and others are transparent "
            f"around the head, the first is {opaque[0]!r:.80}",
            "Give all pictures an alpha, or none, or leave these frames out.",
        )
    if opaque:
        capture.notes.add(
            f"{len(opaque)} of {len(frames)} pictures have no alpha and others have one: the head "
            f"is taken to fill them: {listed(opaque)}."
        )


def is_whole_picture(opaque: Mask) -> bool:
    """Whether an opaque area is a picture with holes, without corners or rotated, and no head.

    Args:
        opaque: (h, w) opaque pixels.

    """
    step = max(1, max(opaque.shape) // _OUTLINE_SIDE)
    filled = _filled_spans(opaque[::step, ::step])
    rim = np.concatenate([filled[0], filled[-1], filled[:, 0], filled[:, -1]])
    if rim.mean() >= _LEAST_RIM:
        return True
    height, width = filled.shape
    v, u = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None] * 2 - 1
    ellipse = u**2 + v**2 <= _ELLIPSE_SIZE**2
    return bool(filled[ellipse].all()) or _is_rectangle(filled) or _is_straightened(filled)


def _filled_spans(opaque: Mask) -> Mask:
    """The area with all pixels that lie between opaque pixels of their row or column."""
    parts = []
    for axis in (0, 1):
        before = np.maximum.accumulate(opaque, axis)
        after = np.flip(np.maximum.accumulate(np.flip(opaque, axis), axis), axis)
        parts.append(before & after)
    filled: Mask = parts[0] | parts[1]
    return filled


def _is_straightened(filled: Mask) -> bool:
    """Whether an area is a picture rotated about its centre, its corners cut off by the frame."""
    height, width = filled.shape
    v, u = np.mgrid[:height, :width] + 0.5 - np.array([height, width])[:, None, None] / 2
    for angle in np.concatenate([_STRAIGHTENING_ANGLES, -_STRAIGHTENING_ANGLES]):
        along, across = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
        visible = (np.abs(along) <= width / 2) & (np.abs(across) <= height / 2)
        if (visible != filled).mean() <= _MOST_DIFFERENCE:
            return True
    return False


def _is_rectangle(filled: Mask) -> bool:
    """Whether an area is a rectangle at any angle."""
    points = np.argwhere(filled)
    if len(points) < _LEAST_CANVAS * filled.size:  # least at a rotation by 45 degrees
        return False
    along = points @ np.array([np.cos(_RECTANGLE_ANGLES), np.sin(_RECTANGLE_ANGLES)])
    across = points @ np.array([-np.sin(_RECTANGLE_ANGLES), np.cos(_RECTANGLE_ANGLES)])
    smallest = float(((np.ptp(along, axis=0) + 0.5) * (np.ptp(across, axis=0) + 0.5)).min())
    return len(points) >= _LEAST_RECTANGLE * smallest
