"""The photo's colours on the bare head, beside those of cheeks and forehead."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.parsing import PARSING_SIDE
from dp3d_core.preview.tones import lab, skin_in_other_light
from dp3d_core.raycast import Hits

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FACING = 0.5
"""Cosine between ray and normal below which colours are not compared."""
_LEAST = 100
"""Pixels of cheeks and forehead of which fewer say nothing."""
_BROWS, _TEMPLE = 46.0, 58.0
"""Height above which, and distance from the middle beyond which a fringe may hang, millimetres."""
_MOST_OF_IT = 0.75
"""Part of the seen scalp that must be like skin: its front may be a high forehead."""
_SCALP_LIGHT = np.array([0.5, 1.0, 1.0])
"""Weights of Lab where a scalp is compared with a face: it lies in another light."""
_TOP, _LEAST_TOP, _TOP_HUE, _TOP_SKIN = 95.0, 200, 18.0, 0.6
"""Height of the top of a scalp, millimetres, pixels of it of which fewer say nothing, distance
within which most of it must lie, and part of it that must be skin in some light."""
_DARK, _HUE = 0.82, 12.0
"""Lightness, parts of that of the cheeks, below which, and Lab distance of hue above which a
forehead is covered."""


@dataclass(frozen=True, eq=False)
class FaceColours:
    """Pixels of a photo that show the bare head.

    Attributes:
        bare: the head without hair where the photo has it.
        hits: k pixels of PARSING_SIDE squared that show it.
        places: (k, 3) Lab of the photo there.
        known: (k,) bool, from the photo itself.
        shown: (k,) bool, known and seen well.
        tone: (3,) median Lab of cheeks and forehead; None where too little of them is seen.

    """

    bare: BareHead
    hits: Hits
    places: Array
    known: Mask
    shown: Mask
    tone: Array | None

    @classmethod
    def of(cls, portrait: Portrait, bare: BareHead, known: Mask) -> FaceColours:
        """Colours of a portrait.

        Args:
            portrait: with a pose.
            bare: the head without hair where the photo has it.
            known: (PARSING_SIDE, PARSING_SIDE) pixels that come from the photo.

        """
        side = PARSING_SIDE
        camera = portrait.camera.resized(side, side)
        rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        hits = bare.caster.cast(camera.position, rays)
        small = cv2.resize(portrait.image, (side, side), interpolation=cv2.INTER_AREA)
        places = lab(small.reshape(-1, 3)[hits.ray] / 255)
        facing = -np.einsum("ni,ni->n", hits.normals, hits.directions)
        inside = np.asarray(known.ravel()[hits.ray])
        shown = inside & (facing > _FACING)
        skin = shown & _bare_skin(hits, bare)
        tone = np.median(places[skin], axis=0) if skin.sum() > _LEAST else None
        return cls(bare, hits, places, inside, shown, tone)

    def picture(self, chosen: Mask) -> Mask:
        """(PARSING_SIDE, PARSING_SIDE) picture of some of the hits (k,)."""
        flat = np.zeros(PARSING_SIDE**2, bool)
        flat[self.hits.ray] = chosen
        return flat.reshape(PARSING_SIDE, PARSING_SIDE)


def fringe(face: FaceColours) -> Mask:
    """(PARSING_SIDE, PARSING_SIDE) pixels of forehead, temples and ears that are unlike skin."""
    if face.tone is None:
        return face.picture(np.zeros_like(face.known))
    x, y, _ = (face.hits.points / MM).T
    upper = (y > _BROWS) | ((np.abs(x) > _TEMPLE) & (y > -30))
    dark = face.places[:, 0] < _DARK * face.tone[0]
    other = np.linalg.norm((face.places - face.tone)[:, 1:], axis=1) > _HUE
    covered = face.picture(upper & (dark | other)).astype(np.uint8)
    return np.asarray(cv2.dilate(covered, np.ones((5, 5), np.uint8)) > 0)


def bare_scalp(face: FaceColours) -> bool:
    """Whether the scalp that is seen has the colour of cheeks and forehead, or its top has the hue:
    around it hair may be left.
    """
    scalp = face.known & (face.bare.region_of(face.hits) == Region.SCALP)
    if face.tone is None or scalp.sum() < _LEAST:
        return False
    apart = np.linalg.norm((face.places - face.tone) * _SCALP_LIGHT, axis=1)
    if np.quantile(apart[scalp], _MOST_OF_IT) < _HUE:
        return True
    top = scalp & (face.hits.points[:, 1] > _TOP * MM)
    if top.sum() < _LEAST_TOP or np.quantile(apart[top], _MOST_OF_IT) > _TOP_HUE:
        return False
    return bool((skin_in_other_light(face.places[top], face.tone) > 0.5).mean() > _TOP_SKIN)


def _bare_skin(hits: Hits, bare: BareHead) -> Mask:
    """(k,) hits on cheeks below the eyes and on the lower forehead."""
    x, y, z = (hits.points / MM).T
    x = np.abs(x)
    cheek = (x > 18) & (x < 46) & (y < 2) & (y > -22)
    forehead = (x < 30) & (y > 50) & (y < 64)
    face = np.isin(bare.region_of(hits), (Region.FACE, Region.FOREHEAD))
    return np.asarray((cheek | forehead) & (z > 40) & face)
