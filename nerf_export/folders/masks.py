"""Meaning of the masks and the alpha of another tool's pictures.

=====================================  ===================================================
pictures transparent around a head     alpha is the head; black in a mask over it: unknown
transparent in holes or corners alone  transparent is unknown
no transparent picture, own masks      a mask is the head: white, or all but the background
one mask, or one alpha, for all views  black is unknown: no head has one outline everywhere
white all along the border             black is unknown: no head covers the whole border
=====================================  ===================================================

:mod:`nerf_export.folders.alpha` interprets alpha, :mod:`nerf_export.folders.mask_levels` the values
of masks.
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

_INVERTED_BORDER = 0.9
"""White part of the border above which masks look inverted, if their middle is black."""
_INVERTED_MIDDLE = 0.1
"""White part of the middle below which masks look inverted, if their border is white."""
_INVERTED_DIFFERENCE = 0.6
"""White part of the border minus that of the middle above which masks look inverted, where
shoulders reach the border."""
_RIM_WHITE_PART = 0.99
"""White part of a mask's outermost pixels above which they count as white."""
_RIMMED_FRAMES_PART = 0.75
"""Part of the masks with white outermost pixels from which all masks exclude pixels."""
_LOSSY_ENDINGS = {".jpg", ".jpeg", ".webp"}
"""Endings of formats that change a mask's values."""
_MASK_PATTERNS = (
    "dynamic_mask_{stem}.png",
    "{stem}.mask.png",
    "{name}.mask.png",
    "{stem}_mask.png",
    "mask_{stem}.png",
)
"""Names that tools give masks in the picture's folder."""
_MASK_FOLDERS = ("masks", "mask")
"""Folders in which tools put masks, at any level above the pictures."""
_QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""


@dataclass(frozen=True)
class MaskConvention:
    """Meaning of the alpha and the masks of a capture."""

    alpha: Use
    """Meaning of transparent pixels."""
    masks: Use
    """Meaning of black pixels of masks."""
    levels: Levels = field(default_factory=Levels)
    """Meaning of each value of a mask."""
    indices: bool = False
    """Whether a mask's values are the numbers of its palette's entries."""

    def split(self, frame: Frame) -> tuple[Pixels, Pixels | None, Mask | None]:
        """Read picture, head and valid mask of a frame.

        Returns:
            (h, w, 4) uint8 picture whose alpha has no meaning; (h, w) uint8 alpha of the head, or
            None where neither alpha nor mask gives it; (h, w) valid mask, or None for all pixels.

        """
        rgba = pictures.read_picture(frame.picture, frame.name, frame.turned)
        mask, valid = None, None
        if frame.mask is not None and self.masks is not Use.NOTHING:
            mask, valid = self._mask(frame)
        head = None
        if self.alpha is Use.BACKGROUND:
            head = rgba[..., 3]
            if mask is not None:
                valid = _intersection(valid, (mask >= DARK) | (head == 0))
        elif self.masks is Use.BACKGROUND:
            head = mask
        elif self.masks is Use.UNKNOWN and mask is not None:
            valid = _intersection(valid, mask >= DARK)
        if self.alpha is Use.UNKNOWN:
            valid = _intersection(valid, rgba[..., 3] >= DARK)
        if head is not None and valid is not None:
            head = np.where(valid, head, 0).astype(np.uint8)
        return rgba, head, valid

    def _mask(self, frame: Frame) -> tuple[Pixels, Mask | None]:
        """(h, w) uint8 mask at its picture's size, white is 255, and (h, w) valid mask or None."""
        file = file_values(frame)
        values, entries = file.values, file.entry_brightness
        if entries is not None and not self.indices:
            values = entries[values]
        size = (frame.lens.width, frame.lens.height)
        valid = None
        if self.levels.unknown is not None:
            valid = _mapped(values, self.levels.unknown, size) < DARK
        return _mapped(values, self.levels.shades, size), valid


def _mapped(values: Pixels, levels: bytes, size: tuple[int, int]) -> Pixels:
    """Values mapped by a table of 256 levels, scaled to ``size`` (width, height)."""
    mapped = np.frombuffer(levels, np.uint8)[values]
    if mapped.shape[::-1] == size:
        return mapped
    return np.asarray(Image.fromarray(mapped).resize(size, Image.Resampling.BILINEAR))


