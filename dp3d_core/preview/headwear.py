"""Headwear: which part of what covers the skull is cloth, and whether its colour says so.

Colour alone does not tell a black cap from black hair, so headwear is never assumed: it is a
choice, and a colour that hair hardly has is only a reason to ask.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.mesh import unit
from dp3d_core.portrait import Portrait
from dp3d_core.preview.choices import Choice
from dp3d_core.preview.hair import Hair
from dp3d_core.preview.parsing import PARSING_SIDE, Kind, Parsing
from dp3d_core.preview.tones import lab, main_colour

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_CROWN, _LOWER = 70.0, 0.0
"""Heights, millimetres: what is above the first is headwear, what is below the second hair."""
_APART = 14.0
"""Lab; headwear and the hair below it that are nearer in colour are one piece of cloth."""
_LEAST = 60
"""Places of which fewer say nothing."""
_LIKELY = (20.0, 105.0)
"""Hue, degrees of Lab, of hair that has a hue."""
_GREYISH, _VIVID = 15.0, 52.0
"""Chroma below which a hue says nothing, and above which no hair lies."""
_NO_COLOUR = np.zeros(3)


def headwear_vertices(portrait: Portrait, parsing: Parsing, hair: Hair) -> Mask:
    """(n,) the vertices of a shell over the skull that are headwear, the rest hair below it.

    Args:
        portrait: with a pose.
        parsing: of the portrait.
        hair: the shell.

    """
    points, camera = hair.mesh.vertices, portrait.camera
    _, y, z = (points / MM).T
    facing = np.einsum("ni,ni->n", unit(camera.position - points), hair.mesh.normals) > 0.25
    uv, _ = camera.project(points)
    at = np.clip(uv.astype(int), 0, camera.width - 1)
    shown = facing & portrait.inside[at[:, 1], at[:, 0]]
    shown &= parsing.at(uv, camera.width)[:, Kind.HAIR] > 0.6
    colours = portrait.image[at[:, 1], at[:, 0]] / 255.0
    upper, lower = shown & (y > _CROWN), shown & (y < _LOWER)
    everything = np.ones(len(points), bool)
    if min(upper.sum(), lower.sum()) < _LEAST:
        return everything
    cloth, strands = (main_colour(colours[at_], _NO_COLOUR) for at_ in (upper, lower))
    if _distance(cloth[None], strands)[0] < _APART:
        return everything
    nearer = _distance(colours[shown], cloth) < _distance(colours[shown], strands)
    edge, tilt = _rim(y[shown], z[shown], nearer)
    return np.asarray(y > edge + tilt * z)


def _distance(colours: Array, other: Array) -> Array:
    """(n,) Lab distance of colours (n, 3) to one, with little of the lightness."""
    apart = (lab(colours) - lab(other[None])) * [0.7, 1, 1]
    return np.asarray(np.linalg.norm(apart, axis=1))


def _rim(y: Array, z: Array, cloth: Mask) -> tuple[float, float]:
    """Height, millimetres, and slope of the plane that divides cloth from hair best."""
    planes = [
        (float((cloth == (y > edge + tilt * z)).mean()), float(edge), tilt)
        for edge in range(-60, 72, 6)
        for tilt in (0.0, 0.25, 0.5)
    ]
    _, edge, tilt = max(planes)
    return edge, tilt


def seen_headwear(portrait: Portrait, parsing: Parsing) -> Choice:
    """Whether a photo shows headwear: it never says so, but doubts colours that hair hardly has."""
    small = cv2.resize(portrait.image, (PARSING_SIDE, PARSING_SIDE), interpolation=cv2.INTER_AREA)
    covered = (parsing.chances[..., Kind.HAIR] > 0.7) & parsing.known
    rows = np.flatnonzero((parsing.region == Region.FOREHEAD).any(1))
    if rows.size:
        covered[int(rows.min()) :] = False
    if covered.sum() < _LEAST:
        return Choice("none", 0.7)
    _, a, b = lab(main_colour(small[covered].astype(np.float64) / 255, _NO_COLOUR)[None])[0]
    chroma, hue = float(np.hypot(a, b)), float(np.degrees(np.arctan2(b, a)) % 360)
    strange = chroma > _VIVID or (chroma > _GREYISH and not _LIKELY[0] < hue < _LIKELY[1])
    if strange:
        return Choice(
            "none", 0.4, reason="What covers the crown has a colour that hair rarely has."
        )
    return Choice("none", 0.8)
