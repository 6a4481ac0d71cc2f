"""What the alpha of another tool's pictures means."""

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

_OPAQUE = 1 / 3
"""Part of the pictures that may lack the alpha of the others: the head fills them."""
_WHOLE_PICTURES = 0.75
"""Part of the transparent pictures that look whole where alpha outlines no head."""
_RIM = 0.75
"""Part of a picture's outermost pixels that no head covers."""
_ELLIPSE = 0.95
"""Size of an ellipse in the middle of a picture that no head covers, of the picture's."""
_RECTANGLE = 0.9
"""Part of the smallest rectangle around it that a turned picture fills, and no head."""
_HALF = 0.45
"""Part of a canvas that a picture turned in it fills at least."""
_SMALL = 128
"""Pixels of the longer side at which outlines are looked at."""
_UNLIKE = 0.03
"""Part of the pixels in which a straightened picture may differ from what is expected."""
_STRAIGHTENED = np.radians(np.arange(1.0, 41))
_TURNS = np.radians(np.arange(0, 90, 1.0))


@dataclass(frozen=True)
class _AlphaLook:
    """What the alpha of one picture shows."""

    channel: bool
    """Whether the file has one, opaque or not."""
    digest: bytes = b""
    """Empty where all is opaque."""
    whole: bool = False
    """Whether the opaque part is a whole picture's, and no head's."""
    empty: bool = False

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
    """What alpha means: nothing where no picture is transparent.

    The stage is advanced for each frame.

    Raises:
        Dp3dError: ``viewset.invalid`` where many pictures lack the alpha of the others, and where
            nothing is opaque; ``job.cancelled``.

    """
    frames, notes = capture.frames, capture.notes
    looks = []
    for frame in frames:
        looks.append(_AlphaLook.of(frame))
        stage.advance()
    cut = [(look, frame) for look, frame in zip(looks, frames, strict=True) if look.digest]
    if not cut:
        return Use.NOTHING
    if all(look.empty for look in looks):
        raise unusable(
            "all pictures are transparent all over", "Give pictures whose alpha shows the head."
        )
    if not capture.alpha_is_head:
        if shared([look.digest for look, _ in cut], [frame for _, frame in cut]):
            notes.add(
                "Many pictures are transparent in the same places, and no head has the same "
                "outline everywhere: they are taken for unknown there."
            )
            return Use.UNKNOWN
        if np.mean([look.whole for look, _ in cut]) >= _WHOLE_PICTURES:
            notes.add(
                f"{len(cut)} of {len(frames)} pictures are transparent in holes or at their "
                "corners alone, which outlines no head: they are taken for unknown there."
            )
            return Use.UNKNOWN
    _check_opaque(capture, looks)
    return Use.BACKGROUND


def _check_opaque(capture: Capture, looks: list[_AlphaLook]) -> None:
    """Note pictures without the alpha that others have; refuse where they are many."""
    frames, ours = capture.frames, capture.alpha_is_head
    opaque = [
        frame.name
        for frame, look in zip(frames, looks, strict=True)
        if not look.digest and not (ours and look.channel)
    ]
    if len(opaque) > _OPAQUE * len(frames):
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
    """Whether what is opaque is a picture with holes, without corners or turned, and no head.

    Args:
        opaque: (h, w).

    """
    step = max(1, max(opaque.shape) // _SMALL)
    filled = _filled(opaque[::step, ::step])
    rim = np.concatenate([filled[0], filled[-1], filled[:, 0], filled[:, -1]])
    if rim.mean() >= _RIM:
        return True
    height, width = filled.shape
    v, u = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None] * 2 - 1
    ellipse = u**2 + v**2 <= _ELLIPSE**2
    return bool(filled[ellipse].all()) or _is_rectangle(filled) or _is_straightened(filled)


def _filled(opaque: Mask) -> Mask:
    """With all that lies between opaque pixels of a row or of a column."""
    parts = []
    for axis in (0, 1):
        before = np.maximum.accumulate(opaque, axis)
        after = np.flip(np.maximum.accumulate(np.flip(opaque, axis), axis), axis)
        parts.append(before & after)
    filled: Mask = parts[0] | parts[1]
    return filled


def _is_straightened(filled: Mask) -> bool:
    """Whether a picture was turned about its middle, and its corners cut off."""
    height, width = filled.shape
    v, u = np.mgrid[:height, :width] + 0.5 - np.array([height, width])[:, None, None] / 2
    for turn in np.concatenate([_STRAIGHTENED, -_STRAIGHTENED]):
        along, across = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        shown = (np.abs(along) <= width / 2) & (np.abs(across) <= height / 2)
        if (shown != filled).mean() <= _UNLIKE:
            return True
    return False


def _is_rectangle(filled: Mask) -> bool:
    """Whether an area is a rectangle, turned in any way."""
    points = np.argwhere(filled)
    if len(points) < _HALF * filled.size:  # of a picture turned by 45 degrees
        return False
    along = points @ np.array([np.cos(_TURNS), np.sin(_TURNS)])
    across = points @ np.array([-np.sin(_TURNS), np.cos(_TURNS)])
    smallest = float(((np.ptp(along, axis=0) + 0.5) * (np.ptp(across, axis=0) + 0.5)).min())
    return len(points) >= _RECTANGLE * smallest
