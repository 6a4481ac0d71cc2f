"""Shared fixtures: reference data beside the checkout, and where the other environments are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


def shared_path(relative: str) -> Path:
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"reference data ../shared/{relative} is absent")
    return path


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Any]:
    """Reader of a JSON file of golden values; skips where the reference data is absent."""
    return lambda name: json.loads(shared_path(f"golden/{name}").read_text())


@pytest.fixture(scope="session")
def official_outputs() -> Path:
    """Folder of the official model's published frames; skips where it is absent."""
    return shared_path("data/diffportrait3d_outputs")
