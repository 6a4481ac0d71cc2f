"""Meshes of fits: closed, in head space, with colours and silhouettes where the views show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Progress, never_cancel, no_progress
from nerf_export.field.fit import Fit
from nerf_export.mesh.textured_mesh import MeshStats, build_mesh
from tests.support.scene import HIGH, KNOB, LOW, NOSE, trace


@pytest.fixture(scope="module")
def built(tiny_fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MeshStats]:
    path = tmp_path_factory.mktemp("mesh") / "head.glb"
    events: list[Progress] = []
    stats = build_mesh(
        tiny_fit.root,
        path,
        faces=6000,
        texture_size=512,
        progress=events.append,
        cancel=never_cancel,
    )
    assert [event.stage for event in events] == ["mesh"] * len(events)
    assert events[-1].step == events[-1].of
    assert events[-1].values == {"file": "head.glb"}
    return path, stats


@pytest.fixture(scope="module")
def mesh(built: tuple[Path, MeshStats]) -> trimesh.Trimesh:
    return trimesh.load(built[0]).to_geometry()


def cell(fit: Fit) -> float:
    return float(fit.meta.field_size.cell)


def vertex_colours(mesh: trimesh.Trimesh) -> np.ndarray:
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")) / 255
    size = len(texture)
    uv = mesh.visual.uv
    column = np.clip((uv[:, 0] * size).astype(int), 0, size - 1)
    return texture[np.clip(((1 - uv[:, 1]) * size).astype(int), 0, size - 1), column]


@pytest.mark.nerf
def test_mesh_is_closed_and_has_the_requested_triangles(built: tuple[Path, MeshStats]) -> None:
    stats = built[1]
    assert stats.watertight
    assert 4000 < stats.faces <= 6000
    assert stats.seen > 0.9


@pytest.mark.nerf
def test_bounds_are_those_of_the_head(mesh: trimesh.Trimesh, tiny_fit: Fit) -> None:
    assert np.abs(mesh.bounds - [LOW, HIGH]).max() < 1.5 * cell(tiny_fit)


@pytest.mark.nerf
@pytest.mark.parametrize("part", [KNOB, NOSE], ids=["knob", "nose"])
def test_coloured_parts_are_where_they_belong(mesh: trimesh.Trimesh, tiny_fit: Fit, part) -> None:
    """Red only on the knob, white only on the nose: no flip, no swap, nothing shifted."""
    like = np.linalg.norm(vertex_colours(mesh) - part.colour, axis=1) < 0.15
    assert like.sum() > 20
    reach = np.linalg.norm((mesh.vertices[like] - part.centre) / part.radii, axis=1)
    assert np.quantile(reach, 0.95) < 1 + 2 * cell(tiny_fit) / min(part.radii)
    assert np.median(reach) == pytest.approx(1, abs=1.0 * cell(tiny_fit) / min(part.radii))


@pytest.mark.nerf
def test_silhouette_lands_on_the_same_pixels(mesh: trimesh.Trimesh) -> None:
    for yaw, pitch in ((0, 0), (65, 15), (180, -10)):
        camera = canonical_camera(yaw, pitch, 96)
        rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        hit = mesh.ray.intersects_any(np.tile(camera.position, (len(rays), 1)), rays)
        truth = trace(camera)[1].ravel() > 127
        # Of silhouettes 60 pixels across, less than a pixel of rim may differ.
        assert (hit ^ truth).sum() / truth.sum() < 0.05
        both = (hit.sum() - truth.sum()) / truth.sum()
        assert abs(both) < 0.03


@pytest.mark.parametrize("wrong", [{"faces": 3}, {"texture_size": 100000}])
def test_sizes_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(Dp3dError) as caught:
        build_mesh(tmp_path, tmp_path / "a.glb", progress=no_progress, cancel=never_cancel, **wrong)
    assert caught.value.code == "mesh.bad_option"


@pytest.mark.nerf
def test_a_normal_map_comes_with_a_glb_alone(tiny_fit: Fit, tmp_path: Path) -> None:
    calls = {"progress": no_progress, "cancel": never_cancel}
    sizes = {"faces": 1000, "texture_size": 256, "normal_map": True}
    build_mesh(tiny_fit.root, tmp_path / "light.glb", **sizes, **calls)
    light = trimesh.load(tmp_path / "light.glb").to_geometry()
    normals = np.asarray(light.visual.material.normalTexture.convert("RGB")).reshape(-1, 3)
    # normals are bent in all directions, but none away from the viewer
    assert np.ptp(normals[:, :2], axis=0).min() > 40
    assert normals[:, 2].min() > 127
    assert np.abs(normals[:, :2].mean(0) - 127.5).max() < 12
    with pytest.raises(Dp3dError) as caught:
        build_mesh(tiny_fit.root, tmp_path / "light.obj", **sizes, **calls)
    assert caught.value.code == "mesh.bad_format"
    assert not (tmp_path / "light.obj").exists()


@pytest.mark.nerf
def test_an_obj_replaces_no_picture_of_somebody_else(tiny_fit: Fit, tmp_path: Path) -> None:
    calls = {"progress": no_progress, "cancel": never_cancel}
    (tmp_path / "me.png").write_bytes(b"precious")
    with pytest.raises(Dp3dError) as caught:
        build_mesh(tiny_fit.root, tmp_path / "me.obj", **calls)
    assert caught.value.code == "output.occupied"
    assert (tmp_path / "me.png").read_bytes() == b"precious"
    assert not (tmp_path / "me.obj").exists()


@pytest.mark.nerf
def test_a_mesh_file_has_the_requested_name(tiny_fit: Fit, tmp_path: Path) -> None:
    calls = {"progress": no_progress, "cancel": never_cancel}
    sizes = {"faces": 500, "texture_size": 64}
    for name, files in (
        ("Head.GLB", {"Head.GLB"}),
        ("Head.Obj", {"Head.Obj", "Head.mtl", "Head.png"}),
    ):
        folder = tmp_path / name
        build_mesh(tiny_fit.root, folder / name, **sizes, **calls)
        assert {path.name for path in folder.iterdir()} == files


@pytest.mark.nerf
def test_splats_are_counted(tiny_fit: Fit, tmp_path: Path) -> None:
    calls = {"progress": no_progress, "cancel": never_cancel}
    sizes = {"faces": 1000, "texture_size": 128, "splats": True}
    stats = build_mesh(tiny_fit.root, tmp_path / "head.ply", **sizes, **calls)
    assert stats.splats is not None
    head, body = (tmp_path / "head.ply").read_bytes().split(b"end_header\n")
    assert f"element vertex {stats.splats}\n".encode() in head
    assert len(body) == 4 * 17 * stats.splats
    assert stats.pieces == 1
