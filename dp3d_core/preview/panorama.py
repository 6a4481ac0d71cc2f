"""The panorama around a head: a dome over the skull on a cylinder around face, neck and bust.

Rows go from the crown down, columns around from the back over -x, the face and +x.  A sphere
would see the shoulders before the neck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_Number = TypeVar("_Number", bound=np.generic)

AXIS = np.array([0.0, 0.02, -0.03])
"""Centre of the dome and top of the cylinder's axis, head space."""
CYLINDER_HEIGHT = 0.47
"""Height of the cylinder, head units: down to the bust's cut."""
DOME_SHARE = 176 / 384
"""Part of the rows that the dome has: latitude 90 to 0 degrees around :data:`AXIS`."""
_FAR = 2.0
"""Head units from which rays look inwards."""


@dataclass(frozen=True)
class Panorama:
    """A grid of directions around the head.

    Attributes:
        rows, columns: of the grid.

    """

    rows: int
    columns: int

    @property
    def dome_rows(self) -> int:
        """Rows of the dome."""
        return round(self.rows * DOME_SHARE)

    def aside_deg(self) -> Array:
        """(columns,) angle of the columns from the front, 0 to 180 degrees."""
        return np.abs((np.arange(self.columns) + 0.5) / self.columns - 0.5) * 360

    def rays(self) -> tuple[Array, Array]:
        """(rows * columns, 3) points on the axis, and unit directions outwards."""
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

    def inward(self) -> tuple[Array, Array]:
        """Origins and directions of rays that meet the outermost surface first."""
        origin, outward = self.rays()
        return origin + _FAR * outward, -outward

    def place(self, points: Array) -> tuple[Array, Array]:
        """Columns and rows, (n,) each, of points; the first texel's centre is at 0."""
        d = points - AXIS
        longitude = np.arctan2(d[:, 0], d[:, 2])
        latitude = np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2]))
        column = (longitude / (2 * np.pi) + 0.5) * self.columns - 0.5
        dome = (1 - latitude / (np.pi / 2)) * self.dome_rows
        cylinder = self.dome_rows - d[:, 1] / CYLINDER_HEIGHT * (self.rows - self.dome_rows)
        return column, np.where(d[:, 1] > 0, dome, cylinder) - 0.5

    def radius(self, points: Array) -> Array:
        """(n,) distance of points from the dome's centre, or from the axis below it."""
        d = points - AXIS
        level = np.hypot(d[:, 0], d[:, 2])
        return np.asarray(np.where(d[:, 1] > 0, np.linalg.norm(d, axis=1), level))

    def look_up(self, image: NDArray[np.float32], points: Array) -> Array:
        """(n, c) values of a panorama's picture (rows, columns[, c]) at points."""
        return self.look_up_all((image,), points)[0]

    def look_up_all(self, images: Sequence[NDArray[np.float32]], points: Array) -> list[Array]:
        """As :meth:`look_up` for several pictures: places are costly."""
        column, row = self.place(points)
        # one column is repeated on each side, so that interpolation crosses the back
        return [remap(wrap(image, 1), column + 1, row, cv2.INTER_LINEAR) for image in images]


def wrap(image: NDArray[_Number], n: int) -> NDArray[_Number]:
    """A panorama's picture with ``n`` columns repeated on each side."""
    return np.concatenate([image[:, -n:], image, image[:, :n]], axis=1)


def remap(image: NDArray[np.float32], x: NDArray[Any], y: NDArray[Any], how: int) -> Array:
    """(n, c) values of an image (h, w[, c]) at n places; OpenCV takes at most 32767 in a row."""
    n, row = x.size, 4096
    rows = max(1, -(-n // row))
    maps = []
    for values in (x, y):
        padded = np.zeros(rows * row, np.float32)
        padded[:n] = values
        maps.append(padded.reshape(rows, row))
    sampled = cv2.remap(image, maps[0], maps[1], how, borderMode=cv2.BORDER_REPLICATE)
    return sampled.reshape(rows * row, -1)[:n].astype(np.float64)
