"""Length of the hair in a photo: bald, short or hanging, on each side, with a confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dp3d_core.arrays import Array, Mask
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import Choice
from dp3d_core.preview.hair.styles import HANGS, style_name
from dp3d_core.preview.photo.parsing import MIN_SCALP_HAIR, PARSING_SIDE, Kind, Parsing
from dp3d_core.preview.texture.tones import clusters, lab

if TYPE_CHECKING:
    from dp3d_core.preview.hair.fit import Hair


TURNED_DEG = 15.0
"""Absolute yaw above which the far side is copied from the near one."""
_ASYMMETRY = 40.0
"""Difference in length above which the sides differ, millimetres."""
_LAB_WEIGHTS = np.array([0.6, 1.0, 1.0])
"""Weights of L, a, b in the distance from the hair's colour."""
_OTHER_COLOUR = 25.0
"""Least threshold of that distance above which a pixel is not of the hair's colour, Lab."""
_MIN_PIXELS = 60
"""Least number of pixels from which the hair's colour is measured."""
_SECOND_SHARE = 0.1
"""Least share of a second colour above the ears that counts as hair."""
_SECOND_DISTANCE = 30.0
"""Least Lab distance of two colours above the ears that both count as hair."""
_BELOW_ENDS = 10.0
"""Distance below the ends of the hair from which pixels are not hair, millimetres."""

_BACK_PHOTO_DEG = 145.0
"""Absolute yaw above which a photo shows the hair on the neck."""
_NAPE = -66.0
"""Height below which hair on the neck hangs, millimetres."""
_AS_BESIDE = 16.0
"""Greatest height of the ends behind above those beside the neck for hair behind to hang,
millimetres."""
_NAPE_DEPTH = -70.0
"""Depth of the surface of neck and hanging hair behind, millimetres."""


def is_bald(parsing: Parsing) -> bool:
    """Whether the visible scalp is bare."""
    return parsing.scalp_hair is not None and parsing.scalp_hair < MIN_SCALP_HAIR


def observed_hair(portrait: Portrait, parsing: Parsing, hair: Hair | None) -> Choice:
    """The photo's style of hair, with its confidence.

    Args:
        portrait: the photo, with its pose.
        parsing: classes of its pixels.
        hair: hair fitted to the photo (``fit.grow_hair``); None for a bald head.

    """
    covered = parsing.scalp_hair
    if hair is None:
        return Choice(
            "bald", max(0.4, 0.5 + 0.4 * (MIN_SCALP_HAIR - (covered or 0.0)) / MIN_SCALP_HAIR)
        )
    lengths = hair_lengths(parsing, portrait)
    lowest = min(lengths)
    name = style_name(lowest / MM, hair.typical / MM)
    if covered is None:
        return Choice(name, 0.3, reason="The photo does not show the crown.")
    if _cut_off(parsing, portrait, lengths):
        return Choice(name, 0.45, reason="The photo ends before the hair does.")
    confidence = 0.5 + 0.4 * min((covered - MIN_SCALP_HAIR) / MIN_SCALP_HAIR, 1.0)
    sides_differ = _side_name(lengths[0], hair) != _side_name(lengths[1], hair)
    if sides_differ:
        confidence -= 0.15 if abs(portrait.report.yaw_deg) > TURNED_DEG else 0.3
    return Choice(name, confidence, reason="The sides of the hair differ." if sides_differ else "")


def _side_name(length: float, hair: Hair) -> str:
    """Style of hair that hangs down to ``length``, head units."""
    return style_name(length / MM, hair.typical / MM)


def without_low_hair(portrait: Portrait, parsing: Parsing) -> Parsing:
    """Remove hair below the ends of connected hair from a parsing: dark collars look like it."""
    lowest = min(hair_lengths(parsing, portrait)) - _BELOW_ENDS * MM
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    row = int(np.clip(camera.project([[0.0, lowest, 0.0]])[0][0][1], 0, PARSING_SIDE))
    probabilities = parsing.probabilities.copy()
    probabilities[row:, :, Kind.HAIR] *= 0.01
    return replace(parsing, probabilities=probabilities / probabilities.sum(-1, keepdims=True))


def _cut_off(parsing: Parsing, portrait: Portrait, lengths: tuple[float, float]) -> bool:
    """Whether the photo ends above the ends of hanging hair."""
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    for side, length in zip((-1.0, 1.0), lengths, strict=True):
        if length > HANGS * MM:
            continue
        below = np.array([[side * x * MM, length - 14 * MM, -10 * MM] for x in range(40, 110, 4)])
        uv = camera.project(below)[0].astype(int)
        inside = ((uv >= 0) & (uv < PARSING_SIDE)).all(1)
        u, v = uv[inside].T
        if parsing.valid[v, u].sum() < 5:
            return True
    return False


def hair_lengths(parsing: Parsing, portrait: Portrait) -> tuple[float, float]:
    """Heights of the ends of hair beside the neck on -x and +x, head units; 0 without such hair."""
    hair = _hair_of_head(parsing, portrait)
    beside = np.asarray(np.arange(40.0, 150.0, 4.0) * MM)
    left, right = (
        _end_of_hair(hair, parsing, portrait, side * beside, -10 * MM)[0] for side in (-1.0, 1.0)
    )
    return left, right


def _length_behind(parsing: Parsing, portrait: Portrait) -> tuple[float, bool]:
    """Height of the ends of hair on the neck in a photo from behind, and whether it shows them.

    The height, head units, is 0 without hair there, and the lowest visible one in a photo that ends
    above the ends of the hair.
    """
    hair = _hair_of_head(parsing, portrait)
    across = np.asarray(np.arange(-36.0, 40.0, 4.0) * MM)
    return _end_of_hair(hair, parsing, portrait, across, _NAPE_DEPTH * MM)


