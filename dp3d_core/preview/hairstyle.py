"""Styles of hair: a usual hairline, and lengths that a person may choose.

A style overrules what a photo shows of length and thickness; where hair begins above the face,
and its colour, stay those of the photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dp3d_core.heads.space import MM
from dp3d_core.preview.panorama import AXIS, Panorama, wrap
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]

HANGS = -36.0
"""Height, millimetres, down to which hair must reach to hang."""
_SIDE = (50.0, 62.0)
"""Longitude, degrees, from which on a style and not the photo says where hair ends."""


@dataclass(frozen=True)
class HairStyle:
    """Length and thickness of hair.

    Attributes:
        hangs_to: height of its ends, millimetres of head space; 0: it does not hang.
        most: greatest thickness, millimetres, of all but a bun.
        bun: radius of a bun behind, millimetres; 0: none.

    """

    hangs_to: float
    most: float
    bun: float = 0.0

    def with_bun(self, thickness: Array, grid: Panorama) -> Array:
        """(rows, columns) thickness, head units, of hair that is put up behind.

        Args:
            thickness: (rows, columns) without the bun.
            grid: of the thickness.

        """
        if not self.bun:
            return thickness
        _, outward = grid.rays()
        latitude = np.radians(_BUN_LATITUDE)
        towards = np.array([0.0, np.sin(latitude), -np.cos(latitude)])
        angle = np.arccos(np.clip(outward @ towards, -1, 1)).reshape(thickness.shape)
        distance = angle * _SKULL
        knot = _BUN_HEIGHT * np.sqrt(np.maximum(self.bun**2 - distance**2, 0))
        # below the dome directions are level: the knot has an end there
        knot *= (np.arange(grid.rows) < grid.dome_rows)[:, None]
        high = np.maximum(thickness, knot * MM)
        pad = grid.columns // 8
        return np.asarray(gaussian_filter(wrap(high, pad), 1.2)[:, pad:-pad])

    def trimmed(self, mask: Array, grid: Panorama) -> Array:
        """(rows, columns) mask of hair, 0 to 1, cut or lengthened to the style.

        Args:
            mask: (rows, columns) where a photo shows hair.
            grid: of the mask.

        """
        length = np.full(grid.columns, self.hangs_to * MM)
        usual = usual_mask(grid, length)
        origin, outward = grid.rays()
        angle = np.abs(np.degrees(np.arctan2(outward[:, 0], outward[:, 2])))
        side = ramp(angle, *_SIDE).reshape(mask.shape)
        if self.hangs_to < HANGS:
            reach = ramp(origin[:, 1] - self.hangs_to * MM, -6 * MM, 6 * MM).reshape(mask.shape)
            return np.asarray(np.maximum(mask, usual * side) * reach)
        if self.most < SHAVEN:  # cut as short above the forehead
            return np.minimum(mask, usual)
        return np.asarray(mask * (1 - side) + np.minimum(mask, usual) * side)


_BUN_LATITUDE, _BUN_HEIGHT, _SKULL = 24.0, 1.5, 95.0
"""Latitude of a bun behind, degrees, its height in parts of a half sphere's, and radius of a skull,
millimetres."""
SHAVEN = 5.0
"""Thickness, millimetres, below which the skull shows through the hair's shape."""
STYLES = {
    "buzz": HairStyle(0.0, 2.5),
    "short": HairStyle(0.0, 20.0),
    "bun": HairStyle(0.0, 20.0, 33.0),
    "chin": HairStyle(-92.0, 60.0),
    "shoulder": HairStyle(-140.0, 60.0),
    "long": HairStyle(-192.0, 60.0),
}
"""What hair may be chosen as, besides none."""
HANGING = tuple(name for name, style in STYLES.items() if style.hangs_to < HANGS)
"""Choices that hang beside the neck."""
SHORN = ("bald", "buzz")
"""Choices that leave the forehead bare."""


def style_name(hangs_to: float, thickness: float) -> str:
    """The name in :data:`STYLES` that is nearest to hair of a photo.

    Args:
        hangs_to: height of its ends, millimetres; 0: it does not hang.
        thickness: millimetres.

    """
    if hangs_to >= HANGS:
        return "buzz" if thickness < SHAVEN else "short"
    return min(HANGING, key=lambda name: abs(STYLES[name].hangs_to - hangs_to))


def usual_mask(grid: Panorama, length: Array) -> Array:
    """(rows, columns) where hair usually grows or hangs.

    Args:
        grid: of the mask.
        length: (columns,) height, head units, down to which it reaches.

    """
    origin, outward = grid.rays()
    column = np.arange(grid.rows * grid.columns) % grid.columns
    angle = np.abs(np.degrees(np.arctan2(outward[:, 0], outward[:, 2])))
    latitude = np.degrees(np.arcsin(outward[:, 1]))
    height = np.where(latitude > 0, latitude, origin[:, 1] / MM - AXIS[1] / MM)
    # degrees above the centre's level, millimetres below it
    line = np.interp(
        angle,
        [0, 20, 35, 50, 62, 72, 84, 92, 102, 110, 120, 135, 180],
        [52, 50, 45, 36, 22, 8, -8, 2, 0, -24, -42, -52, -57],
    )
    grown = ramp(height - line, -3, 3)
    hangs = length[column] < HANGS * MM
    reach = ramp(origin[:, 1] - length[column], -6 * MM, 6 * MM)
    curtain = ramp(angle, 58, 66) * reach * hangs
    return np.maximum(grown, curtain).reshape(grid.rows, grid.columns)
