# SPDX-License-Identifier: GPL-3.0-or-later
"""Export Orbit Renders: known points are where the cameras say, and nothing is left changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import cameras_from_transforms, load_cameras
from dp3d_core.cameras.trajectories import cameras_from_request
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.viewsets.viewset import ViewSet
from nerf_export.field.fit import fit_views
from nerf_export.mesh.textured_mesh import build_mesh

pytestmark = pytest.mark.bpy

HEAD_SIZE = 0.5
"""Height of the canonical head, head units."""

BALLS = {
    "red": ((0.16, 0.22, 0.12), 0),
    "green": ((-0.2, -0.1, 0.2), 1),
    "blue": ((0.02, 0.3, -0.22), 2),
}
"""Place in head space and colour channel, as ``blender/orbit_export.py`` has them."""
RADIUS = 0.03


def centroid(rgba: np.ndarray, channel: int) -> tuple[np.ndarray, float]:
    """Centre of one colour's alpha and its area, pixels."""
    colour = rgba[..., :3].astype(int)
    mine = colour[..., channel] - np.delete(colour, channel, -1).max(-1) > 100
    weight = np.where(mine, rgba[..., 3] / 255, 0.0)
    v, u = np.mgrid[: rgba.shape[0], : rgba.shape[1]] + 0.5
    return np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum(), weight.sum()


def errors(folder: Path) -> list[float]:
    """Distance of each wholly visible ball from where its camera sees it, pixels."""
    pixel_distances = []
    for index, camera in enumerate(load_cameras(folder / "cameras.json")):
        rgba = np.asarray(Image.open(folder / "frames" / f"{index:04d}.png"))
        assert rgba.shape == (camera.height, camera.width, 4)
        for place, channel in BALLS.values():
            (projected_centre,), (depth,) = camera.project([place])
            radius = camera.K[[0, 1], [0, 1]] * RADIUS / depth
            inside = (projected_centre > radius + 1).all() and (
                projected_centre < [camera.width - 1, camera.height - 1] - radius
            ).all()
            if inside:
                rendered_centre, area = centroid(rgba, channel)
                if area > 0.8 * np.pi * radius.prod():  # not behind another
                    pixel_distances.append(float(np.abs(rendered_centre - projected_centre).max()))
    return pixel_distances


def test_known_points_are_where_the_cameras_say(blender, tmp_path) -> None:
    report = blender("orbit_export", case="reprojection", folder=tmp_path)
    for name in ("step1", "step3", "selected", "preset", "created"):
        assert report[name]["state"] == "succeeded", report[name]
        distances = errors(tmp_path / name)
        print(f"{name}: {len(distances)} points, worst {max(distances):.3f} px")
        assert len(distances) >= 2 * report[name]["views"] - 1, name
        assert max(distances) < 0.5, name
    assert report["unchanged"] == {}
    assert report["step1"]["exported_frames"] == "1,2,3,4,5,6,7"
    assert report["step3"]["exported_frames"] == "1,4,7"
    assert report["selected"]["exported_frames"] == ""

    # every third view of step 1 is a view of step 3, second camera at its marker and all
    every, third = (load_cameras(tmp_path / f"step{n}" / "cameras.json") for n in (1, 3))
    assert largest_difference(every[::3], third) < 1e-6
    meta = json.loads((tmp_path / "step1" / "meta.json").read_text())
    assert meta["parameters"]["cameras"] == ["moving"] * 4 + ["second"] + ["moving"] * 2
    assert meta["parameters"]["scene_frames"] == [1, 2, 3, 4, 5, 6, 7]
    assert meta["engine"] == "blender"
    assert every[0].K[0, 0] != pytest.approx(every[0].K[1, 1], rel=0.1)  # pixels are not square
    meta = json.loads((tmp_path / "selected" / "meta.json").read_text())
    assert meta["parameters"]["cameras"] == ["cam 1", "cam 2", "cam 10"]

    preset = cameras_from_request({"preset": "capture", "views": 5, "size": 128})
    for name in ("preset", "created"):
        exported = load_cameras(tmp_path / name / "cameras.json")
        assert largest_difference(exported, preset) < 2e-4, name
    transforms = json.loads((tmp_path / "preset" / "transforms.json").read_text())
    cameras, paths = cameras_from_transforms(transforms)
    exported = load_cameras(tmp_path / "preset" / "cameras.json")
    assert largest_difference(cameras, exported) < 1e-9
    assert all((tmp_path / "preset" / path).is_file() for path in paths)
    assert not (tmp_path / "step1" / "transforms.json").exists()

    assert "'cam 2' does not see the head" in report["blind"]["warnings"]
    assert report["selected"]["warnings"] == ""


