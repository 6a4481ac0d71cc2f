"""Photos and installations shared by several tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.portraits.photo_file import default_photo
from tests.support.photos import encode


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Head and shoulders of the default photo, a JPEG of 512 x 600 pixels with one face."""
    photo = Image.open(default_photo()).convert("RGB").crop((83, 0, 356, 320))
    path = tmp_path_factory.mktemp("photos") / "astronaut.jpg"
    photo.resize((512, 600), Image.Resampling.LANCZOS).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def astronaut_rgb(astronaut: Path) -> np.ndarray:
    return np.asarray(Image.open(astronaut).convert("RGB"))


@pytest.fixture(scope="session")
def plain() -> bytes:
    """A photo of one plain colour."""
    return encode(np.full((300, 240, 3), (90, 140, 60), np.uint8))


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installation without face models and head data."""
    monkeypatch.setenv("DP3D_MODELS", str(tmp_path / "no models"))
