"""Pose of a head seen from the side or from behind, by a regression learned on renders.

No landmark model finds such heads.  Features of a window around the head are projected on principal
components; angles, size and position of the head in the window are a kernel ridge regression on a
subset of the training windows (Nystroem method, Williams and Seeger 2001).  A coarse stage, whose
features are histograms of oriented gradients (Dalal and Triggs 2005), moves a rough window onto the
head.  A fine one is applied three times; its features are inner layers of the person segmenter,
which was trained on photos of people.  ``synthetic.view_training`` learns both stages.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Array, Array32, Pixels
from dp3d_core.portraits.crop import Crop
from dp3d_core.portraits.face_models import SEGMENTER, SEGMENTER_SIDE, run
from dp3d_core.storage.files import write_atomic

FILE_NAME = "view_map.npz"
"""File of the map in the package ``dp3d_core.heads``."""
_GRADIENT_SIDE = 96
"""Side of the coarse stage's windows, pixels."""
_PERSON_SIDE = 128
"""Side of the fine stage's windows, pixels, before they are enlarged for the segmenter."""
_CONTEXT = 1.3
"""Side of the fine stage's windows, canonical crops: neck and shoulders tell pitch."""
_LAYERS = {"conv2d_16": 0.029, "conv2d_20": 0.020}
"""Layers of the segmenter, (32, 16, 16), and factors by which their deviations are about equal."""
_POOLED = 2
"""Side of the squares over which a layer is averaged."""
OUTPUTS = 7
"""Outputs: cosine and sine of the yaw; pitch and roll, radians; log of the side of the canonical
crop over that of the window; offset of their centres, window sides."""
_FINE_ROUNDS = 3
"""Number of times that the fine stage is applied."""
_FINE_SIDES = (0.95, 1.0, 1.05)
"""Sides of the windows whose outputs the fine stage averages, relative to the current one."""
_MIRROR = np.array([1.0, -1, 1, -1, 1, -1, 1])
"""Signs of the outputs of a mirrored window."""
_FIRST_SIDES = (0.85, 1.0, 1.2)
"""Sides of the windows that the coarse stage starts from, relative to the rough one."""
COARSE_SIZE = (250, 2500)
"""Numbers of principal components, and of training windows that the coarse regression refers to."""
FINE_SIZE = (300, 3500)
"""Numbers of principal components, and of training windows that the fine regression refers to."""
_RIDGE = 1e-6
"""Weight of the ridge relative to the number of windows."""
_FOR_COMPONENTS = 5000
"""Number of windows that the principal components are computed from."""
_LEVELS = 127
"""Largest integer in the file, which stores 8-bit numbers."""