def largest_difference(a: list[Camera], b: list[Camera]) -> float:
    """Of poses, and of K in image widths."""
    assert len(a) == len(b)
    return max(
        max(np.abs(x.c2w - y.c2w).max(), np.abs(x.K - y.K).max() / x.width)
        for x, y in zip(a, b, strict=True)
    )


def test_the_export_is_a_view_set_with_straight_alpha(blender, tmp_path) -> None:
    report = blender("orbit_export", case="resume", folder=tmp_path)
    assert report["fit_kept"] == ["f" * 64, str(tmp_path / "head.glb"), 1]
    assert report["fit_dropped"] == ["", ""], "a fit of frames that are gone is none"
    views = ViewSet.open(tmp_path / "views")
    assert (len(views), views.meta.engine) == (4, "blender")
    rgba = views.rgba(0)
    alpha = rgba[..., 3]
    assert (alpha == 0).mean() > 0.3
    assert (alpha >= 254).mean() > 0.3  # Workbench has no 255
    # the true colour, also where an edge is half covered
    colour = np.array([0.5, 0.25, 0.75])
    srgb = 255 * (1.055 * colour ** (1 / 2.4) - 0.055)
    raw = np.asarray(Image.open(views.frame_path(0)))
    assert np.abs(raw[raw[..., 3] >= 254][:, :3] - srgb).max() <= 1.5
    edge = (raw[..., 3] > 60) & (raw[..., 3] < 170)
    assert edge.any()
    # premultiplied colours would be darker by 60 and more; Workbench smooths by up to 22
    assert np.abs(raw[edge][:, :3] - srgb).max() <= 30

    check_resume(report)
    check_folders(report, tmp_path)


def check_resume(report: dict[str, Any]) -> None:
    """Only what is missing is rendered; what does not fit is refused and left as it is."""
    times = report["times"]
    assert [report[n]["state"] for n in ("first", "again", "complete")] == ["succeeded"] * 3
    changed = {n for n, t in times["again"].items() if t != times["first"][n]}
    assert changed == {"0002.png"}
    assert set(times["again"]) == {f"000{i}.png" for i in range(4)}
    assert times["complete"] == times["again"] == times["refused"]
    assert "there already" in report["complete"]["message"]
    others = ("cameras", "scene", "vertices", "colour", "look")
    for name in [f"other_{change}" for change in others]:
        assert report[name]["error_code"] == "viewset.mismatch", name
        assert "Start Over" in report[name]["error_remedy"]
    assert report["broken"]["error_code"] == "viewset.invalid"
    assert "0001.png" in report["broken"]["error_problem"]
    assert report["over"]["state"] == "succeeded"
    assert all(times["over"][n] != t for n, t in times["complete"].items())


def check_folders(report: dict[str, Any], folder: Path) -> None:
    """Nothing of anybody else is touched; without a choice a free folder is taken."""
    for name in ("occupied", "occupied_over"):
        assert report[name]["error_code"] == "output.occupied", name
    assert report["strange"] == ["letter.txt"]
    assert report["generated"]["error_code"] == "viewset.mismatch"
    beside = folder / "head_views"
    assert Path(report["beside"]["exported_folder"]) == beside / "scene-orbit"
    assert "there already" in report["beside_again"]["message"]
    assert Path(report["beside_other"]["exported_folder"]) == beside / "scene-orbit-2"
    assert Path(report["beside_edited"]["exported_folder"]) == beside / "scene-orbit-3"
    assert Path(report["beside_restored"]["exported_folder"]) == beside / "scene-orbit"
    assert "there already" in report["beside_restored"]["message"]
    # another .blend in the folder, though it shows the same
    assert Path(report["beside_second"]["exported_folder"]) == beside / "scene-orbit-4"


def test_an_edit_that_renders_is_noticed_and_no_other(blender) -> None:
    report = blender("scene_changes")
    cube, grid = ["object 'Cube'"], ["object 'Grid'"]
    assert report["changed"] == {
        **dict.fromkeys(("vertex", "material", "ramp", "painted"), cube),
        "energy": ["object 'Light'"],
        "world": ["the world"],
        "modifier": grid,
        **dict.fromkeys(("hook", "shape key", "smooth"), cube),
        **{k: [] for k in ("node moved", "edit mode", "object mode", "selected", "camera")},
    }
    print(f"a scene of a million vertices: {report['seconds']:.2f} s")
    assert report["seconds"] < 3  # 0.3 on an idle machine


def test_exports_of_an_unsaved_file_come_along_at_its_first_save(blender, tmp_path) -> None:
    report = blender("orbit_export", case="first_save", folder=tmp_path)
    assert not Path(report["unsaved"]["exported_folder"]).is_relative_to(tmp_path / "head_views")
    brought = str(tmp_path / "head_views" / "scene-orbit-2")  # the name was another's
    assert report["saved"] == [brought, brought]
    assert report["foreign"] == ["meta.json"]
    assert len(ViewSet.open(Path(brought))) == 4
    assert report["again"]["exported_folder"] == brought
    assert "there already" in report["again"]["message"]
    assert report["opened"] == [brought]


