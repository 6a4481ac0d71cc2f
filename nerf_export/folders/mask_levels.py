"""What the values of masks mean: shades, two levels, or labels with a background and a void.

Which label is the background is decided by where the values lie: along the border, and not in the
middle.  Masks with black and white mean what everybody means by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dp3d_core.errors import Dp3dError
from nerf_export.folders.capture import Frame, Notes, unusable
from nerf_export.folders.mask_looks import MOST_LABELS, Counts, MaskLook, file_values
from nerf_export.folders.uses import DARK

_LABEL, _VOID = 39, 255
"""The largest label beside a void, and the value that segmentations give what they leave open."""
_MOST = 0.8
"""Part of a soft mask's values that are the largest, the others being its edge."""
_ALONG = 0.9
"""Part of the border that has a value which is the background's, wherever else it lies."""
_MORE_ALONG, _THAN_INSIDE = 0.5, 0.3
"""Part of the border for the background's value if it is rarer inside, and how much rarer."""
_OF_LABELS = 0.75
"""Part of the border for the background's label among several: it may have more than one."""
_CONTRAST = 100
"""Difference of two values that are shades of grey, and no labels."""
_FEW = 0.002
"""Part of the pixels that is no head."""
_GREYS = slice(64, 192)
"""Shades that are neither black nor white."""
_NEAR_BLACK = 8
_FLAT = 0.5
"""Part of the darker pixels that have nearly one value where that is a level."""
_RAMP = 0.6
"""Part of the pixels at the ends of a ramp: all others are a soft edge."""
_TOUCHING, _THIN = 0.1, 0.25
"""Of an edge's label: contacts of head and background beside it, of its own, and its width, of the
head's."""
_SAMPLE = 20
"""Masks that are looked at for an edge."""


@dataclass(frozen=True)
class Levels:
    """What each value of a mask means."""

    shades: bytes = bytes(range(256))
    """256 shades, 255 is white."""
    unknown: bytes | None = None
    """256 values, 255 where nothing is known; None: nowhere."""
    settled: bool = False
    """Whether white is the head for sure: the background was found along the border."""

    @property
    def has_black(self) -> bool:
        """Whether any value is no white."""
        return min(self.shades) < 255

    def inverted(self) -> Levels:
        """With black for white."""
        return Levels(bytes(255 - v for v in self.shades), self.unknown, self.settled)


@dataclass(frozen=True)
class MaskKind:
    """What else is known of the masks of a capture."""

    frames: Sequence[Frame]
    """Those with masks."""
    lossy: bool
    """Whether neighbours of a value may be part of its label."""
    indices: bool
    """Whether values are numbers of labels."""
    outlines: bool
    """Whether the masks may be outlines of heads; else they can only say what is known."""


def levels_of(looks: Sequence[MaskLook], kind: MaskKind, notes: Notes) -> Levels:
    """What the values of masks mean.

    Args:
        looks: at each mask.
        kind: of the masks.
        notes: where is noted what is unusual.

    Raises:
        Dp3dError: ``viewset.invalid`` where it cannot be told which value is the head.

    """
    counts = _sum([look.counts for look in looks])
    values = np.flatnonzero(counts)
    if len(values) == 1:
        return _nothing(notes)
    coloured = kind.indices or any(look.coloured for look in looks)
    if not coloured and _is_trimap(counts, kind.lossy):
        return _trimap(notes)
    soft = not coloured and _is_soft(counts)
    soft |= not kind.indices and _is_ramp(counts)
    if kind.lossy or len(values) > MOST_LABELS or soft:
        return _shades(looks, kind, notes)
    if len(values) == 2:
        return _two(looks, kind, int(values[0]), int(values[1]), notes)
    return _labels(looks, kind, coloured, notes)


def _nothing(notes: Notes) -> Levels:
    notes.add("The masks have one value all over, and are not used.")
    return Levels(b"\xff" * 256)


def _sum(parts: Sequence[Counts]) -> Counts:
    total: Counts = np.sum(parts, axis=0)
    return total


def _is_soft(counts: Counts) -> bool:
    bright = counts[1:]
    peak = int(np.flatnonzero(bright)[-1])
    return bool(np.count_nonzero(bright) > 3 and bright[peak] > _MOST * bright.sum())


def _is_ramp(counts: Counts) -> bool:
    """Whether most pixels have the darkest or the brightest value, neither of them a label."""
    values = np.flatnonzero(counts)
    ends = counts[values[[0, -1]]].sum()
    return bool(
        len(values) > 3 and values[0] > 0 and values[-1] > _LABEL and ends > _RAMP * counts.sum()
    )


# -- shades --------------------------------------------------------------------------------


def _is_trimap(counts: Counts, lossy: bool) -> bool:
    """Whether there is black, white, and more of one grey between them than an edge has."""
    ends = counts[:16].any() and counts[240:].any()
    around = 16 if lossy else 2
    grey = counts[DARK - around : DARK + around + 1].sum()
    return bool(ends and 2 * grey > counts[_GREYS].sum())


