"""Correct a head state by the image: one learned step of supervised descent in 3D.

Landmarks are biased towards an average face.  The head that they imply is projected into the
image; histograms of oriented gradients at its features, jaw and ears, and the segmentation of the
head, are the inputs of a ridge regression that predicts the correction (Xiong and De la Torre
2013, one step).  It is learned on renders (``synthetic.landmark_training``).  Heads are mirrored
to one side, which halves the views to learn.  Nothing below the chin is read, because heads turn
on their shoulders.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Array32, Indices, Mask, Pixels
from dp3d_core.cameras.trajectories import orbit_pose
from dp3d_core.heads.bust import BustPart, bust
from dp3d_core.heads.people import head_data, prior
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.head_state import COMPONENTS, EXPRESSIONS, HeadState, landmark_table
from dp3d_core.portraits.matting import segment

FILE_NAME = "picture_map.npz"
"""File of the map in the package ``dp3d_core.heads``."""
_SIDE = 256
"""Side of the window around the head's origin, pixels."""
_UNITS = 0.85
"""Side of the window around the head's origin, head units."""
_BINS = 8
"""Orientation bins of a histogram of gradients."""
_CELL = 2.5
"""Standard deviation of a cell's Gaussian weight, pixels of the window."""
_STEP = 6.0
"""Spacing of the 3 x 3 cells around a point, pixels of the window."""
_MIN_GRADIENT = 4.0
"""Floor of the local gradient in the normalisation, levels per pixel times 8 (Sobel)."""
_OUTLINE_SIDE = 24
"""Side of the downsampled segmentation, cells."""
_OUTLINE_ROWS = 16
"""Rows of the downsampled segmentation that are inputs: those above the chin."""
_OUTLINE_UNITS = 1.02
"""Side of the segmented window, head units."""
_OUTLINE_WEIGHT = 0.3
"""Weight of the segmentation in the regression, relative to the gradients."""
_STATE_WEIGHT = 0.1
"""Weight of the initial state in the regression, relative to the gradients."""
_OUTLIER = 4.0
"""Standard deviations to which inputs are clipped."""
_STATE_COMPONENTS = 30
"""Number of shape coefficients of the initial state that are inputs."""
_STATE_SHRINK = 0.3
"""Scale of those coefficients relative to the angles, radians."""
_BOTH_YAW = np.radians(12.0)
"""Yaw up to which a head is read twice, as it is and mirrored."""
_LEVELS = 127
"""Largest integer weight in the file, which stores 8-bit weights."""
_CHIN_Y = -0.215
"""Height of the chin, head units."""
_HAIRLINE_Y = 0.12
"""Height of the hairline, head units."""
_FACE_Z = 0.04
"""Depth at which the face begins, head units."""
_EAR_X = 0.15
"""Least distance of ear vertices from the plane of symmetry, head units."""
_EAR_Y = 0.09
"""Greatest height of ear vertices above or below the origin, head units."""
_EAR_Z = 0.06
"""Greatest depth of ear vertices before or behind the origin, head units."""
_LANDMARKS = (
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # lids
    70, 105, 107, 336, 334, 300,  # brows
    168, 6, 197, 4, 1, 98, 327, 2, 64, 294,  # nose
    61, 291, 0, 17, 13, 14, 39, 269, 181, 405, 37, 267, 84, 314, 152,  # lips and chin
)  # fmt: skip
"""Landmarks at which gradients are read."""


