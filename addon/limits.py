# SPDX-License-Identifier: GPL-3.0-or-later
"""Choices and limits of the server that the panel keeps to.  No bpy here.

A copy of ``dp3d_core/limits.py``, which Blender does not have; ``tests/addon/test_limits.py``
compares every name.
"""

from __future__ import annotations

from typing import NamedTuple


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, both ends included."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a number is in the range."""
        return self.low <= value <= self.high

    def nearest(self, value: float) -> float:
        """The number of the range that is nearest to a value."""
        return min(self.high, max(self.low, value))

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


CAMERA_PRESETS = ("orbit", "capture", "arc", "ellipse", "sweep")
PRESET_VIEWS = Range(1, 360)
DEFAULT_VIEWS = 32
PRESET_SIDE = Range(16, 2048)
DEFAULT_SIDE = 512
PRESET_PITCH_DEG = Range(-90, 90)
PATH_VIEWS = Range(1, 4096)
PATH_SIDE = Range(16, 4096)

DEFAULT_ENGINE = "preview"
LARGEST_INT = 2**31 - 1
"""Largest value of Blender's integer properties, which are signed and have 32 bits."""
SEED = Range(0, LARGEST_INT)
"""The server's seeds go to 2^32 - 1: beyond what Blender's integer properties hold."""
HEAD_YAW_DEG = Range(-180, 180)
HEAD_PITCH_DEG = Range(-80, 80)
HEAD_ROLL_DEG = Range(-180, 180)

FIT_PRESETS = ("tiny", "draft", "standard", "high")
DEFAULT_FIT_PRESET = "draft"

MESH_FACES = Range(200, 500_000)
DEFAULT_FACES = 30_000
TEXTURE_SIDE = Range(64, 4096)
DEFAULT_TEXTURE_SIDE = 1024
VIDEO_FORMATS = ("webm", "mp4")
FPS = Range(0.1, 240)
