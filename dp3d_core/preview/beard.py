"""Beards: what a photo shows of one, and one that is chosen.

A beard that the photo shows is part of the face's texture.  One that is chosen is painted over
jaw, chin and upper lip, a full one also lifts the skin there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM, MOUTH_HALF, MOUTH_Y
from dp3d_core.mesh import Mesh
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.choices import Choice
from dp3d_core.preview.face_colours import FaceColours
from dp3d_core.preview.panorama import Panorama, wrap
from dp3d_core.raycast import Hits
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_STRANDS = Panorama(512, 1024)
_LIFT = {"full": 7.0, "moustache": 4.0, "stubble": 0.0}
"""Millimetres by which skin is lifted."""
_COVER = {"full": 0.96, "moustache": 0.96, "stubble": 0.42}
"""Opacity."""
_SHADE = 0.75
"""Brightness of a beard, parts of that of the hair on the head: it hangs in the shade."""
_DARK, _SHADED = 0.6, 0.8
"""Lightness, parts of that of cheeks and forehead: hair lies below the first; skin in the shade
does not lie below the second often."""
_GROWN, _FULL = 0.42, 0.35
"""Dark part of the upper lip from which on there is a moustache, and that of chin and jaw from
which on there is more."""
_LEAST = 40
"""Pixels of which fewer say nothing."""
_SLOPE = 1.3
"""Confidence for each part of the upper lip by which it is darker or lighter than that."""


@lru_cache(maxsize=4)
def beard_density(choice: str = "full") -> Array:
    """(n,) 0 to 1 how densely a beard grows at the vertices of any bare head.

    Args:
        choice: ``full``, ``stubble`` or ``moustache``.

    """
    bare = BareHead.of(np.zeros(0), {})
    x, y, z = (bare.mesh.vertices / MM).T
    x = np.abs(x)
    # from the sideburns, before the ears, down to the jaw and along it
    azimuth = np.degrees(np.arctan2(x, z))
    upper = np.interp(x, [0, 26, 44, 60, 75], [-30, -34, -33, -16, 8])
    jaw = ramp(upper - y, -4, 8) * (1 - ramp(azimuth, 76, 88)) * ramp(y, -104, -88)
    moustache = (
        (1 - ramp(x, 25, 34)) * (1 - ramp(y, -28, -23)) * ramp(y, -48, -40) * ramp(z, 70, 80)
    )
    lips = ramp(np.hypot(x / (MOUTH_HALF + 3), (y - MOUTH_Y) / 10.5), 0.85, 1.15)
    # behind the lips is the cavity of the mouth
    outer = np.maximum(ramp(z, 25, 35), ramp(x, 30, 34))
    cover = moustache if choice == "moustache" else np.maximum(jaw, moustache)
    face = np.isin(bare.region, (Region.FACE, Region.NECK))
    return np.asarray(cover * lips * outer * face)


def lifted(mesh: Mesh, choice: str) -> Mesh:
    """A head, bare head first in its vertices, with the skin below a chosen beard lifted."""
    density = beard_density(choice)
    vertices = mesh.vertices.copy()
    height = _LIFT[choice] * MM * density[:, None]
    vertices[: len(density)] += height * mesh.normals[: len(density)]
    return mesh.with_vertices(vertices)


@dataclass(frozen=True, eq=False)
class BeardEvidence:
    """What a photo shows where beards grow.

    Attributes:
        dark: (PARSING_SIDE, PARSING_SIDE) bool, pixels there and beside that are darker than skin.
        lip: part of the upper lip that is as dark as hair, 0 to 1; None where too little is seen.
        jaw: the same of chin and jaw.

    """

    dark: Mask
    lip: float | None
    jaw: float

    @classmethod
    def of(cls, face: FaceColours) -> BeardEvidence:
        """Compare jaw, chin and upper lip with cheeks and forehead."""
        hits, shown = face.hits, face.shown
        x, y, _ = (hits.points / MM).T
        x = np.abs(x)
        corners = beard_density()[face.bare.mesh.faces[hits.face]]
        density = np.einsum("kv,kv->k", corners, hits.weights)
        zone = shown & (density > 0.5)
        lip = zone & (y > MOUTH_Y) & (x < 24)
        chin = zone & (y < -55) & (y > -80) & (x < 24)
        jaw = zone & (x > 30) & (y > -75)
        if face.tone is None or min(lip.sum(), chin.sum()) < _LEAST:
            return cls(face.picture(np.zeros_like(zone)), None, 0.0)
        light = face.places[:, 0] / max(face.tone[0], 1.0)
        shares = [float((light[at] < _DARK).mean()) for at in (chin, jaw) if at.any()]
        # a beard may grow higher on the cheeks than the zone reaches
        mouth = np.hypot(x / (MOUTH_HALF + 3), (y - MOUTH_Y) / 10.5) < 1.0
        nose = (x < 18) & (y > -26)
        high = (y < -8) & (y > -95) & ~mouth & ~nose & (light < _DARK)
        grown = high | ((density > 0.15) & (light < _SHADED))
        dark = face.picture(face.known & grown)
        return cls(dark, float((light[lip] < _DARK).mean()), float(np.mean(shares)))

    def choice(self) -> Choice:
        """What the photo shows: ``none``, ``moustache`` or ``full``."""
        if self.lip is None:
            return Choice("none", 0.4, reason="The photo hardly shows jaw and chin.")
        sure = float(np.clip(0.42 + _SLOPE * abs(self.lip - _GROWN), 0, 0.9))
        reason = "The upper lip may be hair or shade."
        if self.lip < _GROWN:
            return Choice("none", sure, reason=reason)
        name = "full" if self.jaw > _FULL else "moustache"
        return Choice(name, sure, reason=reason)


class PaintedBeard:
    """A beard that was chosen.

    Attributes:
        colour: (3,) sRGB under even light.

    """

    def __init__(self, choice: str, mesh: Mesh, colour: Array, rng: np.random.Generator) -> None:
        """Prepare a beard.

        Args:
            choice: ``stubble``, ``moustache`` or ``full``.
            mesh: the head, its bare head's vertices first.
            colour: (3,) sRGB of its hair.
            rng: of the strands.

        """
        self.colour = colour
        self._faces = mesh.faces
        self._cover = np.zeros(len(mesh.vertices))
        density = beard_density(choice)
        self._cover[: len(density)] = density * _COVER[choice]
        noise = rng.normal(size=(_STRANDS.rows, _STRANDS.columns)).astype(np.float32)
        long, thin = (5.0, 0.8) if choice != "stubble" else (0.9, 0.9)
        soft = cv2.GaussianBlur(wrap(noise, 16), (0, 0), sigmaX=thin, sigmaY=long)[:, 16:-16]
        self._strands = np.asarray(soft / soft.std(), np.float32)

    def painted(self, colours: Array, hits: Hits, light: Array) -> Array:
        """(k, 3) colours of ray hits with the beard over them.

        Args:
            colours: (k, 3) without it.
            hits: the points.
            light: (k, 3) there.

        """
        corners = self._cover[self._faces[hits.face]]
        cover = np.einsum("kv,kv->k", corners, hits.weights)
        grown = np.flatnonzero(cover > 0.01)
        strands = _STRANDS.look_up(self._strands, hits.points[grown])[:, 0]
        # edges are made of single strands
        share = np.clip(cover[grown] * (1 + 0.35 * strands), 0, 0.98)[:, None]
        hair = self.colour * _SHADE * light[grown] * (1 + 0.12 * strands[:, None])
        painted = colours.copy()
        painted[grown] += (np.clip(hair, 0, 1) - painted[grown]) * share
        return painted
