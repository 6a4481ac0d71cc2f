"""Masks of another tool's folder: their values, and where in the picture these lie."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array, Indices
from nerf_export.folders import pictures
from nerf_export.folders.capture import Frame, unusable

Counts = Indices
"""(256,) how often each value occurs."""

_ONE_SHAPE = 0.01
"""Part by which the aspect ratios of a mask and its picture may differ."""
_BORDER, _MIDDLE = 0.05, 0.3
"""Parts of a mask's sides: its border, and the square in its middle."""
MOST_LABELS = 32
"""Values of a mask that may be labels; more of them are shades."""
_SHARED_BY = 3
"""Views that share a mask where it belongs to one of several cameras."""
_EVIDENCE = 0.02
"""How far two cameras differ whose views of a head differ: of their rotations' entries, and of the
spread of all cameras."""


@dataclass(frozen=True)
class MaskLook:
    """What one mask shows."""

    counts: Counts
    """Of all values, in the file's size."""
    around: Counts
    inside: Counts
    rim: Counts
    """Of border but the lower one, of middle and of the outermost pixels."""
    digest: bytes
    palette: bytes | None
    """RGB of the entries whose numbers the values are; None: values are brightness."""
    coloured: bool
    """Whether the values are the brightness of colours."""

    @classmethod
    def of(cls, frame: Frame) -> MaskLook:
        """Look at the mask of a frame; raises ``viewset.invalid``."""
        mask = file_values(frame)
        values = mask.values
        height, width = values.shape
        y, x = max(1, round(_BORDER * height)), max(1, round(_BORDER * width))
        top, left = (round((1 - _MIDDLE) / 2 * side) for side in (height, width))
        # not below: shoulders reach the lower border
        around = np.concatenate([values[:y].ravel(), values[:, :x].ravel(), values[:, -x:].ravel()])
        middle = values[top : max(top + 1, height - top), left : max(left + 1, width - left)]
        rim = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
        counts = np.bincount(values.ravel(), minlength=256)
        if np.count_nonzero(counts) < mask.colours <= MOST_LABELS:
            raise _alike(frame)
        said = values.tobytes() + str(values.shape).encode() + (mask.palette or b"")
        digest = hashlib.sha256(said).digest()
        return cls(
            counts,
            np.bincount(around, minlength=256),
            np.bincount(middle.ravel(), minlength=256),
            np.bincount(rim, minlength=256),
            digest,
            mask.palette,
            mask.colours > 0,
        )

    def brightness(self) -> MaskLook:
        """Look by the brightness of the palette's entries instead of their numbers."""
        entries = pictures.MaskFile(np.empty(0, np.uint8), self.palette).entry_brightness
        if entries is None:
            return self

        def mapped(counts: Counts) -> Counts:
            parts = np.zeros(256, np.int64)
            np.add.at(parts, entries, counts)
            return parts

        return MaskLook(
            mapped(self.counts),
            mapped(self.around),
            mapped(self.inside),
            mapped(self.rim),
            self.digest,
            None,
            not _is_grey(self.palette or b""),
        )


def mean(counts: Counts, levels: bytes) -> float:
    """Mean of what values mean, 0 to 1."""
    return float(counts @ np.frombuffer(levels, np.uint8) / (255 * max(1, counts.sum())))


def file_values(frame: Frame) -> pictures.MaskFile:
    """Values of a mask at its own size.

    Raises:
        Dp3dError: ``viewset.invalid`` for a mask of another shape than its picture.

    """
    assert frame.mask is not None
    name = frame.mask.name
    mask = pictures.read_mask(frame.mask, name, frame.turned)
    size = (frame.lens.width, frame.lens.height)
    height, width = mask.values.shape
    if (width, height) != size and abs(width * size[1] / (height * size[0]) - 1) > _ONE_SHAPE:
        raise unusable(
            f"the mask {name!r:.80} has {width} x {height} pixels, its picture "
            f"{frame.name!r:.80} {size[0]} x {size[1]}, which is another shape",
            "Give the masks that belong to these pictures.",
        )
    return mask


def _alike(frame: Frame) -> Exception:
    assert frame.mask is not None
    return unusable(
        f"the mask {frame.mask.name!r:.80} has several colours of one brightness, and masks are "
        "told apart by brightness",
        "Save the masks white where the head is, black elsewhere.",
    )


def have_indices(looks: Sequence[MaskLook]) -> bool:
    """Whether the values of all masks are numbers of labels: they share a coloured palette."""
    palettes = {look.palette for look in looks}
    if None in palettes:
        return False
    longest = max((palette for palette in palettes if palette is not None), key=len)
    alike = all(longest.startswith(palette or b"") for palette in palettes)
    return alike and not _is_grey(longest)


def _is_grey(palette: bytes) -> bool:
    rgb = np.frombuffer(palette, np.uint8)
    rgb = rgb[: len(rgb) // 3 * 3].reshape(-1, 3)
    return bool((rgb == rgb[:, :1]).all())


def shared(digests: Sequence[bytes], frames: Sequence[Frame]) -> bool:
    """Whether each mask is that of several views, as those of a lens or a camera are.

    Frames of a camera that stands still are one view: the head looks the same in all of them.
    """
    if not digests:
        return False
    positions = np.array([frame.c2w[:3, 3] for frame in frames])
    spread = float(np.linalg.norm(positions - positions.mean(0), axis=1).max()) or 1.0
    poses: dict[bytes, list[Array]] = {}
    for digest, frame in zip(digests, frames, strict=True):
        seen = poses.setdefault(digest, [])
        if len(seen) < _SHARED_BY:
            pose = np.array(frame.c2w[:3], float)
            pose[:, 3] /= spread
            if all(np.abs(pose - other).max() > _EVIDENCE for other in seen):
                seen.append(pose)
    least = min(len(seen) for seen in poses.values())
    return least >= (2 if len(poses) == 1 else _SHARED_BY)
