"""What the masks and the alpha of another tool's pictures mean.

=====================================  ===================================================
pictures transparent around a head     alpha is the head; black in a mask over it: unknown
transparent in holes or corners alone  transparent is unknown
no transparent picture, own masks      a mask is the head: white, or what is not behind it
one mask, or one alpha, for all views  black is unknown: no head has one outline everywhere
white all along the border             black is unknown: no head covers the whole border
=====================================  ===================================================

Alpha is looked at in :mod:`nerf_export.folders.alpha`, values of masks in
:mod:`nerf_export.folders.mask_levels`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from dp3d_core.arrays import Mask, Pixels
from dp3d_core.progress import Stage
from nerf_export.folders import pictures
from nerf_export.folders.alpha import alpha_use
from nerf_export.folders.capture import Capture, Frame, Notes, listed, unusable
from nerf_export.folders.mask_levels import Levels, MaskKind, levels_of
from nerf_export.folders.mask_looks import MaskLook, file_values, have_indices, mean, shared
from nerf_export.folders.uses import DARK, Use

_WHITE_AROUND, _BLACK_INSIDE = 0.9, 0.1
"""Parts of border and middle that are white in masks that look inverted."""
_MORE_AROUND = 0.6
"""By how much more of their border is white than of their middle where shoulders reach it."""
_WHITE_RIM, _RIMMED = 0.99, 0.75
"""Part of a mask's outermost pixels that are white, and part of the frames of which that is true,
in masks that say what to leave out."""
_LOSSY = {".jpg", ".jpeg", ".webp"}
_BESIDE = (
    "dynamic_mask_{stem}.png",
    "{stem}.mask.png",
    "{name}.mask.png",
    "{stem}_mask.png",
    "mask_{stem}.png",
)
"""Where tools leave masks that no file names, in the picture's folder."""
_FOLDERS = ("masks", "mask")
"""Folders of such masks, at any level above the pictures."""
_QUARTER_TURNS = (5, 6, 7, 8)


@dataclass(frozen=True)
class MaskConvention:
    """What alpha and masks of a capture mean."""

    alpha: Use
    masks: Use
    levels: Levels = field(default_factory=Levels)
    """What each value of a mask means."""
    indices: bool = False
    """Whether a mask's values are the numbers of its palette's entries."""

    def split(self, frame: Frame) -> tuple[Pixels, Pixels | None, Mask | None]:
        """Read a frame.

        Returns:
            (h, w, 4) uint8 picture whose alpha is not to be looked at, (h, w) uint8 alpha of the
            head or None where nothing tells it, and (h, w) what is known or None for all.

        """
        rgba = pictures.read_picture(frame.picture, frame.name, frame.turned)
        mask, known = None, None
        if frame.mask is not None and self.masks is not Use.NOTHING:
            mask, known = self._mask(frame)
        head = None
        if self.alpha is Use.BACKGROUND:
            head = rgba[..., 3]
            if mask is not None:
                known = _both(known, (mask >= DARK) | (head == 0))
        elif self.masks is Use.BACKGROUND:
            head = mask
        elif self.masks is Use.UNKNOWN and mask is not None:
            known = _both(known, mask >= DARK)
        if self.alpha is Use.UNKNOWN:
            known = _both(known, rgba[..., 3] >= DARK)
        if head is not None and known is not None:
            head = np.where(known, head, 0).astype(np.uint8)
        return rgba, head, known

    def _mask(self, frame: Frame) -> tuple[Pixels, Mask | None]:
        """(h, w) uint8 mask at its picture's size, white is 255, and what it leaves open."""
        file = file_values(frame)
        values, entries = file.values, file.entry_brightness
        if entries is not None and not self.indices:
            values = entries[values]
        size = (frame.lens.width, frame.lens.height)
        known = None
        if self.levels.unknown is not None:
            known = _meant(values, self.levels.unknown, size) < DARK
        return _meant(values, self.levels.shades, size), known


def _meant(values: Pixels, levels: bytes, size: tuple[int, int]) -> Pixels:
    """What values mean, scaled to width and height."""
    meant = np.frombuffer(levels, np.uint8)[values]
    if meant.shape[::-1] == size:
        return meant
    return np.asarray(Image.fromarray(meant).resize(size, Image.Resampling.BILINEAR))


def _both(one: Mask | None, other: Mask) -> Mask:
    return other if one is None else one & other


