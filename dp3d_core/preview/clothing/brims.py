"""Brims of hats: a thin ring around the crown of a hat, as wide as the photo shows it.

Hair and headwear are a thickness over the panorama, in which a brim would become a wedge.
Silhouettes that stand out along the rim are therefore removed from it and built as a surface of
their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dp3d_core.arrays import Array, Mask, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.clothing.headwear import Headwear
from dp3d_core.preview.hair.fit import Hair
from dp3d_core.preview.hair.outline_marks import GRID, Outline
from dp3d_core.preview.parts import Part
from dp3d_core.preview.photo.parsing import PARSING_SIDE, Parsing
from dp3d_core.preview.texture.panorama import AXIS

AROUND = 120
"""Vertices of a ring."""
ACROSS = 8
"""Rings from the crown of a hat to the edge of its brim."""
RINGS = 2 * ACROSS + 1
"""Rings of upper side, edge and lower side."""
_MIN_WIDTH = 16.0
"""Least width of a brim beside the crown of its hat, millimetres."""
_MAX_WIDTH = 160.0
"""Greatest width of a brim beside the crown of its hat, millimetres."""
_NEAR_RIM = (45.0, 60.0)
"""Distances below and above the rim between which the edge of a brim may lie, millimetres."""
_CROWN_ABOVE = 10.0
"""Height above the rim at which the crown is measured on a shell without brim, millimetres."""
_CROWN_ABOVE_BRIM = 32.0
"""Height above the rim at which the crown is measured on a shell with brim, millimetres."""
_MIN_WIDTH_ALONE = 34.0
"""Least width of a brim that is the only evidence of headwear, millimetres."""
_MAX_THICKNESS_ALONE = 34.0
"""Greatest thickness of the outer half of a brim that is the only evidence, millimetres."""
_MIN_TURN_ALONE = -20.0
"""Least height of the edge over the rim for a brim that is the only evidence, millimetres."""
_MIN_PIXELS = 5
"""Least number of silhouette pixels of a brim on each side."""
_TIP = 12.0
"""Outer part of a brim where its height is measured, millimetres."""
_THICKNESS = 3.5
"""Thickness of a brim, millimetres."""
_INSIDE = 5.0
"""Distance inside the crown at which a brim begins, millimetres."""


@dataclass(frozen=True)
class Brim:
    """Measurements of a brim.

    Attributes:
        width: width beside the crown of the hat, millimetres.
        turned_up: height of the edge over the rim at the sides, millimetres; negative below it.
        edge: (n,) bool, points of the hair's outline that belong to the brim.

    """

    width: float
    turned_up: float
    edge: Mask

    @classmethod
    def of(
        cls, portrait: Portrait, outline: Outline, hair: Hair, headwear: Headwear
    ) -> Brim | None:
        """Measure the brim; None if nothing stands out along the rim on both sides.

        Args:
            portrait: the photo, with its pose.
            outline: silhouette of hair and headwear.
            hair: shell of both, with or without the brim.
            headwear: the headwear, with its rim.

        """
        if not len(outline):
            return None
        camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
        rays = camera.directions(outline.uv)
        # a ring around the axis shows its silhouette where a ray passes nearest to the axis
        eye = camera.position - AXIS
        horizontal = rays * [1, 0, 1]
        nearest = -(horizontal @ eye) / np.einsum("ni,ni->n", horizontal, horizontal)
        x, y, z = ((camera.position + rays * nearest[:, None]) / MM).T
        z = z - AXIS[2] / MM
        above = y - (headwear.rim + headwear.tilt * z)
        near = (above > -_NEAR_RIM[0]) & (above < _NEAR_RIM[1])
        sideways = x * camera.c2w[0, 0] + z * camera.c2w[2, 0]
        crown = _periodic(
            np.linspace(0, 2 * np.pi, AROUND + 1), _crown(hair, headwear, _CROWN_ABOVE_BRIM)
        )
        beyond = np.hypot(x, z) - np.interp(np.arctan2(x, z) % (2 * np.pi), *crown)
        widths, heights, edge = [], [], np.zeros(len(outline), bool)
        for side in (-1, 1):
            on_side = near & (sideways * side > 0) & (beyond > _MIN_WIDTH)
            if on_side.sum() < _MIN_PIXELS:
                return None
            width = float(np.quantile(beyond[on_side], 0.98))
            tip = on_side & (beyond > width - _TIP)
            widths.append(width)
            heights.append(float(above[tip].mean()))
            outer_half = on_side & (beyond > width / 2)
            if not headwear.likely and (
                width < _MIN_WIDTH_ALONE or np.ptp(above[outer_half]) > _MAX_THICKNESS_ALONE
            ):
                return None  # voluminous hair
            edge |= on_side
        width = min(float(np.mean(widths)), _MAX_WIDTH)
        return cls(width, float(np.mean(heights)), edge)

    def mesh(self, hair: Hair, headwear: Headwear) -> Mesh:
        """Mesh of the brim, ``RINGS`` by ``AROUND`` vertices, open inside the crown."""
        angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
        crown = _crown(hair, headwear, _CROWN_ABOVE)[:-1]
        fraction = np.concatenate(
            [np.linspace(0, 1, ACROSS + 1), np.linspace(1, 0, ACROSS + 1)[1:]]
        )[:, None]
        radius = crown - _INSIDE + (self.width + _INSIDE) * fraction
        x, z = radius * np.sin(angle), radius * np.cos(angle) + AXIS[2] / MM
        # brims are rarely turned up as much in front and behind as at the sides
        up = self.turned_up * fraction**1.5 * (0.25 + 0.75 * np.sin(angle) ** 2)
        y = headwear.rim + headwear.tilt * z + up
        under = np.arange(RINGS) > ACROSS
        y = y - np.where(under, 1.0, 0.0)[:, None] * _THICKNESS * smoothstep(1 - fraction, 0, 0.15)
        ring, step = np.divmod(np.arange((RINGS - 1) * AROUND), AROUND)
        corner, next_corner = ring * AROUND + step, ring * AROUND + (step + 1) % AROUND
        faces = np.concatenate(
            [
                np.stack([corner, corner + AROUND, next_corner], -1),
                np.stack([next_corner, corner + AROUND, next_corner + AROUND], -1),
            ]
        )
        vertices = np.stack([x, y, z], -1).reshape(-1, 3) * MM
        parts = np.full(len(vertices), int(Part.HAT), np.uint8)
        return Mesh.of(vertices, faces.astype(np.int32), parts)


def headwear_with_brim(
    portrait: Portrait, parsing: Parsing, outline: Outline, hair: Hair, headwear: Headwear
) -> tuple[Headwear, Brim | None]:
    """Headwear and its brim; a thin brim on both sides is evidence of headwear.

    Args:
        portrait: the photo, with its pose.
        parsing: classes of its pixels.
        outline: silhouette of hair and headwear.
        hair: shell of both.
        headwear: candidate headwear on the shell.

    """
    if headwear.likely:
        return headwear, Brim.of(portrait, outline, hair, headwear)
    if portrait.report.chosen is None:  # without a face, shoulders may be mistaken for a brim
        return headwear, None
    over_forehead = headwear.over_forehead(portrait, parsing)
    brim = None if over_forehead is None else Brim.of(portrait, outline, hair, over_forehead)
    if over_forehead is None or brim is None or brim.turned_up < _MIN_TURN_ALONE:
        return headwear, None
    return replace(over_forehead, has_brim=True), brim


def _crown(hair: Hair, headwear: Headwear, above_rim: float) -> Array:
    """(AROUND + 1,) radius of a hat's crown by longitude, from the front around, millimetres.

    ``above_rim`` is the height over the rim at which it is measured, millimetres.
    """
    angle = np.linspace(0, 2 * np.pi, AROUND + 1)
    vertices = hair.mesh.vertices[: GRID.rows * GRID.columns].reshape(GRID.rows, GRID.columns, 3)
    x, y, z = np.moveaxis(vertices, -1, 0) / MM
    above = y - (headwear.rim + headwear.tilt * z) - above_rim
    row = np.abs(above).argmin(0)
    column = np.arange(GRID.columns)
    radius = np.hypot(x, z - AXIS[2] / MM)[row, column]
    longitude = np.arctan2(x[row, column], z[row, column] - AXIS[2] / MM) % (2 * np.pi)
    order = np.argsort(longitude)
    return np.interp(angle, *_periodic(longitude[order], radius[order]))


def _periodic(angle: Array, values: Array) -> tuple[Array, Array]:
    """Angles and values repeated one turn before and one turn after."""
    turn = 2 * np.pi
    return np.concatenate([angle - turn, angle, angle + turn]), np.tile(values, 3)
