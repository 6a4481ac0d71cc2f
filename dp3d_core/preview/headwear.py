"""Headwear: which part of what covers the skull is cloth, and whether the photo says so.

Colour alone does not tell a black cap from black hair.  Headwear is assumed where it has a brim
(``brims``), or where hair hangs below it, differs from it, and both meet along a plane around the
head; a colour that hair hardly has, or a rim that is less straight, only lowers the confidence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.mesh import Mesh, unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import Choice
from dp3d_core.preview.hair import Hair
from dp3d_core.preview.parsing import PARSING_SIDE, Kind, Parsing
from dp3d_core.preview.tones import lab, main_colour

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_CROWN, _LOWER = 85.0, 25.0
"""Heights, millimetres: what is above the first is headwear, what is below the second hair."""
_APART = 14.0
"""Lab; headwear and the hair below it that are nearer in colour are one piece of cloth."""
_SURE_APART, _STRAIGHT, _NEARLY = 20.0, 0.93, 0.79
"""Colour distance and agreement with a plane from which on headwear is assumed, and agreement
from which on hair is doubted.  Of 34 heads without headwear (15 of them drawn) the highest
agreement is 0.78; of five with hair below headwear, all of them drawn, the lowest is 0.98."""
_LEAST = 40
"""Places of which fewer say nothing."""
_LIKELY = (20.0, 105.0)
"""Hue, degrees of Lab, of hair that has a hue."""
_GREYISH, _VIVID = 15.0, 52.0
"""Chroma below which a hue says nothing, and above which no hair lies."""
_FOREHEAD, _BROW_DEPTH = (112.0, 24.0, -2.0), 82.0
"""Heights, millimetres, between which the rim of a hat lies over the forehead, and its depth."""
_NO_COLOUR = np.zeros(3)


@dataclass(frozen=True, eq=False)
class Headwear:
    """What of a shell over the skull would be headwear.

    Attributes:
        cloth: (n,) bool, vertices of the shell that are headwear, the rest hair below it.
        apart: Lab distance between the crown and the hair below it; 0 where none is seen.
        rim, tilt: height, millimetres, of the plane between both at the head's axis, and its slope
            towards the face.
        brimmed: whether a brim says that it is worn.
        agreement: part of what is seen that is divided by one plane as its colours are, the mean
            of both sides, 0 to 1.

    """

    cloth: Mask
    apart: float = 0.0
    agreement: float = 0.0
    rim: float = 0.0
    tilt: float = 0.0
    brimmed: bool = False

    @classmethod
    def of(cls, portrait: Portrait, parsing: Parsing, hair: Hair) -> Headwear:
        """Divide a shell into headwear and the hair below it.

        Args:
            portrait: with a pose.
            parsing: of the portrait.
            hair: the shell.

        """
        points, camera = hair.mesh.vertices, portrait.camera
        _, y, z = (points / MM).T
        facing = np.einsum("ni,ni->n", unit(camera.position - points), hair.mesh.normals) > 0.25
        uv, _ = camera.project(points)
        at = np.clip(uv.astype(int), 0, camera.width - 1)
        shown = facing & portrait.inside[at[:, 1], at[:, 0]]
        shown &= parsing.at(uv, camera.width)[:, Kind.HAIR] > 0.6
        colours = portrait.image[at[:, 1], at[:, 0]] / 255.0
        lower = shown & (y < _LOWER) & (_distance(colours, _face(portrait, parsing)) > _APART)
        upper = shown & (y > _CROWN)
        everything = np.ones(len(points), bool)
        # where no face is found, what looks like a crown may be a shoulder
        if portrait.report.chosen is None or min(upper.sum(), lower.sum()) < _LEAST:
            return cls(everything)
        cloth, strands = (main_colour(colours[part], _NO_COLOUR) for part in (upper, lower))
        apart = float(_distance(cloth[None], strands)[0])
        if apart < _APART:
            return cls(everything, apart)
        nearer = _distance(colours[shown], cloth) < _distance(colours[shown], strands)
        edge, tilt = _rim(y[shown], z[shown], nearer)
        above = y > edge + tilt * z
        agreement = _agreement(above[shown], nearer)
        cloth_of = np.asarray(above) if agreement > _NEARLY else everything
        return cls(cloth_of, apart, agreement, edge, tilt)

    def of_shell(self, shell: Mesh) -> Headwear:
        """The headwear on another shell around the head."""
        _, y, z = (shell.vertices / MM).T
        divided = self.brimmed or self.agreement > _NEARLY
        cloth = y > self.rim + self.tilt * z if divided else np.ones(len(y), bool)
        return replace(self, cloth=cloth)

    def over_forehead(self, portrait: Portrait, parsing: Parsing) -> Headwear | None:
        """The headwear that a brim would belong to: all that lies above the forehead's rim."""
        levels = np.arange(*_FOREHEAD)
        places = np.array([[0.0, y, _BROW_DEPTH] for y in levels]) * MM
        uv, _ = portrait.camera.project(places)
        hair = parsing.at(uv, portrait.camera.width)[:, Kind.HAIR] > 0.5
        if not hair[0] or hair.all():
            return None
        return replace(self, rim=float(levels[int(np.argmin(hair))]), tilt=0.0, brimmed=False)

    @property
    def likely(self) -> bool:
        """Whether it has a brim, or differs from the hair below it along a straight rim."""
        return self.brimmed or (self.apart > _SURE_APART and self.agreement > _STRAIGHT)

    @property
    def possible(self) -> bool:
        """Whether they may be headwear and hair: they differ, the rim is nearly straight."""
        return self.apart > _APART and self.agreement > _NEARLY


