"""Hair styles that a user may choose, and the default hairline.

A style overrides length and thickness of the photo's hair; its hairline above the face and its
colour remain the photo's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from dp3d_core.arrays import Array, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.preview.texture.panorama import AXIS, Panorama, wrap

HANGS = -36.0
"""Height below which the ends of hanging hair lie, millimetres."""
_PRESENT = (0.3, 0.6)
"""Mask values between which hair is present when it is extended to the crown."""
_SIDE = (50.0, 62.0)
"""Longitudes between which the style's mask replaces the photo's, degrees."""


@dataclass(frozen=True)
class HairStyle:
    """Length and thickness of hair.

    Attributes:
        hangs_to: height of the ends, millimetres of head space; 0 if hair does not hang.
        max_thickness: greatest thickness without the bun, millimetres.
        bun: radius of a bun at the back, millimetres; 0 for none.

    """

    hangs_to: float
    max_thickness: float
    bun: float = 0.0

    def with_bun(self, thickness: Array, grid: Panorama) -> Array:
        """(rows, columns) thickness with the style's bun, head units.

        Args:
            thickness: (rows, columns) thickness without the bun, head units.
            grid: panorama of the thickness.

        """
        if not self.bun:
            return thickness
        _, outward = grid.rays()
        latitude = np.radians(_BUN_LATITUDE)
        bun_direction = np.array([0.0, np.sin(latitude), -np.cos(latitude)])
        angle = np.arccos(np.clip(outward @ bun_direction, -1, 1)).reshape(thickness.shape)
        distance = angle * _SKULL
        bump = _BUN_HEIGHT * np.sqrt(np.maximum(self.bun**2 - distance**2, 0))
        # the bun ends at the cylinder, whose directions are horizontal
        bump *= (np.arange(grid.rows) < grid.dome_rows)[:, None]
        raised = np.maximum(thickness, bump * MM)
        pad = grid.columns // 8
        return np.asarray(gaussian_filter(wrap(raised, pad), 1.2)[:, pad:-pad])

    def trimmed(self, mask: Array, grid: Panorama) -> Array:
        """(rows, columns) mask of hair, 0 to 1, shortened or extended to the style.

        Args:
            mask: (rows, columns) mask of the photo's hair, 0 to 1.
            grid: panorama of the mask.

        """
        length = np.full(grid.columns, self.hangs_to * MM)
        default = default_mask(grid, length)
        origin, outward = grid.rays()
        angle = np.abs(np.degrees(np.arctan2(outward[:, 0], outward[:, 2])))
        side = smoothstep(angle, *_SIDE).reshape(mask.shape)
        if self.hangs_to < HANGS:
            reach = smoothstep(origin[:, 1] - self.hangs_to * MM, -6 * MM, 6 * MM).reshape(
                mask.shape
            )
            return np.asarray(np.maximum(mask, default * side) * reach)
        if self.max_thickness < SHAVEN:  # shorn above the forehead too
            return np.minimum(mask, default)
        return np.asarray(mask * (1 - side) + np.minimum(mask, default) * side)


_BUN_LATITUDE = 24.0
"""Latitude of the bun's centre, degrees."""
_BUN_HEIGHT = 1.5
"""Height of the bun relative to a hemisphere."""
_SKULL = 95.0
"""Radius of the skull, millimetres."""
SHAVEN = 5.0
"""Thickness below which hair counts as shorn, millimetres."""
STYLES = {
    "buzz": HairStyle(0.0, 2.5),
    "short": HairStyle(0.0, 20.0),
    "bun": HairStyle(0.0, 20.0, 33.0),
    "chin": HairStyle(-92.0, 60.0),
    "shoulder": HairStyle(-140.0, 60.0),
    "long": HairStyle(-192.0, 60.0),
}
"""Styles by name; ``bald`` has none."""
HANGING = tuple(name for name, style in STYLES.items() if style.hangs_to < HANGS)
"""Choices with hair that hangs beside the neck."""
SHORN = ("bald", "buzz")
"""Choices without a fringe."""


def style_name(hangs_to: float, thickness: float) -> str:
    """Name of the style in :data:`STYLES` that is most like the hair of a photo.

    Args:
        hangs_to: height of its ends, millimetres; 0 if it does not hang.
        thickness: typical thickness, millimetres.

    """
    if hangs_to >= HANGS:
        return "buzz" if thickness < SHAVEN else "short"
    return min(HANGING, key=lambda name: abs(STYLES[name].hangs_to - hangs_to))


def extended_to_crown(grid: Panorama, visible: Array) -> Array:
    """(rows, columns) mask extended from visible hair up to the crown, which a photo may cut off.

    Args:
        grid: panorama of the masks.
        visible: (rows, columns) mask of visible hair or headwear, 0 to 1.

    """
    above = np.maximum.accumulate(smoothstep(visible, *_PRESENT)[::-1], axis=0)[::-1]
    return np.where(np.arange(grid.rows)[:, None] < grid.dome_rows, above, 0.0)


def default_mask(grid: Panorama, length: Array) -> Array:
    """(rows, columns) default mask of hair, 0 to 1: a standard hairline, and hanging hair.

    Args:
        grid: panorama of the mask.
        length: (columns,) height of the ends of hair, head units.

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
    grown = smoothstep(height - line, -3, 3)
    hangs = length[column] < HANGS * MM
    reach = smoothstep(origin[:, 1] - length[column], -6 * MM, 6 * MM)
    curtain = smoothstep(angle, 58, 66) * reach * hangs
    return np.maximum(grown, curtain).reshape(grid.rows, grid.columns)