def _hair_of_head(parsing: Parsing, portrait: Portrait) -> Mask:
    """(PARSING_SIDE, PARSING_SIDE) mask of hair of the crown's colours, connected to the scalp."""
    hair = (parsing.probabilities[..., Kind.HAIR] > 0.5) & (parsing.region != Region.FACE)
    return _from_the_scalp(hair & _like_the_crown(parsing, portrait), parsing)


def _end_of_hair(
    hair: Mask, parsing: Parsing, portrait: Portrait, x: Array, z: float
) -> tuple[float, bool]:
    """Height of the ends of connected hair, head units, and whether the photo shows these ends.

    Args:
        hair: (PARSING_SIDE, PARSING_SIDE) mask of the head's hair.
        parsing: classes of the photo's pixels.
        portrait: the photo, with its pose.
        x: (k,) places across at which hair is looked for, head units.
        z: depth of these places, head units.

    """
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    lowest, gaps = 0.0, 0
    for y in np.arange(6, -205, -6.0) * MM:
        points = np.stack([x, np.full(len(x), y), np.full(len(x), z)], -1)
        uv = camera.project(points)[0].astype(int)
        inside = ((uv >= 0) & (uv < PARSING_SIDE)).all(1)
        u, v = uv[inside].T
        valid = parsing.valid[v, u]
        if valid.sum() < 5:
            return lowest, False
        if (hair[v, u] & valid).sum() >= 3:
            lowest, gaps = float(y), 0
        else:
            gaps += 1
            if gaps > 2:
                break
    return lowest, True


def _from_the_scalp(hair: Mask, parsing: Parsing) -> Mask:
    """Components of hair that reach the scalp; others may be another person's head."""
    _, components = cv2.connectedComponents(hair.astype(np.uint8), connectivity=4)
    scalp = (parsing.region == Region.SCALP) & hair
    connected = np.unique(components[scalp])
    return np.isin(components, connected) & hair if scalp.sum() > _MIN_PIXELS else hair


def _like_the_crown(parsing: Parsing, portrait: Portrait) -> Mask:
    """(PARSING_SIDE, PARSING_SIDE) mask of pixels with a colour of the hair above the ears."""
    size = (PARSING_SIDE, PARSING_SIDE)
    small = cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA)
    colours = lab(small.reshape(-1, 3) / 255).reshape(*size, 3)
    upper = (parsing.probabilities[..., Kind.HAIR] > 0.6) & parsing.valid
    rows = np.flatnonzero((parsing.region == Region.SCALP).any(1))
    upper[int(rows.max()) if rows.size else 0 :] = False
    if upper.sum() < _MIN_PIXELS:
        return np.ones(size, bool)
    # two colours, because hair under a hat has its own
    labels, centres = clusters(colours[upper] * _LAB_WEIGHTS, 2)
    share = np.bincount(labels, minlength=2) / len(labels)
    are_distinct = np.linalg.norm(centres[0] - centres[1]) > _SECOND_DISTANCE
    kept = share > (_SECOND_SHARE if are_distinct else 0.5)
    distances = np.linalg.norm(colours[..., None, :] * _LAB_WEIGHTS - centres[kept], axis=-1)
    nearest = distances.min(-1)
    return np.asarray(nearest < max(_OTHER_COLOUR, float(np.quantile(nearest[upper], 0.8))))


def length_by_column(
    parsing: Parsing,
    portrait: Portrait,
    columns: int,
    further: Sequence[tuple[Portrait, Parsing]] = (),
) -> Array:
    """(columns,) height of the ends of hair around the head, head units; 0 without hanging hair.

    Args:
        parsing: classes of the portrait's pixels.
        portrait: the portrait, with its pose.
        columns: number of columns, from the back over -x, the face and +x.
        further: further photos, each with its parsing; those from behind show the hair there.

    """
    left, right = hair_lengths(parsing, portrait)
    behind = min(left, right)
    if abs(left - right) > _ASYMMETRY * MM:  # one may be a dark collar, or hidden by the shoulder
        yaw = portrait.report.yaw_deg
        near, far = (right, left) if yaw > 0 else (left, right)
        behind = (left + right) / 2
        if abs(yaw) < TURNED_DEG:
            left = right = behind
        elif far > near:  # the face hides hair that hangs behind it
            left = right = behind = near
    length = _length_in_photos_from_behind(further, behind)
    if length is not None:
        # short hair ends on the nape, and so may hair that hangs beside it
        as_beside = behind < HANGS * MM and length < behind + _AS_BESIDE * MM
        behind = length if length < _NAPE * MM or as_beside else 0.0
    around = (np.arange(columns) + 0.5) / columns  # 0 back, 0.25 -x, 0.5 front
    return np.interp(
        around,
        [0, 0.12, 0.25, 0.5, 0.75, 0.88, 1],
        [behind, behind, left, left, right, behind, behind],
    )


def _length_in_photos_from_behind(
    photos: Sequence[tuple[Portrait, Parsing]], beside: float
) -> float | None:
    """Height of the ends of hair on the neck, head units; None if no photo shows it.

    Args:
        photos: photos, each with its parsing.
        beside: height of the ends of hair beside the neck, head units.

    """
    backs = [
        _length_behind(parsing, photo)
        for photo, parsing in photos
        if abs(photo.camera.yaw_pitch_deg[0]) > _BACK_PHOTO_DEG
    ]
    ends = [length for length, is_shown in backs if is_shown]
    if ends:
        # 0 is no length: one photo may miss the hair that others show
        return float(np.median([length for length in ends if length < 0] or ends))
    # hair that a photo cuts below the nape hangs at least down to there
    cut = [length for length, _ in backs if length < _NAPE * MM]
    return min(*cut, beside) if cut else None
