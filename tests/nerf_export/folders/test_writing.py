"""Exports for other tools, and their import."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from dp3d_core.cameras.camera import Z_UP_FROM_HEAD, Camera
from dp3d_core.cameras.trajectories import capture_sphere, full_orbit
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.folders.capture_folders import find_capture_folder
from nerf_export.folders.importing import import_folder
from nerf_export.folders.writing import FORMATS, export_views
from nerf_export.views.dataset import held_out_of, write_dataset
from tests.support.scene import HIGH, LOW, write_views

CALLS = {"progress": no_progress, "cancel": never_cancel}


def folder_hash(folder: Path) -> str:
    return find_capture_folder(folder).read(never_cancel).sha256(never_cancel)


POINTS = np.random.default_rng(3).uniform(LOW, HIGH, (40, 3))


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> ViewSet:
    return write_views(tmp_path_factory.mktemp("views"), capture_sphere(9, size=64, focal=3.5))


@pytest.mark.parametrize("to", ["nerfstudio", "instant-ngp"])
def test_exports_import_to_equal_views(views: ViewSet, tmp_path: Path, to: str) -> None:
    assert export_views(views, tmp_path / "out", to, **CALLS) == ["transforms.json"]
    back = import_folder(tmp_path / "out", tmp_path / "back", **CALLS)
    for i, (ours, theirs) in enumerate(zip(back.cameras, views.cameras, strict=True)):
        np.testing.assert_allclose(ours.project(POINTS)[0], theirs.project(POINTS)[0], atol=1e-6)
        np.testing.assert_array_equal(back.mask(i), views.mask(i))
        solid = views.mask(i) == 255
        np.testing.assert_array_equal(back.frame(i)[solid], views.frame(i)[solid])
    assert held_out_of(back) == held_out_of(views)


def test_the_splits_of_a_nerfstudio_folder_are_honoured(views: ViewSet, tmp_path: Path) -> None:
    export_views(views, tmp_path / "out", "nerfstudio", **CALLS)
    file = tmp_path / "out/transforms.json"
    data = json.loads(file.read_text())
    names = [frame["file_path"] for frame in data["frames"]]
    data |= {"train_filenames": names[2:], "val_filenames": [names[0]]}
    before = folder_hash(tmp_path / "out")
    file.write_text(json.dumps(data))
    assert folder_hash(tmp_path / "out") != before
    back = import_folder(tmp_path / "out", tmp_path / "back", **CALLS)
    assert len(back) == len(views) - 1  # the second is in neither
    assert held_out_of(back) == (0,)
    dataset = write_dataset(back, tmp_path / "data", 64, **CALLS)
    assert dataset.held_out == (0,)


def test_masks_of_pictures_without_alpha(tmp_path: Path) -> None:
    """Black in a mask is unknown in pictures with alpha, and background in pictures without."""
    camera = full_orbit(1, size=64)[0]
    writer = ViewSetWriter(tmp_path / "views", [camera], ViewMeta(engine="test"))
    alpha = np.zeros((64, 64), np.uint8)
    alpha[10:50, 10:50] = 255
    writer.write(0, np.full((64, 64, 3), 77, np.uint8), alpha)
    views = writer.finish()
    export_views(views, tmp_path / "out", "nerfstudio", **CALLS)
    mask = np.full((64, 64), 255, np.uint8)
    mask[:30] = 0
    Image.fromarray(mask).save(tmp_path / "out/mask.png")
    file = tmp_path / "out/transforms.json"
    data = json.loads(file.read_text())
    data["frames"][0]["mask_path"] = "mask.png"
    file.write_text(json.dumps(data))
    back = import_folder(tmp_path / "out", tmp_path / "alpha", **CALLS)
    valid = back.valid_mask(0)
    assert not valid[10:30, 10:50].any()
    assert valid[30:].all()
    assert valid[:10].all()
    picture = tmp_path / "out/images/0000.png"
    Image.open(picture).convert("RGB").save(picture)
    back = import_folder(tmp_path / "out", tmp_path / "plain", **CALLS)
    np.testing.assert_array_equal(back.mask(0), mask)
    assert back.valid_mask(0) is None


def test_a_picture_that_the_head_fills_has_alpha_too(views: ViewSet, tmp_path: Path) -> None:
    """The picture is opaque and has no mask, so all its pixels are the head."""
    export_views(views, tmp_path / "out", "nerfstudio", **CALLS)
    picture = tmp_path / "out/images/0004.png"
    Image.open(picture).convert("RGB").save(picture)
    back = import_folder(tmp_path / "out", tmp_path / "back", **CALLS)
    assert (back.mask(4) == 255).all()
    np.testing.assert_array_equal(back.mask(3), views.mask(3))


def test_a_program_is_refused_as_a_picture(views: ViewSet, tmp_path: Path) -> None:
    """Pillow runs another program for PostScript, whatever the ending of the file."""
    export_views(views, tmp_path / "out", "nerfstudio", **CALLS)
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n"
    (tmp_path / "out/images/0002.png").write_bytes(text)
    with pytest.raises(Dp3dError) as caught:
        import_folder(tmp_path / "out", tmp_path / "back", **CALLS)
    assert caught.value.code == "viewset.invalid"


def test_colmap_text(views: ViewSet, tmp_path: Path) -> None:
    """Points project to equal pixels when the model is read as COLMAP's documentation says."""
    export_views(views, tmp_path, "colmap", **CALLS)
    model = tmp_path / "sparse/0"

    def rows(name: str) -> list[list[str]]:
        lines = (model / name).read_text().splitlines()
        return [line.split() for line in lines if line and not line.startswith("#")]

    world = POINTS @ Z_UP_FROM_HEAD[:3, :3].T
    cameras = {row[0]: row for row in rows("cameras.txt")}
    for camera, row in zip(views.cameras, rows("images.txt"), strict=True):
        w, x, y, z, *t = (float(value) for value in row[1:8])
        _, kind, width, height, *lens = cameras[row[8]]
        assert (kind, int(width), int(height)) == ("PINHOLE", 64, 64)
        fx, fy, cx, cy = (float(value) for value in lens)
        seen = world @ Rotation.from_quat([x, y, z, w]).as_matrix().T + t
        uv = seen[:, :2] / seen[:, 2:] * [fx, fy] + [cx, cy]
        np.testing.assert_allclose(uv, camera.project(POINTS)[0], atol=1e-4)
        assert (tmp_path / "images" / row[9]).is_file()
    cloud = np.array([[float(v) for v in row[1:4]] for row in rows("points3D.txt")])
    assert len(cloud) > 500
    low, high = np.array([LOW, HIGH]) @ Z_UP_FROM_HEAD[:3, :3].T
    low, high = np.minimum(low, high), np.maximum(low, high)
    assert (cloud > low - 0.08).all()
    assert (cloud < high + 0.08).all()


