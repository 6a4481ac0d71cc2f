# SPDX-License-Identifier: GPL-3.0-or-later
"""Picture i is seen from frame f_i until the next one begins, wherever a sequence is shown."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import orbit_pose
from tests.addon.test_scene_views import write_view_folder

pytestmark = pytest.mark.bpy


def numbered_views(folder: Path, count: int) -> None:
    """Pictures with a red of 20 times their number; those with alpha are clear at the border."""
    K = np.array([[90, 0, 30.0], [0, 90, 26.0], [0, 0, 1]])
    write_view_folder(folder, [Camera(orbit_pose(9.0 * i), K, 64, 48) for i in range(count)])
    (folder / "rgba").mkdir()
    for index in range(count):
        pixels = np.zeros((48, 64, 4), np.uint8)
        pixels[4:-4, 4:-4] = 20 * index, 90, 200, 255
        Image.fromarray(pixels).save(folder / "rgba" / f"{index:04d}.png")


@pytest.mark.parametrize(
    "frames", [[1, 4, 7, 10, 13], [-6, 2, 3, 11, 40]], ids=["step 3", "uneven"]
)
def test_each_picture_holds_until_the_next(blender, tmp_path: Path, frames: list[int]) -> None:
    folder = tmp_path / "views"
    numbered_views(folder, len(frames))
    visits = list(range(min(frames) - 2, max(frames) + 4))
    visits += visits[::-3]
    rendered = [frames[1] - 1, frames[1], frames[2], frames[4] - 1, frames[4] + 3]
    result = blender(
        "sequences", folder=folder, frames=frames, visits=visits, rendered=rendered, size=(64, 48)
    )
    for rows in (result["live"], result["reopened"]):
        assert [row["frame"] for row in rows] == visits
        for row in rows:
            picture = max(0, bisect_right(frames, row["frame"]) - 1)
            shifted = max(0, bisect_right(frames, row["frame"] - 1) - 1)
            assert (row["player"], row["own"], row["other"]) == (picture, picture, shifted), row
            if row["frame"] in rendered:
                assert row["CYCLES"] == pytest.approx(picture, abs=0.1), row
                assert row["BLENDER_WORKBENCH"] == pytest.approx(picture, abs=0.1), row
    assert result["before"] == ["0000.png", "Anna · Playback", "Berta · Playback"]
    assert result["after"] == ["Anna · Playback", "Berta · Playback"]
    path = "background_images[{}].image_user.frame_offset"
    assert result["drivers"] == [path.format(0), path.format(1)]
    assert result["read"] == [f + 1 for f in frames]  # what was shown last from this folder
    assert result["removed"] == [2, 1]
    assert result["player_still"] == 2  # the player's own driver is no playback's
    assert result["left"]["backgrounds"] == result["left"]["drivers"] == 0
    assert result["left"]["images"] == result["left"]["meshes"] == []
    assert not [name for name in result["left"]["actions"] if "Playback" in name]
