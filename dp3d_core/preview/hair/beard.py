"""Beards: detected in the photo, or chosen and painted.

A beard of the photo is part of the face's texture.  A chosen one is painted over jaw, chin and
upper lip; a full beard or moustache also lifts the skin there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from dp3d_core.arrays import Array, Mask, smoothstep
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM, MOUTH_HALF, MOUTH_Y
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import Hits
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.choices import Choice
from dp3d_core.preview.photo.face_colours import FaceColours
from dp3d_core.preview.texture.panorama import Panorama, wrap

_STRANDS = Panorama(512, 1024)
"""Grid of the strands' noise."""
_LIFT = {"full": 7.0, "moustache": 4.0, "stubble": 0.0}
"""Offset of the skin under a chosen beard, millimetres."""
_COVER = {"full": 0.96, "moustache": 0.96, "stubble": 0.42}
"""Opacity of a chosen beard."""
_SHADE = 0.75
"""Brightness of a beard relative to the hair of the head: it lies in the shade."""
_DARK = 0.6
"""Lightness relative to cheeks and forehead below which a pixel is hair."""
_SHADED = 0.8
"""Lightness relative to cheeks and forehead below which a pixel is rarely shaded skin."""
_MOUSTACHE = 0.42
"""Dark fraction of the upper lip from which there is a moustache."""
_FULL = 0.35
"""Dark fraction of chin and jaw from which a beard is full."""
_MIN_PIXELS = 40
"""Least number of pixels from which a beard is judged."""
_CONFIDENCE_SLOPE = 1.3
"""Confidence gained per difference of the upper lip's dark fraction from the threshold."""


@lru_cache(maxsize=4)
def beard_density(choice: str = "full") -> Array:
    """(n,) density of a beard at the vertices of any bare head, 0 to 1.

    Args:
        choice: ``full``, ``stubble`` or ``moustache``.

    """
    bare = BareHead.of(np.zeros(0), {})
    x, y, z = (bare.mesh.vertices / MM).T
    x = np.abs(x)
    # from the sideburns in front of the ears down to the jaw and along it
    azimuth = np.degrees(np.arctan2(x, z))
    upper = np.interp(x, [0, 26, 44, 60, 75], [-30, -34, -33, -16, 8])
    jaw = (
        smoothstep(upper - y, -4, 8) * (1 - smoothstep(azimuth, 76, 88)) * smoothstep(y, -104, -88)
    )
    moustache = (
        (1 - smoothstep(x, 25, 34))
        * (1 - smoothstep(y, -28, -23))
        * smoothstep(y, -48, -40)
        * smoothstep(z, 70, 80)
    )
    lips = smoothstep(np.hypot(x / (MOUTH_HALF + 3), (y - MOUTH_Y) / 10.5), 0.85, 1.15)
    # no beard behind the lips, in the cavity of the mouth
    outer = np.maximum(smoothstep(z, 25, 35), smoothstep(x, 30, 34))
    cover = moustache if choice == "moustache" else np.maximum(jaw, moustache)
    face = np.isin(bare.region, (Region.FACE, Region.NECK))
    return np.asarray(cover * lips * outer * face)


def lift_skin(mesh: Mesh, choice: str) -> Mesh:
    """Lift the skin under a chosen beard; the first vertices of ``mesh`` are the bare head's."""
    density = beard_density(choice)
    vertices = mesh.vertices.copy()
    height = _LIFT[choice] * MM * density[:, None]
    vertices[: len(density)] += height * mesh.normals[: len(density)]
    return mesh.with_vertices(vertices)


