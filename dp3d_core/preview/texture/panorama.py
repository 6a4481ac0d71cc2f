"""The panorama: a grid of directions around a head, on which hair and colours are stored.

A dome over the skull stands on a cylinder around face, neck and bust; on a sphere the shoulders
would hide the neck.  Rows run from the crown down, columns from the back over -x, the face and +x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Array, Array32

_Number = TypeVar("_Number", bound=np.generic)

AXIS = np.array([0.0, 0.02, -0.03])
"""Centre of the dome and top of the cylinder's axis, head units."""
CYLINDER_HEIGHT = 0.47
"""Height of the cylinder, head units: down to the bust's cut."""
DOME_SHARE = 176 / 384
"""Fraction of the rows in the dome, which spans latitudes of 90 to 0 degrees about :data:`AXIS`."""
_FAR = 2.0
"""Distance from which inward rays start, head units."""


@dataclass(frozen=True)
class Panorama:
    """A grid of directions around the head.

    Attributes:
        rows, columns: size of the grid.

    """

    rows: int
    columns: int

    @property
    def dome_rows(self) -> int:
        """Number of rows in the dome; the cylinder has the others."""
        return round(self.rows * DOME_SHARE)

    def longitude_deg(self) -> Array:
        """(columns,) absolute longitude of the columns: 0 in front, 180 degrees at the back."""
        return np.abs((np.arange(self.columns) + 0.5) / self.columns - 0.5) * 360

    def rays(self) -> tuple[Array, Array]:
        """Origins on the axis and unit directions outwards, (rows * columns, 3) each."""
        row = np.arange(self.rows) + 0.5
        dome = self.dome_rows
        latitude = np.where(row < dome, (1 - row / dome) * np.pi / 2, 0.0)
        below = np.maximum(row - dome, 0) / (self.rows - dome) * CYLINDER_HEIGHT
        longitude = ((np.arange(self.columns) + 0.5) / self.columns - 0.5) * 2 * np.pi
        lat, lon = np.meshgrid(latitude, longitude, indexing="ij")
        outward = np.stack(
            [np.sin(lon) * np.cos(lat), np.sin(lat), np.cos(lon) * np.cos(lat)], -1
        ).reshape(-1, 3)
        origin = np.repeat(AXIS - below[:, None] * [0.0, 1.0, 0.0], self.columns, axis=0)
        return origin, outward

    def inward_rays(self) -> tuple[Array, Array]:
        """Origins and directions of rays from outside, which hit the outermost surface first."""
        origin, outward = self.rays()
        return origin + _FAR * outward, -outward

    def project(self, points: Array) -> tuple[Array, Array]:
        """Columns and rows, (n,) each, of points (n, 3); texel centres are at whole numbers."""
        d = points - AXIS
        longitude = np.arctan2(d[:, 0], d[:, 2])
        latitude = np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2]))
        column = (longitude / (2 * np.pi) + 0.5) * self.columns - 0.5
        dome = (1 - latitude / (np.pi / 2)) * self.dome_rows
        cylinder = self.dome_rows - d[:, 1] / CYLINDER_HEIGHT * (self.rows - self.dome_rows)
        return column, np.where(d[:, 1] > 0, dome, cylinder) - 0.5

    def radius(self, points: Array) -> Array:
        """(n,) distance of points (n, 3) from the dome's centre, or from the cylinder's axis."""
        d = points - AXIS
        level = np.hypot(d[:, 0], d[:, 2])
        return np.asarray(np.where(d[:, 1] > 0, np.linalg.norm(d, axis=1), level))

    def look_up(self, image: Array32, points: Array) -> Array:
        """(n, c) bilinear samples of a panorama's image (rows, columns[, c]) at points (n, 3)."""
        return self.look_up_all((image,), points)[0]

    def look_up_all(self, images: Sequence[Array32], points: Array) -> list[Array]:
        """Sample several images at points (n, 3), which are projected once; see :meth:`look_up`."""
        column, row = self.project(points)
        # one column is repeated on each side for interpolation across the back
        return [remap(wrap(image, 1), column + 1, row, cv2.INTER_LINEAR) for image in images]


def wrap(image: NDArray[_Number], n: int) -> NDArray[_Number]:
    """The image of a panorama with ``n`` columns repeated on each side."""
    return np.concatenate([image[:, -n:], image, image[:, :n]], axis=1)


def remap(image: Array32, x: NDArray[Any], y: NDArray[Any], flags: int) -> Array:
    """(n, c) samples of an image (h, w[, c]) at n positions; ``flags`` are OpenCV's."""
    n, row = x.size, 4096  # OpenCV takes at most 32767 positions in a row
    rows = max(1, -(-n // row))
    maps = []
    for values in (x, y):
        padded = np.zeros(rows * row, np.float32)
        padded[:n] = values
        maps.append(padded.reshape(rows, row))
    sampled = cv2.remap(image, maps[0], maps[1], flags, borderMode=cv2.BORDER_REPLICATE)
    return sampled.reshape(rows * row, -1)[:n].astype(np.float64)
