"""The shell of a fitted head, hair and headwear: its colours and its height over the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array, smoothstep
from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import MM
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.preview.hair.outline_marks import GRID, SHELL
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.texture.tones import lab_distance

HAIR_ROUGHNESS = 0.62
"""Roughness of hair, on the shell and painted on skin."""
_LIGHTNESS = 0.7
"""Weight of lightness where colours of hair and skin are compared."""
_NEARER_HAIR = (-14.0, 6.0)
"""Differences of the Lab distances to skin and to hair between which hair begins."""


@dataclass(frozen=True, eq=False)
class Shell:
    """What is known of the vertices of a head's hair and headwear.

    Attributes:
        photographed: (SHELL, 3) colours with the photo's light, 0 to 1; 1 where no triangle uses
            a vertex.
        delit: (SHELL, 3) colours under even light.
        height_mm: (SHELL,) height over the skin below, millimetres.

    """

    photographed: Array
    delit: Array
    height_mm: Array

    @classmethod
    def of(cls, head: PreviewHead) -> Shell | None:
        """The shell of a fitted head; None if it has none."""
        first = len(bust().rest)
        if len(head.mesh.vertices) < first + SHELL:
            return None
        looks = np.ones((SHELL, 3)), np.ones((SHELL, 3))
        triangles = np.flatnonzero((head.mesh.faces >= first).all(1))
        corners = head.mesh.faces[triangles] - first
        for corner in range(3):
            inside = corners[:, corner] < SHELL
            weights = np.zeros((int(inside.sum()), 3))
            weights[:, corner] = 1.0
            for look, own in zip(
                looks, head.surface_looks(triangles[inside], weights), strict=True
            ):
                look[corners[inside, corner]] = own
        return cls(*looks, _height_over_skin(head))


def likeness_to_hair(head: PreviewHead, colours: Array) -> Array:
    """(n,) 0 for colours (n, 3) under even light that are like the skin, 1 like the hair."""
    tone = head.appearance.projection.skin_tone
    if tone is None:
        return np.ones(len(colours))
    to_skin = lab_distance(colours, np.asarray(tone), _LIGHTNESS)
    to_hair = lab_distance(colours, np.asarray(head.appearance.hair_colour), _LIGHTNESS)
    return smoothstep(to_skin - to_hair, *_NEARER_HAIR)


def _height_over_skin(head: PreviewHead) -> Array:
    """(SHELL,) height of the shell over the skin below it, millimetres."""
    first = len(bust().rest)
    faces = head.mesh.faces[(head.mesh.faces < first).all(1)]
    skin = RayCaster(type(head.mesh).of(head.mesh.vertices[:first], faces, head.mesh.parts[:first]))
    hits = skin.cast(*GRID.inward_rays())
    radius = np.zeros(GRID.rows * GRID.columns)
    radius[hits.ray] = GRID.radius(hits.points)
    grid = head.mesh.vertices[first : first + SHELL - 1]
    height = (GRID.radius(grid) - radius) / MM
    return np.append(height, height[: GRID.columns].mean())
