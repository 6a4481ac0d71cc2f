# SPDX-License-Identifier: GPL-3.0-or-later
"""Views in the scene: any K and any pose comes back out of Blender as it went in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.camera import Camera, head_pose_from_blender, intrinsics_from_projection
from dp3d_core.cameras.files import cameras_to_dict
from dp3d_core.cameras.trajectories import orbit_pose

pytestmark = pytest.mark.bpy

SIZES = ((64, 64), (80, 48), (48, 80))


def write_view_folder(folder: Path, cameras: list[Camera]) -> None:
    (folder / "frames").mkdir(parents=True)
    (folder / "cameras.json").write_text(json.dumps(cameras_to_dict(cameras)))
    for index, camera in enumerate(cameras):
        picture = Image.new("RGB", (camera.width, camera.height), (index * 10 % 256, 80, 120))
        picture.save(folder / "frames" / f"{index:04d}.png")


def random_cameras(count: int) -> list[Camera]:
    rng = np.random.default_rng(7)
    cameras = []
    for index in range(count):
        width, height = SIZES[index % len(SIZES)]
        focal = float(rng.uniform(0.4, 6.0)) * width
        K = np.array(
            [
                [focal, 0, width * rng.uniform(0.2, 0.8)],
                [0, focal * rng.choice([1.0, 0.5, 1.7]), height * rng.uniform(0.2, 0.8)],
                [0, 0, 1.0],
            ]
        )
        pose = orbit_pose(float(rng.uniform(-180, 180)), float(rng.uniform(-80, 80)))
        cameras.append(Camera(pose, K, width, height))
    return cameras


def test_cameras_come_back_as_they_went_in(blender, tmp_path: Path) -> None:
    cameras = random_cameras(24)
    folder = tmp_path / "views"
    write_view_folder(folder, cameras)
    result = blender("lens_roundtrip", folder=folder)
    assert len(result["out"]) == 5 * 2 * len(cameras)
    pose_error = lens_error = 0.0
    for camera_report in result["out"]:
        camera = cameras[camera_report["index"]]
        K = intrinsics_from_projection(camera_report["projection"], camera.width, camera.height)
        lens_error = max(lens_error, np.abs(K - camera.K).max() / camera.width)
        pose = head_pose_from_blender(camera_report["camera_world"], camera_report["anchor_world"])
        pose_error = max(pose_error, np.abs(pose - camera.c2w).max())
        _, role, index = camera_report["label"]
        assert camera_report["parent_is_anchor"], camera_report["label"]
        assert camera_report["count"] == (1 if role == "player" else len(cameras))
        assert camera_report["source"] == ("SEQUENCE" if role == "player" else "FILE")
        assert (
            Path(camera_report["image"])
            == folder / "frames" / f"{0 if role == 'player' else index:04d}.png"
        )
        if role == "view":
            assert camera_report["marked"] == [index, 3 + 2 * index]
    print(f"worst K error {lens_error:.2e} image widths, worst pose error {pose_error:.2e}")
    assert lens_error < 2e-6
    assert pose_error < 5e-6


def test_more_views_than_objects_are_sensible(blender, tmp_path: Path) -> None:
    cameras = [Camera(orbit_pose(i), random_cameras(1)[0].K, 64, 64) for i in range(73)]
    folder = tmp_path / "views"
    write_view_folder(folder, cameras)
    result = blender("many_views", folder=folder)
    assert result == {"players": 1, "views": 0, "pictures": 73, "keys": 73}