@dataclass(frozen=True, eq=False)
class PictureMap:
    """The learned regression.

    Attributes:
        vertices: (k,) control vertices at which gradients are read, besides the landmarks.
        mirror: (COMPONENTS, COMPONENTS) matrix from coefficients of a head to those of its mirror
            image.
        mean, spread: (inputs,) mean and standard deviation of the inputs.
        weights: (inputs, outputs) regression weights.
        offset: (outputs,) mean of the outputs.

    """

    vertices: Indices
    mirror: Array
    mean: Array
    spread: Array
    weights: Array
    offset: Array

    def __call__(self, rgb: Pixels, state: HeadState) -> HeadState:
        """Correct an initial state by the photo (h, w, 3) uint8."""
        window = PictureWindow.of(rgb, state)
        difference = np.zeros(6 + COMPONENTS + len(EXPRESSIONS))
        for mirrored, weight in mirrorings(state):
            features, local = window.inputs(state, self.vertices, self.mirror, mirrored)
            inputs = np.clip((features - self.mean) / self.spread, -_OUTLIER, _OUTLIER)
            # inputs beyond the photo take their mean
            filled = np.nan_to_num(inputs, nan=0.0)
            corrected = local.moved(filled @ self.weights + self.offset)
            if mirrored:
                local, corrected = (s.mirrored(0.0, self.mirror) for s in (local, corrected))
            difference += weight * local.difference(corrected)
        return state.moved(difference)

    def save(self, path: Path) -> None:
        """Write the map, with 8-bit weights."""
        from dp3d_core.storage.files import write_atomic

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
    """An upright window of a photo around a head.

    Attributes:
        grey: (_SIDE, _SIDE) uint8.
        valid: (_SIDE, _SIDE) bool, True inside the photo.
        outline: (_OUTLINE_ROWS, _OUTLINE_SIDE) probability of the person, NaN beyond the photo.

    """

    grey: Pixels
    valid: Mask
    outline: Array32

    @classmethod
    def of(cls, rgb: Pixels, state: HeadState) -> PictureWindow:
        """The window of a photo (h, w, 3) around a head."""
        grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        inside = np.full(rgb.shape[:2], 255, np.uint8)
        wide_view = _warp(rgb, state, _SIDE, _OUTLINE_UNITS, cv2.BORDER_REPLICATE)
        size = (_OUTLINE_SIDE, _OUTLINE_SIDE)
        outline = cv2.resize(segment(wide_view), size, interpolation=cv2.INTER_AREA)
        valid = _warp(inside, state, _SIDE, _OUTLINE_UNITS, cv2.BORDER_CONSTANT)
        valid = np.asarray(cv2.resize(valid, size, interpolation=cv2.INTER_AREA), np.uint8)
        outline[valid < 250] = np.nan
        return cls(
            _warp(grey, state, _SIDE, _UNITS, cv2.BORDER_REPLICATE),
            _warp(inside, state, _SIDE, _UNITS, cv2.BORDER_CONSTANT) > 250,
            np.asarray(outline[:_OUTLINE_ROWS], np.float32),
        )

    def inputs(
        self, state: HeadState, vertices: Indices, mirror: Array, mirrored: bool
    ) -> tuple[Array, HeadState]:
        """Regression inputs (n,), NaN beyond the photo, and the state relative to its origin."""
        local = state.in_window(float(state.origin[0]), float(state.origin[1]), 1.0)
        grey, valid, outline = self.grey, self.valid, self.outline
        if mirrored:
            local = local.mirrored(0.0, mirror)
            grey, valid, outline = grey[:, ::-1], valid[:, ::-1], outline[:, ::-1]
        offsets = local.project(_points(local, vertices)) @ local.upright
        positions = offsets * (_SIDE / (_UNITS * local.scale)) + _SIDE / 2
        cells = np.arange(-1, 2) * _STEP
        positions = (positions[:, None, None] + np.stack(np.meshgrid(cells, cells), -1)).reshape(
            -1, 2
        )
        rows, columns = positions[:, 1] - 0.5, positions[:, 0] - 0.5
        gradients = np.stack(
            [
                map_coordinates(c, [rows, columns], order=1, mode="nearest")
                for c in _gradients(grey)
            ],
            -1,
        ).astype(np.float64)
        beyond = map_coordinates(valid.astype(np.float32), [rows, columns], order=1) < 0.99
        gradients[beyond] = np.nan
        yaw, pitch, _ = local.angles
        shape = local.components[:_STATE_COMPONENTS] * _STATE_SHRINK
        initial = [yaw, pitch, yaw * yaw, pitch * pitch, yaw * pitch, *shape]
        return np.concatenate([gradients.ravel(), outline.ravel(), initial]), local


def mirrorings(state: HeadState) -> list[tuple[bool, float]]:
    """Whether to mirror a head, and the weight of that reading.

    Mirroring brings all heads to one side; a head near the front is read both ways.
    """
    direct = float(np.clip(0.5 + 0.5 * state.angles[0] / _BOTH_YAW, 0, 1))
    return [
        (mirrored, weight) for mirrored, weight in ((False, direct), (True, 1 - direct)) if weight
    ]