def test_nerfs_synthetic_format(views: ViewSet, tmp_path: Path) -> None:
    files = export_views(views, tmp_path / "out", "blender", **CALLS)
    parts = {name: json.loads((tmp_path / "out" / name).read_text()) for name in files}
    train, val = parts["transforms_train.json"], parts["transforms_val.json"]
    assert len(train["frames"]) + len(val["frames"]) == len(views)
    focal = 32 / np.tan(train["camera_angle_x"] / 2)
    assert focal == pytest.approx(views.cameras[0].K[0, 0])
    assert (tmp_path / "out" / (train["frames"][0]["file_path"] + ".png")).is_file()
    lens = np.array(views.cameras[0].K)
    lens[0, 2] += 5
    shifted = Camera(views.cameras[0].c2w, lens, 64, 64)
    odd = ViewSet(views.root, (shifted, *views.cameras[1:]), views.meta)
    with pytest.raises(Dp3dError) as caught:
        export_views(odd, tmp_path / "odd", "blender", **CALLS)
    assert caught.value.code == "camera.invalid"
    assert not (tmp_path / "odd").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        *("text", "no frames", "absent pictures", "outside", "size", "unknown name", "nan"),
        *("bare names", "no lens", "endless width", "a number for a split", "panorama"),
        *("the folder itself", "one mask too few"),
    ],
)
def test_folders_that_cannot_be_used(views: ViewSet, tmp_path: Path, wrong: str) -> None:
    folder = tmp_path / "out"
    export_views(views, folder, "nerfstudio", **CALLS)
    file = folder / "transforms.json"
    data = json.loads(file.read_text())
    broken_frame = data["frames"][2]
    if wrong == "no frames":
        del data["frames"]
    elif wrong == "absent pictures":
        for frame in data["frames"][:5]:
            (folder / frame["file_path"]).unlink()
    elif wrong == "outside":
        broken_frame["file_path"] = "../../elsewhere.png"
    elif wrong == "size":
        broken_frame["w"] = 60
    elif wrong == "unknown name":
        data["train_filenames"] = ["images/9999.png"]
    elif wrong == "nan":
        broken_frame["transform_matrix"][0][3] = float("nan")
    elif wrong == "bare names":
        data["frames"] = [frame["file_path"] for frame in data["frames"]]
    elif wrong == "no lens":
        del broken_frame["fl_x"], broken_frame["fl_y"]
        data["camera_angle_x"] = 0
    elif wrong == "endless width":
        broken_frame["w"] = 1e400
    elif wrong == "a number for a split":
        data["train_filenames"] = 5
    elif wrong == "panorama":
        data["camera_model"] = "EQUIRECTANGULAR"
    elif wrong == "the folder itself":
        broken_frame["mask_path"] = ""
    elif wrong == "one mask too few":
        for frame in data["frames"]:
            path = folder / frame["file_path"]
            Image.open(path).convert("RGB").save(path)
            frame["mask_path"] = frame["file_path"]
        del broken_frame["mask_path"]
    file.write_text("{" if wrong == "text" else json.dumps(data))
    expected_codes = {"viewset.invalid", "camera.file_invalid", "camera.invalid"}
    with pytest.raises(Dp3dError) as caught:
        import_folder(folder, tmp_path / "back", **CALLS)
    assert caught.value.code in expected_codes
    with suppress(Dp3dError):
        folder_hash(folder)  # the first step of a fit raises no other error


