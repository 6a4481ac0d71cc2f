"""Conversion of values to JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest

from server.json_ready import json_ready


class Colour(StrEnum):
    RED = "red"


@dataclass
class Point:
    x: float
    where: Path


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2.5, 2.5),
        (float("nan"), None),
        (float("-inf"), None),
        ("text", "text"),
        (Colour.RED, "red"),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.float64("nan"), None),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ((1, 2), [1, 2]),
        ({1: {"a": np.float64(1)}}, {"1": {"a": 1.0}}),
        (Point(1.5, Path("/secret/place/head.glb")), {"x": 1.5, "where": "head.glb"}),
    ],
)
def test_json_ready(value, expected):
    converted = json_ready(value)
    assert converted == expected
    assert type(converted) is type(expected)
    assert json.loads(json.dumps(converted, allow_nan=False)) == converted
