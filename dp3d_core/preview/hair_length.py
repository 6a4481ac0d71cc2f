"""How long hair is in a photo: bald, how far down it hangs, and how sure that is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import Choice
from dp3d_core.preview.hairstyle import HANGS, style_name
from dp3d_core.preview.parsing import PARSING_SIDE, Kind, Parsing
from dp3d_core.preview.tones import clusters, lab

if TYPE_CHECKING:
    from dp3d_core.preview.hair import Hair

Array = NDArray[np.float64]

TURNED_DEG = 15.0
"""Yaw from which on the far side is taken from the near one."""
_BALD = 0.33
"""Chance of hair over the seen scalp below which a head is bald."""
_DIFFER = 40.0
"""Millimetres by which the sides differ."""
_COLOUR, _OTHER, _LEAST = np.array([0.6, 1.0, 1.0]), 25.0, 60
"""Weights of Lab, distance from the main colour above the ears from which on it is not that of the
hair, and pixels of it of which fewer say nothing."""
_SECOND, _OTHER_COLOUR = 0.1, 30.0
"""Part of the covering above the ears that a second colour must have to be the hair's, and by how
much it must differ from the first."""
_BELOW_ENDS = 10.0
"""Millimetres below the ends of the hair from which on nothing is taken for hair."""


def is_bald(parsing: Parsing) -> bool:
    """Whether the scalp that the photo shows is bare."""
    return parsing.scalp_hair is not None and parsing.scalp_hair < _BALD


def seen_hair(portrait: Portrait, parsing: Parsing, hair: Hair | None) -> Choice:
    """What a photo shows of the hair's length.

    Args:
        portrait: with a pose.
        parsing: of the portrait.
        hair: as ``hair.grow_hair`` grew it from the photo; None for a bald head.

    """
    covered = parsing.scalp_hair
    if hair is None:
        return Choice("bald", max(0.4, 0.5 + 0.4 * (_BALD - (covered or 0.0)) / _BALD))
    lengths = hair_lengths(parsing, portrait)
    lowest = min(lengths)
    name = style_name(lowest / MM, hair.usual / MM)
    if covered is None:
        return Choice(name, 0.3, reason="The photo does not show the crown.")
    if _cut_off(parsing, portrait, lengths):
        return Choice(name, 0.45, reason="The photo ends before the hair does.")
    sure = 0.5 + 0.4 * min((covered - _BALD) / _BALD, 1.0)
    sides_differ = _side_name(lengths[0], hair) != _side_name(lengths[1], hair)
    if sides_differ:
        sure -= 0.15 if abs(portrait.report.yaw_deg) > TURNED_DEG else 0.3
    return Choice(name, sure, reason="The sides of the hair differ." if sides_differ else "")


def _side_name(length: float, hair: Hair) -> str:
    """Name of the style that hair down to ``length``, head units, has."""
    return style_name(length / MM, hair.usual / MM)


def without_low_hair(portrait: Portrait, parsing: Parsing) -> Parsing:
    """A parsing without hair below the ends of what hangs together: dark collars look like it."""
    lowest = min(hair_lengths(parsing, portrait)) - _BELOW_ENDS * MM
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    row = int(np.clip(camera.project([[0.0, lowest, 0.0]])[0][0][1], 0, PARSING_SIDE))
    chances = parsing.chances.copy()
    chances[row:, :, Kind.HAIR] *= 0.01
    return replace(parsing, chances=chances / chances.sum(-1, keepdims=True))


def _cut_off(parsing: Parsing, portrait: Portrait, lengths: tuple[float, float]) -> bool:
    """Whether the photo ends where hair that hangs still goes on."""
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    for side, length in zip((-1.0, 1.0), lengths, strict=True):
        if length > HANGS * MM:
            continue
        below = np.array([[side * x * MM, length - 14 * MM, -10 * MM] for x in range(40, 110, 4)])
        uv = camera.project(below)[0].astype(int)
        shown = ((uv >= 0) & (uv < PARSING_SIDE)).all(1)
        u, v = uv[shown].T
        if parsing.known[v, u].sum() < 5:
            return True
    return False


def hair_lengths(parsing: Parsing, portrait: Portrait) -> tuple[float, float]:
    """Heights, head units, down to which hair hangs beside the neck on -x and +x; 0 where none
    does.
    """
    camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
    levels = np.arange(6, -205, -6.0) * MM
    hair = (parsing.chances[..., Kind.HAIR] > 0.5) & (parsing.region != Region.FACE)
    hair &= _like_the_crown(parsing, portrait)
    hair = _from_the_scalp(hair, parsing)
    ends: list[float] = []
    for side in (-1.0, 1.0):
        lowest, gaps = 0.0, 0
        for y in levels:
            points = np.array([[side * x * MM, y, -10 * MM] for x in range(40, 150, 4)])
            uv = camera.project(points)[0].astype(int)
            good = ((uv >= 0) & (uv < PARSING_SIDE)).all(1)
            u, v = uv[good].T
            shown = parsing.known[v, u]
            if shown.sum() < 5:
                break
            if (hair[v, u] & shown).sum() >= 3:
                lowest, gaps = float(y), 0
            else:
                gaps += 1
                if gaps > 2:
                    break
        ends.append(lowest)
    return ends[0], ends[1]


def _from_the_scalp(hair: NDArray[np.bool_], parsing: Parsing) -> NDArray[np.bool_]:
    """Hair without what hangs together with none on the scalp: another person's head, say."""
    _, pieces = cv2.connectedComponents(hair.astype(np.uint8), connectivity=4)
    scalp = (parsing.region == Region.SCALP) & hair
    own = np.unique(pieces[scalp])
    return np.isin(pieces, own) & hair if scalp.sum() > _LEAST else hair


