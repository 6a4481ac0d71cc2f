"""Strands of hair where the photo shows none: locks and strands that run down from the crown.

Patches of a photo laid side by side read as leather; hair is told by its direction.  The
variation is a product of noises that are long along the strands and as strong as what the photo
shows, with a soft sheen where light from above meets combed hair (Kajiya and Kay 1989).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.preview.panorama import Panorama, wrap
from dp3d_core.preview.parts import Part
from dp3d_core.smoothstep import ramp

Image = NDArray[np.float32]
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LEAST = 400
"""Texels of seen hair of which fewer say nothing about its variation."""
_USUAL = 0.12
"""Relative variation of hair of which nothing is seen."""
_LIMITS, _STUBBLE = (0.06, 0.17), 0.13
_SHEEN_AT, _SHEEN_WIDTH = 38.0, 16.0
"""Latitude, degrees, of the band of sheen and its width."""
_MOST_SHEEN = 0.6
_GLOSS, _GLOSS_OF, _GLOSS_WIDTHS, _RAGGED = 0.055, (0.12, 0.4), (12.0, 20.0), 4.0
"""Light reflected in the middle of its band, sRGB, brightness of hair between which it fades,
widths of the band towards the crown and down, and how ragged it is, degrees."""
_DOWN, _DENSE, _DOWN_SIZE = 8.0, 0.55, (0.55, 2.2)
"""Texels within which hair thins out on skin, its density beside the thick hair, and size of single
hairs, texels across and down."""
_STANDS_OFF = (9.0, 18.0)
"""Millimetres of a step from hair to skin between which hair no more grows there but hangs."""
_LONG_MM = 16.0
"""Thickness, beyond 2 mm, from which on hair shows locks and sheen in full."""


@dataclass(frozen=True)
class StrandStyle:
    """How hair varies.

    Attributes:
        contrast: relative standard deviation of its brightness.
        length: of the strands, texels; short ones are curls.
        sheen: how much brighter the band of highlights is, relative.

    """

    contrast: float
    length: float
    sheen: float

    @classmethod
    def of(cls, image: Image, seen: Mask) -> StrandStyle:
        """Measured on the hair that a panorama's picture (r, c, 3) shows (``seen``, (r, c))."""
        if seen.sum() < _LEAST:
            return cls(_USUAL, 22.0, 0.25)
        grey = np.log(np.maximum(image.mean(-1), 0.02))
        weight = seen.astype(np.float32)
        soft = cv2.GaussianBlur(np.dstack([grey * weight, weight]), (0, 0), 8.0)
        fine = np.where(seen, grey - soft[..., 0] / np.maximum(soft[..., 1], 1e-6), 0)
        inner = cv2.erode(seen.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if inner.sum() < _LEAST // 4:
            inner = seen
        down, across = np.gradient(cv2.GaussianBlur(fine.astype(np.float32), (0, 0), 0.8))
        ratio = float((across[inner] ** 2).mean() / max((down[inner] ** 2).mean(), 1e-9))
        levels = np.quantile(image.mean(-1)[seen], [0.5, 0.95])
        dark = _room(float(levels[0]))
        sheen = float(np.clip(levels[1] / max(levels[0], 0.03) - 1, 0, 2)) * 0.35
        return cls(
            float(np.clip(fine[inner].std(), *_LIMITS)) * dark,
            float(np.clip(10.0 * ratio, 5.0, 34.0)),
            min(sheen, _MOST_SHEEN) * dark,
        )


def cropped(style: StrandStyle, thickness_mm: float) -> StrandStyle:
    """The style of hair that stands off the head by so many millimetres: short hair has no locks.

    Args:
        style: measured where the hair is seen.
        thickness_mm: of the hair.

    """
    share = float(np.clip((thickness_mm - 2.0) / _LONG_MM, 0, 1))
    return StrandStyle(
        style.contrast * (0.45 + 0.55 * share),
        min(style.length, 2.0 + max(thickness_mm, 0.0) * (0.5 + 0.9 * share)),
        style.sheen * (0.2 + 0.8 * share),
    )


def stubble(colours: Image) -> StrandStyle:
    """The style of cropped hair of which too little is seen to be continued.

    Args:
        colours: (n, 3) sRGB of the hair.

    """
    return StrandStyle(_STUBBLE * _room(float(np.median(colours.mean(-1)))), 2.0, 0.0)


def _room(brightness: float) -> float:
    """Part of the usual contrast that hair has: bright hair hardly has room for highlights."""
    return float(np.clip(1.3 - 1.5 * brightness, 0.25, 1.0))


def with_strands(
    colours: Image, style: StrandStyle, grid: Panorama, rng: np.random.Generator
) -> Image:
    """(rows, columns, 3) smooth colours of hair with strands and sheen.

    Args:
        colours: (rows, columns, 3) sRGB.
        style: how the hair varies.
        grid: of the panorama; strands run along its rows.
        rng: source of chance.

    """
    shape = grid.rows, grid.columns
    # strands wander: the noise is looked up a little aside
    bend = (
        strand_noise(shape, (26.0, 40.0), rng) * 5.0 + strand_noise(shape, (9.0, 22.0), rng) * 1.6
    )
    fine = strand_noise(shape, (0.7, style.length), rng)
    lock = strand_noise(shape, (3.0, 1.6 * style.length), rng)
    broad = strand_noise(shape, (10.0, 2.4 * style.length), rng)
    noise = 0.62 * fine + 0.6 * lock + 0.5 * broad
    rows, columns = np.indices(shape).astype(np.float32)
    pad = 16
    moved = cv2.remap(
        wrap(noise, pad), columns + pad + np.clip(bend, -pad, pad), rows, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    latitude = (1 - (np.arange(grid.rows) + 0.5) / grid.dome_rows) * 90.0
    band = np.exp(-0.5 * ((latitude - _SHEEN_AT) / _SHEEN_WIDTH) ** 2)[:, None]
    lit = style.sheen * band * np.clip(0.75 + 0.5 * moved, 0, 2)
    # deep between the locks it is dark, and the ends lie in the shade of the rest
    field = np.clip(np.exp(style.contrast * moved) * (1 + lit), 0.4, 2.2)[..., None]
    grey = colours.mean(-1, keepdims=True)
    # what is brighter than the hair is the light's colour more than the hair's
    white = np.clip(field - 1, 0, 1) * 0.5
    mixed = colours + (grey - colours) * white
    return np.asarray(mixed * field, np.float32)


def gloss(colours: Image, grid: Panorama, rng: np.random.Generator) -> Image:
    """(rows, columns, 3) light that combed hair reflects beside its own colour, sRGB.

    Black hair has no strands but these: what shines is the cuticle, half in the light's colour
    and half in the hair's (the first and the third lobe of Marschner et al. 2003).

    Args:
        colours: (rows, columns, 3) of the hair, sRGB.
        grid: of the panorama; strands run along its rows.
        rng: source of chance.

    """
    shape = grid.rows, grid.columns
    # the band is ragged, each lock has its own
    latitude = (1 - (np.arange(grid.rows) + 0.5) / grid.dome_rows) * 90.0
    ragged = strand_noise((1, grid.columns), (2.5, 0.1), rng) * _RAGGED
    offset = latitude[:, None] - _SHEEN_AT - ragged
    upper, lower = (np.exp(-0.5 * (offset / width) ** 2) for width in _GLOSS_WIDTHS)
    band = np.where(offset > 0, upper, lower)
    strands = strand_noise(shape, (0.7, 24.0), rng) + strand_noise(shape, (2.2, 34.0), rng) * 0.5
    grey = colours.mean(-1)
    light = _GLOSS * band * np.clip(0.6 + 0.35 * strands, 0, 2) * (1 - ramp(grey, *_GLOSS_OF))
    hue = colours / np.maximum(grey, 0.02)[..., None]
    return np.asarray(light[..., None] * (0.5 + 0.5 * np.clip(hue, 0, 2)), np.float32)


def down_at_edge(parts: NDArray[np.uint8], radius: Array, rng: np.random.Generator) -> Image:
    """(rows, columns) share of hair on skin beside hair: single hairs grow beyond its thick edge.

    Args:
        parts: (rows, columns) kinds of surface of a panorama.
        radius: (rows, columns) of the surface, millimetres.
        rng: source of chance.

    """
    pad = 24
    hair = wrap(parts == Part.HAIR, pad)
    distance, nearest = cv2.distanceTransformWithLabels(
        (~hair).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    around = wrap(radius, pad)
    of_label = np.zeros(int(nearest.max()) + 1)
    of_label[nearest[hair]] = around[hair]
    step = of_label[nearest] - around
    close = 1 - ramp(step, *_STANDS_OFF)
    noise = wrap(strand_noise(parts.shape, _DOWN_SIZE, rng), pad)
    share = np.clip(_DENSE - distance / _DOWN + 0.16 * noise, 0, 1) * close
    share *= wrap(parts == Part.SKIN, pad)
    return np.asarray(cv2.GaussianBlur(share.astype(np.float32), (0, 0), 0.6)[:, pad:-pad])


def strand_noise(
    shape: tuple[int, int], sigma: tuple[float, float], rng: np.random.Generator
) -> Image:
    """(r, c) noise of unit variance that wraps around; ``sigma`` across and down, texels."""
    pad = min(int(3 * sigma[0]) + 2, shape[1])
    rough = wrap(rng.normal(size=shape).astype(np.float32), pad)
    soft = cv2.GaussianBlur(rough, (0, 0), sigmaX=sigma[0], sigmaY=sigma[1])[:, pad:-pad]
    return np.asarray(soft / max(float(soft.std()), 1e-6), np.float32)
