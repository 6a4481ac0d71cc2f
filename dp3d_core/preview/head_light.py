"""The photo's light on one head: colours are divided by it to be continued, then shown in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.mesh import Mesh
from dp3d_core.preview.completion import PANORAMA
from dp3d_core.preview.light import Light
from dp3d_core.preview.panorama import wrap
from dp3d_core.preview.parts import Part
from dp3d_core.preview.texture import pull_push
from dp3d_core.raycast import Hits
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]
Image = NDArray[np.float32]

_ON_SKIN, _ELSEWHERE = 0.5, 0.2
"""Powers with which the direction of the light shows on skin, and on hair and cloth."""
_DARKEST, _DARKEST_UNLIT = 0.7, 0.9
"""Shade by which colours are evened out at most, to be continued and to be shown: in folds and
below hair it is a guess, and the quotient glows."""

_RELIGHT, _RELIGHT_SOFT = (-1.3, 1.3), 10.0
"""Limits of the logarithm of the ratio of light on both sides, and texels over which it is even."""


@dataclass(frozen=True, eq=False)
class HeadLight:
    """Light at the vertices of a head.

    Attributes:
        mesh: the head.
        shown: (n, 3) light in which colours that continue the photo are shown.
        aimed: (n, 3) the whole factor of its direction in the photo.

    """

    mesh: Mesh
    shown: Array
    aimed: Array

    @classmethod
    def of(cls, mesh: Mesh, light: Light, sky: Array) -> HeadLight:
        """The light of a photo on a head.

        Args:
            mesh: the head.
            light: of the photo.
            sky: (n,) of ``light.sky_light`` at the vertices.

        """
        aimed = light.aimed(mesh.normals)
        return cls(mesh, light.under_sky(sky) * _continued(mesh, aimed), aimed)

    @cached_property
    def evening(self) -> Array:
        """(n, 3) light by which the photo's colours are evened out to be continued."""
        return self._shade_to(_DARKEST)

    @cached_property
    def _unlit_by(self) -> tuple[Array, Array]:
        """Light (n, 3) that colours which continue the photo, and its own skin, are divided by."""
        own = self._shade_to(_DARKEST_UNLIT)
        return own, own * self.aimed / _continued(self.mesh, self.aimed)

    def _shade_to(self, least: float) -> Array:
        return np.asarray(np.maximum(self.shown, least * _continued(self.mesh, self.aimed)))

    def at(self, light: Array, hits: Hits, parts: NDArray[np.uint8]) -> Array:
        """Light (k, 3) at hits with parts (k,), interpolated from that of the vertices (n, 3)."""
        corners = light[self.mesh.faces[hits.face]]
        own = np.einsum("kvc,kv->kc", corners, hits.weights)
        # shade is redder on skin alone, where light goes through
        even = own.mean(1, keepdims=True)
        return np.asarray(np.where((parts == Part.SKIN)[:, None], own, even))

    def unlit(
        self, filled: Array, colours: Array, hits: Hits, parts: NDArray[np.uint8]
    ) -> tuple[Array, Array]:
        """Colours (k, 3) that continue the photo, and the photo's own, under even light.

        Each is divided by what it is lit with, the photo's skin by the whole direction of light.
        """
        by, whole = (self.at(light, hits, parts) for light in self._unlit_by)
        seen = np.where((parts == Part.SKIN)[:, None], whole, by)
        return np.clip(filled / by, 0, 1), np.clip(colours / seen, 0, 1)


def _continued(mesh: Mesh, aimed: Array) -> Array:
    """(n, 3) the part of the aimed light in which what is continued is shown.

    A photo shows how light falls on one half of a face; how it falls on what is not seen, and on
    hair and cloth, is a guess that is better too weak than too strong.
    """
    share = np.where(mesh.parts == Part.SKIN, _ON_SKIN, _ELSEWHERE)
    return np.asarray(aimed ** share[:, None])


def light_over_mirror(hits: Hits, own: Array, other: Array, both: Array) -> Image:
    """(r, c, 3) logarithm of the light of a place over that of its mirror image.

    Measured where the photo shows both, continued smoothly: one half of a face may lie in the
    shade.

    Args:
        hits: k texels of the panorama.
        own: (k, 3) colours there.
        other: (k, 3) colours of the mirror images.
        both: (k,) trust in both.

    """
    ratio = np.log(np.maximum(own, 0.03) / np.maximum(other, 0.03)).clip(*_RELIGHT)
    n = PANORAMA.rows * PANORAMA.columns
    values, weights = np.zeros((n, 3), np.float32), np.zeros(n, np.float32)
    values[hits.ray], weights[hits.ray] = ratio, ramp(both, 0.3, 0.8)
    shape = PANORAMA.rows, PANORAMA.columns
    nothing = np.zeros(3, np.float32)
    smooth = pull_push(values.reshape(*shape, 3), weights.reshape(shape), nothing)
    soft = cv2.GaussianBlur(wrap(smooth, 48), (0, 0), _RELIGHT_SOFT)[:, 48:-48]
    return np.asarray(soft, np.float32)
