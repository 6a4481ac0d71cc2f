# SPDX-License-Identifier: GPL-3.0-or-later
"""The mesh stands where the file says: every vertex at anchor @ p."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

pytestmark = pytest.mark.bpy


def head_like(turn: np.ndarray | None) -> trimesh.Trimesh | trimesh.Scene:
    """A lopsided textured ellipsoid: no symmetry that could hide a wrong axis."""
    mesh = trimesh.creation.icosphere(2)
    mesh.apply_scale([0.2, 0.33, 0.27])
    mesh.apply_translation([0.03, -0.05, 0.11])
    uv = mesh.vertices[:, :2] + 0.5
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.new("RGB", (8, 8), (200, 120, 90)), metallicFactor=0.0
    )
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    if turn is None:
        return mesh
    scene = trimesh.Scene()
    scene.add_geometry(mesh, transform=turn)
    return scene


@pytest.mark.parametrize("node", ["no node matrix", "turned node"])
def test_vertices_stand_at_anchor_times_point(blender, tmp_path: Path, node: str) -> None:
    turn = None
    if node == "turned node":
        turn = trimesh.transformations.euler_matrix(0.3, -0.7, 1.1)
        turn[:3, 3] = 0.1, 0.2, -0.15
    glb = tmp_path / "head.glb"
    head_like(turn).export(glb)
    points = np.asarray(trimesh.load(glb, force="mesh").vertices, np.float64)
    result = blender("mesh_placement", glb=glb)
    assert len(result["out"]) == 5 * 2
    worst = 0.0
    for mesh_report in result["out"]:
        anchor = np.array(mesh_report["anchor_world"])
        expected = points @ anchor[:3, :3].T + anchor[:3, 3]
        vertices = np.array(mesh_report["vertices"])
        assert mesh_report["objects"] == 1
        assert vertices.shape == expected.shape
        scale = np.cbrt(np.linalg.det(anchor[:3, :3]))
        distance = np.linalg.norm(vertices[:, None] - expected[None], axis=-1)
        worst = max(worst, distance.min(1).max() / scale, distance.min(0).max() / scale)
    print(f"worst vertex error {worst:.2e} head units")
    # float32 coordinates a few units from the world's origin, divided by the anchor's scale
    assert worst < 1e-5
    assert (result["meshes"], result["materials"], result["images"]) == (5, 5, 5)
