"""Completion: each kind of surface continued over the whole panorama from where it is seen.

Colours are those under even light.  Skin goes over into the person's tone, and into the beard
that is seen; hair into its main colour with strands like those that are seen; cloth and headwear
into their main colour with their own texture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.preview.cloth_bands import cloth_bands
from dp3d_core.preview.panorama import Panorama, wrap
from dp3d_core.preview.parts import Part
from dp3d_core.preview.quilting import coherence, quilted
from dp3d_core.preview.strands import (
    StrandStyle,
    cropped,
    gloss,
    strand_noise,
    stubble,
    with_strands,
)
from dp3d_core.preview.texture import by_example, detail_of, pull_push, toward
from dp3d_core.preview.tones import apart, lab, main_colour, mean_colour, skin_in_other_light
from dp3d_core.smoothstep import ramp

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

PANORAMA = Panorama(384, 768)
NO_HAIR = np.array([0.25, 0.2, 0.17])
_NO_CLOTH = np.array([0.19, 0.20, 0.23], np.float32)
"""sRGB of clothes of which nothing is seen."""
_NO_HUE = 0.04
"""Range of the channels of a tone of skin below which a photo has no colours."""
_STRIP = 40.0
"""Texels of the panorama from which on a kind of surface has a colour of its own."""
_MUCH = 30.0
"""Strips that are much of a surface."""
_ONE_STONE = 7.0
"""Lab distance, with little of the lightness, below which hair and skin cannot be told apart."""
_LEAST_HAIR = 0.15
"""Part of the seen hair that is unlike skin, below which hair has the colour of skin."""
_LEAST_CLOTH = 0.1
"""Part of the seen body that is unlike skin, below which clothes have the colour of skin."""
_LITTLE_LIGHT = 0.3
"""Weight of lightness where hair is told from skin."""
SHADE_FREE, _NO_SKIN_FROM = 0.35, (16.0, 26.0)
"""Weight of lightness where shade is no other skin, and distances from its tone between which a
colour is no more continued as skin."""
_CLOTH_FROM_SKIN = (9.0, 18.0)
"""Distance from the tone of skin, Lab with little of the lightness, above which cloth is cloth."""
_CHIN = (-40.0, -80.0)
"""Heights, millimetres, between which the face goes over into the neck."""
_HUE_REACH = 60.0
_REACH = {Part.SKIN: 90.0, Part.HAIR: 150.0, Part.BODY: 40.0, Part.HAT: 40.0}
"""Texels within which the colour beside a gap goes half over into the main colour."""
_CALM = {
    Part.SKIN: np.float32(0.8),
    Part.BODY: np.float32(0.6),
    Part.HAT: np.float32(0.35),
}
"""Contrast of texture laid by example, beside its example's: what is laid is less coherent."""
_EVEN = (Part.SKIN, Part.BODY)
"""Surfaces of which only the even places are examples."""
_GRAIN = {Part.SKIN: 0.012, Part.BODY: 0.02, Part.HAT: 0.02}
_LEAST_COLOUR = 900
"""Texels of seen hair of which fewer do not tell its colour."""
_LEAST_STRANDS = 1500
"""Texels of seen hair of which fewer are no example of hair."""
_COMBED, _COMBED_SHARE, _LEAST_COMBED = (9.0, 22.0), 0.6, 0.5
"""Length of strands, texels, between which hair is combed, and share of the strands of our own that
run through what is laid: patches alone are shorter than hair."""
_HUE_OF_STRANDS, _MOST_STRAND = 0.35, 1.2
"""Share of the variation of hue that is continued, and greatest variation, standard deviations."""
_CONTRAST, _CONTRAST_OF_BRIGHT = 0.17, 0.1
"""Greatest relative standard deviation of the brightness of hair that is black, and how much more
it may be for each part of white: carved curls have deep shade."""
_DARKEST_STRAND = 0.03
"""sRGB below which strands are not told apart."""
_CURLS, _STRANDS, _GRAINS = 8.0, 6.0, 5.0
"""Texels of what is a lock and not the colour of hair: curly, straight and short."""
_BLACK, _STRAIGHT = 0.13, 0.5
"""Brightness of hair below which no direction is told, and coherence from which on it has one."""
_CROPPED, _CROPPED_CURLS, _BUZZ = 14.0, 20.0, 4.0
"""Millimetres of thickness below which straight hair and curls are too short for locks, and any
hair for gloss."""
_BRISTLES, _BRISTLE_CONTRAST = (0.7, 1.6), np.float32(0.10)
"""Size of a beard's bristles, texels across and down, and relative contrast."""


