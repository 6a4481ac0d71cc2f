"""Procedural strands of hair where the photo shows none, running down from the crown.

Brightness varies by a sum of noises elongated along the strands, with the contrast measured on
the photo's hair, and a soft highlight where light from above meets combed hair (Kajiya and Kay
1989).  Patches of a photo alone look like leather: hair is recognised by its direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Labels, Mask, smoothstep
from dp3d_core.preview.parts import Part
from dp3d_core.preview.texture.panorama import Panorama, wrap

_MIN_TEXELS = 400
"""Least number of visible texels from which a style is measured."""
_DEFAULT_CONTRAST = 0.12
"""Relative standard deviation of brightness of unseen hair."""
_CONTRAST_LIMITS = (0.06, 0.17)
"""Range of the measured relative standard deviation of brightness."""
_STUBBLE_CONTRAST = 0.13
"""Relative standard deviation of brightness of cropped hair."""
_SHEEN_LATITUDE = 38.0
"""Latitude of the highlight, degrees."""
_SHEEN_WIDTH = 16.0
"""Standard deviation of the highlight in latitude, degrees."""
_MAX_SHEEN = 0.6
"""Greatest relative brightness of the highlight."""
_GLOSS = 0.055
"""Light reflected in the middle of the gloss, sRGB."""
_GLOSS_FADES = (0.12, 0.4)
"""Brightness of hair between which the gloss fades, sRGB."""
_GLOSS_WIDTHS = (12.0, 20.0)
"""Standard deviations of the gloss towards the crown and downwards, degrees."""
_GLOSS_JITTER = 4.0
"""Standard deviation of the gloss's latitude among locks, degrees."""
_EDGE_WIDTH = 8.0
"""Distance from the edge of hair over which single hairs thin out, texels."""
_EDGE_DENSITY = 0.55
"""Density of single hairs right beside the edge."""
_EDGE_GRAIN = (0.55, 2.2)
"""Size of single hairs, texels across and down."""
_OVERHANG = (9.0, 18.0)
"""Step from the hair's surface to the skin between which hair hangs instead of growing there,
millimetres."""
_LONG_MM = 16.0
"""Thickness beyond 2 mm at which hair shows locks and sheen in full, millimetres."""


@dataclass(frozen=True)
class StrandStyle:
    """Variation of hair.

    Attributes:
        contrast: relative standard deviation of brightness.
        length: length of the strands, texels; short for curls.
        sheen: relative brightness of the highlight, 0 for none.

    """

    contrast: float
    length: float
    sheen: float

    @classmethod
    def of(cls, image: Array32, known: Mask) -> StrandStyle:
        """Measure the style on known hair (r, c) of a panorama's image (r, c, 3)."""
        if known.sum() < _MIN_TEXELS:
            return cls(_DEFAULT_CONTRAST, 22.0, 0.25)
        grey = np.log(np.maximum(image.mean(-1), 0.02))
        weight = known.astype(np.float32)
        soft = cv2.GaussianBlur(np.dstack([grey * weight, weight]), (0, 0), 8.0)
        fine = np.where(known, grey - soft[..., 0] / np.maximum(soft[..., 1], 1e-6), 0)
        inner = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if inner.sum() < _MIN_TEXELS // 4:
            inner = known
        down, across = np.gradient(cv2.GaussianBlur(fine.astype(np.float32), (0, 0), 0.8))
        ratio = float((across[inner] ** 2).mean() / max((down[inner] ** 2).mean(), 1e-9))
        levels = np.quantile(image.mean(-1)[known], [0.5, 0.95])
        headroom = _headroom(float(levels[0]))
        sheen = float(np.clip(levels[1] / max(levels[0], 0.03) - 1, 0, 2)) * 0.35
        return cls(
            float(np.clip(fine[inner].std(), *_CONTRAST_LIMITS)) * headroom,
            float(np.clip(10.0 * ratio, 5.0, 34.0)),
            min(sheen, _MAX_SHEEN) * headroom,
        )


def shortened(style: StrandStyle, thickness_mm: float) -> StrandStyle:
    """Reduce locks and sheen of a style to those of hair of a thickness.

    Args:
        style: style measured on the photo.
        thickness_mm: thickness of the hair, millimetres.

    """
    share = float(np.clip((thickness_mm - 2.0) / _LONG_MM, 0, 1))
    return StrandStyle(
        style.contrast * (0.45 + 0.55 * share),
        min(style.length, 2.0 + max(thickness_mm, 0.0) * (0.5 + 0.9 * share)),
        style.sheen * (0.2 + 0.8 * share),
    )


def stubble_style(colours: Array32) -> StrandStyle:
    """Style of cropped hair of which the photo shows too little to measure it.

    Args:
        colours: (n, 3) sRGB of the hair.

    """
    return StrandStyle(_STUBBLE_CONTRAST * _headroom(float(np.median(colours.mean(-1)))), 2.0, 0.0)


def _headroom(brightness: float) -> float:
    """Factor on contrast and sheen by brightness: bright hair has little headroom."""
    return float(np.clip(1.3 - 1.5 * brightness, 0.25, 1.0))