@dataclass(frozen=True, eq=False)
class BeardEvidence:
    """Darkness of the areas where beards grow.

    Attributes:
        dark: (PARSING_SIDE, PARSING_SIDE) bool, pixels in and around them that are darker than
            skin.
        lip: fraction of the upper lip that is as dark as hair, 0 to 1; None if hardly visible.
        jaw: fraction of chin and jaw that is as dark as hair, 0 to 1.

    """

    dark: Mask
    lip: float | None
    jaw: float

    @classmethod
    def of(cls, face: FaceColours) -> BeardEvidence:
        """Measure the lightness of jaw, chin and upper lip relative to cheeks and forehead."""
        hits = face.hits
        x, y, _ = (hits.points / MM).T
        x = np.abs(x)
        corners = beard_density()[face.bare.mesh.faces[hits.face]]
        density = np.einsum("kv,kv->k", corners, hits.weights)
        zone = face.visible & (density > 0.5)
        lip = zone & (y > MOUTH_Y) & (x < 24)
        chin = zone & (y < -55) & (y > -80) & (x < 24)
        jaw = zone & (x > 30) & (y > -75)
        if face.tone is None or min(lip.sum(), chin.sum()) < _MIN_PIXELS:
            return cls(face.as_image(np.zeros_like(zone)), None, 0.0)
        lightness = face.colours[:, 0] / max(face.tone[0], 1.0)
        fractions = [float((lightness[a] < _DARK).mean()) for a in (chin, jaw) if a.any()]
        # a beard may grow higher on the cheeks than the zone extends
        mouth = np.hypot(x / (MOUTH_HALF + 3), (y - MOUTH_Y) / 10.5) < 1.0
        nose = (x < 18) & (y > -26)
        high = (y < -8) & (y > -95) & ~mouth & ~nose & (lightness < _DARK)
        grown = high | ((density > 0.15) & (lightness < _SHADED))
        dark = face.as_image(face.valid & grown)
        return cls(dark, float((lightness[lip] < _DARK).mean()), float(np.mean(fractions)))

    def choice(self) -> Choice:
        """The photo's beard: ``none``, ``moustache`` or ``full``, with its confidence."""
        if self.lip is None:
            return Choice("none", 0.4, reason="The photo hardly shows jaw and chin.")
        confidence = float(np.clip(0.42 + _CONFIDENCE_SLOPE * abs(self.lip - _MOUSTACHE), 0, 0.9))
        reason = "The upper lip may be hair or shade."
        if self.lip < _MOUSTACHE:
            return Choice("none", confidence, reason=reason)
        name = "full" if self.jaw > _FULL else "moustache"
        return Choice(name, confidence, reason=reason)


class PaintedBeard:
    """A chosen beard, painted over the head's colours.

    Attributes:
        colour: (3,) sRGB of the hair, without the photo's light.

    """

    def __init__(self, choice: str, mesh: Mesh, colour: Array, rng: np.random.Generator) -> None:
        """Prepare opacity and strands.

        Args:
            choice: ``stubble``, ``moustache`` or ``full``.
            mesh: the head; its first vertices are the bare head's.
            colour: (3,) sRGB of the hair, without the photo's light.
            rng: random generator of the strands.

        """
        self.colour = colour
        self._faces = mesh.faces
        self._cover = np.zeros(len(mesh.vertices))
        density = beard_density(choice)
        self._cover[: len(density)] = density * _COVER[choice]
        noise = rng.normal(size=(_STRANDS.rows, _STRANDS.columns)).astype(np.float32)
        long, thin = (5.0, 0.8) if choice != "stubble" else (0.9, 0.9)
        blurred = cv2.GaussianBlur(wrap(noise, 16), (0, 0), sigmaX=thin, sigmaY=long)[:, 16:-16]
        self._strands = np.asarray(blurred / blurred.std(), np.float32)

    def painted(self, colours: Array, hits: Hits, light: Array) -> Array:
        """Paint the beard over the colours of ray hits.

        Args:
            colours: (k, 3) colours without the beard.
            hits: k ray hits.
            light: (k, 3) light at the hits.

        Returns:
            (k, 3) colours with the beard.

        """
        corners = self._cover[self._faces[hits.face]]
        cover = np.einsum("kv,kv->k", corners, hits.weights)
        covered = np.flatnonzero(cover > 0.01)
        strands = _STRANDS.look_up(self._strands, hits.points[covered])[:, 0]
        # the edge dissolves into single strands
        opacity = np.clip(cover[covered] * (1 + 0.35 * strands), 0, 0.98)[:, None]
        hair = self.colour * _SHADE * light[covered] * (1 + 0.12 * strands[:, None])
        painted = colours.copy()
        painted[covered] += (np.clip(hair, 0, 1) - painted[covered]) * opacity
        return painted