def test_an_unknown_format(views: ViewSet, tmp_path: Path) -> None:
    with pytest.raises(Dp3dError) as caught:
        export_views(views, tmp_path / "out", "obj", **CALLS)
    assert caught.value.code == "export.bad_format"
    assert set(FORMATS) == {"nerfstudio", "instant-ngp", "blender", "colmap"}


def test_valid_masks_and_splits_survive_export_and_import(views: ViewSet, tmp_path: Path) -> None:
    meta = ViewMeta(engine="test", parameters={"held_out": [1]})
    writer = ViewSetWriter(tmp_path / "views", views.cameras, meta)
    valid = np.ones((views.cameras[0].height, views.cameras[0].width), bool)
    valid[:, :20] = False
    for i in range(len(views)):
        writer.write(i, views.frame(i), views.mask(i), valid if i == 0 else None)
    partly = writer.finish()
    calls = {"progress": no_progress, "cancel": never_cancel}
    export_views(partly, tmp_path / "out", "nerfstudio", **calls)
    back = import_folder(tmp_path / "out", tmp_path / "back", **calls)
    np.testing.assert_array_equal(back.valid_mask(0), valid)
    np.testing.assert_array_equal(back.rgba(0)[valid], partly.rgba(0)[valid])
    assert back.meta.parameters["held_out"] == [1]


def test_valid_masks_survive_without_silhouettes(views: ViewSet, tmp_path: Path) -> None:
    """Each frame another part, as lenses differ: the masks are no heads."""
    writer = ViewSetWriter(tmp_path / "views", views.cameras, ViewMeta(engine="test"))
    for i in range(len(views)):
        valid = np.ones((64, 64), bool)
        valid[:, : 4 + i] = False
        writer.write(i, views.frame(i), None, valid)
    export_views(writer.finish(), tmp_path / "out", "nerfstudio", **CALLS)
    back = import_folder(tmp_path / "out", tmp_path / "back", **CALLS)
    for i in range(len(views)):
        assert back.mask(i) is None
        assert (~back.valid_mask(i)).sum() == 64 * (4 + i)


def test_a_second_export_deletes_the_first(views: ViewSet, tmp_path: Path) -> None:
    calls = {"progress": no_progress, "cancel": never_cancel}
    export_views(views, tmp_path, "nerfstudio", **calls)
    fewer = ViewSet(views.root, views.cameras[:3], views.meta)
    export_views(fewer, tmp_path, "colmap", **calls)
    assert not (tmp_path / "transforms.json").exists()
    assert len(list((tmp_path / "images").iterdir())) == 3