def _like_the_crown(parsing: Parsing, portrait: Portrait) -> NDArray[np.bool_]:
    """(PARSING_SIDE, PARSING_SIDE) pixels whose colour the hair above the ears may have."""
    size = (PARSING_SIDE, PARSING_SIDE)
    small = cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA)
    places = lab(small.reshape(-1, 3) / 255).reshape(*size, 3)
    upper = (parsing.chances[..., Kind.HAIR] > 0.6) & parsing.known
    rows = np.flatnonzero((parsing.region == Region.SCALP).any(1))
    upper[int(rows.max()) if rows.size else 0 :] = False
    if upper.sum() < _LEAST:
        return np.ones(size, bool)
    # two colours: below a hat hair has its own
    labels, centres = clusters(places[upper] * _COLOUR, 2)
    share = np.bincount(labels, minlength=2) / len(labels)
    kept = share > (_SECOND if np.linalg.norm(centres[0] - centres[1]) > _OTHER_COLOUR else 0.5)
    distances = np.linalg.norm(places[..., None, :] * _COLOUR - centres[kept], axis=-1)
    apart = distances.min(-1)
    return np.asarray(apart < max(_OTHER, float(np.quantile(apart[upper], 0.8))))


def length_by_column(parsing: Parsing, portrait: Portrait, columns: int) -> Array:
    """(columns,) height, head units, down to which hair hangs; 0 where it does not."""
    left, right = hair_lengths(parsing, portrait)
    behind = min(left, right)
    if abs(left - right) > _DIFFER * MM:  # one may be a dark collar, or lie behind the shoulder
        yaw = portrait.report.yaw_deg
        near, far = (right, left) if yaw > 0 else (left, right)
        behind = (left + right) / 2
        if abs(yaw) < TURNED_DEG:
            left = right = behind
        elif far > near:  # a face hides what hangs behind it
            left = right = behind = near
    across = (np.arange(columns) + 0.5) / columns  # 0 back, 0.25 -x, 0.5 front
    return np.interp(
        across,
        [0, 0.12, 0.25, 0.5, 0.75, 0.88, 1],
        [behind, behind, left, left, right, behind, behind],
    )
