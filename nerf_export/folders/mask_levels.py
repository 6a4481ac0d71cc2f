"""Meaning of the values of masks: shades, two levels, or labels with a background and a void.

The background's value is the one that lies along the border and not in the middle.  In masks with
black and white, black is the background and white the head.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dp3d_core.errors import Dp3dError
from nerf_export.folders.capture import Frame, Notes, unusable
from nerf_export.folders.mask_looks import MOST_LABELS, Counts, MaskLook, file_values
from nerf_export.folders.uses import DARK

_MOST_LABEL_BESIDE_VOID = 39
"""Largest value that counts as a label beside a void."""
_VOID = 255
"""Value of the void label, which segmentations give to undecided pixels."""
_SOFT_PEAK_PART = 0.8
"""Part of a soft mask's bright pixels that have the largest value; the others are its edge."""
_BORDER_PART = 0.9
"""Part of the border from which a value is the background's, whatever its part of the middle."""
_LEAST_BORDER_PART = 0.5
"""Part of the border from which a value may be the background's, if the middle has less of it."""
_LEAST_CONTRAST = 0.3
"""Part of the border minus that of the middle from which a value is the background's."""
_LABEL_BORDER_PART = 0.75
"""Part of the border from which one of several labels may be the background's."""
_SHADE_DIFFERENCE = 100
"""Difference from which two values are shades of grey, and not labels."""
_NO_HEAD_PART = 0.002
"""Part of the pixels below which a value is no head."""
_GREY_VALUES = slice(64, 192)
"""Shades that are neither black nor white."""
_NEAR_BLACK = 8
"""Largest difference of values that count as one level, and largest value that counts as black."""
_LEVEL_PART = 0.5
"""Part of the darker pixels near one value from which that value is a level."""
_RAMP_ENDS_PART = 0.6
"""Part of the pixels with darkest or brightest value from which the others are a soft edge."""
_EDGE_CONTACT_PART = 0.1
"""Largest contact of other labels with the background, relative to that of an edge's label."""
_EDGE_WIDTH_PART = 0.25
"""Largest width of an edge's label, relative to the root of the head's area."""
_EDGE_SAMPLE = 20
"""Approximate number of masks in which an edge's label is searched."""


@dataclass(frozen=True)
class Levels:
    """Meaning of each value of a mask."""

    shades: bytes = bytes(range(256))
    """256 shades by value; 255 is white."""
    unknown: bytes | None = None
    """255 for values that mean unknown, else 0, by value; None: no value means unknown."""
    settled: bool = False
    """Whether white is certainly the head: the background's value lies along the border."""

    @property
    def has_black(self) -> bool:
        """Whether any value is not white."""
        return min(self.shades) < 255

    def inverted(self) -> Levels:
        """The levels with black and white exchanged."""
        return Levels(bytes(255 - v for v in self.shades), self.unknown, self.settled)


@dataclass(frozen=True)
class MaskKind:
    """Properties of the masks of a capture beside their values."""

    frames: Sequence[Frame]
    """Frames that have a mask."""
    lossy: bool
    """Whether compression may have changed values a little."""
    indices: bool
    """Whether values are indices of labels in a palette."""
    outlines: bool
    """Whether the masks may be outlines of heads; else they can only be valid masks."""


def levels_of(looks: Sequence[MaskLook], kind: MaskKind, notes: Notes) -> Levels:
    """Decide what the values of masks mean.

    Args:
        looks: values of each mask.
        kind: properties of the masks.
        notes: gets notes on unusual values.

    Raises:
        Dp3dError: ``viewset.invalid`` where the background's value cannot be decided.

    """
    counts = _total_counts([look.counts for look in looks])
    values = np.flatnonzero(counts)
    if len(values) == 1:
        return _unused_levels(notes)
    coloured = kind.indices or any(look.coloured for look in looks)
    if not coloured and _is_trimap(counts, kind.lossy):
        return _trimap(notes)
    soft = not coloured and _is_soft(counts)
    soft |= not kind.indices and _is_ramp(counts)
    if kind.lossy or len(values) > MOST_LABELS or soft:
        return _shades(looks, kind, notes)
    if len(values) == 2:
        return _two_levels(looks, kind, int(values[0]), int(values[1]), notes)
    return _labels(looks, kind, coloured, notes)


