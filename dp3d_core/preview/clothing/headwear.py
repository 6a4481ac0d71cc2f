"""Headwear: detect it in the photo, and divide the cover of the skull into cloth and hair.

Colour alone does not distinguish a black cap from black hair.  Headwear is detected by its brim
(``brims``), or by hair below it that differs in colour and meets it along a plane around the head.
A colour that hair rarely has, or a less straight rim, only lowers the confidence in hair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dp3d_core.arrays import Array, Mask, Pixels
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh, unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import Choice
from dp3d_core.preview.hair.fit import Hair
from dp3d_core.preview.photo.parsing import PARSING_SIDE, Kind, Parsing
from dp3d_core.preview.texture.tones import lab, main_colour

_CROWN = 85.0
"""Height above which the cover of the skull would be headwear, millimetres."""
_LOWER = 25.0
"""Height below which the cover of the skull would be hair, millimetres."""
_MIN_DISTANCE = 14.0
"""Least Lab distance of headwear from the hair below it."""
_LIKELY_DISTANCE = 20.0
"""Lab distance above which the cover is taken for headwear."""
_LIKELY_AGREEMENT = 0.93
"""Agreement with a plane above which the cover is taken for headwear.  Five rendered heads with
hair below headwear have 0.98 or more."""
_POSSIBLE_AGREEMENT = 0.79
"""Agreement with a plane above which the cover may be headwear.  34 heads without headwear, 15 of
them rendered, have 0.78 or less."""
_MIN_SAMPLES = 40
"""Least number of vertices or pixels from which a colour is measured."""
_HAIR_HUES = (20.0, 105.0)
"""Range of hues of coloured hair, degrees in Lab."""
_MIN_CHROMA = 15.0
"""Chroma, Lab, above which a hue counts."""
_MAX_HAIR_CHROMA = 52.0
"""Greatest chroma of hair, Lab."""
_FOREHEAD = (112.0, 24.0, -2.0)
"""Heights at which the rim of a hat over the forehead is searched: start, stop, step, mm."""
_BROW_DEPTH = 82.0
"""Depth of the forehead, millimetres."""
_NO_COLOUR = np.zeros(3)
"""Default of :func:`main_colour` where there are too few samples."""


@dataclass(frozen=True, eq=False)
class Headwear:
    """Candidate headwear: the part of the shell over the skull that would be cloth.

    Attributes:
        cloth: (n,) bool, vertices of the shell that are headwear; the others are hair below it.
        colour_distance: Lab distance of the crown from the hair below; 0 if none is visible.
        agreement: fraction of visible vertices on the side of the plane that their colour
            predicts, mean of both sides, 0 to 1.
        rim, tilt: height of the dividing plane at the head's axis, millimetres, and its slope
            towards the face.
        has_brim: whether a brim is evidence of headwear.

    """

    cloth: Mask
    colour_distance: float = 0.0
    agreement: float = 0.0
    rim: float = 0.0
    tilt: float = 0.0
    has_brim: bool = False

    @classmethod
    def of(cls, portrait: Portrait, parsing: Parsing, hair: Hair) -> Headwear:
        """Divide a shell by colour into candidate headwear and the hair below it.

        Args:
            portrait: the photo, with its pose.
            parsing: classes of its pixels.
            hair: the shell over the skull.

        """
        points, camera = hair.mesh.vertices, portrait.camera
        _, y, z = (points / MM).T
        facing = np.einsum("ni,ni->n", unit(camera.position - points), hair.mesh.normals) > 0.25
        uv, _ = camera.project(points)
        pixel = np.clip(uv.astype(int), 0, camera.width - 1)
        visible = facing & portrait.inside[pixel[:, 1], pixel[:, 0]]
        visible &= parsing.at(uv, camera.width)[:, Kind.HAIR] > 0.6
        colours = portrait.image[pixel[:, 1], pixel[:, 0]] / 255.0
        lower = (
            visible & (y < _LOWER) & (_distance(colours, _face(portrait, parsing)) > _MIN_DISTANCE)
        )
        upper = visible & (y > _CROWN)
        all_cloth = np.ones(len(points), bool)
        # without a face, the crown may be confused with a shoulder
        if portrait.report.chosen is None or min(upper.sum(), lower.sum()) < _MIN_SAMPLES:
            return cls(all_cloth)
        cloth, strands = (main_colour(colours[part], _NO_COLOUR) for part in (upper, lower))
        distance = float(_distance(cloth[None], strands)[0])
        if distance < _MIN_DISTANCE:
            return cls(all_cloth, distance)
        like_crown = _distance(colours[visible], cloth) < _distance(colours[visible], strands)
        rim, tilt = _rim(y[visible], z[visible], like_crown)
        above = y > rim + tilt * z
        agreement = _agreement(above[visible], like_crown)
        is_cloth = np.asarray(above) if agreement > _POSSIBLE_AGREEMENT else all_cloth
        return cls(is_cloth, distance, agreement, rim, tilt)

    def of_shell(self, shell: Mesh) -> Headwear:
        """Transfer the headwear to another shell around the head."""
        _, y, z = (shell.vertices / MM).T
        divided = self.has_brim or self.agreement > _POSSIBLE_AGREEMENT
        cloth = y > self.rim + self.tilt * z if divided else np.ones(len(y), bool)
        return replace(self, cloth=cloth)

    def over_forehead(self, portrait: Portrait, parsing: Parsing) -> Headwear | None:
        """The headwear that a brim would belong to, its rim on the forehead; None without a rim."""
        levels = np.arange(*_FOREHEAD)
        points = np.array([[0.0, y, _BROW_DEPTH] for y in levels]) * MM
        uv, _ = portrait.camera.project(points)
        hair = parsing.at(uv, portrait.camera.width)[:, Kind.HAIR] > 0.5
        if not hair[0] or hair.all():
            return None
        return replace(self, rim=float(levels[int(np.argmin(hair))]), tilt=0.0, has_brim=False)

    @property
    def likely(self) -> bool:
        """Whether it has a brim, or clearly differs from the hair below it along a straight rim."""
        return self.has_brim or (
            self.colour_distance > _LIKELY_DISTANCE and self.agreement > _LIKELY_AGREEMENT
        )

    @property
    def possible(self) -> bool:
        """Whether it differs from the hair below it along a nearly straight rim."""
        return self.colour_distance > _MIN_DISTANCE and self.agreement > _POSSIBLE_AGREEMENT


def _face(portrait: Portrait, parsing: Parsing) -> Array:
    """(3,) sRGB of the face; pixels below a rim with its colour are ears or neck."""
    face = (parsing.probabilities[..., Kind.SKIN] > 0.9) & (parsing.region == Region.FACE)
    colours = _small(portrait)[face & parsing.valid].astype(np.float64) / 255
    return main_colour(colours, _NO_COLOUR)


def _small(portrait: Portrait) -> Pixels:
    """(PARSING_SIDE, PARSING_SIDE, 3) uint8, the photo at the size of the parsing."""
    size = (PARSING_SIDE, PARSING_SIDE)
    return np.asarray(cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _agreement(above: Mask, cloth: Mask) -> float:
    """Balanced accuracy of a plane: mean of the fractions of cloth above and of hair below it."""
    if cloth.all() or not cloth.any():
        return 0.0
    return float((above[cloth].mean() + (~above[~cloth]).mean()) / 2)


def _distance(colours: Array, other: Array) -> Array:
    """(n,) Lab distance of colours (n, 3) from another (3,), with reduced lightness."""
    difference = (lab(colours) - lab(other[None])) * [0.7, 1, 1]
    return np.asarray(np.linalg.norm(difference, axis=1))


def _rim(y: Array, z: Array, cloth: Mask) -> tuple[float, float]:
    """Height, millimetres, and slope of the plane that best separates cloth from hair."""
    planes = [
        (float((cloth == (y > edge + tilt * z)).mean()), float(edge), tilt)
        for edge in range(-60, 84, 6)
        for tilt in (0.0, 0.25, 0.5)
    ]
    _, edge, tilt = max(planes)
    return edge, tilt


def observed_headwear(portrait: Portrait, parsing: Parsing, headwear: Headwear | None) -> Choice:
    """Whether the photo shows headwear, with its confidence.

    Args:
        portrait: the photo.
        parsing: classes of its pixels.
        headwear: candidate headwear; None for a bald head.

    """
    if headwear is not None and headwear.likely:
        by_plane = 0.6 + 3 * (headwear.agreement - _LIKELY_AGREEMENT)
        confidence = 0.7 if headwear.has_brim else by_plane
        return Choice("worn", float(np.clip(confidence, 0, 0.8)))
    if headwear is not None and headwear.possible:
        return Choice("none", 0.45, reason="The crown differs from the hair below it.")
    if _unlike_hair(portrait, parsing):
        reason = "What covers the crown has a colour that hair rarely has."
        return Choice("none", 0.4, reason=reason)
    return Choice("none", 0.8)


def _unlike_hair(portrait: Portrait, parsing: Parsing) -> bool:
    """Whether the cover above the forehead has a hue or chroma that hair rarely has."""
    covered = (parsing.probabilities[..., Kind.HAIR] > 0.7) & parsing.valid
    rows = np.flatnonzero((parsing.region == Region.FOREHEAD).any(1))
    if rows.size:
        covered[int(rows.min()) :] = False
    if covered.sum() < _MIN_SAMPLES:
        return False
    colours = _small(portrait)[covered].astype(np.float64) / 255
    _, a, b = lab(main_colour(colours, _NO_COLOUR)[None])[0]
    chroma, hue = float(np.hypot(a, b)), float(np.degrees(np.arctan2(b, a)) % 360)
    return chroma > _MAX_HAIR_CHROMA or (
        chroma > _MIN_CHROMA and not _HAIR_HUES[0] < hue < _HAIR_HUES[1]
    )
