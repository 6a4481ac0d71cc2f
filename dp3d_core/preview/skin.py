"""The colours of a face: what tells skin from hair and cloth beside it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.fields import ramp

Array = NDArray[np.float64]

_SAME_HUE = 18.0
"""Lab; colours of one skin differ less in hue and chroma."""
_LEAST_OF_FACE = 0.10
"""A colour that covers less of forehead, cheeks and chin is none of skin, shade or beard."""


@dataclass(frozen=True)
class SkinTones:
    """The colours of forehead, cheeks and chin: skin in light and shade, a beard."""

    centres: Array
    """(k, 3) CIE Lab, the commonest first."""

    @classmethod
    def of(cls, colours: Array) -> SkinTones | None:
        """The tones among colours (n, 3) of a face, sRGB 0 to 1; None of fewer than 50."""
        if len(colours) < 50:
            return None
        labels, centres = colour_groups(colours, 8)
        mass = np.bincount(labels, minlength=len(centres)) / len(colours)
        order = np.argsort(-mass)[: int((mass > _LEAST_OF_FACE).sum())]
        return cls(centres[order])

    def bare(self, colours: Array) -> Array:
        """(n,) 1 for colours of skin in light or shade; brows, beard or a brim do not count."""
        hue = np.linalg.norm(self.centres[:, 1:] - self.centres[0, 1:], axis=1)
        skin = SkinTones(self.centres[hue < _SAME_HUE])
        return skin.likeness(colours, light=0.25)

    def likeness(self, colours: Array, light: float = 0.5) -> Array:
        """(n,) 1 for colours (n, 3) like these, 0 for others.

        Light falls off towards the side of a face: lightness counts less (``light``) than hue.
        """
        return 1 - ramp(self.distance(colours, light), 8.0, 16.0)

    def distance(self, colours: Array, light: float) -> Array:
        """(n,) Lab distance to the nearest of these, lightness weighed by ``light``."""
        places = lab(colours)
        weights = np.array([light, 1.0, 1.0])
        apart = (places[:, None] - self.centres) * weights
        return np.asarray(np.sqrt(np.einsum("nki,nki->nk", apart, apart).min(1)))


def colour_groups(colours: Array, count: int) -> tuple[NDArray[np.int32], Array]:
    """(n,) group of each of n colours, sRGB 0 to 1, and (count, 3) Lab centres (k-means)."""
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    places = lab(colours).astype(np.float32)
    _, labels, centres = cv2.kmeans(places, count, None, stop, 2, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    return labels.ravel(), centres.astype(np.float64)


def lab(colours: Array) -> Array:
    """(n, 3) sRGB, 0 to 1, to CIE Lab (0 to 100 and about -100 to 100)."""
    if not len(colours):  # OpenCV refuses empty pictures
        return np.zeros((0, 3))
    rgb = np.clip(colours, 0, 1).astype(np.float32).reshape(-1, 1, 3)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[:, 0], np.float64)
