"""Statistics of another tool's masks: frequencies of values in the whole, border and middle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array, Indices
from nerf_export.folders import pictures
from nerf_export.folders.capture import Frame, unusable

Counts = Indices
"""(256,) frequency of each value."""

_ASPECT_TOLERANCE = 0.01
"""Largest relative difference between the aspect ratios of a mask and its picture."""
_BORDER_PART = 0.05
"""Width of a mask's border, in parts of its side."""
_MIDDLE_PART = 0.3
"""Side of the rectangle in a mask's middle, in parts of the mask's side."""
MOST_LABELS = 32
"""Most distinct values that may be labels; more of them are shades."""
_LEAST_SHARING = 3
"""Views from which a mask that they share belongs to a camera, where there are several masks."""
_LEAST_POSE_DIFFERENCE = 0.02
"""Difference from which two poses show a head differently: of a rotation's entries, and of
positions in parts of the spread of all cameras."""


@dataclass(frozen=True)
class MaskLook:
    """Frequencies of the values of one mask."""

    counts: Counts
    """Values of all pixels, at the file's size."""
    border: Counts
    """Values along the left, right and upper border."""
    middle: Counts
    """Values in the middle."""
    rim: Counts
    """Values of the outermost pixels."""
    digest: bytes
    """Hash of values, size and palette."""
    palette: bytes | None
    """RGB of the palette that the values index; None: values are brightness."""
    coloured: bool
    """Whether the values are the brightness of colours."""

    @classmethod
    def of(cls, frame: Frame) -> MaskLook:
        """Frequencies of the mask of a frame; raises ``viewset.invalid``."""
        mask = file_values(frame)
        values = mask.values
        height, width = values.shape
        y, x = max(1, round(_BORDER_PART * height)), max(1, round(_BORDER_PART * width))
        top, left = (round((1 - _MIDDLE_PART) / 2 * side) for side in (height, width))
        # without the lower border, which shoulders reach
        border = np.concatenate([values[:y].ravel(), values[:, :x].ravel(), values[:, -x:].ravel()])
        middle = values[top : max(top + 1, height - top), left : max(left + 1, width - left)]
        rim = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
        counts = np.bincount(values.ravel(), minlength=256)
        if np.count_nonzero(counts) < mask.colours <= MOST_LABELS:
            raise _same_brightness_error(frame)
        content = values.tobytes() + str(values.shape).encode() + (mask.palette or b"")
        digest = hashlib.sha256(content).digest()
        return cls(
            counts,
            np.bincount(border, minlength=256),
            np.bincount(middle.ravel(), minlength=256),
            np.bincount(rim, minlength=256),
            digest,
            mask.palette,
            mask.colours > 0,
        )

    def brightness(self) -> MaskLook:
        """The frequencies by brightness of the palette's entries instead of their indices."""
        entries = pictures.MaskFile(np.empty(0, np.uint8), self.palette).entry_brightness
        if entries is None:
            return self

        def mapped(counts: Counts) -> Counts:
            parts = np.zeros(256, np.int64)
            np.add.at(parts, entries, counts)
            return parts

        return MaskLook(
            mapped(self.counts),
            mapped(self.border),
            mapped(self.middle),
            mapped(self.rim),
            self.digest,
            None,
            not _is_grey(self.palette or b""),
        )


def mean(counts: Counts, levels: bytes) -> float:
    """Mean, 0 to 1, of the levels of counted values; ``levels`` has 256 of 0 to 255."""
    return float(counts @ np.frombuffer(levels, np.uint8) / (255 * max(1, counts.sum())))


def file_values(frame: Frame) -> pictures.MaskFile:
    """Values of a mask at its own size.

    Raises:
        Dp3dError: ``viewset.invalid`` for a mask of another aspect ratio than its picture.

    """
    assert frame.mask is not None
    name = frame.mask.name
    mask = pictures.read_mask(frame.mask, name, frame.turned)
    size = (frame.lens.width, frame.lens.height)
    height, width = mask.values.shape
    if (width, height) != size and abs(
        width * size[1] / (height * size[0]) - 1
    ) > _ASPECT_TOLERANCE:
        raise unusable(
            f"the mask {name!r:.80} has {width} x {height} pixels, its picture "
            f"{frame.name!r:.80} {size[0]} x {size[1]}, which is another shape",
            "Give the masks that belong to these pictures.",
        )
    return mask


def _same_brightness_error(frame: Frame) -> Exception:
    assert frame.mask is not None
    return unusable(
        f"the mask {frame.mask.name!r:.80} has several colours of one brightness, and masks are "
        "told apart by brightness",
        "Save the masks white where the head is, black elsewhere.",
    )


def have_indices(looks: Sequence[MaskLook]) -> bool:
    """Whether the values of all masks are indices of labels: they share a coloured palette."""
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
    """Whether each mask is shared by several views, as masks of a lens or a camera are.

    Frames of a camera that stands still count as one view, as the head has one outline in them.

    Args:
        digests: of the masks.
        frames: of the masks, in the order of ``digests``.

    """
    if not digests:
        return False
    positions = np.array([frame.c2w[:3, 3] for frame in frames])
    spread = float(np.linalg.norm(positions - positions.mean(0), axis=1).max()) or 1.0
    poses: dict[bytes, list[Array]] = {}
    for digest, frame in zip(digests, frames, strict=True):
        distinct = poses.setdefault(digest, [])
        if len(distinct) < _LEAST_SHARING:
            pose = np.array(frame.c2w[:3], float)
            pose[:, 3] /= spread
            if all(np.abs(pose - other).max() > _LEAST_POSE_DIFFERENCE for other in distinct):
                distinct.append(pose)
    least = min(len(distinct) for distinct in poses.values())
    return least >= (2 if len(poses) == 1 else _LEAST_SHARING)