@dataclass(frozen=True, eq=False)
class Completion:
    """What is known of one person beside the photo's own texels.

    Attributes:
        tone: (3,) sRGB of the face's skin.
        neck_tone: (3,) sRGB of the skin below the chin.
        beard: (r, c) how densely a beard grows where it is seen to grow, 0 to 1; None without.
        hair_mm: usual thickness of the hair, millimetres.
        hair_doubted: whether hair of which little is seen may be something else.
        dressed: whether clothes are seen.
        depth: (r, c) distance below the line where clothes begin, millimetres; NaN beside the head.
        height: (r,) of the panorama's rows, millimetres.

    """

    tone: Image
    neck_tone: Image
    beard: Image | None
    hair_mm: float
    hair_doubted: bool
    dressed: bool
    depth: NDArray[np.float64]
    height: NDArray[np.float64]

    def continued(
        self, image: Image, weight: Image, region: Mask, kind: Part, rng: np.random.Generator
    ) -> tuple[Image, Image]:
        """One kind of surface continued from where it is seen.

        Args:
            image: (r, c, 3) colours where they are known.
            weight: (r, c) of what is known of this kind, 0 to 1.
            region: (r, c) where surfaces are of this kind.
            kind: of surface.
            rng: source of chance.

        Returns:
            (r, c, 3) its colours everywhere, and those far from what is seen as :meth:`_far`.

        """
        weight = self._sure(image, weight, kind)
        far = self._far(image, weight, kind)
        sure = weight > 0.7
        smooth = _smooth(image, weight, sure, far, kind)
        if kind is Part.HAIR:
            return self._hair(image, sure, smooth, region, rng), far
        inner = cv2.erode(sure.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        detail = _detail(image, inner, kind, rng)
        if kind is Part.SKIN and self.beard is not None:
            bristles = strand_noise(weight.shape, _BRISTLES, rng)[..., None]
            detail = detail + self.beard[..., None] * bristles * _BRISTLE_CONTRAST * smooth
        limit = np.clip(smooth.mean(-1, keepdims=True), 0.04, 0.4)
        varied = np.clip(smooth + np.clip(detail, -limit, limit), 0, 1.5)
        return np.asarray(varied, np.float32), far

    def _hair(
        self, image: Image, sure: Mask, smooth: Image, region: Mask, rng: np.random.Generator
    ) -> Image:
        """(r, c, 3) hair of the smooth colours with strands like those that are seen."""
        style = cropped(StrandStyle.of(image, sure), self.hair_mm)
        straight = _is_straight(image, sure)
        short = self.hair_mm < (_CROPPED if straight else _CROPPED_CURLS)
        lock = _GRAINS if short else _STRANDS if straight else _CURLS
        laid = _strands_by_example(image, sure, region, lock, short, rng)
        if laid is None:
            style = stubble(smooth[region]) if short and not straight else style
            strands = with_strands(smooth, style, PANORAMA, rng)
        else:
            long = float(ramp(np.array(style.length), *_COMBED)) * _COMBED_SHARE
            if straight and not short:
                long = max(long, _LEAST_COMBED)
                style = replace(style, length=max(style.length, _COMBED[1]))
            combed = StrandStyle(style.contrast * long, style.length, style.sheen * long)
            strands = with_strands(smooth, combed, PANORAMA, rng) * laid
        if straight and self.hair_mm > _BUZZ:
            strands = strands + gloss(smooth, PANORAMA, rng)
        return np.asarray(np.clip(strands, 0, 1.5), np.float32)

    def _sure(self, image: Image, weight: Image, kind: Part) -> Image:
        """(r, c) weight of what surely is of a kind."""
        if kind is Part.SKIN:
            return self._sure_skin(image, weight)
        if kind is Part.BODY:
            return self._unlike_skin(image, weight)
        return self._unlike_skin_beside(image, weight) if kind is Part.HAIR else weight

    def _far(self, image: Image, weight: Image, kind: Part) -> Image:
        """(3,) or (r, c or 1, 3) colour far from what is seen."""
        if kind is Part.SKIN:
            below = ramp(self.height, *_CHIN)[:, None, None].astype(np.float32)
            return self._with_beard(
                np.asarray(self.tone + (self.neck_tone - self.tone) * below, np.float32),
                image,
                weight,
            )
        seen = image[weight > 0.6]
        if kind is Part.HAIR:
            usual = self._usual(NO_HAIR)
            # a few texels may be a wall beside a head whose crown the photo cuts off
            few = self.hair_doubted and len(seen) < _LEAST_COLOUR
            return np.asarray(usual if few else mean_colour(seen, usual), np.float32)
        if kind is Part.BODY and len(seen):
            # shoulders in strong light look like cloth, what lies lower is
            row = np.nonzero(weight > 0.6)[0]
            seen = seen[row >= np.median(row)]
        main = main_colour(seen, self._usual(_NO_CLOTH))
        if kind is Part.BODY:
            return cloth_bands(image, weight, self.depth, PANORAMA, main)
        return np.asarray(main, np.float32)

    def _usual(self, colour: NDArray[np.floating]) -> NDArray[np.floating]:
        """(3,) a usual colour, grey where the photo is."""
        return np.full(3, colour.mean()) if np.ptp(self.tone) < _NO_HUE else colour

    def _sure_skin(self, image: Image, weight: Image) -> Image:
        """(r, c) weight of skin that is fit to be continued: no strands and rims beside it."""
        unlike = apart(image.reshape(-1, 3), self.tone, SHADE_FREE)
        strange = ramp(unlike, *_NO_SKIN_FROM).reshape(weight.shape)
        sure = np.asarray(ramp(weight.astype(np.float64), 0.4, 0.9) * (1 - strange), np.float32)
        return sure if sure.sum() > 0.3 * weight.sum() else weight

    def _with_beard(self, far: Image, image: Image, weight: Image) -> Image:
        """(r, c or 1, 3) the skin's colour far from what is seen, with the beard that is seen."""
        if self.beard is None:
            return far
        seen = (self.beard > 0.7) & (weight > 0.6)
        if seen.sum() < _STRIP:
            return far
        colour = np.median(image[seen], axis=0)
        return np.asarray(far + (colour - far) * self.beard[..., None], np.float32)

    def _unlike_skin(self, image: Image, weight: Image) -> Image:
        """(r, c) weight of clothes without skin beside them, if a strip of them is seen."""
        places, tone = lab(image.reshape(-1, 3)), lab(self.tone[None])[0]
        distance = np.linalg.norm((places - tone) * [0.4, 1, 1], axis=1)
        unlike = ramp(distance, *_CLOTH_FROM_SKIN) * (1 - skin_in_other_light(places, tone))
        cloth = np.asarray(weight * unlike.reshape(weight.shape), np.float32)
        # where much of the body is seen and all of it is like skin, cloth has the colour of skin
        plain = self.dressed or weight.sum() > _MUCH * _STRIP
        few = max(_STRIP, _LEAST_CLOTH * float((weight > 0.6).sum()))
        return weight if plain and (cloth > 0.6).sum() <= few else cloth

    def _unlike_skin_beside(self, image: Image, weight: Image) -> Image:
        """(r, c) weight of hair without the skin that shows between strands and behind ears."""
        main = main_colour(image[weight > 0.6], NO_HAIR)
        if apart(main[None], self.tone, _LITTLE_LIGHT)[0] < _ONE_STONE:
            return weight
        colours = image.reshape(-1, 3)
        to_skin = apart(colours, self.tone, _LITTLE_LIGHT)
        to_hair = apart(colours, main, _LITTLE_LIGHT)
        share = ramp(to_skin / np.maximum(to_skin + to_hair, 1e-6), 0.35, 0.5)
        hair = np.asarray(weight * share.reshape(weight.shape), np.float32)
        return hair if hair.sum() > _LEAST_HAIR * weight.sum() else weight


def _smooth(image: Image, weight: Image, sure: Mask, far: Image, kind: Part) -> Image:
    """(r, c, 3) colours without detail, those that are known continued towards ``far``."""
    if weight.sum() < _STRIP:
        return np.asarray(np.broadcast_to(far, image.shape), np.float32)
    smooth = pull_push(image, weight, far.reshape(-1, 3).mean(0))
    blurred = np.asarray(cv2.GaussianBlur(wrap(smooth, 24), (0, 0), 4), np.float32)[:, 24:-24]
    smooth = np.asarray(blurred + (smooth - blurred) * weight[..., None], np.float32)
    if kind is Part.SKIN:
        # shade is continued farther than hue: a neck lies in the shadow of its chin
        hue = toward(smooth, sure, far, _HUE_REACH)
        grey = smooth.mean(-1, keepdims=True) / np.maximum(hue.mean(-1, keepdims=True), 0.02)
        smooth = np.asarray(hue * np.clip(grey, 0.4, 1.6), np.float32)
    return toward(smooth, sure, far, _REACH[kind])


def _strands_by_example(
    image: Image, sure: Mask, region: Mask, lock: float, short: bool, rng: np.random.Generator
) -> Image | None:
    """(r, c, 3) factors by which hair varies about its smooth colour; None if too little is seen.

    Args:
        image: (r, c, 3) colours where they are known.
        sure: (r, c) where hair is seen.
        region: (r, c) where hair is.
        lock: texels of what is a lock and not the colour of hair.
        short: hair without locks.
        rng: source of chance.

    """
    inner = cv2.erode(sure.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if inner.sum() < _LEAST_STRANDS:
        return None
    shades = np.log(np.maximum(image, _DARKEST_STRAND)).astype(np.float32)
    detail = detail_of(shades, inner, lock)
    # strands differ in light, hardly in hue
    grey = detail.mean(-1, keepdims=True)
    detail = np.asarray(grey + (detail - grey) * _HUE_OF_STRANDS, np.float32)
    laid = quilted(detail, inner, region, PANORAMA, rng, short)
    if laid is None:
        return None
    # a parting, a gap or the background between curls is no strand
    contrast = max(float(detail[inner].mean(-1).std()), 1e-6)
    most = _CONTRAST + _CONTRAST_OF_BRIGHT * float(image[inner].mean())
    limit = _MOST_STRAND * min(contrast, most)
    return np.asarray(np.exp(limit * np.tanh(laid * min(1.0, most / contrast) / limit)), np.float32)


def _is_straight(image: Image, sure: Mask) -> bool:
    """Whether hair that is seen lies in one direction; black hair shows none and shines."""
    if sure.sum() < _LEAST_STRANDS // 3 or float(image[sure].mean()) < _BLACK:
        return True
    shades = np.log(np.maximum(image, _DARKEST_STRAND)).astype(np.float32)
    return coherence(detail_of(shades, sure, _CURLS), sure, PANORAMA) > _STRAIGHT


def _detail(image: Image, inner: Mask, kind: Part, rng: np.random.Generator) -> Image:
    """(r, c, 3) or (r, c, 1) fine variation like that of the texels well within a kind."""
    if inner.sum() < 400:
        return _noise(image.shape, kind, rng)
    detail = detail_of(image, inner)
    size = 40
    if kind in _EVEN:
        # pores and weave, not lids and lips or folds and lapels: only what is smooth
        energy = cv2.GaussianBlur((detail**2).sum(-1), (0, 0), 6)
        inner = inner & (energy < np.quantile(energy[inner], 0.4))
        size = 20
    laid = by_example(_CALM[kind] * detail, inner, rng, size)
    return _noise(image.shape, kind, rng) if laid is None else laid


def _noise(shape: tuple[int, ...], kind: Part, rng: np.random.Generator) -> Image:
    """(r, c, 1) fine variation of a surface of which no texture is seen."""
    width = 1.5 if kind is Part.SKIN else 1.0
    noise = strand_noise((shape[0], shape[1]), (width, width), rng)
    return np.asarray(noise * _GRAIN[kind] * 0.5, np.float32)[..., None]
