"""What the picture around the landmarks says of a head's pose, shape and expression.

Landmarks are drawn towards an average face.  The head that they give is projected onto the
picture; where its features, jaw and ears should be, histograms of oriented gradients tell how far
off the picture's own are, and the segmenter tells where the head ends.  A ridge regression learned
on renders turns that into a correction: one step of the supervised descent of Xiong and De la
Torre (2013), for a head in three dimensions.  Heads are brought to one side by a mirror, so that
half the views have to be learned.  Below the chin nothing is read: heads turn on their shoulders.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from dp3d_core.heads.bust import BustPart, bust
from dp3d_core.heads.people import head_data, prior
from dp3d_core.heads.space import MM
from dp3d_core.mesh import Mesh
from dp3d_core.portraits.head_state import COMPONENTS, EXPRESSIONS, HeadState, landmark_table
from dp3d_core.portraits.matting import segment
from dp3d_core.raycast import RayCaster
from dp3d_core.trajectories import orbit_pose

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

FILE_NAME = "picture_map.npz"
_SIDE, _UNITS = 256, 0.85
"""Pixels and head units of the window around the head's origin."""
_BINS = 8
"""Directions of a histogram of gradients."""
_CELL, _STEP = 2.5, 6.0
"""Pixels of the window: standard deviation of a cell's weight, distance of the 3 x 3 cells."""
_FAINT = 4.0
"""Gradient, levels per pixel times 8 (Sobel), below which there is no contrast to normalise."""
_OUTLINE_SIDE, _OUTLINE_ROWS, _OUTLINE_UNITS = 24, 16, 1.02
"""Cells of the outline's picture, rows of them down to the chin, and its head units."""
_OUTLINE_WEIGHT, _STATE_WEIGHT = 0.3, 0.1
"""Of outline and first state in the regression, beside 1 of the gradients."""
_OUTLIER = 4.0
"""Standard deviations to which an input is limited."""
_STATE_COMPONENTS, _STATE_SHRINK = 30, 0.3
"""Components of the first state that are inputs, and their weight beside the angles'."""
_BOTH_YAW = np.radians(12.0)
"""Yaw up to which a head is looked at from both sides, as it is and in the mirror."""
_LEVELS = 127
"""Largest weight in the file; weights are whole numbers there."""
_LOWEST, _HIGHEST, _FACE_Z = -0.215, 0.12, 0.04
"""Heights of chin and hairline, and where the face begins behind, head units."""
_EAR_X, _EAR_Y, _EAR_Z = 0.15, 0.09, 0.06
"""Of ears, head units: beside it, around the origin."""
_LANDMARKS = (
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # lids
    70, 105, 107, 336, 334, 300,  # brows
    168, 6, 197, 4, 1, 98, 327, 2, 64, 294,  # nose
    61, 291, 0, 17, 13, 14, 39, 269, 181, 405, 37, 267, 84, 314, 152,  # lips and chin
)  # fmt: skip
"""Landmarks around which gradients are read."""


@dataclass(frozen=True, eq=False)
class PictureMap:
    """The learned map.

    Attributes:
        vertices: (k,) control vertices around which gradients are read, besides landmarks.
        mirror: (COMPONENTS, COMPONENTS) components of a mirrored head.
        mean, spread: (inputs,).
        weights: (inputs, outputs).
        offset: (outputs,).

    """

    vertices: NDArray[np.int64]
    mirror: Array
    mean: Array
    spread: Array
    weights: Array
    offset: Array

    def __call__(self, rgb: Pixels, state: HeadState) -> HeadState:
        """The state that a photo (h, w, 3) shows, from a first one."""
        window = PictureWindow.of(rgb, state)
        difference = np.zeros(6 + COMPONENTS + len(EXPRESSIONS))
        for mirrored, share in sides(state):
            seen, looked = window.inputs(state, self.vertices, self.mirror, mirrored)
            inputs = np.clip((seen - self.mean) / self.spread, -_OUTLIER, _OUTLIER)
            # what lies outside the photo says nothing
            known = np.nan_to_num(inputs, nan=0.0)
            moved = looked.moved(known @ self.weights + self.offset)
            if mirrored:
                looked, moved = (s.mirrored(0.0, self.mirror) for s in (looked, moved))
            difference += share * looked.difference(moved)
        return state.moved(difference)

    def save(self, path: Path) -> None:
        """Write the map, weights in eight bits."""
        from dp3d_core.files import write_atomic

        buffer = io.BytesIO()
        level = np.abs(self.weights).max(0) / _LEVELS + 1e-30
        np.savez_compressed(
            buffer,
            vertices=self.vertices.astype(np.int32),
            mirror=self.mirror.astype(np.float32),
            mean=self.mean.astype(np.float16),
            spread=self.spread.astype(np.float16),
            weights=np.rint(self.weights / level).astype(np.int8),
            level=level.astype(np.float32),
            offset=self.offset.astype(np.float32),
        )
        write_atomic(path, buffer.getvalue())


