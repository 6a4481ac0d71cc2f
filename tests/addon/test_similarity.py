# SPDX-License-Identifier: GPL-3.0-or-later
"""A fitted mesh under random similarities of the anchor: it lies where the field says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dp3d_core.cameras.camera import Z_UP_FROM_HEAD
from dp3d_core.cameras.files import load_cameras
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.storage.files import write_json
from nerf_export.field.fit import Fit
from nerf_export.mesh.textured_mesh import build_mesh
from tests.support.scene import PARTS

pytestmark = [pytest.mark.bpy, pytest.mark.nerf]
safetensors = pytest.importorskip(
    "safetensors.numpy", reason="the extra 'diffusion' is not installed"
)

HEAD_SIZE = 0.5
"""Height of the canonical head, head units."""


@pytest.fixture(scope="module")
def mesh(tiny_fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GLB of a small fit."""
    out = tmp_path_factory.mktemp("fitted") / "head.glb"
    calls = {"progress": no_progress, "cancel": never_cancel}
    build_mesh(tiny_fit.root, out, faces=3000, texture_size=128, **calls)
    return out


def similarity(rng: np.random.Generator) -> np.ndarray:
    """Any turn, a scale of 0.1 to 10, some units away."""
    matrix = np.eye(4)
    turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    matrix[:3, :3] = 10 ** rng.uniform(-1, 1) * turn
    matrix[:3, 3] = rng.uniform(-5, 5, 3)
    return matrix


def distances(fit: Fit, points: np.ndarray) -> np.ndarray:
    """(n,) distances of a field at (n, 3) points in head space, straight from its weights."""
    size = fit.meta.field_size
    table = safetensors.load_file(fit.root / "field.safetensors")["distance_grid.table"]
    grid = size.cell * table.reshape(size.corners)
    grid_positions = (points @ Z_UP_FROM_HEAD[:3, :3].T - size.low) / size.cell
    return map_coordinates(grid, grid_positions.T, order=1, mode="nearest")


def test_an_imported_fit_lies_where_the_field_puts_it(
    blender, tiny_fit: Fit, mesh: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(7)
    anchors = [similarity(rng) for _ in range(5)]
    directions = rng.normal(size=(5, 3))
    eyes = 2.7 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    reports = blender(
        "similarity", glb=mesh, anchors=[a.tolist() for a in anchors], eyes=eyes.tolist()
    )
    head = np.asarray(trimesh.load(mesh, force="mesh").vertices, np.float64)
    worst_place = worst_pixel = worst_level = 0.0
    for anchor, report in zip(anchors, reports, strict=True):
        scale = np.cbrt(np.linalg.det(anchor[:3, :3]))
        vertices = np.array(report["vertices"])
        nearest = cKDTree(head @ anchor[:3, :3].T + anchor[:3, 3]).query(vertices)
        worst_place = max(worst_place, nearest[0].max() / scale / HEAD_SIZE)
        # the camera as the add-on describes it to us, against Blender's own projection
        write_json(tmp_path / "cameras.json", report["path"])
        (camera,) = load_cameras(tmp_path / "cameras.json")
        pixel_errors = camera.project(head[nearest[1]])[0] - np.array(report["pixels"])
        worst_pixel = max(worst_pixel, float(np.linalg.norm(pixel_errors, axis=1).max()))
        inverse = np.linalg.inv(anchor)
        head_vertices = vertices @ inverse[:3, :3].T + inverse[:3, 3]
        # the field's own distances there, read from its file: the mesh is a light one of them
        worst_level = max(worst_level, np.median(np.abs(distances(tiny_fit, head_vertices))))
        # and the true head, which the fit has only seen in pictures, lies there too
        radii = np.min(
            [np.linalg.norm((head_vertices - p.centre) / np.array(p.radii), axis=1) for p in PARTS],
            axis=0,
        )
        assert abs(np.median(radii) - 1) < 0.03
    worst_level /= tiny_fit.meta.field_size.cell
    print(
        f"{worst_place:.2e} of the head's size, {worst_pixel:.3f} pixels; vertices lie beside the "
        f"field's own surface by {worst_level:.3f} of its cells, median"
    )
    assert worst_level < 0.1
    assert worst_place < 1e-3
    assert worst_pixel < 0.5
