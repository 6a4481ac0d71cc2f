"""Complete each kind of surface over the whole panorama, from the texels that the photo shows.

All colours are without the photo's light.  Skin fades to the person's skin tone and beard; hair to
its mean colour, with strands like those of the photo; cloth and headwear to their main colour,
with their own texture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Array, Array32, Mask, smoothstep
from dp3d_core.preview.clothing.bands import cloth_bands
from dp3d_core.preview.parts import Part
from dp3d_core.preview.texture.continuation import detail_of, fade_to, pull_push, texture_by_example
from dp3d_core.preview.texture.panorama import Panorama, wrap
from dp3d_core.preview.texture.quilting import coherence, quilt
from dp3d_core.preview.texture.strands import (
    StrandStyle,
    gloss,
    shortened,
    strand_noise,
    stubble_style,
    with_strands,
)
from dp3d_core.preview.texture.tones import (
    lab,
    lab_distance,
    main_colour,
    mean_colour,
    skin_in_other_light,
)

PANORAMA = Panorama(384, 768)
"""Grid of the head's colours."""
DEFAULT_HAIR = np.array([0.25, 0.2, 0.17])
"""sRGB of hair that the photo does not show."""
_DEFAULT_CLOTH = np.array([0.19, 0.20, 0.23], np.float32)
"""sRGB of clothes that the photo does not show."""
_NO_HUE = 0.04
"""Range of the channels of a skin tone below which a photo has no colours."""
_MIN_TEXELS = 40.0
"""Least number of known texels from which a surface has a colour of its own."""
_MANY = 30.0
"""Multiple of ``_MIN_TEXELS`` from which much of a surface is visible."""
_HAIR_LIKE_SKIN = 7.0
"""Lab distance, with reduced lightness, below which hair and skin cannot be separated."""
_MIN_HAIR = 0.15
"""Fraction of known hair unlike skin below which hair itself has the colour of skin."""
_MIN_CLOTH = 0.1
"""Fraction of the known body unlike skin below which clothes themselves have the colour of skin."""
_HAIR_LIGHTNESS = 0.3
"""Weight of lightness in the separation of hair from skin."""
SKIN_LIGHTNESS = 0.35
"""Weight of lightness in the distance from the skin tone, small enough to tolerate shade."""
_OTHER_SKIN = (16.0, 26.0)
"""Lab distances from the skin tone between which a colour ceases to be continued as skin."""
_CLOTH_FROM_SKIN = (9.0, 18.0)
"""Lab distances from the skin tone, with reduced lightness, between which colours become cloth."""
_CHIN = (-40.0, -80.0)
"""Heights between which the skin tone changes from the face's to the neck's, millimetres."""
_HUE_HALF_LIFE = 60.0
"""Distance at which the hue of skin is halfway to the skin tone, texels."""
_HALF_LIFE = {Part.SKIN: 90.0, Part.HAIR: 150.0, Part.BODY: 40.0, Part.HAT: 40.0}
"""Distance at which the colour beside a gap is halfway to the main colour, texels."""
_DETAIL_CONTRAST = {
    Part.SKIN: np.float32(0.8),
    Part.BODY: np.float32(0.6),
    Part.HAT: np.float32(0.35),
}
"""Contrast of synthesised detail relative to its example, which is more coherent."""
_FROM_SMOOTH = (Part.SKIN, Part.BODY)
"""Surfaces whose detail is taken only from smooth areas."""
_GRAIN = {Part.SKIN: 0.012, Part.BODY: 0.02, Part.HAT: 0.02}
"""Contrast of noise on surfaces without a known texture, sRGB."""
_MIN_COLOUR_TEXELS = 900
"""Least number of known texels from which the colour of doubtful hair is measured."""
_MIN_STRAND_TEXELS = 1500
"""Least number of known texels from which hair is quilted."""
_COMBED = (9.0, 22.0)
"""Lengths of strands, texels, between which hair becomes combed."""
_COMBED_SHARE = 0.6
"""Contrast of procedural strands over quilted combed hair: patches are shorter than hair."""
_MIN_COMBED_SHARE = 0.5
"""Least contrast of procedural strands over quilted straight hair."""
_STRAND_HUE = 0.35
"""Factor on the variation of hue among strands."""
_MAX_STRAND = 1.2
"""Greatest variation among strands, standard deviations."""
_MAX_CONTRAST = 0.17
"""Greatest relative standard deviation of brightness of black hair."""
_BRIGHT_CONTRAST = 0.1
"""Increase of that limit per brightness: carved curls have deep shade."""
_DARKEST_STRAND = 0.03
"""Floor of hair colours before their logarithm is taken, sRGB."""
_CURL_SIGMA = 8.0
"""Blur that separates curls from the colour of hair, texels."""
_STRAND_SIGMA = 6.0
"""Blur that separates straight strands from the colour of hair, texels."""
_SHORT_SIGMA = 5.0
"""Blur that separates cropped hairs from the colour of hair, texels."""
_BLACK = 0.13
"""Brightness below which hair shows no direction and counts as straight."""
_STRAIGHT = 0.5
"""Coherence above which hair is straight."""
_CROPPED_MM = 14.0
"""Thickness below which straight hair has no locks, millimetres."""
_CROPPED_CURLS_MM = 20.0
"""Thickness below which curls have no locks, millimetres."""
_BUZZ_MM = 4.0
"""Thickness below which hair has no gloss, millimetres."""
_BRISTLES = (0.7, 1.6)
"""Size of a beard's bristles, texels across and down."""
_BRISTLE_CONTRAST = np.float32(0.10)
"""Relative contrast of a beard's bristles."""