@dataclass(frozen=True, eq=False)
class PictureWindow:
    """A photo around a head, upright, and its outline.

    Attributes:
        grey: (_SIDE, _SIDE) uint8.
        known: (_SIDE, _SIDE) bool, inside the photo.
        outline: (_OUTLINE_ROWS, _OUTLINE_SIDE) chance of the head; NaN outside the photo.

    """

    grey: Pixels
    known: NDArray[np.bool_]
    outline: Floats

    @classmethod
    def of(cls, rgb: Pixels, state: HeadState) -> PictureWindow:
        """The window of a photo (h, w, 3) in which a state lies."""
        grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        inside = np.full(rgb.shape[:2], 255, np.uint8)
        wide = _warp(rgb, state, _SIDE, _OUTLINE_UNITS, cv2.BORDER_REPLICATE)
        size = (_OUTLINE_SIDE, _OUTLINE_SIDE)
        outline = cv2.resize(segment(wide), size, interpolation=cv2.INTER_AREA)
        shown = _warp(inside, state, _SIDE, _OUTLINE_UNITS, cv2.BORDER_CONSTANT)
        shown = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), np.uint8)
        outline[shown < 250] = np.nan
        return cls(
            _warp(grey, state, _SIDE, _UNITS, cv2.BORDER_REPLICATE),
            _warp(inside, state, _SIDE, _UNITS, cv2.BORDER_CONSTANT) > 250,
            np.asarray(outline[:_OUTLINE_ROWS], np.float32),
        )

    def inputs(
        self, state: HeadState, vertices: NDArray[np.int64], mirror: Array, mirrored: bool
    ) -> tuple[Array, HeadState]:
        """Inputs (n,), NaN where the photo ends, and the state about the head's origin."""
        looked = state.placed(float(state.origin[0]), float(state.origin[1]), 1.0)
        grey, known, outline = self.grey, self.known, self.outline
        if mirrored:
            looked = looked.mirrored(0.0, mirror)
            grey, known, outline = grey[:, ::-1], known[:, ::-1], outline[:, ::-1]
        shift = looked.project(_points(looked, vertices)) @ looked.upright
        at = shift * (_SIDE / (_UNITS * looked.scale)) + _SIDE / 2
        cells = np.arange(-1, 2) * _STEP
        at = (at[:, None, None] + np.stack(np.meshgrid(cells, cells), -1)).reshape(-1, 2)
        rows, columns = at[:, 1] - 0.5, at[:, 0] - 0.5
        seen = np.stack(
            [
                map_coordinates(c, [rows, columns], order=1, mode="nearest")
                for c in _gradients(grey)
            ],
            -1,
        ).astype(np.float64)
        hidden = map_coordinates(known.astype(np.float32), [rows, columns], order=1) < 0.99
        seen[hidden] = np.nan
        yaw, pitch, _ = looked.angles
        shape = looked.components[:_STATE_COMPONENTS] * _STATE_SHRINK
        first = [yaw, pitch, yaw * yaw, pitch * pitch, yaw * pitch, *shape]
        return np.concatenate([seen.ravel(), outline.ravel(), first]), looked


def sides(state: HeadState) -> list[tuple[bool, float]]:
    """Whether a head is looked at in the mirror, which brings it to one side, and what it counts.

    A head near the front is looked at both ways.
    """
    right = float(np.clip(0.5 + 0.5 * state.angles[0] / _BOTH_YAW, 0, 1))
    return [(mirrored, share) for mirrored, share in ((False, right), (True, 1 - right)) if share]


@lru_cache(maxsize=1)
def picture_map() -> PictureMap:
    """The map that travels with the package."""
    data = resources.files("dp3d_core.heads").joinpath(FILE_NAME).read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        vertices = archive["vertices"].astype(np.int64)
        mirror, mean, spread, weights, level, offset = (
            archive[name].astype(np.float64)
            for name in ("mirror", "mean", "spread", "weights", "level", "offset")
        )
        return PictureMap(vertices, mirror, mean, spread, weights * level, offset)


def learn(
    inputs: Array,
    differences: Array,
    vertices: NDArray[np.int64],
    mirror: Array,
    ridge: float = 0.3,
) -> PictureMap:
    """Learn the map.

    Args:
        inputs: (n, inputs) of :meth:`PictureWindow.inputs`.
        differences: (n, outputs) of :meth:`HeadState.difference` to the truth.
        vertices: around which gradients are read.
        mirror: see :class:`PictureMap`.
        ridge: strength, mean squares of an input.

    """
    mean, spread = np.nanmean(inputs, 0), np.nanstd(inputs, 0) + 1e-3
    state = 5 + _STATE_COMPONENTS
    outline = _OUTLINE_ROWS * _OUTLINE_SIDE
    gradients = inputs.shape[1] - outline - state
    spread[-state + 5 :] = spread[-state + 5 :].mean()
    gain = np.concatenate(
        [
            np.full(gradients, np.sqrt(1 / gradients)),
            np.full(outline, np.sqrt(_OUTLINE_WEIGHT / outline)),
            np.full(state, np.sqrt(_STATE_WEIGHT / state)),
        ]
    )
    table = np.clip((inputs - mean) / spread, -_OUTLIER, _OUTLIER)
    table = np.nan_to_num(table, nan=0.0) * gain
    kernel = table @ table.T
    kernel[np.diag_indices(len(kernel))] += ridge * np.trace(kernel) / len(kernel)
    offset = differences.mean(0)
    weights = (table * gain).T @ np.linalg.solve(kernel, differences - offset)
    return PictureMap(vertices, mirror, mean, spread, weights, offset)