def _unused_levels(notes: Notes) -> Levels:
    notes.add("The masks have one value all over, and are not used.")
    return Levels(b"\xff" * 256)


def _total_counts(parts: Sequence[Counts]) -> Counts:
    total: Counts = np.sum(parts, axis=0)
    return total


def _is_soft(counts: Counts) -> bool:
    bright = counts[1:]
    peak = int(np.flatnonzero(bright)[-1])
    return bool(np.count_nonzero(bright) > 3 and bright[peak] > _SOFT_PEAK_PART * bright.sum())


def _is_ramp(counts: Counts) -> bool:
    """Whether most pixels have the darkest or the brightest value, neither of them a label."""
    values = np.flatnonzero(counts)
    ends = counts[values[[0, -1]]].sum()
    return bool(
        len(values) > 3
        and values[0] > 0
        and values[-1] > _MOST_LABEL_BESIDE_VOID
        and ends > _RAMP_ENDS_PART * counts.sum()
    )


# -- shades --------------------------------------------------------------------------------


def _is_trimap(counts: Counts, lossy: bool) -> bool:
    """Whether there is black, white, and more middle grey than a soft edge has."""
    ends = counts[:16].any() and counts[240:].any()
    tolerance = 16 if lossy else 2
    grey = counts[DARK - tolerance : DARK + tolerance + 1].sum()
    return bool(ends and 2 * grey > counts[_GREY_VALUES].sum())


def _trimap(notes: Notes) -> Levels:
    notes.add("The masks hold a grey between black and white, which is taken for unknown.")
    unknown = np.zeros(256, np.uint8)
    unknown[_GREY_VALUES] = 255
    return Levels(unknown=unknown.tobytes())


def _shades(looks: Sequence[MaskLook], kind: MaskKind, notes: Notes) -> Levels:
    counts = _total_counts([look.counts for look in looks])
    dark, bright = _modes(counts)
    if bright - dark < _NEAR_BLACK and dark >= DARK:
        return _unused_levels(notes)
    if dark > _NEAR_BLACK or (dark > 0 and bright <= _MOST_LABEL_BESIDE_VOID):
        return _two_levels(looks, kind, dark, bright, notes)
    peak = int(np.flatnonzero(counts)[-1])
    if kind.lossy and peak < DARK:  # compression adds values above that of the head
        half = (peak + 1) // 2
        peak = half + int(np.argmax(counts[half : peak + 1]))
    elif peak >= DARK:
        peak = 255
    return _levels_up_to(peak, notes)


def _levels_up_to(peak: int, notes: Notes) -> Levels:
    """Levels from black (0) to a value that is white."""
    if peak == 255:
        return Levels()
    notes.add(f"The masks hold no more than {peak}, which is taken for white.")
    return Levels(_stretched(0, peak))


def _stretched(dark: int, bright: int) -> bytes:
    shades = (np.arange(256.0) - dark) * (255 / (bright - dark))
    return shades.clip(0, 255).round().astype(np.uint8).tobytes()


def _modes(counts: Counts) -> tuple[int, int]:
    """The most frequent dark and bright value; 0 for the dark one where it is no level."""
    # Otsu's threshold: the largest variance between the two classes
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    dark_sum = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_difference = dark_sum[:-1] / below - (dark_sum[-1] - dark_sum[:-1]) / above
    between_variance = np.nan_to_num(below * above * mean_difference**2, nan=0.0)
    cut = int(np.argmax(between_variance)) + 1
    dark, bright = int(np.argmax(counts[:cut])), cut + int(np.argmax(counts[cut:]))
    near_dark = counts[max(0, dark - _NEAR_BLACK) : min(cut, dark + _NEAR_BLACK + 1)]
    if near_dark.sum() < _LEVEL_PART * counts[:cut].sum():
        dark = int(np.flatnonzero(counts)[0])
        dark = dark if dark > _NEAR_BLACK else 0
    return dark, bright


