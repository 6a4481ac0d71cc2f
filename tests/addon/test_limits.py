# SPDX-License-Identifier: GPL-3.0-or-later
"""Choices and limits of the add-on are the server's, and the panel keeps to them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dp3d_core import limits

LARGEST_INT = 2**31 - 1
"""Of Blender's integer properties, which are signed and have 32 bits."""
DIFFERENT = {"LARGEST_INT": LARGEST_INT, "SEED": (0, LARGEST_INT)}
"""Limits of the add-on that are not the server's: Blender's own, and what follows from it."""


def test_every_name_is_the_servers(addon) -> None:
    ours = {name: value for name, value in vars(addon("limits")).items() if name.isupper()}
    assert len(ours) > 15
    theirs = {name: getattr(limits, name, None) for name in ours} | DIFFERENT
    assert ours == theirs
    assert limits.SEED.high > LARGEST_INT, "no reason to differ any more"


def test_a_value_is_moved_to_the_nearest_of_a_range(addon) -> None:
    fps = addon("limits").FPS
    assert [fps.nearest(value) for value in (0.001, 24.0, 1e6)] == [0.1, 24.0, 240]
    assert str(fps) == str(limits.FPS)


def radians(degrees: limits.Range[int]) -> tuple[float, float]:
    return math.radians(degrees.low), math.radians(degrees.high)


RANGES: dict[str, tuple[float, float]] = {
    "views": limits.PRESET_VIEWS,
    "size": limits.PRESET_SIDE,
    "pitch": radians(limits.PRESET_PITCH_DEG),
    "head_yaw": radians(limits.HEAD_YAW_DEG),
    "head_pitch": radians(limits.HEAD_PITCH_DEG),
    "head_roll": radians(limits.HEAD_ROLL_DEG),
    "seed": (0, LARGEST_INT),
    "faces": limits.MESH_FACES,
    "texture_size": limits.TEXTURE_SIDE,
}
CHOICES: dict[str, set[str]] = {
    "preset": {name.upper() for name in limits.CAMERA_PRESETS},
    "fit_preset": {name.upper() for name in limits.FIT_PRESETS},
    "playback_video": {"NONE", *limits.VIDEO_FORMATS},
}
DEFAULTS: dict[str, Any] = {
    "views": limits.DEFAULT_VIEWS,
    "size": limits.DEFAULT_SIDE,
    "fit_preset": limits.DEFAULT_FIT_PRESET.upper(),
    "faces": limits.DEFAULT_FACES,
    "texture_size": limits.DEFAULT_TEXTURE_SIDE,
}
OWN = {
    *("camera_source", "frame_start", "frame_end", "frame_step"),
    *("look", "playback_show", "playback_step"),
}
"""Properties of which the server knows nothing."""


@pytest.mark.bpy
def test_the_panel_keeps_to_them(blender) -> None:
    report = blender("limits")
    properties = report["properties"]
    assert tuple(report["ends"]) == limits.PRESET_PITCH_DEG
    assert set(properties) == set(RANGES) | set(CHOICES) | OWN
    for name, within in RANGES.items():
        assert properties[name]["range"] == pytest.approx(within, rel=1e-6), name
    for name, choices in CHOICES.items():
        assert set(properties[name]["choices"]) == choices, name
    for name, default in DEFAULTS.items():
        assert properties[name]["default"] == default, name