@dataclass(frozen=True, eq=False)
class ViewPose:
    """A head in a photo.

    Attributes:
        angles: (3,) yaw, pitch and roll, radians; signs as in ``pose.HeadAngles``.
        crop: the canonical crop of the head, pixels of the photo.
        certainty: length of the predicted (cosine, sine) of the yaw, about 1 where training
            windows agree.
        likeness: largest kernel between the window and those of training, 0 to 1, geometric mean
            of both stages; windows without a head have little.

    """

    angles: Array
    crop: Crop
    certainty: float
    likeness: float


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage of the regression, of k components and c centres.

    Attributes:
        mean: (features,) mean of the features.
        projection: (features, k) features to components.
        centres: (c, k) components of the windows that the kernel refers to.
        width: factor of squared distances in the kernel.
        weights: (c, OUTPUTS).
        offset: (OUTPUTS,) mean of the outputs.

    """

    mean: Array32
    projection: Array32
    centres: Array32
    width: float
    weights: Array
    offset: Array

    def __call__(self, features: Array32) -> Array:
        """(n, OUTPUTS) outputs for features (n, features)."""
        return np.asarray(self._kernel(features) @ self.weights + self.offset)

    def likeness(self, features: Array32) -> Array:
        """(n,) largest kernel between features (n, features) and the centres, 0 to 1."""
        return np.asarray(self._kernel(features).max(1))

    def _kernel(self, features: Array32) -> Array:
        """(n, c) kernel between features (n, features) and the centres."""
        components = np.asarray((features - self.mean) @ self.projection, np.float32)
        return _kernel(components, self.centres, self.width)

    @classmethod
    def learn(
        cls, features: Array32, outputs: Array, size: tuple[int, int], seed: int = 0
    ) -> Stage:
        """Learn a stage.

        Args:
            features: (n, features) of the training windows.
            outputs: (n, OUTPUTS) their true outputs.
            size: numbers of components and centres, as far as there are so many windows.
            seed: of the choice of centres.

        """
        rng = np.random.default_rng(seed)
        mean = features.mean(0)
        some = rng.choice(len(features), min(_FOR_COMPONENTS, len(features)), replace=False)
        _, values, rows = np.linalg.svd(features[some] - mean, full_matrices=False)
        count = min(size[0], len(rows))
        # between whitened and plain components
        scale = np.sqrt(len(some)) / values[:count] * np.sqrt(values[:count] / values[0])
        projection = np.asarray((rows[:count] * scale[:, None]).T, np.float32)
        projection = _rounded(projection)
        components = (features - mean) @ projection
        chosen = rng.choice(len(features), min(size[1], len(features)), replace=False)
        centres = _rounded(components[chosen])
        width = 1 / float(np.median(_squared_distances(components[chosen[:500]], centres)))
        kernel = _kernel(components, centres, width)
        offset = outputs.mean(0)
        ridge = _RIDGE * len(features) * _kernel(centres, centres, width)
        system = kernel.T @ kernel + ridge + 1e-3 * np.eye(len(centres))
        weights = np.linalg.solve(system, kernel.T @ (outputs - offset))
        return cls(mean, projection, centres, width, weights, offset)


def _squared_distances(first: Array32, second: Array32) -> Array:
    """(n, m) squared distances of rows (n, k) and (m, k)."""
    products = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.asarray(np.maximum(products.astype(np.float64), 0))


def _kernel(first: Array32, second: Array32, width: float) -> Array:
    """(n, m) Gaussian kernel of rows (n, k) and (m, k)."""
    return np.asarray(np.exp(-width * _squared_distances(first, second)))


def _rounded(values: Array32) -> Array32:
    """Values rounded as the file stores them, so that learning knows the error."""
    levels, scale = _quantised(values)
    return levels.astype(np.float32) * scale


def _quantised(values: Array32) -> tuple[NDArray[np.int8], Array32]:
    """Columns as integers of 8 bits, and the scale (columns,) of each."""
    scale = np.maximum(np.abs(values).max(0), 1e-9) / _LEVELS
    return np.rint(values / scale).astype(np.int8), np.asarray(scale, np.float32)


@dataclass(frozen=True, eq=False)
class ViewMap:
    """The learned map, from a photo and a rough window to a pose."""

    coarse: Stage
    fine: Stage

    def __call__(self, photo: Pixels, rough: Crop) -> ViewPose:
        """Estimate the pose of a head.

        Args:
            photo: (h, w, 3) uint8 RGB.
            rough: window around the head, whose side is right to about 30 percent.

        Raises:
            Dp3dError: ``portrait.model_missing`` if the segmenter is not installed.

        """
        x, y = rough.x + rough.side / 2, rough.y + rough.side / 2
        best: tuple[float, Crop] | None = None
        for factor in _FIRST_SIDES:
            window = Crop.around(x, y, rough.side * factor)
            for _ in range(2):
                output = self.coarse(gradient_features(photo, window)[None])[0]
                window = moved(window, output)
            certainty = float(np.hypot(output[0], output[1]))
            if best is None or certainty > best[0]:
                best = certainty, window
        assert best is not None  # there are several factors
        window = best[1]
        for _ in range(_FINE_ROUNDS):
            output = self._fine_output(photo, window)
            window = moved(window, output)
        angles = np.array([np.arctan2(output[1], output[0]), output[2], output[3]])
        likeness = float(
            np.sqrt(
                self.coarse.likeness(gradient_features(photo, window)[None])[0]
                * self.fine.likeness(person_features(photo, window)[None])[0]
            )
        )
        return ViewPose(angles, window, float(np.hypot(output[0], output[1])), likeness)

    def _fine_output(self, photo: Pixels, window: Crop) -> Array:
        """(OUTPUTS,) mean output of the fine stage over windows of several sizes, also mirrored."""
        x, y = window.x + window.side / 2, window.y + window.side / 2
        mirrored = np.ascontiguousarray(photo[:, ::-1])
        features = []
        for factor in _FINE_SIDES:
            side = window.side * factor
            features.append(person_features(photo, Crop.around(x, y, side)))
            features.append(person_features(mirrored, Crop.around(photo.shape[1] - x, y, side)))
        outputs = self.fine(np.array(features))
        outputs[1::2] *= _MIRROR
        outputs[:, 4] += np.repeat(np.log(_FINE_SIDES), 2)
        outputs[:, 5:] *= np.repeat(_FINE_SIDES, 2)[:, None]
        return np.asarray(outputs.mean(0))

    def save(self, path: Path) -> None:
        """Write the map as ``.npz`` with numbers of 8 bits."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, stage in (("coarse", self.coarse), ("fine", self.fine)):
            for part in ("projection", "centres"):
                levels, scale = _quantised(getattr(stage, part))
                arrays[f"{name}_{part}"] = levels
                arrays[f"{name}_{part}_scale"] = scale
            arrays[f"{name}_mean"] = stage.mean.astype(np.float16)
            arrays[f"{name}_weights"] = stage.weights.astype(np.float32)
            arrays[f"{name}_offset"] = stage.offset.astype(np.float32)
            arrays[f"{name}_width"] = np.array(stage.width)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, source: Path | io.BytesIO) -> ViewMap:
        """Read a map; inverse of :meth:`save`."""
        with np.load(source, allow_pickle=False) as archive:
            stages = [_stage(archive, name) for name in ("coarse", "fine")]
        return cls(*stages)


