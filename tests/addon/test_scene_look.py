# SPDX-License-Identifier: GPL-3.0-or-later
"""As photographed, a render shows the texture's own numbers; lit by the scene, it is lit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from dp3d_core.cameras.trajectories import capture_sphere
from dp3d_core.progress import Stage
from nerf_export.mesh.bake import paint
from nerf_export.mesh.textured_mesh import to_glb
from tests.support.scene import HEAD, trace

pytestmark = pytest.mark.bpy

SKIN = (0.84, 0.54, 0.43)
BLOCKS = [
    (*SKIN, 1.0),
    (0.1, 0.12, 0.09, 1.0),
    (1.0, 1.0, 1.0, 1.0),
    (0.5, 0.5, 0.5, 1.0),
    (0.9, 0.2, 0.6, 0.0),
    (0.0, 0.0, 0.0, 1.0),
    (0.25, 0.75, 0.95, 1.0),
    (0.6, 0.3, 0.2, 1.0),
]


def head_file(path: Path) -> None:
    """A mesh file as the mesh job writes it: painted from views, with a normal map."""
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.apply_scale(HEAD.radii)
    pictures = (
        (camera, np.dstack([*trace(camera, parts=(HEAD,))]))
        for camera in capture_sphere(6, (-35.0, 0.0, 35.0), 96)
    )
    painted = paint(mesh, pictures, 256, Stage("mesh", 20), lambda points: points)
    path.write_bytes(to_glb(painted)["head.glb"])


def test_looks(blender, tmp_path: Path) -> None:
    head_file(tmp_path / "head.glb")
    result = blender("looks", folder=tmp_path, glb=tmp_path / "head.glb", blocks=BLOCKS)
    blocks = np.array(BLOCKS)
    solid = blocks[:, 3] > 0
    for name in ("quad PHOTO", "quad back"):
        shown = np.array(result[name])
        error = np.abs(shown - blocks)[solid].max()
        print(f"{name}: worst error {error:.4f}")
        assert error < 0.005
        assert shown[~solid, 3].max() < 0.005
    lit = np.array(result["quad LIT"])
    assert np.abs(lit - blocks)[solid].max() > 0.2
    assert lit[~solid, 3].max() < 0.005

    head = result["head"]
    print(f"head: {head['pixels']} pixels, median, 99 and 99.8 % {head['errors']}")
    assert head["pixels"] > 1000
    assert head["errors"][1] < 0.005

    agx = np.array(result["quad AgX"])[0, :3]
    print(f"AgX shows {SKIN} as {agx.round(3)}")
    warning = result["warning"]
    assert "(.84 .54 .43 becomes .73 .53 .46)" in warning["AgX"]
    assert np.abs(agx - (0.73, 0.53, 0.46)).max() < 0.01
    assert "view transform Filmic changes" in warning["Filmic"]
    assert "exposure 0.50 changes" in warning["exposure"]
    assert warning["Standard"] == ""

    assert result["applied"] == ["PHOTO", 1, "LIT"]
    assert result["lit"] == result["lit again"]
    assert result["lit"]["color"]
    assert result["lit"]["normal"]
    assert result["lit"]["roughness"] == pytest.approx(0.6)
    assert result["lit"]["specular"] < 0.5
    assert result["reopened"] == result["shifted node"] == [1, []]
    assert result["edited"] == [0, ["Anna · Head"]]
    assert result["replaced"] == [0, ["gold"]]