def test_what_cannot_be_exported_is_named_before_the_start(blender, tmp_path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    report = blender("orbit_export", case="refusals", folder=folder)
    codes = {name: t["error_code"] for name, t in report.items() if isinstance(t, dict)}
    assert codes == {
        "none_selected": "addon.no_camera_selected",
        "ortho_path": "camera.not_perspective",
        "ortho_selected": "camera.not_perspective",
        "pano": "camera.not_perspective",
        "no_camera": "addon.camera_missing",
        "uneven": "camera.anchor_not_uniform",
        "relative": "output.not_writable",
        "no_anchor": "addon.anchor_missing",
    }
    assert "'own'" in report["ortho_path"]["error_problem"]
    assert report["left"] == []
    assert report["scenes"] == ["Scene"]


def test_settings_are_as_they_were_whatever_happens(blender, tmp_path) -> None:
    report = blender("orbit_export_ends", folder=tmp_path)
    ends = {
        "refused": ("failed", "addon.render_failed", 2),
        "bug": ("failed", "addon.render_failed", 2),
        "interrupt": ("cancelled", None, 2),
        "cancelled": ("cancelled", None, 2),
        "saved": ("succeeded", None, 4),
        "moved": ("failed", "addon.scene_changed", 2),
        "edited": ("failed", "addon.scene_changed", 2),
        "played": ("succeeded", None, 4),
        "keyed": ("failed", "addon.scene_changed", 2),
        "undone": ("succeeded", None, 4),
    }
    for name, (state, code, frames) in ends.items():
        end = report[name]
        assert (end["state"], end["code"], len(end["frames"])) == (state, code, frames), name
        assert end["changed"] == {}, name
        assert all(f[:4].isdigit() for f in end["frames"]), name
    assert "(object 'Cube')" in report["edited"]["problem"]
    assert report["edit_undone"] == ["succeeded", 2]
    assert report["cancelled"]["goes_on"] is False
    assert report["on_disk"] == [["Scene"], ["Cube", "anchor", "own"], ["own"]]
    assert report["undo_noticed"]
    assert report["after_redo"] == ["Scene"]
    assert report["loaded"] == ["cancelled", ["Scene"], True]
    assert report["disabled"] == ["cancelled", ["Scene"]]


def test_orbit_cameras_are_real_and_keep_their_names(blender) -> None:
    report = blender("orbit_cameras")
    made = ["Arc 000", "Arc 001", "Arc 002"]
    assert report["first"] == [*made, "own"]
    assert report["selected"] == made
    assert report["active"] == "Arc 000"
    assert report["collection"] == ["Orbit Cameras"]
    # Arc 002 was taken from under the anchor, the close-up is a copy: they stay
    after_second = ["Arc 000", "Arc 001", "Arc 002", "My Close-up", "own"]
    assert report["second"] == report["third"] == after_second
    assert report["scene_camera"] == "Arc 001"
    assert len(report["data"]) == len(after_second)
    assert report["undone"] == [*made, "own"]
    assert report["edited"] == list(range(8))
    assert report["made_at_last"] == 3


def distances(mesh: trimesh.Trimesh, surface: trimesh.Trimesh) -> np.ndarray:
    """Distances of points of a mesh from the plane of the nearest point of a surface."""
    dense, faces = surface.sample(100_000, return_index=True, seed=1)
    points = mesh.sample(4000, seed=2)
    _, nearest = cKDTree(dense).query(points)
    normals = surface.face_normals[faces[nearest]]
    return np.abs(np.einsum("ni,ni->n", points - dense[nearest], normals))


@pytest.mark.nerf
def test_a_fitted_export_lies_on_what_was_rendered(
    blender, nerf_environment: Path, tmp_path: Path
) -> None:
    report = blender("orbit_export", case="head", folder=tmp_path)
    assert report["export"]["state"] == "succeeded", report["export"]
    original = trimesh.Trimesh(report["vertices"], report["faces"])
    calls = {"progress": no_progress, "cancel": never_cancel}
    fit = fit_views(tmp_path / "views", tmp_path / "fit", preset="tiny", **calls)
    build_mesh(fit.root, tmp_path / "head.glb", faces=4000, texture_size=128, **calls)
    mesh = trimesh.load(tmp_path / "head.glb", force="mesh")
    mesh_to_scene, scene_to_mesh = distances(mesh, original), distances(original, mesh)
    both = np.concatenate([mesh_to_scene, scene_to_mesh]) / HEAD_SIZE
    print(f"mean {both.mean():.4f}, 95 % {np.quantile(both, 0.95):.4f}, worst {both.max():.4f}")
    assert both.mean() < 0.01
    assert np.quantile(both, 0.95) < 0.01
