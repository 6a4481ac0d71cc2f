"""Main colours: one robust tone of skin, the commonest colour of hair or cloth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]

_LIKE = 14.0
"""Lab; colours of one skin are nearer to their median."""
_GROUP = 12.0
"""Lab; groups of colours that are nearer count as one colour."""
_COLOURED, _DIM = 12.0, 18.0
"""Chroma of a tone of skin, Lab, above which its hue alone tells it from cloth, and lightness below
which hue says nothing."""
_GREY, _PALER = 6.0, (0.8, 1.1)
"""Chroma of a tone below which it has no hue, and chroma over lightness, parts of a pale tone's,
between which a colour is skin like it."""
_OTHER_HUE, _DARKER = (0.14, 0.30), (0.52, 0.66)
"""Difference of chroma over lightness up to which a colour is skin, and from which it is not; the
same for its lightness, parts of the tone's."""
_MIDDLE = (0.15, 0.85)
"""Quantiles of lightness between which hair shows its colour, beyond are gaps and highlights."""
_SHADED, _NEARER = 0.4, (0.5, 0.62)
"""Weight of lightness, and share of the distance to one's own colour from which on a colour is that
of another surface."""
_PALE = 8.0
"""Chroma, Lab, beside which that of lit hair counts: highlights have that of the sky."""
_LEAST = 50
"""Colours of which fewer say nothing."""


def lab(colours: NDArray[np.floating]) -> Array:
    """(n, 3) sRGB, 0 to 1, to CIE Lab (0 to 100 and about -100 to 100)."""
    if not len(colours):  # OpenCV refuses empty pictures
        return np.zeros((0, 3))
    rgb = np.clip(colours, 0, 1).astype(np.float32).reshape(-1, 1, 3)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[:, 0], np.float64)


def apart(colours: NDArray[np.floating], tone: NDArray[np.floating], light: float) -> Array:
    """(n,) Lab distance of sRGB colours (n, 3) from a tone (3,), lightness counted by ``light``."""
    return np.asarray(np.linalg.norm((lab(colours) - lab(tone[None])) * [light, 1, 1], axis=1))


def clusters(
    places: NDArray[np.floating], count: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Number (n,) of the group of each of n places (n, 3), and the groups' centres (count, 3)."""
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    given = places.astype(np.float32)
    _, labels, centres = cv2.kmeans(given, count, None, stop, 2, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    return labels.ravel(), centres


def skin_tone(colours: Array) -> Array | None:
    """(3,) sRGB tone of a face from colours (n, 3) of nose, cheeks and forehead.

    Glasses, strands, highlights and shade are left out: the mean of what lies near the median,
    without the darkest quarter and the brightest tenth.
    """
    if len(colours) < _LEAST:
        return None
    light = colours.mean(1)
    lit = colours[(light >= np.quantile(light, 0.25)) & (light <= np.quantile(light, 0.9))]
    places = lab(lit)
    apart = np.linalg.norm((places - np.median(places, axis=0)) * [0.6, 1, 1], axis=1)
    near = lit[apart <= max(_LIKE, float(np.quantile(apart, 0.3)))]
    return np.asarray(near.mean(0))


def main_colour(colours: NDArray[np.floating], usual: NDArray[np.floating]) -> Array:
    """(3,) the colour that most of (n, 3) have: a coat's cloth, not its mix with the lapel."""
    known = np.asarray(colours, np.float64)
    if len(known) < _LEAST:
        return np.asarray(known.mean(0) if len(known) > 8 else usual, np.float64)
    labels, centres = clusters(lab(known), 6)
    mass = np.bincount(labels, minlength=6)
    # groups of nearly one colour count together
    near = np.linalg.norm(centres[:, None] - centres, axis=2) < _GROUP
    main = near[int((near @ mass).argmax())]
    return np.asarray(known[main[labels]].mean(0))


def mean_colour(colours: NDArray[np.floating], usual: NDArray[np.floating]) -> Array:
    """(3,) the mean of (n, 3) without their darkest and brightest: hair is no one colour."""
    if len(colours) < _LEAST:
        return main_colour(colours, usual)
    known = np.asarray(colours, np.float64)
    light = known.mean(1)
    low, middle, high = np.quantile(light, [_MIDDLE[0], 0.5, _MIDDLE[1]])
    # in the shade hair has the hue of the shade
    lit = known[(light >= middle) & (light <= high)]
    chroma = np.hypot(*lab(lit)[:, 1:].T)
    hue = np.average(lit, axis=0, weights=chroma + _PALE)
    mean = light[(light >= low) & (light <= high)].mean()
    return np.asarray(hue * (mean / max(float(hue.mean()), 1e-3)))


def skin_in_other_light(places: Array, tone: Array) -> Array:
    """(n,) how surely Lab colours (n, 3) are skin of a tone (3,) in more or less light, 0 to 1.

    Light changes lightness and chroma together, so that their quotient stays.
    """
    chroma = float(np.hypot(*tone[1:]))
    if chroma < _GREY:
        return np.zeros(len(places))
    hue = places[:, 1:] / np.maximum(places[:, :1], _DIM)
    own = tone[1:] / max(float(tone[0]), _DIM)
    alike = 1 - ramp(np.linalg.norm(hue - own, axis=1), *_OTHER_HUE)
    if chroma < _COLOURED:  # white cloth is near to it, too, and has less colour
        alike = alike * ramp(np.linalg.norm(hue, axis=1) / np.linalg.norm(own), *_PALER)
    return np.asarray(alike * ramp(places[:, 0] / tone[0], *_DARKER))


def nearer(
    colours: NDArray[np.floating], own: NDArray[np.floating], other: NDArray[np.floating]
) -> Array:
    """(n,) 1 where colours (n, 3) are those of another surface rather than of their own.

    Args:
        colours: sRGB.
        own: (k, 3) colours of their own surface, most of them rightly so.
        other: (m, 3) colours of the other one.

    """
    if min(len(own), len(other)) < _LEAST:
        return np.zeros(len(colours))
    mains = [main_colour(known, known.mean(0)) for known in (own, other)]
    if apart(mains[0][None], mains[1], _SHADED)[0] < _GROUP:
        return np.zeros(len(colours))
    to_own, to_other = (apart(colours, main, _SHADED) for main in mains)
    return ramp(to_own / np.maximum(to_own + to_other, 1e-6), *_NEARER)
