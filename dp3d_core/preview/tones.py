"""Main colours: one robust tone of skin, the commonest colour of hair or cloth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_LIKE = 14.0
"""Lab; colours of one skin are nearer to their median."""
_GROUP = 12.0
"""Lab; groups of colours that are nearer count as one colour."""
_LEAST = 50
"""Colours of which fewer say nothing."""


def lab(colours: NDArray[np.floating]) -> Array:
    """(n, 3) sRGB, 0 to 1, to CIE Lab (0 to 100 and about -100 to 100)."""
    if not len(colours):  # OpenCV refuses empty pictures
        return np.zeros((0, 3))
    rgb = np.clip(colours, 0, 1).astype(np.float32).reshape(-1, 1, 3)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[:, 0], np.float64)


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
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    places = lab(known).astype(np.float32)
    _, labels, centres = cv2.kmeans(places, 6, None, stop, 2, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    mass = np.bincount(labels.ravel(), minlength=6)
    # groups of nearly one colour count together
    near = np.linalg.norm(centres[:, None] - centres, axis=2) < _GROUP
    main = near[int((near @ mass).argmax())]
    return np.asarray(known[main[labels.ravel()]].mean(0))