def _two_levels(
    looks: Sequence[MaskLook], kind: MaskKind, dark: int, bright: int, notes: Notes
) -> Levels:
    """Levels of masks with two values, or with shades between these."""
    if dark == 0:
        return _levels_up_to(bright, notes)
    levels = Levels(_stretched(dark, bright))
    if not kind.outlines:
        notes.add(f"The masks hold no black: {dark} is taken for it, and {bright} for white.")
        return levels
    border_part = float(np.mean([_bright_part(look.border, levels) for look in looks]))
    middle_part = float(np.mean([_bright_part(look.middle, levels) for look in looks]))
    shades = bright - dark >= _SHADE_DIFFERENCE
    if shades and border_part >= _BORDER_PART and middle_part >= _BORDER_PART:
        notes.add(f"The masks hold no black: {dark} is taken for it, and {bright} for white.")
        return levels  # white all over: such masks mark what to exclude
    if _is_background(border_part, middle_part):
        dark, bright = bright, dark
        levels = levels.inverted()
    elif not _is_background(1 - border_part, 1 - middle_part):
        if bright <= _MOST_LABEL_BESIDE_VOID or (dark <= _MOST_LABEL_BESIDE_VOID and not shades):
            raise _undecided_error([dark, bright])
        notes.add(f"The masks hold no black: {bright}, the brighter, is taken for the head.")
        return levels
    counts = _total_counts([look.counts for look in looks])
    if _bright_part(counts, levels) < _NO_HEAD_PART:
        notes.add(f"The masks hold {dark} nearly everywhere, and say nothing.")
        return Levels(b"\xff" * 256)
    notes.add(
        f"The masks hold no black: {dark}, which lies along the border, is taken for the "
        f"background, and {bright} for the head."
    )
    return Levels(levels.shades, settled=True)


def _bright_part(counts: Counts, levels: Levels) -> float:
    bright = np.frombuffer(levels.shades, np.uint8) >= DARK
    return float(counts[bright].sum() / max(1, counts.sum()))


def _is_background(
    border_part: float, middle_part: float, least: float = _LEAST_BORDER_PART
) -> bool:
    """Whether a value with these parts of border and middle is the background's.

    Args:
        border_part: part of the border with the value, 0 to 1.
        middle_part: part of the middle with the value, 0 to 1.
        least: part of the border that the value needs at least.

    """
    return border_part >= _BORDER_PART or (
        border_part >= least and border_part - middle_part >= _LEAST_CONTRAST
    )


# -- labels --------------------------------------------------------------------------------


def _labels(looks: Sequence[MaskLook], kind: MaskKind, coloured: bool, notes: Notes) -> Levels:
    """Levels of masks with three or more labels."""
    counts = _total_counts([look.counts for look in looks])
    values = [int(v) for v in np.flatnonzero(counts)]
    zero, largest = values[0] == 0, _VOID - 1 if kind.indices else _MOST_LABEL_BESIDE_VOID
    void = values[-1] == _VOID and (kind.indices or not coloured)
    inner = [v for v in values if 0 < v < _VOID]
    if zero and void and not coloured and inner[-1] > largest:
        return Levels()  # a soft edge
    if void and inner[-1] > largest:
        void = False
    if void:
        _check_one_kind(looks)
    background = _background(looks, kind, values, void)
    unknown = {0} if zero and background != 0 else set()
    others = [v for v in values if v != background and v not in unknown]
    if void and len(others) > 1:
        if _is_void(looks, [v for v in others if v != _VOID]):
            unknown.add(_VOID)
        else:
            return _white_alone(counts, notes)
    elif not zero and kind.outlines and len(others) > 1:
        unknown |= _edge_labels(kind.frames, background, others)
    head = [v for v in others if v not in unknown]
    _note_labels(values, background, head, unknown, notes)
    shades = _value_table(v for v in range(256) if v != background and v not in unknown)
    return Levels(shades, _value_table(unknown) if unknown else None, not zero or background != 0)


def _value_table(white: Iterable[int]) -> bytes:
    table = np.zeros(256, np.uint8)
    table[list(white)] = 255
    return table.tobytes()


def _border_and_middle(looks: Sequence[MaskLook]) -> tuple[np.ndarray, np.ndarray]:
    """(256,) parts of the border, and (256,) of the middle, with each value: means of masks."""
    border = np.mean([look.border / max(1, look.border.sum()) for look in looks], axis=0)
    middle = np.mean([look.middle / max(1, look.middle.sum()) for look in looks], axis=0)
    return border, middle


