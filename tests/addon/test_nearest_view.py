# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated view that stands at the head until a mesh does."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import orbit_pose
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
    folder, many = tmp_path / "views", tmp_path / "many"
    write_view_folder(folder, ring(12))
    write_view_folder(many, ring(80))
    result = blender("nearest_view", folder=folder, many=many)
    for kind, choice in result["choices"].items():
        assert choice["chosen"] == [f"{index:04d}.png" for index in range(12)], kind
        assert choice["worst_place"] < 1e-4, kind  # head units
        assert choice["from_below"] is None, kind
    assert result["in_views"] == ["0003.png", "0003.png", "0003.png", "0003.png", None]

    elsewhere = result["elsewhere"]
    for name in ("there", "while_another_runs", "of_many"):
        assert elsewhere[name] == "0000.png", name
    for name in ("after_deleting", "excluded", "exported", "without_files"):
        assert elsewhere[name] is None, name
    assert elsewhere["deleted"] == [0, "next", "job"]
    assert elsewhere["cameras_of_many"] == 0

    bodies = result["bodies"]
    for name in ("under_mesh", "ghost_under_mesh", "in_own_collection", "free_again"):
        assert bodies[name], name
    assert bodies["refused"] == ["addon.camera_missing", False, "head.glb"]
    assert bodies["hidden"] == [True, False]
    assert bodies["changed"] == [1, 0]


def test_a_server_that_nobody_asked_for_is_no_failure(blender) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = blender("unasked", port=port)
    assert result["codes"] == ["", "server.unreachable", ""]
    assert not result["broken_is_loopback"]
    assert not result["can_start"]
    assert result["text"]