def _intersection(first: Mask | None, second: Mask) -> Mask:
    return second if first is None else first & second


def mask_convention(capture: Capture, root: Path, stage: Stage) -> MaskConvention:
    """Decide from all masks and the alpha of all pictures what they mean.

    Args:
        capture: the folder's frames.
        root: the folder, in which masks that no frame names are looked for.
        stage: advanced once for each picture and once for each mask.

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
    is_shared = not unmasked and shared([look.digest for look in looks], frames)
    lossy = any(frame.mask.suffix.lower() in _LOSSY_ENDINGS for frame in masked if frame.mask)
    outlines = alpha is Use.NOTHING and not is_shared and not capture.masks_are_known
    levels = levels_of(looks, MaskKind(masked, lossy, indices, outlines), notes)
    if not levels.has_black and levels.unknown is None:
        return MaskConvention(alpha, Use.NOTHING)
    if capture.masks_are_known:
        return MaskConvention(alpha, Use.UNKNOWN, levels, indices)
    use, levels = _mask_use(looks, levels, alpha, is_shared, notes)
    return MaskConvention(alpha, use, levels, indices)


def _mask_use(
    looks: Sequence[MaskLook], levels: Levels, alpha: Use, is_shared: bool, notes: Notes
) -> tuple[Use, Levels]:
    """Meaning of black in masks, and levels whose white is the head or the valid pixels."""
    if is_shared:
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
    if _have_white_rims(looks, levels) and use is Use.BACKGROUND:
        notes.add(
            "The masks are white all along the border, and no head covers it: what is black in "
            "them is taken for unknown."
        )
        return Use.UNKNOWN, levels
    return use, levels


def _look_inverted(looks: Sequence[MaskLook], levels: Levels) -> bool:
    border = np.mean([mean(look.border, levels.shades) for look in looks])
    middle = np.mean([mean(look.middle, levels.shades) for look in looks])
    return bool(
        (border > _INVERTED_BORDER and middle < _INVERTED_MIDDLE)
        or border - middle > _INVERTED_DIFFERENCE
    )


def _have_white_rims(looks: Sequence[MaskLook], levels: Levels) -> bool:
    """Whether most masks are white along their whole border."""
    rims = [mean(look.rim, levels.shades) > _RIM_WHITE_PART for look in looks]
    return bool(np.mean(rims) >= _RIMMED_FRAMES_PART)


def _note_turned(frames: Sequence[Frame], notes: Notes) -> None:
    """Note masks whose EXIF orientation differs from that of their pictures."""
    for frame in frames:
        if frame.mask is None or frame.turned:
            continue  # both are turned by their EXIF orientation
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
    """Note files at the usual places of masks that no frame names."""
    unnamed = []
    for frame in frames:
        mask = next(
            (path for path in _mask_candidates(frame.picture, root) if path.is_file()), None
        )
        if mask is not None:
            unnamed.append(mask.relative_to(root).as_posix())
    if unnamed:
        notes.add(
            f"{len(unnamed)} files look like masks and are not used, because no frame names them: "
            f"{listed(unnamed)}. Name them as mask_path, white where the head is, to use them."
        )


def _mask_candidates(picture: Path, root: Path) -> Iterator[Path]:
    """Paths in ``root`` at which tools put the mask of a picture."""
    stem, name, folder = picture.stem, picture.name, picture.parent
    for pattern in _MASK_PATTERNS:
        yield folder / pattern.format(stem=stem, name=name)
    levels = [folder, *folder.parents]
    for base in levels[: levels.index(root) + 1] if root in levels else [folder]:
        below = folder.relative_to(base)
        # images/cam0/0.png has masks/cam0/0.png.png, or masks/images/cam0/0.png
        for inner in {below, Path(*below.parts[1:])}:
            for folder_name in _MASK_FOLDERS:
                yield base / folder_name / inner / f"{name}.png"
                yield base / folder_name / inner / f"{stem}.png"
