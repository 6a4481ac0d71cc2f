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
    told = blender(
        "closure",
        timeout=900,
        url=nerf_server.url,
        token=TOKEN,
        portrait=portrait,
        folder=tmp_path / "results",
        views=16,
        preset="TINY",
    )
    assert told["state"] == "succeeded", told["error"]
    views = ViewSet.open(Path(told["folder"]))
    glb = np.asarray(trimesh.load(told["mesh"], force="mesh").vertices, np.float64)
    landmarks = np.array(told["landmarks"], float)
    width, height = told["size"]
    pixel = place = pose = lens = 0.0
    overlaps, right, mirrored = [], [], []
    for index, (got, camera) in enumerate(zip(told["views"], views.cameras, strict=True)):
        assert (camera.width, camera.height) == (width, height)
        pixel = max(pixel, np.abs(camera.project(landmarks)[0] - got["seen"]).max())

        anchor = np.array(got["anchor"])
        scale = np.cbrt(np.linalg.det(anchor[:3, :3]))
        expected = glb @ anchor[:3, :3].T + anchor[:3, 3]
        found = np.array(got["vertices"])
        # every vertex of the file has one in Blender, and the other way round
        apart = _distances(found, expected).max(), _distances(expected, found).max()
        place = max(place, *(a / scale for a in apart))

        scene_camera = normalised(got["scene_camera"])
        for name in ("view_camera", "player"):
            off = np.abs(normalised(got[name]) - scene_camera)
            pose = max(pose, off[:3, :3].max(), off[:3, 3].max() / scale)
        for name in ("view_projection", "player_projection"):
            off = np.abs(np.array(got[name]) - got["scene_projection"])[:2]
            lens = max(lens, off.max() * max(width, height) / 2)

        mask = views.mask(index)
        assert mask is not None
        hits = np.array(list(got["silhouette"])).reshape(height, width) == "1"
        truth = mask > 127
        overlaps.append((hits & truth).sum() / (hits | truth).sum())
        # the texture, as Blender's rays find it, against the frame; and against a mirrored frame
        frame = views.frame(index).astype(float)
        u, v, *colour = np.array(got["colours"]).T
        inside = truth[v, u] & truth[v, width - 1 - u]
        colour = np.stack(colour, -1)[inside]
        right.append(np.abs(frame[v, u][inside] - colour).mean())
        mirrored.append(np.abs(frame[v, width - 1 - u][inside] - colour).mean())
    print(
        f"closure in {told['seconds']:.0f} s: landmark {pixel:.1e} px, "
        f"vertices {place / HEAD_SIZE:.1e} head sizes, camera pose {pose:.1e}, "
        f"lens {lens:.1e} px, silhouette IoU min {min(overlaps):.3f} mean {np.mean(overlaps):.3f}, "
        f"colour error {np.mean(right):.1f} of 255 (mirrored frames {np.mean(mirrored):.1f})"
    )
    assert told["frame_after"] == 4
    assert pixel < 0.5
    assert place < 1e-3 * HEAD_SIZE
    assert pose < 1e-4
    assert lens < 0.05
    assert min(overlaps) > 0.9, overlaps
    assert np.mean(right) < 20
    assert np.mean(right) < 0.7 * np.mean(mirrored)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of each point of a to the nearest of b."""
    from scipy.spatial import cKDTree

    return cKDTree(b).query(a)[0]
