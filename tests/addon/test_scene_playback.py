# SPDX-License-Identifier: GPL-3.0-or-later
"""The playback's plane shows the frames pixel by pixel; backgrounds go behind the right cameras."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.files import cameras_from_blender_path, cameras_to_dict
from tests.addon.test_scene_sequence import numbered_views

pytestmark = pytest.mark.bpy

SIZE = (60, 44)
FRAMES = [2, 5, 8]


def test_the_plane_coincides_with_the_frames(blender, tmp_path: Path) -> None:
    path = blender("plane", step="path", size=SIZE, frames=FRAMES)
    folder = tmp_path / "playback"
    (folder / "rgba").mkdir(parents=True)
    cameras = cameras_from_blender_path(path)
    (folder / "cameras.json").write_text(json.dumps(cameras_to_dict(cameras)))
    rng = np.random.default_rng(3)
    pictures = []
    for index in range(len(FRAMES)):
        picture = rng.integers(0, 256, (SIZE[1], SIZE[0], 4), np.uint8)
        picture[..., 3] = np.where(picture[..., 3] > 90, 255, 0)
        picture[0, 0] = 255  # the corners, so that an edge cut off would show
        picture[-1, -1] = 255
        Image.fromarray(picture).save(folder / "rgba" / f"{index:04d}.png")
        pictures.append(picture)
    blender("plane", step="render", size=SIZE, frames=FRAMES, folder=folder)
    for index, picture in enumerate(pictures):
        shown = np.asarray(Image.open(folder / f"rendered{index}.png")).astype(int)
        solid = picture[..., 3] == 255
        assert shown.shape == picture.shape
        alpha_error = np.abs(shown[..., 3] - picture[..., 3].astype(int))
        error = np.abs(shown - picture)[solid].max(-1)
        print(f"frame {FRAMES[index]}: colour {np.quantile(error, 0.99)} of 255, ", end="")
        print(f"alpha {np.quantile(alpha_error, 0.99)} of 255")
        # One sample near the middle of each pixel: noise of neighbours would be 80 on average.
        assert np.quantile(error, 0.99) <= 6
        assert np.quantile(alpha_error, 0.99) <= 6


def test_a_playback_goes_behind_the_cameras_it_was_rendered_through(
    blender, tmp_path: Path
) -> None:
    folder, frames = tmp_path / "playback", [2, 5, 8, 11]
    numbered_views(folder, len(frames))
    result = blender("playback_cameras", folder=folder, frames=frames)
    assert result["nothing"] == []
    assert result["written"] == [frames, ["A", "B", "A", "twin"]]
    assert result["early_version"] == [frames, []]
    none, all_frames = [0, []], [1, frames]
    assert result["removed"] == dict.fromkeys(("A", "B", "C", "twin"), none)
    shown = {"A": all_frames, "B": all_frames, "C": none, "twin": all_frames}
    assert result["shown"] == [[], shown, ["A", "B", "A", "twin"]]
    renamed = {"A": none, "C": none, "Renamed": all_frames, "twin": all_frames}
    assert result["renamed"] == [["B"], renamed, ["Renamed", "B", "Renamed", "twin"]]
    assert result["reopened"] == [["B"], renamed]
    assert result["unknown"] == [[], {**dict.fromkeys(renamed, none), "C": all_frames}, True]
    problem = "No camera that the playback was rendered through is in the scene"
    assert result["missing"] == [
        ["addon.camera_missing", f"{problem} ('Renamed', 'B', 'twin')."],
        *[["addon.camera_missing", f"{problem}."]] * 2,
    ]
