"""Brims of hats: a thin ring around the headwear, as wide as the photo shows it at the sides.

Hair and headwear are a thickness over the panorama around the head, of which a brim would be a
wedge; so what stands out at the sides along the rim is left out of it and built as its own surface.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.space import MM
from dp3d_core.mesh import Mesh
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.hair import Hair
from dp3d_core.preview.hair_marks import GRID, Outline
from dp3d_core.preview.headwear import Headwear
from dp3d_core.preview.panorama import AXIS
from dp3d_core.preview.parsing import PARSING_SIDE, Parsing
from dp3d_core.preview.parts import Part
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

AROUND, ACROSS = 120, 8
"""Vertices of a ring, and rings from the crown of a hat to the edge of its brim."""
RINGS = 2 * ACROSS + 1
"""Rings of the upper side, the edge and the lower side."""
_STANDS_OUT, _WIDEST = 16.0, 160.0
"""Millimetres by which a brim stands out beside the crown of its hat, at least and at most."""
_NEAR_RIM = (45.0, 60.0)
"""Millimetres below and above the rim where the edge of a brim may be seen."""
_ABOVE, _FREE = 10.0, 32.0
"""Millimetres above the rim where the crown of a hat is measured, without its brim and with it."""
_WIDE, _THIN = 34.0, 34.0
"""Millimetres that what stands out on both sides must be wide at least, and its outer half thick at
most, to be a brim where nothing else says that headwear is worn."""
_TURNED_DOWN = -20.0
"""Millimetres by which an edge may lie below the rim of what nothing else says to be a hat."""
_LEAST = 5
"""Pixels of the outline of which fewer are no brim."""
_TIP = 12.0
"""Millimetres from the end of a brim that tell how high it is turned up there."""
_THICK, _INSIDE = 3.5, 5.0
"""Millimetres that a brim is thick, and that it begins within the crown."""


@dataclass(frozen=True)
class Brim:
    """What a photo shows of a brim.

    Attributes:
        width: millimetres beside the crown of the hat.
        turned_up: millimetres by which its edge lies above the rim at the sides; negative: below.
        edge: (n,) bool, pixels of the hair's outline that are the brim's.

    """

    width: float
    turned_up: float
    edge: Mask

    @classmethod
    def of(
        cls, portrait: Portrait, outline: Outline, hair: Hair, headwear: Headwear
    ) -> Brim | None:
        """The brim of headwear, None where nothing stands out along its rim on both sides.

        Args:
            portrait: with a pose.
            outline: of hair and headwear.
            hair: the shell of both, with or without the brim.
            headwear: where the rim lies.

        """
        if not len(outline):
            return None
        camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
        rays = camera.directions(outline.uv)
        # where a ray passes nearest to the axis a ring around it is seen edge on
        eye = camera.position - AXIS
        level = rays * [1, 0, 1]
        along = -(level @ eye) / np.einsum("ni,ni->n", level, level)
        x, y, z = ((camera.position + rays * along[:, None]) / MM).T
        z = z - AXIS[2] / MM
        above = y - (headwear.rim + headwear.tilt * z)
        near = (above > -_NEAR_RIM[0]) & (above < _NEAR_RIM[1])
        aside = x * camera.c2w[0, 0] + z * camera.c2w[2, 0]
        crown = _periodic(np.linspace(0, 2 * np.pi, AROUND + 1), _crown(hair, headwear, _FREE))
        beyond = np.hypot(x, z) - np.interp(np.arctan2(x, z) % (2 * np.pi), *crown)
        widths, heights, edge = [], [], np.zeros(len(outline), bool)
        for one in (-1, 1):
            own = near & (aside * one > 0) & (beyond > _STANDS_OUT)
            if own.sum() < _LEAST:
                return None
            width = float(np.quantile(beyond[own], 0.98))
            tip = own & (beyond > width - _TIP)
            widths.append(width)
            heights.append(float(above[tip].mean()))
            half = own & (beyond > width / 2)
            if not headwear.likely and (width < _WIDE or np.ptp(above[half]) > _THIN):
                return None  # volume of hair
            edge |= own
        width = min(float(np.mean(widths)), _WIDEST)
        return cls(width, float(np.mean(heights)), edge)

    def mesh(self, hair: Hair, headwear: Headwear) -> Mesh:
        """The brim, :data:`RINGS` by :data:`AROUND` vertices, open within the crown."""
        angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
        crown = _crown(hair, headwear, _ABOVE)[:-1]
        share = np.concatenate([np.linspace(0, 1, ACROSS + 1), np.linspace(1, 0, ACROSS + 1)[1:]])[
            :, None
        ]
        reach = crown - _INSIDE + (self.width + _INSIDE) * share
        x, z = reach * np.sin(angle), reach * np.cos(angle) + AXIS[2] / MM
        # seldom is one turned up in front and behind as far as at the sides
        up = self.turned_up * share**1.5 * (0.25 + 0.75 * np.sin(angle) ** 2)
        y = headwear.rim + headwear.tilt * z + up
        under = np.arange(RINGS) > ACROSS
        y = y - np.where(under, 1.0, 0.0)[:, None] * _THICK * ramp(1 - share, 0, 0.15)
        ring, step = np.divmod(np.arange((RINGS - 1) * AROUND), AROUND)
        here, beside = ring * AROUND + step, ring * AROUND + (step + 1) % AROUND
        faces = np.concatenate(
            [
                np.stack([here, here + AROUND, beside], -1),
                np.stack([beside, here + AROUND, beside + AROUND], -1),
            ]
        )
        vertices = np.stack([x, y, z], -1).reshape(-1, 3) * MM
        parts = np.full(len(vertices), int(Part.HAT), np.uint8)
        return Mesh.of(vertices, faces.astype(np.int32), parts)


def brimmed(
    portrait: Portrait, parsing: Parsing, outline: Outline, hair: Hair, headwear: Headwear
) -> tuple[Headwear, Brim | None]:
    """Headwear and its brim; a thin one on both sides says that headwear is worn.

    Args:
        portrait: with a pose.
        parsing: of the portrait.
        outline: of hair and headwear.
        hair: the shell of both.
        headwear: what of it would be headwear.

    """
    if headwear.likely:
        return headwear, Brim.of(portrait, outline, hair, headwear)
    if portrait.report.chosen is None:  # shoulders may lie where a brim would
        return headwear, None
    other = headwear.over_forehead(portrait, parsing)
    brim = None if other is None else Brim.of(portrait, outline, hair, other)
    if other is None or brim is None or brim.turned_up < _TURNED_DOWN:
        return headwear, None
    return replace(other, brimmed=True), brim


def _crown(hair: Hair, headwear: Headwear, above_rim: float) -> Array:
    """(AROUND + 1,) distance of a hat's crown from the axis, millimetres, from the front around.

    ``above_rim``: millimetres above the rim where it is measured.
    """
    angle = np.linspace(0, 2 * np.pi, AROUND + 1)
    vertices = hair.mesh.vertices[: GRID.rows * GRID.columns].reshape(GRID.rows, GRID.columns, 3)
    x, y, z = np.moveaxis(vertices, -1, 0) / MM
    above = y - (headwear.rim + headwear.tilt * z) - above_rim
    row = np.abs(above).argmin(0)
    column = np.arange(GRID.columns)
    reach = np.hypot(x, z - AXIS[2] / MM)[row, column]
    turn = np.arctan2(x[row, column], z[row, column] - AXIS[2] / MM) % (2 * np.pi)
    order = np.argsort(turn)
    return np.interp(angle, *_periodic(turn[order], reach[order]))


def _periodic(angle: Array, values: Array) -> tuple[Array, Array]:
    """Places and values with one turn before and one after them."""
    turn = 2 * np.pi
    return np.concatenate([angle - turn, angle, angle + turn]), np.tile(values, 3)
