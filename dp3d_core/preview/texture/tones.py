"""Robust colours of a surface: skin tone, main colour of cloth, mean colour of hair."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Array, Array32, Indices32, smoothstep

_SKIN_DISTANCE = 14.0
"""Distance from the median within which colours are of one skin, Lab."""
_GROUP_DISTANCE = 12.0
"""Distance below which two clusters of colours count as one colour, Lab."""
_COLOURED = 12.0
"""Chroma of a skin tone, Lab, above which its hue alone separates it from cloth."""
_MIN_LIGHTNESS = 18.0
"""Floor of lightness, Lab, before chroma is divided by it."""
_GREY = 6.0
"""Chroma of a skin tone, Lab, below which it has no hue."""
_PALER = (0.8, 1.1)
"""Saturations, relative to a pale skin tone's, between which a colour begins to be skin."""
_OTHER_HUE = (0.14, 0.30)
"""Differences of saturation and hue, chroma over lightness, between which a colour ceases to be
skin."""
_DARKER = (0.52, 0.66)
"""Lightness, relative to the skin tone's, between which a colour begins to be skin."""
_MIDDLE = (0.15, 0.85)
"""Quantiles of lightness between gaps in the hair and highlights."""
_LIGHTNESS_WEIGHT = 0.4
"""Weight of lightness in the comparison of two surfaces."""
_OTHER_SURFACE = (0.5, 0.62)
"""Relative distances from the own main colour between which a colour becomes another surface's."""
_PALE = 8.0
"""Chroma, Lab, added to the weights of lit hair: highlights have the chroma of the sky."""
_MIN_COLOURS = 50
"""Least number of colours from which a surface's colour is measured."""


def lab(colours: NDArray[np.floating]) -> Array:
    """(n, 3) CIE Lab (L 0 to 100, a and b about -100 to 100) of sRGB colours (n, 3), 0 to 1."""
    if not len(colours):  # OpenCV refuses empty pictures
        return np.zeros((0, 3))
    rgb = np.clip(colours, 0, 1).astype(np.float32).reshape(-1, 1, 3)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[:, 0], np.float64)


def lab_distance(colours: NDArray[np.floating], tone: NDArray[np.floating], light: float) -> Array:
    """(n,) Lab distance of sRGB colours (n, 3) from a tone (3,); ``light`` weighs lightness."""
    return np.asarray(np.linalg.norm((lab(colours) - lab(tone[None])) * [light, 1, 1], axis=1))


def clusters(colours: NDArray[np.floating], count: int) -> tuple[Indices32, Array32]:
    """k-means: label (n,) of each of n colours (n, 3), and cluster centres (count, 3)."""
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    samples = colours.astype(np.float32)
    _, labels, centres = cv2.kmeans(samples, count, None, stop, 2, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    return labels.ravel(), centres


def skin_tone(colours: Array) -> Array | None:
    """(3,) sRGB skin tone from colours (n, 3) of nose, cheeks and forehead; None if too few.

    The mean of the colours near the median, without the darkest quarter and the brightest tenth:
    glasses, strands, highlights and shade do not count.
    """
    if len(colours) < _MIN_COLOURS:
        return None
    light = colours.mean(1)
    lit = colours[(light >= np.quantile(light, 0.25)) & (light <= np.quantile(light, 0.9))]
    lit_lab = lab(lit)
    distance = np.linalg.norm((lit_lab - np.median(lit_lab, axis=0)) * [0.6, 1, 1], axis=1)
    near = lit[distance <= max(_SKIN_DISTANCE, float(np.quantile(distance, 0.3)))]
    return np.asarray(near.mean(0))


def main_colour(colours: NDArray[np.floating], default: NDArray[np.floating]) -> Array:
    """(3,) commonest of colours (n, 3): a coat's cloth, not its mean with the lapel."""
    known = np.asarray(colours, np.float64)
    if len(known) < _MIN_COLOURS:
        return np.asarray(known.mean(0) if len(known) > 8 else default, np.float64)
    labels, centres = clusters(lab(known), 6)
    mass = np.bincount(labels, minlength=6)
    # clusters of nearly one colour count together
    alike = np.linalg.norm(centres[:, None] - centres, axis=2) < _GROUP_DISTANCE
    main = alike[int((alike @ mass).argmax())]
    return np.asarray(known[main[labels]].mean(0))


def mean_colour(colours: NDArray[np.floating], default: NDArray[np.floating]) -> Array:
    """(3,) mean of hair colours (n, 3) without gaps and highlights; hair has no single colour."""
    if len(colours) < _MIN_COLOURS:
        return main_colour(colours, default)
    known = np.asarray(colours, np.float64)
    light = known.mean(1)
    low, middle, high = np.quantile(light, [_MIDDLE[0], 0.5, _MIDDLE[1]])
    # hue from the brighter half: in the shade hair takes on the hue of the shade
    lit = known[(light >= middle) & (light <= high)]
    chroma = np.hypot(*lab(lit)[:, 1:].T)
    hue = np.average(lit, axis=0, weights=chroma + _PALE)
    mean = light[(light >= low) & (light <= high)].mean()
    return np.asarray(hue * (mean / max(float(hue.mean()), 1e-3)))


def skin_in_other_light(colours: Array, tone: Array) -> Array:
    """(n,) likeness of Lab colours (n, 3) to a skin tone (3,) under more or less light, 0 to 1.

    Light scales lightness and chroma together, so their quotient is compared.
    """
    chroma = float(np.hypot(*tone[1:]))
    if chroma < _GREY:
        return np.zeros(len(colours))
    saturation = colours[:, 1:] / np.maximum(colours[:, :1], _MIN_LIGHTNESS)
    own_saturation = tone[1:] / max(float(tone[0]), _MIN_LIGHTNESS)
    likeness = 1 - smoothstep(np.linalg.norm(saturation - own_saturation, axis=1), *_OTHER_HUE)
    if chroma < _COLOURED:  # white cloth is similar, but less saturated
        likeness = likeness * smoothstep(
            np.linalg.norm(saturation, axis=1) / np.linalg.norm(own_saturation), *_PALER
        )
    return np.asarray(likeness * smoothstep(colours[:, 0] / tone[0], *_DARKER))


def other_surface(
    colours: NDArray[np.floating], own: NDArray[np.floating], other: NDArray[np.floating]
) -> Array:
    """(n,) 1 where colours belong to another surface rather than to their own, else 0.

    Args:
        colours: (n, 3) sRGB.
        own: (k, 3) colours of their own surface, most of them correct.
        other: (m, 3) colours of the other surface.

    """
    if min(len(own), len(other)) < _MIN_COLOURS:
        return np.zeros(len(colours))
    mains = [main_colour(known, known.mean(0)) for known in (own, other)]
    if lab_distance(mains[0][None], mains[1], _LIGHTNESS_WEIGHT)[0] < _GROUP_DISTANCE:
        return np.zeros(len(colours))
    to_own, to_other = (lab_distance(colours, main, _LIGHTNESS_WEIGHT) for main in mains)
    return smoothstep(to_own / np.maximum(to_own + to_other, 1e-6), *_OTHER_SURFACE)