def _face(portrait: Portrait, parsing: Parsing) -> Array:
    """(3,) sRGB of the face: what looks like it below a rim is an ear or the neck."""
    face = (parsing.chances[..., Kind.SKIN] > 0.9) & (parsing.region == Region.FACE)
    colours = _small(portrait)[face & parsing.known].astype(np.float64) / 255
    return main_colour(colours, _NO_COLOUR)


def _small(portrait: Portrait) -> NDArray[np.uint8]:
    """(PARSING_SIDE, PARSING_SIDE, 3) the photo as it was parsed."""
    size = (PARSING_SIDE, PARSING_SIDE)
    return np.asarray(cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _agreement(above: Mask, cloth: Mask) -> float:
    """Mean of both sides' parts that lie on their own side."""
    if cloth.all() or not cloth.any():
        return 0.0
    return float((above[cloth].mean() + (~above[~cloth]).mean()) / 2)


def _distance(colours: Array, other: Array) -> Array:
    """(n,) Lab distance of colours (n, 3) to one, with little of the lightness."""
    apart = (lab(colours) - lab(other[None])) * [0.7, 1, 1]
    return np.asarray(np.linalg.norm(apart, axis=1))


def _rim(y: Array, z: Array, cloth: Mask) -> tuple[float, float]:
    """Height, millimetres, and slope of the plane that divides cloth from hair best."""
    planes = [
        (float((cloth == (y > edge + tilt * z)).mean()), float(edge), tilt)
        for edge in range(-60, 84, 6)
        for tilt in (0.0, 0.25, 0.5)
    ]
    _, edge, tilt = max(planes)
    return edge, tilt


def seen_headwear(portrait: Portrait, parsing: Parsing, headwear: Headwear | None) -> Choice:
    """Whether a photo shows headwear.

    Args:
        portrait: the photo.
        parsing: of it.
        headwear: what of the covering of its skull would be headwear; None for a bald head.

    """
    if headwear is not None and headwear.likely:
        sure = 0.7 if headwear.brimmed else 0.6 + 3 * (headwear.agreement - _STRAIGHT)
        return Choice("worn", float(np.clip(sure, 0, 0.8)))
    if headwear is not None and headwear.possible:
        return Choice("none", 0.45, reason="The crown differs from the hair below it.")
    if _strange_colour(portrait, parsing):
        reason = "What covers the crown has a colour that hair rarely has."
        return Choice("none", 0.4, reason=reason)
    return Choice("none", 0.8)


def _strange_colour(portrait: Portrait, parsing: Parsing) -> bool:
    """Whether what lies above the forehead has a hue or a chroma that hair rarely has."""
    covered = (parsing.chances[..., Kind.HAIR] > 0.7) & parsing.known
    rows = np.flatnonzero((parsing.region == Region.FOREHEAD).any(1))
    if rows.size:
        covered[int(rows.min()) :] = False
    if covered.sum() < _LEAST:
        return False
    colours = _small(portrait)[covered].astype(np.float64) / 255
    _, a, b = lab(main_colour(colours, _NO_COLOUR)[None])[0]
    chroma, hue = float(np.hypot(a, b)), float(np.degrees(np.arctan2(b, a)) % 360)
    return chroma > _VIVID or (chroma > _GREYISH and not _LIKELY[0] < hue < _LIKELY[1])