def _trimap(notes: Notes) -> Levels:
    notes.add("The masks hold a grey between black and white, which is taken for unknown.")
    unknown = np.zeros(256, np.uint8)
    unknown[_GREYS] = 255
    return Levels(unknown=unknown.tobytes())


def _shades(looks: Sequence[MaskLook], kind: MaskKind, notes: Notes) -> Levels:
    counts = _sum([look.counts for look in looks])
    dark, bright = _modes(counts)
    if bright - dark < _NEAR_BLACK and dark >= DARK:
        return _nothing(notes)
    if dark > _NEAR_BLACK or (dark > 0 and bright <= _LABEL):
        return _two(looks, kind, dark, bright, notes)
    peak = int(np.flatnonzero(counts)[-1])
    if kind.lossy and peak < DARK:  # around the values of a JPEG larger ones lie
        half = (peak + 1) // 2
        peak = half + int(np.argmax(counts[half : peak + 1]))
    elif peak >= DARK:
        peak = 255
    return _up_to(peak, notes)


def _up_to(peak: int, notes: Notes) -> Levels:
    """From black to a value that is white."""
    if peak == 255:
        return Levels()
    notes.add(f"The masks hold no more than {peak}, which is taken for white.")
    return Levels(_stretched(0, peak))


def _stretched(dark: int, bright: int) -> bytes:
    shades = (np.arange(256.0) - dark) * (255 / (bright - dark))
    return shades.clip(0, 255).round().astype(np.uint8).tobytes()


def _modes(counts: Counts) -> tuple[int, int]:
    """The two values that most pixels have or are near; black where the darker is no level."""
    # Otsu's threshold: where the two sides' means are the furthest apart
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    dark_sum = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = dark_sum[:-1] / below - (dark_sum[-1] - dark_sum[:-1]) / above
    between = np.nan_to_num(below * above * apart**2, nan=0.0)
    cut = int(np.argmax(between)) + 1
    dark, bright = int(np.argmax(counts[:cut])), cut + int(np.argmax(counts[cut:]))
    near = counts[max(0, dark - _NEAR_BLACK) : min(cut, dark + _NEAR_BLACK + 1)]
    if near.sum() < _FLAT * counts[:cut].sum():
        dark = int(np.flatnonzero(counts)[0])
        dark = dark if dark > _NEAR_BLACK else 0
    return dark, bright


def _two(looks: Sequence[MaskLook], kind: MaskKind, dark: int, bright: int, notes: Notes) -> Levels:
    """Two values, or shades between them."""
    if dark == 0:
        return _up_to(bright, notes)
    levels = Levels(_stretched(dark, bright))
    if not kind.outlines:
        notes.add(f"The masks hold no black: {dark} is taken for it, and {bright} for white.")
        return levels
    around = float(np.mean([_bright_part(look.around, levels) for look in looks]))
    inside = float(np.mean([_bright_part(look.inside, levels) for look in looks]))
    shades = bright - dark >= _CONTRAST
    if shades and around >= _ALONG and inside >= _ALONG:
        notes.add(f"The masks hold no black: {dark} is taken for it, and {bright} for white.")
        return levels  # as masks are that say what to leave out
    if _is_behind(around, inside):
        dark, bright = bright, dark
        levels = levels.inverted()
    elif not _is_behind(1 - around, 1 - inside):
        if bright <= _LABEL or (dark <= _LABEL and not shades):
            raise _undecided([dark, bright])
        notes.add(f"The masks hold no black: {bright}, the brighter, is taken for the head.")
        return levels
    counts = _sum([look.counts for look in looks])
    if _bright_part(counts, levels) < _FEW:
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


def _is_behind(around: float, inside: float, least: float = _MORE_ALONG) -> bool:
    """Whether what has these parts of border and middle is the background."""
    return around >= _ALONG or (around >= least and around - inside >= _THAN_INSIDE)


# -- labels --------------------------------------------------------------------------------


def _labels(looks: Sequence[MaskLook], kind: MaskKind, coloured: bool, notes: Notes) -> Levels:
    """Three values or more."""
    counts = _sum([look.counts for look in looks])
    values = [int(v) for v in np.flatnonzero(counts)]
    zero, largest = values[0] == 0, _VOID - 1 if kind.indices else _LABEL
    void = values[-1] == _VOID and (kind.indices or not coloured)
    inner = [v for v in values if 0 < v < _VOID]
    if zero and void and not coloured and inner[-1] > largest:
        return Levels()  # a soft edge
    if void and inner[-1] > largest:
        void = False
    if void:
        _check_one_kind(looks)
    behind = _background(looks, kind, values, void)
    unknown = {0} if zero and behind != 0 else set()
    rest = [v for v in values if v != behind and v not in unknown]
    if void and len(rest) > 1:
        if _is_void(looks, [v for v in rest if v != _VOID]):
            unknown.add(_VOID)
        else:
            return _white_alone(counts, notes)
    elif not zero and kind.outlines and len(rest) > 1:
        unknown |= _edge(kind.frames, behind, rest)
    head = [v for v in rest if v not in unknown]
    _note_labels(values, behind, head, unknown, notes)
    shades = _table(v for v in range(256) if v != behind and v not in unknown)
    return Levels(shades, _table(unknown) if unknown else None, not zero or behind != 0)


