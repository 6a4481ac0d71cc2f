"""The photo's light at the vertices of a head: removed before completion, applied afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Labels, smoothstep
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import Hits
from dp3d_core.preview.colouring.completion import PANORAMA
from dp3d_core.preview.parts import Part
from dp3d_core.preview.photo.light import Light
from dp3d_core.preview.texture.continuation import pull_push
from dp3d_core.preview.texture.panorama import wrap

_SKIN_POWER = 0.5
"""Exponent of the directional light on completed skin."""
_OTHER_POWER = 0.2
"""Exponent of the directional light on completed hair and cloth."""
_MIN_SHADE = 0.7
"""Least shade that is divided out before completion: in folds and below hair shade is a guess, and
the quotient would glow."""
_MIN_SHADE_UNLIT = 0.9
"""Least shade that is divided out for the head without light."""

_RATIO_LIMITS = (-1.3, 1.3)
"""Range of the log ratio of light on both sides."""
_RATIO_SIGMA = 10.0
"""Blur of that ratio, texels."""


@dataclass(frozen=True, eq=False)
class HeadLight:
    """Light at the vertices of a head.

    Attributes:
        mesh: the head.
        applied: (n, 3) light that completed colours are multiplied by.
        directional: (n, 3) full directional factor of the photo's light.

    """

    mesh: Mesh
    applied: Array
    directional: Array

    @classmethod
    def of(cls, mesh: Mesh, light: Light, sky: Array) -> HeadLight:
        """Evaluate a photo's light at the vertices of a head.

        Args:
            mesh: the head.
            light: light of the photo.
            sky: (n,) ``light.sky_light`` at the vertices.

        """
        directional = light.directional(mesh.normals)
        applied = light.under_sky(sky) * _damped(mesh, directional)
        return cls(mesh, applied, directional)

    @cached_property
    def removed(self) -> Array:
        """(n, 3) light that the photo's colours are divided by before completion."""
        return self._at_least(_MIN_SHADE)

    @cached_property
    def _unlit_by(self) -> tuple[Array, Array]:
        """Light (n, 3) of completed colours, and of the photo's own skin, with least shade."""
        applied = self._at_least(_MIN_SHADE_UNLIT)
        return applied, applied * self.directional / _damped(self.mesh, self.directional)

    def _at_least(self, shade: float) -> Array:
        """(n, 3) applied light, with the sky's factor limited to ``shade`` and above."""
        return np.asarray(np.maximum(self.applied, shade * _damped(self.mesh, self.directional)))

    def at(self, light: Array, hits: Hits, parts: Labels) -> Array:
        """(k, 3) light at hits with parts (k,), interpolated from light at the vertices (n, 3)."""
        corners = light[self.mesh.faces[hits.face]]
        interpolated = np.einsum("kvc,kv->kc", corners, hits.weights)
        # only shade on skin is coloured: light passes through it
        grey = np.flatnonzero(parts != Part.SKIN)
        interpolated[grey] = interpolated[grey].mean(1, keepdims=True)
        return np.asarray(interpolated)

    def unlit(
        self, filled: Array, colours: Array, hits: Hits, parts: Labels
    ) -> tuple[Array, Array]:
        """Remove the light from completed colours (k, 3) and from the photo's colours (k, 3).

        Completed colours are divided by the light that was applied to them, the photo's skin by
        the full directional light.
        """
        applied_there, full = self._unlit_by
        applied = self.at(applied_there, hits, parts)
        photo_light = applied
        if (parts == Part.SKIN).any():
            photo_light = self.at(full, hits, parts)
            others = np.flatnonzero(parts != Part.SKIN)
            photo_light[others] = applied[others]
        return np.clip(filled / applied, 0, 1), np.clip(colours / photo_light, 0, 1)


def _damped(mesh: Mesh, directional: Array) -> Array:
    """(n, 3) directional light for completed surfaces, weaker than the photo's.

    A photo shows how light falls on one half of a face.  On unseen sides, hair and cloth it is a
    guess, which is better too weak than too strong.
    """
    power = np.where(mesh.parts == Part.SKIN, _SKIN_POWER, _OTHER_POWER)
    return np.asarray(directional ** power[:, None])


def light_over_mirror(hits: Hits, own: Array, other: Array, both: Array) -> Array32:
    """(r, c, 3) log ratio of the light of a texel to that of its mirror image.

    Measured where the photo shows both sides and continued smoothly; one half of a face may lie
    in shade.

    Args:
        hits: k ray hits, one per texel of the panorama.
        own: (k, 3) colours of the texels.
        other: (k, 3) colours of their mirror images.
        both: (k,) confidence that both are visible.

    """
    ratio = np.log(np.maximum(own, 0.03) / np.maximum(other, 0.03)).clip(*_RATIO_LIMITS)
    n = PANORAMA.rows * PANORAMA.columns
    values, weights = np.zeros((n, 3), np.float32), np.zeros(n, np.float32)
    values[hits.ray], weights[hits.ray] = ratio, smoothstep(both, 0.3, 0.8)
    shape = PANORAMA.rows, PANORAMA.columns
    no_change = np.zeros(3, np.float32)
    smooth = pull_push(values.reshape(*shape, 3), weights.reshape(shape), no_change)
    soft = cv2.GaussianBlur(wrap(smooth, 48), (0, 0), _RATIO_SIGMA)[:, 48:-48]
    return np.asarray(soft, np.float32)