def with_strands(
    colours: Array32, style: StrandStyle, grid: Panorama, rng: np.random.Generator
) -> Array32:
    """(rows, columns, 3) colours of hair with strands and sheen.

    Args:
        colours: (rows, columns, 3) smooth sRGB colours.
        style: contrast, length and sheen of the strands.
        grid: the panorama; strands run down its columns.
        rng: random generator.

    """
    shape = grid.rows, grid.columns
    # strands wander: the noise is sampled with a smooth sideways offset
    offset = (
        strand_noise(shape, (26.0, 40.0), rng) * 5.0 + strand_noise(shape, (9.0, 22.0), rng) * 1.6
    )
    fine = strand_noise(shape, (0.7, style.length), rng)
    lock = strand_noise(shape, (3.0, 1.6 * style.length), rng)
    broad = strand_noise(shape, (10.0, 2.4 * style.length), rng)
    noise = 0.62 * fine + 0.6 * lock + 0.5 * broad
    rows, columns = np.indices(shape).astype(np.float32)
    pad = 16
    strands = cv2.remap(
        wrap(noise, pad), columns + pad + np.clip(offset, -pad, pad), rows, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    latitude = (1 - (np.arange(grid.rows) + 0.5) / grid.dome_rows) * 90.0
    band = np.exp(-0.5 * ((latitude - _SHEEN_LATITUDE) / _SHEEN_WIDTH) ** 2)[:, None]
    lit = style.sheen * band * np.clip(0.75 + 0.5 * strands, 0, 2)
    # gaps between locks are dark, lit strands bright, both within limits
    factor = np.clip(np.exp(style.contrast * strands) * (1 + lit), 0.4, 2.2)[..., None]
    grey = colours.mean(-1, keepdims=True)
    # highlights take on the colour of the light
    highlight = np.clip(factor - 1, 0, 1) * 0.5
    mixed = colours + (grey - colours) * highlight
    return np.asarray(mixed * factor, np.float32)


def gloss(colours: Array32, grid: Panorama, rng: np.random.Generator) -> Array32:
    """(rows, columns, 3) specular reflection of combed dark hair, sRGB, to be added.

    On black hair only the reflection of the cuticle shows strands: half in the colour of the
    light, half in that of the hair (first and third lobe of Marschner et al. 2003).

    Args:
        colours: (rows, columns, 3) sRGB of the hair.
        grid: the panorama; strands run down its columns.
        rng: random generator.

    """
    shape = grid.rows, grid.columns
    # the latitude of the reflection varies among locks
    latitude = (1 - (np.arange(grid.rows) + 0.5) / grid.dome_rows) * 90.0
    ragged = strand_noise((1, grid.columns), (2.5, 0.1), rng) * _GLOSS_JITTER
    offset = latitude[:, None] - _SHEEN_LATITUDE - ragged
    upper, lower = (np.exp(-0.5 * (offset / width) ** 2) for width in _GLOSS_WIDTHS)
    band = np.where(offset > 0, upper, lower)
    strands = strand_noise(shape, (0.7, 24.0), rng) + strand_noise(shape, (2.2, 34.0), rng) * 0.5
    grey = colours.mean(-1)
    light = (
        _GLOSS * band * np.clip(0.6 + 0.35 * strands, 0, 2) * (1 - smoothstep(grey, *_GLOSS_FADES))
    )
    hue = colours / np.maximum(grey, 0.02)[..., None]
    return np.asarray(light[..., None] * (0.5 + 0.5 * np.clip(hue, 0, 2)), np.float32)


def edge_hairs(parts: Labels, radius: Array, rng: np.random.Generator) -> Array32:
    """(rows, columns) opacity of single hairs on the skin beside the edge of hair.

    Args:
        parts: (rows, columns) kind of surface on the panorama.
        radius: (rows, columns) radius of the surface, millimetres.
        rng: random generator.

    """
    pad = 24
    hair = wrap(parts == Part.HAIR, pad)
    distance, nearest = cv2.distanceTransformWithLabels(
        (~hair).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    wrapped_radius = wrap(radius, pad)
    hair_radius = np.zeros(int(nearest.max()) + 1)
    hair_radius[nearest[hair]] = wrapped_radius[hair]
    step = hair_radius[nearest] - wrapped_radius
    grows = 1 - smoothstep(step, *_OVERHANG)
    noise = wrap(strand_noise(parts.shape, _EDGE_GRAIN, rng), pad)
    opacity = np.clip(_EDGE_DENSITY - distance / _EDGE_WIDTH + 0.16 * noise, 0, 1) * grows
    opacity *= wrap(parts == Part.SKIN, pad)
    return np.asarray(cv2.GaussianBlur(opacity.astype(np.float32), (0, 0), 0.6)[:, pad:-pad])


def strand_noise(
    shape: tuple[int, int], sigma: tuple[float, float], rng: np.random.Generator
) -> Array32:
    """(r, c) blurred noise of unit variance, wrapped; ``sigma`` across and down, texels."""
    pad = min(int(3 * sigma[0]) + 2, shape[1])
    rough = wrap(rng.normal(size=shape).astype(np.float32), pad)
    soft = cv2.GaussianBlur(rough, (0, 0), sigmaX=sigma[0], sigmaY=sigma[1])[:, pad:-pad]
    return np.asarray(soft / max(float(soft.std()), 1e-6), np.float32)
