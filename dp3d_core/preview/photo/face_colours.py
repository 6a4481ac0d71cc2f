"""Lab colours of the photo on the bare head, compared with the skin of cheeks and forehead.

``hair`` and ``clothing`` ask it whether a scalp is bare and whether a fringe covers the forehead.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dp3d_core.arrays import Array, Mask
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.meshes.raycast import Hits
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.photo.parsing import PARSING_SIDE
from dp3d_core.preview.texture.tones import lab, skin_in_other_light

_MIN_FACING = 0.5
"""Least cosine between normal and ray of a pixel whose colour is compared."""
_MIN_PIXELS = 100
"""Least number of pixels from which a skin tone is measured."""
_BROW_HEIGHT = 46.0
"""Height above which a fringe may hang, millimetres."""
_TEMPLE_X = 58.0
"""Distance from the plane of symmetry beyond which a fringe may hang, millimetres."""
_SCALP_QUANTILE = 0.75
"""Fraction of the visible scalp that must look like skin; its front may be a high forehead."""
_SCALP_WEIGHTS = np.array([0.5, 1.0, 1.0])
"""Weights of L, a, b in the distance of scalp and face, which differ in light."""
_TOP_HEIGHT = 95.0
"""Height above which the scalp is its top, millimetres."""
_MIN_TOP_PIXELS = 200
"""Least number of pixels from which the top of the scalp is judged."""
_TOP_DISTANCE = 18.0
"""Lab distance from the skin tone that most of a bare scalp's top keeps."""
_TOP_SKIN = 0.6
"""Fraction of a bare scalp's top that is skin under some light."""
_DARK = 0.82
"""Lightness relative to cheeks and forehead below which a forehead is covered."""
_SKIN_DISTANCE = 12.0
"""Lab distance from the skin tone above which a forehead, or most of a scalp, is not bare."""


@dataclass(frozen=True, eq=False)
class FaceColours:
    """Colours of the pixels that the bare head covers.

    Attributes:
        bare: the head without hair, in the photo's pose.
        hits: k ray hits, one per covered pixel of the PARSING_SIDE image.
        colours: (k, 3) Lab of the photo at the hits.
        valid: (k,) bool, pixel of the photo itself.
        visible: (k,) bool, valid and facing the camera.
        tone: (3,) median Lab of cheeks and forehead; None if too little of them is visible.

    """

    bare: BareHead
    hits: Hits
    colours: Array
    valid: Mask
    visible: Mask
    tone: Array | None

    @classmethod
    def of(cls, portrait: Portrait, bare: BareHead, valid: Mask) -> FaceColours:
        """Project the photo onto the bare head.

        Args:
            portrait: the photo, with its pose.
            bare: the head without hair, in the photo's pose.
            valid: (PARSING_SIDE, PARSING_SIDE) bool, pixels of the photo itself.

        """
        side = PARSING_SIDE
        camera = portrait.camera.resized(side, side)
        rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        hits = bare.caster.cast(camera.position, rays)
        small = cv2.resize(portrait.image, (side, side), interpolation=cv2.INTER_AREA)
        colours = lab(small.reshape(-1, 3)[hits.ray] / 255)
        facing = -np.einsum("ni,ni->n", hits.normals, hits.directions)
        inside = np.asarray(valid.ravel()[hits.ray])
        visible = inside & (facing > _MIN_FACING)
        skin = visible & _bare_skin(hits, bare)
        tone = np.median(colours[skin], axis=0) if skin.sum() > _MIN_PIXELS else None
        return cls(bare, hits, colours, inside, visible, tone)

    def as_image(self, selected: Mask) -> Mask:
        """(PARSING_SIDE, PARSING_SIDE) mask of the pixels of selected hits (k,)."""
        flat = np.zeros(PARSING_SIDE**2, bool)
        flat[self.hits.ray] = selected
        return flat.reshape(PARSING_SIDE, PARSING_SIDE)


def fringe(face: FaceColours) -> Mask:
    """(PARSING_SIDE, PARSING_SIDE) mask of forehead, temples and ears that are unlike skin."""
    if face.tone is None:
        return face.as_image(np.zeros_like(face.valid))
    x, y, _ = (face.hits.points / MM).T
    upper = (y > _BROW_HEIGHT) | ((np.abs(x) > _TEMPLE_X) & (y > -30))
    dark = face.colours[:, 0] < _DARK * face.tone[0]
    other_hue = np.linalg.norm((face.colours - face.tone)[:, 1:], axis=1) > _SKIN_DISTANCE
    covered = face.as_image(upper & (dark | other_hue)).astype(np.uint8)
    return np.asarray(cv2.dilate(covered, np.ones((5, 5), np.uint8)) > 0)


def bare_scalp(face: FaceColours) -> bool:
    """Whether the visible scalp is bare skin.

    Either most of it has the colour of cheeks and forehead, or its top has their hue while a rim
    of hair is left around it.
    """
    scalp = face.valid & (face.bare.region_of(face.hits) == Region.SCALP)
    if face.tone is None or scalp.sum() < _MIN_PIXELS:
        return False
    distance = np.linalg.norm((face.colours - face.tone) * _SCALP_WEIGHTS, axis=1)
    if np.quantile(distance[scalp], _SCALP_QUANTILE) < _SKIN_DISTANCE:
        return True
    top = scalp & (face.hits.points[:, 1] > _TOP_HEIGHT * MM)
    if top.sum() < _MIN_TOP_PIXELS or np.quantile(distance[top], _SCALP_QUANTILE) > _TOP_DISTANCE:
        return False
    return bool((skin_in_other_light(face.colours[top], face.tone) > 0.5).mean() > _TOP_SKIN)


def _bare_skin(hits: Hits, bare: BareHead) -> Mask:
    """(k,) whether hits lie on the cheeks below the eyes or on the lower forehead."""
    x, y, z = (hits.points / MM).T
    x = np.abs(x)
    cheek = (x > 18) & (x < 46) & (y < 2) & (y > -22)
    forehead = (x < 30) & (y > 50) & (y < 64)
    face = np.isin(bare.region_of(hits), (Region.FACE, Region.FOREHEAD))
    return np.asarray((cheek | forehead) & (z > 40) & face)
