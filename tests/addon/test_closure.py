# SPDX-License-Identifier: GPL-3.0-or-later
"""The closure test: what leaves Blender comes back to the same pixel and the same place.

Real parts all the way: bpy, HTTP, worker, preview engine, nerfstudio fit, mesh, glTF import.
The anchor is turned, scaled, parented twice with a parent inverse, and animated; the camera is
vertical-fit with a shift, a pixel aspect and a render percentage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from dp3d_core.viewsets.viewset import ViewSet
from tests.addon.support import TOKEN

pytestmark = [pytest.mark.bpy, pytest.mark.nerf]

HEAD_SIZE = 0.5
"""Height of the canonical head, head units."""


def normalised(matrix: list[list[float]]) -> np.ndarray:
    out = np.array(matrix)
    out[:3, :3] /= np.linalg.norm(out[:3, :3], axis=0)
    return out


def test_what_leaves_blender_comes_back_to_its_place(
    blender, nerf_server, portrait: Path, tmp_path: Path
) -> None:
    report = blender(
        "closure",
        timeout=900,
        url=nerf_server.url,
        token=TOKEN,
        portrait=portrait,
        folder=tmp_path / "results",
        views=16,
        preset="TINY",
    )
    assert report["state"] == "succeeded", report["error"]
    views = ViewSet.open(Path(report["folder"]))
    glb = np.asarray(trimesh.load(report["mesh"], force="mesh").vertices, np.float64)
    landmarks = np.array(report["landmarks"], float)
    width, height = report["size"]
    pixel_error = place_error = pose_error = lens_error = 0.0
    overlaps, right, mirrored = [], [], []
    for index, (frame_report, camera) in enumerate(
        zip(report["views"], views.cameras, strict=True)
    ):
        assert (camera.width, camera.height) == (width, height)
        pixel_error = max(
            pixel_error, np.abs(camera.project(landmarks)[0] - frame_report["seen"]).max()
        )

        anchor = np.array(frame_report["anchor"])
        scale = np.cbrt(np.linalg.det(anchor[:3, :3]))
        expected = glb @ anchor[:3, :3].T + anchor[:3, 3]
        vertices = np.array(frame_report["vertices"])
        # every vertex of the file has one in Blender, and the other way round
        vertex_distances = (
            _distances(vertices, expected).max(),
            _distances(expected, vertices).max(),
        )
        place_error = max(place_error, *(a / scale for a in vertex_distances))

        scene_camera = normalised(frame_report["scene_camera"])
        for name in ("view_camera", "player"):
            difference = np.abs(normalised(frame_report[name]) - scene_camera)
            pose_error = max(pose_error, difference[:3, :3].max(), difference[:3, 3].max() / scale)
        for name in ("view_projection", "player_projection"):
            difference = np.abs(np.array(frame_report[name]) - frame_report["scene_projection"])[:2]
            lens_error = max(lens_error, difference.max() * max(width, height) / 2)

        mask = views.mask(index)
        assert mask is not None
        hits = np.array(list(frame_report["silhouette"])).reshape(height, width) == "1"
        truth = mask > 127
        overlaps.append((hits & truth).sum() / (hits | truth).sum())
        # the texture, as Blender's rays find it, against the frame; and against a mirrored frame
        frame = views.frame(index).astype(float)
        u, v, *colour = np.array(frame_report["colours"]).T
        inside = truth[v, u] & truth[v, width - 1 - u]
        colour = np.stack(colour, -1)[inside]
        right.append(np.abs(frame[v, u][inside] - colour).mean())
        mirrored.append(np.abs(frame[v, width - 1 - u][inside] - colour).mean())
    print(
        f"closure in {report['seconds']:.0f} s: landmark {pixel_error:.1e} px, "
        f"vertices {place_error / HEAD_SIZE:.1e} head sizes, camera pose {pose_error:.1e}, "
        f"lens {lens_error:.1e} px, silhouette IoU min {min(overlaps):.3f} "
        f"mean {np.mean(overlaps):.3f}, "
        f"colour error {np.mean(right):.1f} of 255 (mirrored frames {np.mean(mirrored):.1f})"
    )
    assert report["frame_after"] == 4
    assert pixel_error < 0.5
    assert place_error < 1e-3 * HEAD_SIZE
    assert pose_error < 1e-4
    assert lens_error < 0.05
    assert min(overlaps) > 0.9, overlaps
    assert np.mean(right) < 20
    assert np.mean(right) < 0.7 * np.mean(mirrored)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of each point of a to the nearest of b."""
    from scipy.spatial import cKDTree

    return cKDTree(b).query(a)[0]