@dataclass(frozen=True, eq=False)
class Completion:
    """Completion for one person.

    Attributes:
        tone: (3,) sRGB of the face's skin.
        neck_tone: (3,) sRGB of the skin below the chin.
        beard: (r, c) density of the photo's beard, 0 to 1; None without a beard.
        hair_mm: typical thickness of the hair, millimetres.
        hair_doubtful: whether a small amount of visible hair may be something else.
        dressed: whether clothes are visible.
        depth: (r, c) distance below the neckline, millimetres; NaN beside the head.
        height: (r,) height of the panorama's rows, millimetres.

    """

    tone: Array32
    neck_tone: Array32
    beard: Array32 | None
    hair_mm: float
    hair_doubtful: bool
    dressed: bool
    depth: Array
    height: Array

    def complete(
        self, image: Array32, weight: Array32, region: Mask, kind: Part, rng: np.random.Generator
    ) -> tuple[Array32, Array32]:
        """Complete one kind of surface.

        Args:
            image: (r, c, 3) colours of known texels.
            weight: (r, c) weight of texels known to be of this kind, 0 to 1.
            region: (r, c) bool, texels of this kind.
            kind: the kind of surface.
            rng: random generator.

        Returns:
            Colours of this kind (r, c, 3) everywhere, and its colour far from known texels.

        """
        weight = self._reliable(image, weight, kind)
        far = self._far(image, weight, kind)
        known = weight > 0.7
        smooth = _smooth(image, weight, known, far, kind)
        if kind is Part.HAIR:
            return self._hair(image, known, smooth, region, rng), far
        core = cv2.erode(known.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        detail = _detail(image, core, kind, rng)
        if kind is Part.SKIN and self.beard is not None:
            bristles = strand_noise(weight.shape, _BRISTLES, rng)[..., None]
            detail = detail + self.beard[..., None] * bristles * _BRISTLE_CONTRAST * smooth
        limit = np.clip(smooth.mean(-1, keepdims=True), 0.04, 0.4)
        colours = np.clip(smooth + np.clip(detail, -limit, limit), 0, 1.5)
        return np.asarray(colours, np.float32), far

    def _hair(
        self, image: Array32, known: Mask, smooth: Array32, region: Mask, rng: np.random.Generator
    ) -> Array32:
        """(r, c, 3) smooth colours with strands like those of known hair."""
        style = shortened(StrandStyle.of(image, known), self.hair_mm)
        straight = _is_straight(image, known)
        short = self.hair_mm < (_CROPPED_MM if straight else _CROPPED_CURLS_MM)
        sigma = _SHORT_SIGMA if short else _STRAND_SIGMA if straight else _CURL_SIGMA
        factors = _strands_by_example(image, known, region, sigma, short, rng)
        if factors is None:
            style = stubble_style(smooth[region]) if short and not straight else style
            strands = with_strands(smooth, style, PANORAMA, rng)
        else:
            combed_share = float(smoothstep(np.array(style.length), *_COMBED)) * _COMBED_SHARE
            if straight and not short:
                combed_share = max(combed_share, _MIN_COMBED_SHARE)
                style = replace(style, length=max(style.length, _COMBED[1]))
            combed = StrandStyle(
                style.contrast * combed_share, style.length, style.sheen * combed_share
            )
            strands = with_strands(smooth, combed, PANORAMA, rng) * factors
        if straight and self.hair_mm > _BUZZ_MM:
            strands = strands + gloss(smooth, PANORAMA, rng)
        return np.asarray(np.clip(strands, 0, 1.5), np.float32)

    def _reliable(self, image: Array32, weight: Array32, kind: Part) -> Array32:
        """(r, c) weight of texels that are reliably of a kind."""
        if kind is Part.SKIN:
            return self._reliable_skin(image, weight)
        if kind is Part.BODY:
            return self._unlike_skin(image, weight)
        return self._unlike_skin_beside(image, weight) if kind is Part.HAIR else weight

    def _far(self, image: Array32, weight: Array32, kind: Part) -> Array32:
        """(3,) or (r, c or 1, 3) colour far from known texels."""
        if kind is Part.SKIN:
            below = smoothstep(self.height, *_CHIN)[:, None, None].astype(np.float32)
            return self._with_beard(
                np.asarray(self.tone + (self.neck_tone - self.tone) * below, np.float32),
                image,
                weight,
            )
        known = image[weight > 0.6]
        if kind is Part.HAIR:
            default = self._default(DEFAULT_HAIR)
            # few texels may be a wall beside a head whose crown the photo cuts off
            too_few = self.hair_doubtful and len(known) < _MIN_COLOUR_TEXELS
            return np.asarray(default if too_few else mean_colour(known, default), np.float32)
        if kind is Part.BODY and len(known):
            # the lower half only: bare shoulders in strong light resemble cloth
            row = np.nonzero(weight > 0.6)[0]
            known = known[row >= np.median(row)]
        main = main_colour(known, self._default(_DEFAULT_CLOTH))
        if kind is Part.BODY:
            return cloth_bands(image, weight, self.depth, PANORAMA, main)
        return np.asarray(main, np.float32)

    def _default(self, colour: NDArray[np.floating]) -> NDArray[np.floating]:
        """(3,) default colour; grey in a photo without colours."""
        return np.full(3, colour.mean()) if np.ptp(self.tone) < _NO_HUE else colour

    def _reliable_skin(self, image: Array32, weight: Array32) -> Array32:
        """(r, c) weight of skin without strands and rims beside it, whose hue differs."""
        distance = lab_distance(image.reshape(-1, 3), self.tone, SKIN_LIGHTNESS)
        other = smoothstep(distance, *_OTHER_SKIN).reshape(weight.shape)
        reliable = np.asarray(
            smoothstep(weight.astype(np.float64), 0.4, 0.9) * (1 - other), np.float32
        )
        return reliable if reliable.sum() > 0.3 * weight.sum() else weight

    def _with_beard(self, far: Array32, image: Array32, weight: Array32) -> Array32:
        """(r, c or 1, 3) colour of skin far from known texels, with the colour of the beard."""
        if self.beard is None:
            return far
        known = (self.beard > 0.7) & (weight > 0.6)
        if known.sum() < _MIN_TEXELS:
            return far
        colour = np.median(image[known], axis=0)
        return np.asarray(far + (colour - far) * self.beard[..., None], np.float32)

    def _unlike_skin(self, image: Array32, weight: Array32) -> Array32:
        """(r, c) weight of clothes without skin beside them, if enough clothes are known."""
        colours, tone = lab(image.reshape(-1, 3)), lab(self.tone[None])[0]
        distance = np.linalg.norm((colours - tone) * [0.4, 1, 1], axis=1)
        cloth_likeness = smoothstep(distance, *_CLOTH_FROM_SKIN) * (
            1 - skin_in_other_light(colours, tone)
        )
        cloth = np.asarray(weight * cloth_likeness.reshape(weight.shape), np.float32)
        # if much of the body is known and all of it is like skin, clothes have that colour
        skin_coloured = self.dressed or weight.sum() > _MANY * _MIN_TEXELS
        threshold = max(_MIN_TEXELS, _MIN_CLOTH * float((weight > 0.6).sum()))
        return weight if skin_coloured and (cloth > 0.6).sum() <= threshold else cloth

    def _unlike_skin_beside(self, image: Array32, weight: Array32) -> Array32:
        """(r, c) weight of hair without the skin between strands and behind ears."""
        main = main_colour(image[weight > 0.6], DEFAULT_HAIR)
        if lab_distance(main[None], self.tone, _HAIR_LIGHTNESS)[0] < _HAIR_LIKE_SKIN:
            return weight
        colours = image.reshape(-1, 3)
        to_skin = lab_distance(colours, self.tone, _HAIR_LIGHTNESS)
        to_hair = lab_distance(colours, main, _HAIR_LIGHTNESS)
        share = smoothstep(to_skin / np.maximum(to_skin + to_hair, 1e-6), 0.35, 0.5)
        hair = np.asarray(weight * share.reshape(weight.shape), np.float32)
        return hair if hair.sum() > _MIN_HAIR * weight.sum() else weight


def _smooth(image: Array32, weight: Array32, known: Mask, far: Array32, kind: Part) -> Array32:
    """(r, c, 3) smooth continuation of known colours, fading to ``far``."""
    if weight.sum() < _MIN_TEXELS:
        return np.asarray(np.broadcast_to(far, image.shape), np.float32)
    smooth = pull_push(image, weight, far.reshape(-1, 3).mean(0))
    blurred = np.asarray(cv2.GaussianBlur(wrap(smooth, 24), (0, 0), 4), np.float32)[:, 24:-24]
    smooth = np.asarray(blurred + (smooth - blurred) * weight[..., None], np.float32)
    if kind is Part.SKIN:
        # shade extends farther than hue: a neck lies in the shadow of its chin
        hue = fade_to(smooth, known, far, _HUE_HALF_LIFE)
        shade = smooth.mean(-1, keepdims=True) / np.maximum(hue.mean(-1, keepdims=True), 0.02)
        smooth = np.asarray(hue * np.clip(shade, 0.4, 1.6), np.float32)
    return fade_to(smooth, known, far, _HALF_LIFE[kind])


def _strands_by_example(
    image: Array32, known: Mask, region: Mask, sigma: float, short: bool, rng: np.random.Generator
) -> Array32 | None:
    """(r, c, 3) quilted factors on the smooth colour of hair; None if too little hair is known.

    Args:
        image: (r, c, 3) colours of known texels.
        known: (r, c) bool, known hair.
        region: (r, c) bool, texels with hair.
        sigma: blur that separates strands from the colour of hair, texels.
        short: whether hair is too short for locks.
        rng: random generator.

    """
    core = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if core.sum() < _MIN_STRAND_TEXELS:
        return None
    shades = np.log(np.maximum(image, _DARKEST_STRAND)).astype(np.float32)
    detail = detail_of(shades, core, sigma)
    # strands differ in brightness, hardly in hue
    grey = detail.mean(-1, keepdims=True)
    detail = np.asarray(grey + (detail - grey) * _STRAND_HUE, np.float32)
    quilted = quilt(detail, core, region, PANORAMA, rng, short)
    if quilted is None:
        return None
    # extremes are a parting, a gap, or the background between curls
    contrast = max(float(detail[core].mean(-1).std()), 1e-6)
    max_contrast = _MAX_CONTRAST + _BRIGHT_CONTRAST * float(image[core].mean())
    limit = _MAX_STRAND * min(contrast, max_contrast)
    return np.asarray(
        np.exp(limit * np.tanh(quilted * min(1.0, max_contrast / contrast) / limit)), np.float32
    )


def _is_straight(image: Array32, known: Mask) -> bool:
    """Whether known hair runs in one direction; black hair shows none and counts as straight."""
    if known.sum() < _MIN_STRAND_TEXELS // 3 or float(image[known].mean()) < _BLACK:
        return True
    shades = np.log(np.maximum(image, _DARKEST_STRAND)).astype(np.float32)
    return coherence(detail_of(shades, known, _CURL_SIGMA), known, PANORAMA) > _STRAIGHT


def _detail(image: Array32, core: Mask, kind: Part, rng: np.random.Generator) -> Array32:
    """(r, c, 3) or (r, c, 1) detail like that of the inner texels of a kind."""
    if core.sum() < 400:
        return _noise(image.shape, kind, rng)
    detail = detail_of(image, core)
    size = 40
    if kind in _FROM_SMOOTH:
        # smooth areas only: pores and weave, not lids and lips or folds and lapels
        energy = cv2.GaussianBlur((detail**2).sum(-1), (0, 0), 6)
        core = core & (energy < np.quantile(energy[core], 0.4))
        size = 20
    synthesised = texture_by_example(_DETAIL_CONTRAST[kind] * detail, core, rng, size)
    return _noise(image.shape, kind, rng) if synthesised is None else synthesised


def _noise(shape: tuple[int, ...], kind: Part, rng: np.random.Generator) -> Array32:
    """(r, c, 1) noise as detail of a surface without a known texture."""
    width = 1.5 if kind is Part.SKIN else 1.0
    noise = strand_noise((shape[0], shape[1]), (width, width), rng)
    return np.asarray(noise * _GRAIN[kind] * 0.5, np.float32)[..., None]