def mask_convention(capture: Capture, root: Path, stage: Stage) -> MaskConvention:
    """Look at all masks, and at the alpha of all pictures, and decide what they mean.

    The stage is advanced for each frame whose picture or mask was looked at.

    Raises:
        Dp3dError: ``viewset.invalid``, ``job.cancelled``.

    """
    frames, notes = capture.frames, capture.notes
    alpha = alpha_use(capture, stage)
    masked = [frame for frame in frames if frame.mask is not None]
    if not masked:
        if alpha is not Use.BACKGROUND:
            _note_masks_beside(frames, root, notes)
        return MaskConvention(alpha, Use.NOTHING)
    unmasked = [frame.name for frame in frames if frame.mask is None]
    if unmasked and alpha is not Use.BACKGROUND:
        raise unusable(
            f"{len(unmasked)} of {len(frames)} frames have no mask and others have one, the first "
            f"is {unmasked[0]!r:.80}",
            "Give every frame a mask_path, or none.",
        )
    looks = []
    for frame in frames:
        if frame.mask is not None:
            looks.append(MaskLook.of(frame))
        stage.advance()
    _note_turned(masked, notes)
    indices = have_indices(looks)
    looks = looks if indices else [look.brightness() for look in looks]
    if not any(look.counts[1:].any() for look in looks):
        raise unusable("all masks are black", "Make the masks white where the head is.")
    same = not unmasked and shared([look.digest for look in looks], frames)
    lossy = any(frame.mask.suffix.lower() in _LOSSY for frame in masked if frame.mask)
    outlines = alpha is Use.NOTHING and not same and not capture.masks_are_known
    levels = levels_of(looks, MaskKind(masked, lossy, indices, outlines), notes)
    if not levels.has_black and levels.unknown is None:
        return MaskConvention(alpha, Use.NOTHING)
    if capture.masks_are_known:
        return MaskConvention(alpha, Use.UNKNOWN, levels, indices)
    use, levels = _mask_use(looks, levels, alpha, same, notes)
    return MaskConvention(alpha, use, levels, indices)


def _mask_use(
    looks: Sequence[MaskLook], levels: Levels, alpha: Use, same: bool, notes: Notes
) -> tuple[Use, Levels]:
    """What black in masks means, and levels whose white is the head, or what is known."""
    if same:
        if alpha is Use.NOTHING:
            notes.add(
                "Many frames have the same mask, and no head has the same outline everywhere: what "
                "is black in it is taken for unknown."
            )
        return Use.UNKNOWN, levels
    use = Use.BACKGROUND if alpha is Use.NOTHING else Use.UNKNOWN
    if levels.settled:
        return use, levels
    if _look_inverted(looks, levels):
        notes.add(
            "The masks are white around and black in the middle, so they are taken for inverted."
        )
        return use, levels.inverted()
    if _leave_out(looks, levels) and use is Use.BACKGROUND:
        notes.add(
            "The masks are white all along the border, and no head covers it: what is black in "
            "them is taken for unknown."
        )
        return Use.UNKNOWN, levels
    return use, levels


def _look_inverted(looks: Sequence[MaskLook], levels: Levels) -> bool:
    around = np.mean([mean(look.around, levels.shades) for look in looks])
    inside = np.mean([mean(look.inside, levels.shades) for look in looks])
    return bool(
        (around > _WHITE_AROUND and inside < _BLACK_INSIDE) or around - inside > _MORE_AROUND
    )


def _leave_out(looks: Sequence[MaskLook], levels: Levels) -> bool:
    """Whether nearly all masks are white along all of their border."""
    rims = [mean(look.rim, levels.shades) > _WHITE_RIM for look in looks]
    return bool(np.mean(rims) >= _RIMMED)


def _note_turned(frames: Sequence[Frame], notes: Notes) -> None:
    """Note masks that EXIF data turn in another way than their pictures."""
    for frame in frames:
        if frame.mask is None or frame.turned:
            continue  # both are turned as their data say
        ours = pictures.orientation(frame.mask, frame.mask.name)
        theirs = pictures.orientation(frame.picture, frame.name)
        square = frame.lens.width == frame.lens.height
        if ours != theirs and (ours != 1 or square or theirs not in _QUARTER_TURNS):
            notes.add(
                "EXIF data turn a mask in another way than its picture: both are taken as they are "
                "stored.",
                frame.name,
            )


def _note_masks_beside(frames: Sequence[Frame], root: Path, notes: Notes) -> None:
    """Note masks that lie where tools leave them, and that no file names."""
    beside = []
    for frame in frames:
        present = next((path for path in _beside(frame.picture, root) if path.is_file()), None)
        if present is not None:
            beside.append(present.relative_to(root).as_posix())
    if beside:
        notes.add(
            f"{len(beside)} files look like masks and are not used, because no frame names them: "
            f"{listed(beside)}. Name them as mask_path, white where the head is, to use them."
        )


def _beside(picture: Path, root: Path) -> Iterator[Path]:
    """Where a mask of a picture may lie, in ``root``."""
    stem, full, folder = picture.stem, picture.name, picture.parent
    for pattern in _BESIDE:
        yield folder / pattern.format(stem=stem, name=full)
    levels = [folder, *folder.parents]
    for base in levels[: levels.index(root) + 1] if root in levels else [folder]:
        below = folder.relative_to(base)
        # images/cam0/0.png has masks/cam0/0.png.png, or masks/images/cam0/0.png
        for inner in {below, Path(*below.parts[1:])}:
            for name in _FOLDERS:
                yield base / name / inner / f"{full}.png"
                yield base / name / inner / f"{stem}.png"
