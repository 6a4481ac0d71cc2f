"""Photos that several tests read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.photos import encode


@pytest.fixture(scope="session")
def hopper() -> Path:
    """A real photograph that comes with matplotlib: a face below a cap."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="session")
def hopper_rgb(hopper: Path) -> np.ndarray:
    return np.asarray(Image.open(hopper).convert("RGB"))


@pytest.fixture(scope="session")
def plain() -> bytes:
    """A photo of nothing."""
    return encode(np.full((300, 240, 3), (90, 140, 60), np.uint8))


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installation without face models and head data."""
    monkeypatch.setenv("DP3D_MODELS", str(tmp_path / "no models"))
