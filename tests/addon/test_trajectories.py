# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's own cameras are the server's, number by number."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dp3d_core.cameras.camera import (
    Camera,
)
from dp3d_core.cameras.files import (
    cameras_from_blender_path,
    cameras_from_dict,
    cameras_from_transforms,
    cameras_to_dict,
    cameras_to_transforms,
)
from dp3d_core.cameras.trajectories import cameras_from_request, orbit_pose
from dp3d_core.limits import CAMERA_PRESETS
from tests.support.blender_cameras import blender_pose_from_head, projection_from_intrinsics


@pytest.fixture(scope="module")
def trajectories(addon):
    return addon("scene.trajectories")


def difference(ours, theirs) -> float:
    """Largest difference of poses and intrinsics."""
    assert len(ours) == len(theirs)
    assert [(c.width, c.height) for c in ours] == [(c.width, c.height) for c in theirs]
    return max(
        max(np.abs(a.c2w - b.c2w).max(), np.abs(np.array(a.K) - b.K).max())
        for a, b in zip(ours, theirs, strict=True)
    )


def test_the_presets_are_the_servers(trajectories) -> None:
    for name, views, size, pitch in itertools.product(
        CAMERA_PRESETS,
        (1, 2, 3, 4, 7, 16, 32, 360),
        (16, 512, 2048),
        (-90.0, -60.0, -12.3, 0.0, 20.0, 60.0, 90.0),
    ):
        theirs = cameras_from_request(
            {"preset": name, "views": views, "size": size, "pitch_deg": pitch}
        )
        ours = trajectories.preset(name, views, size, pitch)
        assert difference(ours, theirs) < 1e-9, (name, views, size, pitch)


def test_an_unknown_preset_is_refused(trajectories) -> None:
    with pytest.raises(ValueError, match="spiral"):
        trajectories.preset("spiral", 4, 64)


def blender_scenes(count: int):
    """Random cameras under random anchors, in Blender's single precision."""
    rng = np.random.default_rng(3)
    for _ in range(count):
        anchor = np.eye(4)
        anchor[:3, :3] = (
            10 ** rng.uniform(-2, 2) * Rotation.from_quat(rng.normal(size=4)).as_matrix()
        )
        anchor[:3, 3] = rng.uniform(-5, 5, 3)
        width, height = (int(n) for n in rng.integers(16, 2000, 2))
        K = np.diag([width * rng.uniform(0.4, 6), height * rng.uniform(0.4, 6), 1.0])
        K[:2, 2] = rng.uniform(0, 1, 2) * (width, height)
        head = orbit_pose(*rng.uniform(-180, 180, 2), radius=rng.uniform(0.5, 9))
        world = blender_pose_from_head(head, anchor)
        world[:3, :3] *= rng.uniform(0.1, 4)  # Blender ignores a camera's scale
        yield (
            *(m.astype(np.float32).astype(float).tolist() for m in (world, anchor)),
            projection_from_intrinsics(K, width, height).astype(np.float32).astype(float).tolist(),
            width,
            height,
        )


def test_blenders_matrices_mean_what_they_mean_at_the_server(trajectories) -> None:
    for world, anchor, projection, width, height in blender_scenes(200):
        frame = {"camera_world": world, "anchor_world": anchor, "projection": projection}
        theirs = cameras_from_blender_path({"frames": [frame], "width": width, "height": height})
        ours = trajectories.from_blender(world, anchor, projection, width, height)
        assert difference([ours], theirs) < 1e-8
        back = np.array(trajectories.to_blender(ours.c2w, anchor))
        assert np.abs(back - blender_pose_from_head(theirs[0].c2w, anchor)).max() < 1e-9
        point = theirs[0].c2w @ (0.1, -0.2, 1.5, 1)
        u, v, depth = ours.project(point[:3])
        uv, depths = theirs[0].project(point[:3])
        assert np.abs([u - uv[0, 0], v - uv[0, 1], depth - depths[0]]).max() < 1e-8
        assert np.isnan(ours.project((2 * theirs[0].c2w - point[:, None])[:3, 3])[0])


def test_the_files_are_those_of_the_server(trajectories) -> None:
    ours = trajectories.preset("capture", 9, 100)
    ours[2] = ours[2]._replace(K=[[90.0, 0, 31.5], [0, 120.0, 77], [0, 0, 1.0]], height=140)
    theirs = [Camera(c.c2w, c.K, c.width, c.height) for c in ours]
    document = trajectories.cameras_document(ours)
    assert document == cameras_to_dict(theirs)
    assert difference(ours, cameras_from_dict(document)) == 0
    names = [f"frames/{i:04d}.png" for i in range(9)]
    document = trajectories.transforms_document(ours, names)
    assert document == cameras_to_transforms(theirs, names)
    cameras, paths = cameras_from_transforms(document)
    assert paths == names
    assert difference(ours, cameras) < 1e-12