@lru_cache(maxsize=1)
def mirror_of_components() -> Array:
    """(COMPONENTS, COMPONENTS) components of a mirrored head from the head's own."""
    heads = prior()
    twins = cKDTree(heads.mean).query(heads.mean * [-1, 1, 1])[1]
    basis = heads.basis[:COMPONENTS].astype(np.float64)
    flat = basis.reshape(COMPONENTS, -1)
    flipped = (basis[:, twins] * [-1, 1, 1]).reshape(COMPONENTS, -1)
    return np.asarray((flat @ flipped.T) / (flat**2).sum(1)[:, None])


@lru_cache(maxsize=1)
def read_vertices(count: int = 70) -> NDArray[np.int64]:
    """Control vertices of face, jaw and ears, evenly spread, denser in the face, both sides."""
    heads, data = prior(), head_data()
    mean, shape = heads.mean, bust()
    skin = np.zeros(len(mean), bool)
    skin[np.unique(data.quads[data.quad_part == BustPart.SKIN])] = True
    vertices = shape.vertices(mean)
    caster = RayCaster(Mesh.of(vertices, shape.faces, np.zeros(len(vertices), np.uint8)))
    outer = np.zeros(len(mean), bool)
    for yaw in (0, 40, 80, 120):
        away = orbit_pose(yaw, 10.0)[:3, 3] - mean
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        outer |= ~caster.blocked(mean + 0.004 * away, away)
    free = np.flatnonzero(skin & outer & (mean[:, 1] > -0.27) & (mean[:, 0] >= -1e-3))
    dense = np.where(mean[free, 2] > 0.05, 1.6, 1.0)
    chosen = [int(free[mean[free, 2].argmax()])]
    far = np.linalg.norm(mean[free] - mean[chosen[0]], axis=1) * dense
    while len(chosen) < min(count, len(free)):
        chosen.append(int(free[far.argmax()]))
        far = np.minimum(far, np.linalg.norm(mean[free] - mean[chosen[-1]], axis=1) * dense)
    x, y, z = mean[chosen].T
    face = (z > _FACE_Z) & (y > _LOWEST) & (y < _HIGHEST)
    ears = (np.abs(x) > _EAR_X) & (np.abs(y) < _EAR_Y) & (np.abs(z) < _EAR_Z)
    half = np.array(chosen)[face | ears]
    return np.unique(np.append(half, cKDTree(mean).query(mean[half] * [-1, 1, 1])[1]))


def _points(state: HeadState, vertices: NDArray[np.int64]) -> Array:
    """(n, 3) head units, places of a head around which gradients are read."""
    heads, table = prior(), landmark_table()
    moves = heads.basis[:COMPONENTS, vertices]
    corners = heads.mean[vertices] + np.tensordot(state.components, moves, 1)
    rows = np.flatnonzero(np.isin(table.index, _LANDMARKS))
    weights = np.concatenate([state.components, state.expression])
    features = table.points[rows] + np.tensordot(weights, table.moves[:, rows], 1)
    return np.concatenate([corners, features * MM])


def _warp(image: Pixels, state: HeadState, side: int, units: float, border: int) -> Pixels:
    """(side, side, ...) upright window of so many head units around the head's origin."""
    step = units * state.scale / side
    source = image
    if step > 1.5:
        source = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 * step), np.uint8)
    turn = step * state.upright
    corner = state.origin - turn @ np.full(2, side / 2)
    # OpenCV puts pixel centres at whole numbers, we put them at halves
    matrix = np.column_stack([turn, corner + turn @ [0.5, 0.5] - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    window = cv2.warpAffine(source, matrix, (side, side), flags=flags, borderMode=border)
    return np.asarray(window, np.uint8)


def _gradients(grey: Pixels) -> Floats:
    """(_BINS, h, w) strength of each direction around a pixel, over that of all around it."""
    light = grey.astype(np.float32)
    gx = np.asarray(cv2.Sobel(light, cv2.CV_32F, 1, 0, ksize=3), np.float32)
    gy = np.asarray(cv2.Sobel(light, cv2.CV_32F, 0, 1, ksize=3), np.float32)
    strength = np.hypot(gx, gy)
    turn = np.arctan2(gy, gx) % (2 * np.pi) * np.float32(_BINS / (2 * np.pi))
    first = np.floor(turn)
    share = turn - first
    first = first.astype(int) % _BINS
    around = cv2.GaussianBlur(strength, (0, 0), 3 * _CELL) + _FAINT
    layers = []
    for number in range(_BINS):
        part = (first == number) * (1 - share) + ((first + 1) % _BINS == number) * share
        layers.append(cv2.GaussianBlur(strength * part, (0, 0), _CELL) / around)
    return np.asarray(layers, np.float32)