@lru_cache(maxsize=1)
def picture_map() -> PictureMap:
    """The map shipped in the package."""
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
    vertices: Indices,
    mirror: Array,
    ridge: float = 0.3,
) -> PictureMap:
    """Fit the regression.

    Args:
        inputs: (n, inputs) inputs (:meth:`PictureWindow.inputs`), NaN where unknown.
        differences: (n, outputs) true state minus initial state (:meth:`HeadState.difference`).
        vertices: (k,) control vertices at which gradients were read.
        mirror: as in :class:`PictureMap`.
        ridge: strength of the ridge, relative to the mean diagonal of the kernel.

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
    design = np.clip((inputs - mean) / spread, -_OUTLIER, _OUTLIER)
    design = np.nan_to_num(design, nan=0.0) * gain
    kernel = design @ design.T
    kernel[np.diag_indices(len(kernel))] += ridge * np.trace(kernel) / len(kernel)
    offset = differences.mean(0)
    weights = (design * gain).T @ np.linalg.solve(kernel, differences - offset)
    return PictureMap(vertices, mirror, mean, spread, weights, offset)


@lru_cache(maxsize=1)
def mirror_of_components() -> Array:
    """(COMPONENTS, COMPONENTS) matrix from coefficients of a head to those of its mirror image."""
    heads = prior()
    twins = cKDTree(heads.mean).query(heads.mean * [-1, 1, 1])[1]
    basis = heads.basis[:COMPONENTS].astype(np.float64)
    flat = basis.reshape(COMPONENTS, -1)
    flipped = (basis[:, twins] * [-1, 1, 1]).reshape(COMPONENTS, -1)
    return np.asarray((flat @ flipped.T) / (flat**2).sum(1)[:, None])


@lru_cache(maxsize=1)
def sample_vertices(count: int = 70) -> Indices:
    """Control vertices of face, jaw and ears, spread evenly but denser in the face, symmetric."""
    heads, data = prior(), head_data()
    mean, topology = heads.mean, bust()
    skin = np.zeros(len(mean), bool)
    skin[np.unique(data.quads[data.quad_part == BustPart.SKIN])] = True
    vertices = topology.vertices(mean)
    caster = RayCaster(Mesh.of(vertices, topology.faces, np.zeros(len(vertices), np.uint8)))
    outer = np.zeros(len(mean), bool)
    for yaw in (0, 40, 80, 120):
        to_camera = orbit_pose(yaw, 10.0)[:3, 3] - mean
        to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
        outer |= ~caster.blocked(mean + 0.004 * to_camera, to_camera)
    candidates = np.flatnonzero(skin & outer & (mean[:, 1] > -0.27) & (mean[:, 0] >= -1e-3))
    dense = np.where(mean[candidates, 2] > 0.05, 1.6, 1.0)
    chosen = [int(candidates[mean[candidates, 2].argmax()])]
    distance = np.linalg.norm(mean[candidates] - mean[chosen[0]], axis=1) * dense
    while len(chosen) < min(count, len(candidates)):
        chosen.append(int(candidates[distance.argmax()]))
        distance = np.minimum(
            distance, np.linalg.norm(mean[candidates] - mean[chosen[-1]], axis=1) * dense
        )
    x, y, z = mean[chosen].T
    face = (z > _FACE_Z) & (y > _CHIN_Y) & (y < _HAIRLINE_Y)
    ears = (np.abs(x) > _EAR_X) & (np.abs(y) < _EAR_Y) & (np.abs(z) < _EAR_Z)
    one_side = np.array(chosen)[face | ears]
    return np.unique(np.append(one_side, cKDTree(mean).query(mean[one_side] * [-1, 1, 1])[1]))


def _points(state: HeadState, vertices: Indices) -> Array:
    """(n, 3) points of a head at which gradients are read, head units."""
    heads, table = prior(), landmark_table()
    moves = heads.basis[:COMPONENTS, vertices]
    corners = heads.mean[vertices] + np.tensordot(state.components, moves, 1)
    rows = np.flatnonzero(np.isin(table.index, _LANDMARKS))
    weights = np.concatenate([state.components, state.expression])
    features = table.points[rows] + np.tensordot(weights, table.moves[:, rows], 1)
    return np.concatenate([corners, features * MM])


def _warp(image: Pixels, state: HeadState, side: int, units: float, border: int) -> Pixels:
    """(side, side, ...) upright window, ``units`` head units wide, around the head's origin."""
    step = units * state.scale / side
    source = image
    if step > 1.5:
        source = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 * step), np.uint8)
    rotation = step * state.upright
    corner = state.origin - rotation @ np.full(2, side / 2)
    # OpenCV puts pixel centres at whole numbers, we put them at halves
    matrix = np.column_stack([rotation, corner + rotation @ [0.5, 0.5] - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    window = cv2.warpAffine(source, matrix, (side, side), flags=flags, borderMode=border)
    return np.asarray(window, np.uint8)


def _gradients(grey: Pixels) -> Array32:
    """(_BINS, h, w) oriented gradients, smoothed over a cell, normalised by the local gradient."""
    levels = grey.astype(np.float32)
    gx = np.asarray(cv2.Sobel(levels, cv2.CV_32F, 1, 0, ksize=3), np.float32)
    gy = np.asarray(cv2.Sobel(levels, cv2.CV_32F, 0, 1, ksize=3), np.float32)
    strength = np.hypot(gx, gy)
    orientation = np.arctan2(gy, gx) % (2 * np.pi) * np.float32(_BINS / (2 * np.pi))
    bin_below = np.floor(orientation)
    fraction = orientation - bin_below
    bin_below = bin_below.astype(int) % _BINS
    local_mean = cv2.GaussianBlur(strength, (0, 0), 3 * _CELL) + _MIN_GRADIENT
    layers = []
    for bin_index in range(_BINS):
        weight = (bin_below == bin_index) * (1 - fraction) + (
            (bin_below + 1) % _BINS == bin_index
        ) * fraction
        layers.append(cv2.GaussianBlur(strength * weight, (0, 0), _CELL) / local_mean)
    return np.asarray(layers, np.float32)
