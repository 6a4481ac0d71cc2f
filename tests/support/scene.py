"""A head of four ray-traced ellipsoids with known shape and colours.

In head space.  The head's colour depends on direction, the nose is white, and a red knob is at
the upper left, so that flips and swaps of axes are visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp3d_core.cameras.camera import Camera
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet
from dp3d_core.viewsets.writer import ViewSetWriter


@dataclass(frozen=True)
class Ellipsoid:
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    colour: tuple[float, float, float] | None
    """RGB, 0 to 1; None for :func:`side_colour`."""

    @property
    def low(self) -> np.ndarray:
        return np.subtract(self.centre, self.radii)

    @property
    def high(self) -> np.ndarray:
        return np.add(self.centre, self.radii)


HEAD = Ellipsoid((0, 0, 0), (0.18, 0.24, 0.2), None)
NOSE = Ellipsoid((0, -0.02, 0.21), (0.035, 0.05, 0.04), (0.95, 0.95, 0.95))
KNOB = Ellipsoid((0.13, 0.15, 0.1), (0.06, 0.06, 0.06), (0.85, 0.1, 0.1))
EAR = Ellipsoid((-0.19, 0, 0), (0.03, 0.06, 0.05), (0.9, 0.8, 0.1))
PARTS = (HEAD, NOSE, KNOB, EAR)
LOW = np.min([part.low for part in PARTS], 0)
HIGH = np.max([part.high for part in PARTS], 0)


def side_colour(points: np.ndarray) -> np.ndarray:
    """Colours by position, (n, 3): red increases to +x, green to +y, blue to +z."""
    return 0.5 + 0.35 * np.sin(points / np.array(HEAD.radii) * np.pi / 2)


def trace(
    camera: Camera, samples: int = 3, parts: Sequence[Ellipsoid] = PARTS
) -> tuple[np.ndarray, np.ndarray]:
    """Ray-trace a frame over white, (h, w, 3), and its alpha, (h, w), both uint8.

    Each pixel has ``samples`` x ``samples`` rays.
    """
    fine = camera.resized(camera.width * samples, camera.height * samples)
    directions = fine.directions(fine.pixel_centres()).reshape(-1, 3)
    nearest = np.full(len(directions), np.inf)
    colour = np.ones((len(directions), 3))
    for part in parts:
        start = (camera.position - part.centre) / part.radii
        step = directions / part.radii
        a, b = (step**2).sum(1), step @ start
        root = b**2 - a * (start @ start - 1)
        t = np.where(root > 0, (-b - np.sqrt(root.clip(0))) / a, np.inf)
        closer = t < nearest
        points = camera.position + t[closer, None] * directions[closer]
        colour[closer] = side_colour(points) if part.colour is None else part.colour
        nearest[closer] = t[closer]
    shape = (camera.height, samples, camera.width, samples)
    rgb = colour.reshape(*shape, 3).mean((1, 3))
    alpha = np.isfinite(nearest).reshape(shape).mean((1, 3))
    return np.rint(rgb * 255).astype(np.uint8), np.rint(alpha * 255).astype(np.uint8)


def write_views(root: Path, cameras: Sequence[Camera], masks: bool = True) -> ViewSet:
    """Write a view set of the head."""
    writer = ViewSetWriter(root, cameras, ViewMeta(engine="test"))
    for i in writer.missing():
        frame, alpha = trace(cameras[i])
        writer.write(i, frame, alpha if masks else None)
    return writer.finish()