def _stage(arrays: np.lib.npyio.NpzFile, name: str) -> Stage:
    """Read one stage from an opened file."""
    quantised = {
        part: arrays[f"{name}_{part}"].astype(np.float32) * arrays[f"{name}_{part}_scale"]
        for part in ("projection", "centres")
    }
    return Stage(
        arrays[f"{name}_mean"].astype(np.float32),
        quantised["projection"],
        quantised["centres"],
        float(arrays[f"{name}_width"]),
        arrays[f"{name}_weights"].astype(np.float64),
        arrays[f"{name}_offset"].astype(np.float64),
    )


@lru_cache(maxsize=1)
def view_map() -> ViewMap:
    """The map that the package ships."""
    data = resources.files("dp3d_core.heads").joinpath(FILE_NAME).read_bytes()
    return ViewMap.load(io.BytesIO(data))


def moved(window: Crop, output: Array) -> Crop:
    """The canonical crop that outputs (OUTPUTS,) predict in a window."""
    centre = np.array([window.x, window.y]) + window.side / 2 + output[5:] * window.side
    log_scale = float(np.clip(output[4], -0.6, 0.6))
    return Crop.around(float(centre[0]), float(centre[1]), window.side * float(np.exp(log_scale)))


def gradient_features(photo: Pixels, window: Crop) -> Array32:
    """(features,) histograms of oriented gradients of a window of a photo (h, w, 3) uint8."""
    image = _window(photo, window, _GRADIENT_SIDE)
    return np.asarray(_descriptor().compute(image), np.float32).ravel()


def person_features(photo: Pixels, window: Crop) -> Array32:
    """(features,) inner layers of the person segmenter around a window of a photo (h, w, 3) uint8.

    Raises:
        Dp3dError: ``portrait.model_missing`` if the segmenter is not installed.

    """
    middle = window.x + window.side / 2, window.y + window.side / 2
    image = _window(photo, Crop.around(*middle, _CONTEXT * window.side), _PERSON_SIDE)
    size = (SEGMENTER_SIDE, SEGMENTER_SIDE)
    enlarged = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    outputs = run(SEGMENTER, enlarged, 0.0, tuple(_LAYERS))
    pooled = [
        factor * _pooled(output[0]).ravel()
        for output, factor in zip(outputs, _LAYERS.values(), strict=True)
    ]
    return np.concatenate(pooled).astype(np.float32)


def _pooled(layer: Array) -> Array:
    """(c, h / _POOLED, w / _POOLED) means of a layer (c, h, w) over squares."""
    channels, height, width = layer.shape
    squares = (channels, height // _POOLED, _POOLED, width // _POOLED, _POOLED)
    return np.asarray(layer.reshape(squares).mean((2, 4)))


def _window(photo: Pixels, window: Crop, side: int) -> Pixels:
    """(side, side, 3) a window of a photo, whose border is repeated outside."""
    scale = side / window.side
    matrix = np.array([[scale, 0, -scale * window.x], [0, scale, -scale * window.y]])
    source = photo
    if scale < 1:  # blur before reduction
        source = np.asarray(cv2.GaussianBlur(photo, (0, 0), 0.4 * (1 / scale - 1) + 0.3), np.uint8)
    return np.asarray(
        cv2.warpAffine(
            source, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        np.uint8,
    )


@lru_cache(maxsize=1)
def _descriptor() -> cv2.HOGDescriptor:
    """Blocks of 24 pixels every 12, of four cells with 9 orientations."""
    side = (_GRADIENT_SIDE, _GRADIENT_SIDE)
    return cv2.HOGDescriptor(side, (24, 24), (12, 12), (12, 12), 9)
