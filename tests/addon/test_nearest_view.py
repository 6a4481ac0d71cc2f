# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated view that stands at the head until a mesh does."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from dp3d_core.cameras import Camera
from dp3d_core.trajectories import orbit_pose
from tests.addon.test_scene_views import SIZES, write_view_folder

pytestmark = pytest.mark.bpy


def ring(count: int) -> list[Camera]:
    """Cameras round the head, each with a lens, shift and pixel shape of its own."""
    rng = np.random.default_rng(11)
    cameras = []
    for index in range(count):
        width, height = SIZES[index % len(SIZES)]
        focal = float(rng.uniform(1.5, 3.0)) * width
        K = np.array(
            [
                [focal, 0, width * rng.uniform(0.4, 0.6)],
                [0, focal * rng.choice([1.0, 0.8, 1.25]), height * rng.uniform(0.4, 0.6)],
                [0, 0, 1.0],
            ]
        )
        pose = orbit_pose(360.0 * index / count, float(rng.uniform(-15, 15)))
        cameras.append(Camera(pose, K, width, height))
    return cameras


def test_the_nearest_view_stands_at_the_head(blender, tmp_path: Path) -> None:
    cameras = ring(12)
    folder = tmp_path / "views"
    write_view_folder(folder, cameras)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = blender("nearest_view", folder=folder, port=port)
    for kind, told in result["kinds"].items():
        assert told["chosen"] == [f"{index:04d}.png" for index in range(12)], kind
        assert told["worst_place"] < 1e-4, kind  # head units
        assert not told["from_below"], kind
    print({kind: told["worst_place"] for kind, told in result["kinds"].items()})
    assert result["other_run"]
    for name in ("under_mesh", "ghost_under_mesh", "hidden_by_playback", "free_again"):
        assert result[name], name
    assert result["changed"] == [1, 0]
    assert result["unasked"] == ["", "server.unreachable"]