def _table(white: Iterable[int]) -> bytes:
    table = np.zeros(256, np.uint8)
    table[list(white)] = 255
    return table.tobytes()


def _parts(looks: Sequence[MaskLook]) -> tuple[np.ndarray, np.ndarray]:
    """(256,) parts of border and of middle that have each value."""
    around = np.mean([look.around / max(1, look.around.sum()) for look in looks], axis=0)
    inside = np.mean([look.inside / max(1, look.inside.sum()) for look in looks], axis=0)
    return around, inside


def _background(looks: Sequence[MaskLook], kind: MaskKind, values: list[int], void: bool) -> int:
    """The value that is the background, or what is unknown where masks are no outlines."""
    zero = values[0] == 0
    if not kind.outlines:
        return values[0]
    around, inside = _parts(looks)
    likeliest = int(np.argmax(around))
    if not _is_behind(float(around[likeliest]), float(inside[likeliest]), _OF_LABELS):
        if zero:
            return 0
        raise _undecided(values)
    if zero and likeliest != 0:
        others = [v for v in values if v not in (0, likeliest)]
        if (void and likeliest == _VOID) or inside[0] > inside[others].sum():
            return 0  # a void around all, or what black and white masks leave out
    return likeliest


def _is_void(looks: Sequence[MaskLook], labels: list[int]) -> bool:
    """Whether 255 is what labels leave open: the head is in the middle."""
    _, inside = _parts(looks)
    labelled, white = float(inside[labels].sum()), float(inside[_VOID])
    if labelled == white:
        counts = _sum([look.counts for look in looks])
        return bool(counts[labels].sum() > counts[_VOID])
    return labelled > white


def _white_alone(counts: Counts, notes: Notes) -> Levels:
    """255 is the head, and labels beside it are not."""
    if counts[1:_VOID].sum() > _FEW * counts.sum():
        largest = int(np.flatnonzero(counts[:_VOID])[-1])
        notes.add(
            f"The masks hold labels up to {largest} and 255, which lies in the middle: it alone is "
            "taken for the head."
        )
    return Levels()


def _check_one_kind(looks: Sequence[MaskLook]) -> None:
    """Refuse masks of which some have 255 for white and others a label."""
    white = [bool(look.counts[_VOID]) for look in looks]
    labelled = [bool(look.counts[1:_VOID].any()) for look in looks]
    both = any(a and b for a, b in zip(white, labelled, strict=True))
    if not both and any(white) and any(labelled):
        raise unusable(
            "some masks hold 255 and others labels without it",
            "Save all masks alike: white (255) where the head is, black elsewhere.",
        )


def _edge(frames: Sequence[Frame], behind: int, labels: list[int]) -> set[int]:
    """The label of a thin band between head and background, as trimaps have it."""
    contacts = np.zeros((256, 256), np.int64)
    area = np.zeros(256, np.int64)
    step = max(1, len(frames) // _SAMPLE)
    for frame in frames[::step]:
        values = file_values(frame).values.astype(np.uint16)
        area += np.bincount(values.ravel(), minlength=256)
        for one, other in ((values[:, 1:], values[:, :-1]), (values[1:], values[:-1])):
            pairs = np.bincount((one * 256 + other).ravel(), minlength=1 << 16)
            contacts += pairs.reshape(256, 256) + pairs.reshape(256, 256).T
    for label in labels:
        rest = [v for v in labels if v != label]
        own, beside = contacts[label, behind], contacts[rest, behind].sum()
        between = own and contacts[label, rest].any() and beside <= _TOUCHING * own
        if between and area[label] / own <= _THIN * np.sqrt(area[rest].sum() / len(frames[::step])):
            return {label}
    return set()


def _note_labels(
    values: list[int], behind: int, head: list[int], unknown: set[int], notes: Notes
) -> None:
    if behind != 0:
        open_ = f", {_words(sorted(unknown))} for unknown" if unknown else ""
        notes.add(
            f"The masks hold the values {_words(values)}: {behind}, which lies along the border, "
            f"is taken for the background, {_words(head)} for the head{open_}."
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


def _words(values: list[int]) -> str:
    shown = ", ".join(str(v) for v in values[:6])
    return f"{shown} and {len(values) - 6} more" if len(values) > 6 else shown


def _undecided(values: list[int]) -> Dp3dError:
    return unusable(
        f"the masks hold the values {_words(values)} and no 0, and none of them lies along the "
        "border: which is the background cannot be told",
        "Save the masks black (0) in the background and white (255) where the head is.",
    )