def _background(looks: Sequence[MaskLook], kind: MaskKind, values: list[int], void: bool) -> int:
    """The background's value; the value that means unknown where masks are no outlines."""
    zero = values[0] == 0
    if not kind.outlines:
        return values[0]
    border, middle = _border_and_middle(looks)
    likeliest = int(np.argmax(border))
    if not _is_background(float(border[likeliest]), float(middle[likeliest]), _LABEL_BORDER_PART):
        if zero:
            return 0
        raise _undecided_error(values)
    if zero and likeliest != 0:
        others = [v for v in values if v not in (0, likeliest)]
        if (void and likeliest == _VOID) or middle[0] > middle[others].sum():
            return 0  # the border is a void, or 0 is excluded as in black and white masks
    return likeliest


def _is_void(looks: Sequence[MaskLook], labels: list[int]) -> bool:
    """Whether 255 is a void: in the middle, where the head is, labels are more frequent."""
    _, middle = _border_and_middle(looks)
    labelled, white = float(middle[labels].sum()), float(middle[_VOID])
    if labelled == white:
        counts = _total_counts([look.counts for look in looks])
        return bool(counts[labels].sum() > counts[_VOID])
    return labelled > white


def _white_alone(counts: Counts, notes: Notes) -> Levels:
    """Levels of masks in which 255 is the head and other labels are not."""
    if counts[1:_VOID].sum() > _NO_HEAD_PART * counts.sum():
        largest = int(np.flatnonzero(counts[:_VOID])[-1])
        notes.add(
            f"The masks hold labels up to {largest} and 255, which lies in the middle: it alone is "
            "taken for the head."
        )
    return Levels()


def _check_one_kind(looks: Sequence[MaskLook]) -> None:
    """Refuse masks of which some mark the head with 255 and others with a label."""
    white = [bool(look.counts[_VOID]) for look in looks]
    labelled = [bool(look.counts[1:_VOID].any()) for look in looks]
    both = any(a and b for a, b in zip(white, labelled, strict=True))
    if not both and any(white) and any(labelled):
        raise unusable(
            "some masks hold 255 and others labels without it",
            "Save all masks alike: white (255) where the head is, black elsewhere.",
        )


def _edge_labels(frames: Sequence[Frame], background: int, labels: list[int]) -> set[int]:
    """The label of a thin band between head and background, as in trimaps; empty: none."""
    contacts = np.zeros((256, 256), np.int64)
    area = np.zeros(256, np.int64)
    step = max(1, len(frames) // _EDGE_SAMPLE)
    for frame in frames[::step]:
        values = file_values(frame).values.astype(np.uint16)
        area += np.bincount(values.ravel(), minlength=256)
        for first, second in ((values[:, 1:], values[:, :-1]), (values[1:], values[:-1])):
            pairs = np.bincount((first * 256 + second).ravel(), minlength=1 << 16)
            contacts += pairs.reshape(256, 256) + pairs.reshape(256, 256).T
    for label in labels:
        others = [v for v in labels if v != label]
        background_contacts, other_contacts = (
            contacts[label, background],
            contacts[others, background].sum(),
        )
        is_between = (
            background_contacts
            and contacts[label, others].any()
            and other_contacts <= _EDGE_CONTACT_PART * background_contacts
        )
        if is_between and area[label] / background_contacts <= _EDGE_WIDTH_PART * np.sqrt(
            area[others].sum() / len(frames[::step])
        ):
            return {label}
    return set()


def _note_labels(
    values: list[int], background: int, head: list[int], unknown: set[int], notes: Notes
) -> None:
    if background != 0:
        unknown_note = f", {_listed_values(sorted(unknown))} for unknown" if unknown else ""
        notes.add(
            f"The masks hold the values {_listed_values(values)}: {background}, which lies along "
            f"the border, is taken for the background, {_listed_values(head)} for the "
            f"head{unknown_note}."
        )
    elif unknown:
        notes.add(
            f"The masks hold labels up to {head[-1]} and 255: a label is taken for the head, "
            "and 255 for unknown."
        )
    else:
        notes.add(
            f"The masks hold {len(values) - 1} labels up to {values[-1]}: what is not 0 is taken "
            "for the head."
        )


def _listed_values(values: list[int]) -> str:
    shown = ", ".join(str(v) for v in values[:6])
    return f"{shown} and {len(values) - 6} more" if len(values) > 6 else shown


def _undecided_error(values: list[int]) -> Dp3dError:
    return unusable(
        f"the masks hold the values {_listed_values(values)} and no 0, and none of them lies along "
        "the border: which is the background cannot be told",
        "Save the masks black (0) in the background and white (255) where the head is.",
    )
