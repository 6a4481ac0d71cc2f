"""Folders of other tools, in every format, as view sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dp3d_core.errors import Cancelled, Dp3dError
from nerf_export.folders.capture_folders import find_capture_folder, is_view_set
from nerf_export.folders.importing import import_folder, open_views
from nerf_export.folders.writing import FORMATS, export_views
from tests.conftest import shared_path
from tests.support import captures
from tests.support.captures import CALLS, check_cameras, read
from tests.support.scene import trace, write_views


def refusal(folder: Path, out: Path) -> Dp3dError:
    with pytest.raises(Dp3dError) as caught:
        read(folder, out)
    assert caught.value.code in {"viewset.invalid", "viewset.not_found", "camera.file_invalid"}
    assert not out.exists(), "a refused folder leaves something"
    return caught.value


def check_pictures(views, indices) -> None:
    for i, camera in zip(range(len(views)), [captures.cameras()[k] for k in indices], strict=True):
        rgb, mask = trace(camera)
        np.testing.assert_array_equal(views.mask(i), mask)
        solid = mask == 255
        np.testing.assert_array_equal(views.frame(i)[solid], rgb[solid])


def test_nerfstudio(tmp_path):
    captures.write_transforms(tmp_path / "in")
    views = read(tmp_path / "in", tmp_path / "out")
    check_cameras(views)
    check_pictures(views, range(len(views)))
    assert views.meta.warnings == []


def test_synthetic_scenes(tmp_path):
    captures.write_synthetic(tmp_path / "in")
    views = read(tmp_path / "in", tmp_path / "out")
    check_cameras(views)
    check_pictures(views, range(len(views)))
    assert views.meta.parameters["held_out"] == [4, 5]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("where", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_colmap(tmp_path, binary, where):
    captures.write_colmap(tmp_path / "in", binary=binary, where=where)
    views = read(tmp_path / "in", tmp_path / "out")
    check_cameras(views)
    check_pictures(views, range(len(views)))


def test_colmap_text_without_the_lines_of_points(tmp_path):
    captures.write_colmap(tmp_path / "in", binary=False, one_line=True)
    assert len(read(tmp_path / "in", tmp_path / "out")) == captures.COUNT


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_exports_are_read_back(tmp_path, to):
    views = write_views(tmp_path / "views", captures.cameras())
    export_views(views, tmp_path / "in", to, **CALLS)
    back = read(tmp_path / "in", tmp_path / "out")
    order = range(len(views))
    if to == "blender":  # held-out frames come last
        held_out = back.meta.parameters["held_out"]
        order = [i for i in order if i != len(views) - 1] + [len(views) - 1]
        assert held_out == [len(views) - 1]
    check_cameras(back, [views.cameras[i] for i in order])
    for i, k in enumerate(order):
        np.testing.assert_array_equal(back.mask(i), views.mask(k))


@pytest.mark.parametrize("name", ["transforms.json", "transforms_train.json", "images.txt"])
def test_a_path_to_the_file_itself(tmp_path, name):
    folder = tmp_path / "in"
    if name == "images.txt":
        captures.write_colmap(folder, binary=False, where=".")
    elif name == "transforms.json":
        captures.write_transforms(folder)
    else:
        captures.write_synthetic(folder)
    assert len(read(folder / name, tmp_path / "out")) == (4 if "train" in name else 6)


def test_a_view_set_by_its_file(tmp_path):
    views = write_views(tmp_path / "views", captures.cameras())
    for path in (views.root, views.root / "cameras.json", views.root / "meta.json"):
        assert is_view_set(path)
        with open_views(path, **CALLS) as (opened, _):
            assert opened.root == views.root


def test_a_temporary_import_is_deleted(tmp_path):
    captures.write_transforms(tmp_path / "in")
    with open_views(tmp_path / "in", **CALLS) as (views, _):
        root = views.root
        assert len(views) == captures.COUNT
    assert not root.exists()


def test_a_folder_without_cameras_names_the_formats(tmp_path):
    (tmp_path / "in").mkdir()
    error = refusal(tmp_path / "in", tmp_path / "out")
    assert "transforms.json" in error.remedy
    for name, what, remedy in (
        ("cameras.xml", "Metashape", "ns-process-data metashape"),
        ("keyframes", "Polycam", "ns-process-data polycam"),
        ("poses_bounds.npy", "LLFF", "transforms.json"),
    ):
        (tmp_path / "in" / name).write_bytes(b"")
        error = refusal(tmp_path / "in", tmp_path / "out")
        assert what in error.problem
        assert remedy in error.remedy


def test_the_cameras_may_lie_one_folder_down(tmp_path):
    captures.write_transforms(tmp_path / "in", change=_above)
    (tmp_path / "in/sparse").mkdir()
    (tmp_path / "in/transforms.json").rename(tmp_path / "in/sparse/transforms.json")
    check_cameras(read(tmp_path / "in", tmp_path / "out"))
    error = refusal(tmp_path / "in/sparse", tmp_path / "other")
    assert str(tmp_path / "in") in error.remedy


def _above(data):
    for frame in data["frames"]:
        frame["file_path"] = "../" + frame["file_path"]


def test_colmap_folders_whose_pictures_lie_above(tmp_path):
    captures.write_colmap(tmp_path / "in", binary=True)
    error = refusal(tmp_path / "in/sparse/0", tmp_path / "out")
    assert "folder above" in error.remedy


def test_missing_pictures_are_named_and_left_out_if_they_are_few(tmp_path):
    captures.write_transforms(tmp_path / "in")
    (tmp_path / "in/images/0002.png").unlink()
    views = read(tmp_path / "in", tmp_path / "out")
    assert len(views) == captures.COUNT - 1
    assert "images/0002.png" in views.meta.warnings[0]
    for i in (0, 1, 3):
        (tmp_path / f"in/images/{i:04d}.png").unlink()
    error = refusal(tmp_path / "in", tmp_path / "other")
    assert "4 of 6" in error.problem
    assert "images/0000.png" in error.problem


def test_splits_for_tests_without_pictures_are_left_out(tmp_path):
    captures.write_synthetic(tmp_path / "in")
    (tmp_path / "in/images/0005.png").unlink()
    views = read(tmp_path / "in", tmp_path / "out")
    assert (len(views), views.meta.parameters["held_out"]) == (5, [4])
    assert "transforms_test.json" in views.meta.warnings[0]


def test_a_guessed_name_takes_no_picture_of_another_frame(tmp_path):
    def elsewhere(data):
        data["frames"][3]["file_path"] = "others/0001.png"

    captures.write_transforms(tmp_path / "in", change=elsewhere)
    views = read(tmp_path / "in", tmp_path / "out")
    assert len(views) == captures.COUNT - 1
    assert "others/0001.png" in " ".join(views.meta.warnings)


def test_the_data_set_inside_of_a_fit_is_not_fitted_by_mistake(tmp_path):
    captures.write_transforms(tmp_path / "in/dataset")
    (tmp_path / "in/fit.json").write_text("{}")
    assert "is a fit" in refusal(tmp_path / "in", tmp_path / "out").problem


def test_a_view_set_one_folder_down_is_named(tmp_path):
    write_views(tmp_path / "in/views", captures.cameras()[:2])
    assert str(tmp_path / "in/views") in refusal(tmp_path / "in", tmp_path / "out").remedy


def test_mirrored_poses_have_a_remedy_of_their_own(tmp_path):
    def mirror(data):
        for frame in data["frames"]:
            frame["transform_matrix"] = (
                np.array(frame["transform_matrix"]) @ np.diag([1, 1, -1, 1])
            ).tolist()

    captures.write_transforms(tmp_path / "in", change=mirror)
    assert "right-handed" in refusal(tmp_path / "in", tmp_path / "out").remedy


def test_progress_and_cancel(tmp_path):
    captures.write_transforms(tmp_path / "in", alpha=False)
    events = []
    import_folder(tmp_path / "in", tmp_path / "out", progress=events.append, cancel=lambda: False)
    last = {event.stage: (event.step, event.of) for event in events}
    assert last == {"masks": (12, 12), "import": (6, 6)}
    with pytest.raises(Cancelled):
        import_folder(tmp_path / "in", tmp_path / "no", progress=print, cancel=lambda: True)
    assert not (tmp_path / "no").exists()


def test_a_picture_twice(tmp_path):
    def twice(data):
        data["frames"].append(dict(data["frames"][0]))

    captures.write_transforms(tmp_path / "same", change=twice)
    assert len(read(tmp_path / "same", tmp_path / "out")) == captures.COUNT

    def elsewhere(data):
        data["frames"][1]["file_path"] = data["frames"][0]["file_path"]

    captures.write_transforms(tmp_path / "other", change=elsewhere)
    assert "frame 1" in refusal(tmp_path / "other", tmp_path / "no").problem


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_of_json(tmp_path, encoding):
    data = captures.write_transforms(tmp_path / "in")
    (tmp_path / "in/transforms.json").write_bytes(json.dumps(data).encode(encoding))
    assert len(read(tmp_path / "in", tmp_path / "out")) == captures.COUNT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"frames": [1,]}', "line 1, column 15"),
        ("", "not JSON"),
        ("\xff\xfe\x00", "no text file"),
        ('{"frames": []}', "no frames"),
        ('{"frames": [' + "[" * 100_000, "JSON"),
        ('{"frames": [{"file_path": "images/0000.png", "w": 1' + "0" * 5000 + "}]}", "JSON"),
    ],
)
def test_invalid_json_is_refused(tmp_path, text, words):
    captures.write_transforms(tmp_path / "in")
    (tmp_path / "in/transforms.json").write_bytes(text.encode("latin-1"))
    assert words in refusal(tmp_path / "in", tmp_path / "out").problem


def test_a_huge_file_is_not_read(tmp_path):
    captures.write_transforms(tmp_path / "in")
    with (tmp_path / "in/transforms.json").open("r+b") as file:
        file.truncate(2**40)  # a sparse file needs no disk space
    assert "256 MB" in refusal(tmp_path / "in", tmp_path / "out").problem


def test_axes_of_opencv_are_recognised(tmp_path):
    def turn(data):
        for frame in data["frames"]:
            pose = np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1])
            frame["transform_matrix"] = pose.tolist()

    captures.write_transforms(tmp_path / "in", change=turn)
    assert "OpenCV" in refusal(tmp_path / "in", tmp_path / "out").problem


def test_the_hash_is_of_cameras_pictures_and_masks(tmp_path):
    def sha256():
        return find_capture_folder(tmp_path / "in").read(CALLS["cancel"]).sha256(CALLS["cancel"])

    captures.write_transforms(tmp_path / "in", alpha=False)
    hashes = {sha256()}
    for name in ("images/0001.png", "masks/0001.png"):
        (tmp_path / "in" / name).write_bytes((tmp_path / "in/images/0003.png").read_bytes())
        hashes.add(sha256())
    file = tmp_path / "in/transforms.json"
    file.write_text(file.read_text() + " ")
    assert len(hashes | {sha256()}) == 4


def test_an_import_resumes(tmp_path):
    captures.write_transforms(tmp_path / "in")
    views = read(tmp_path / "in", tmp_path / "out")
    first, last = views.frame_path(0), views.frame_path(captures.COUNT - 1)
    written = first.stat().st_mtime_ns
    last.unlink()
    again = read(tmp_path / "in", tmp_path / "out")
    assert again.missing() == []
    assert first.stat().st_mtime_ns == written


_REPORTS = {
    "01_no_w_h_blendernerf": (16, True, None),
    "02_blender_split_files": (16, True, None),
    "03_backslashes": (16, True, "Backslashes"),
    "04_sibling_images": (16, True, None),
    "06_jpg_no_extension": (16, True, None),
    "07_masks_0_1": (16, True, "no more than 1"),
    "08_masks_in_alpha": (16, True, None),
    "09_scaled_cameras": (16, True, "scaled by 1.5"),
    "12_is_fisheye": (16, True, "undistorted"),
    "13_dynamic_mask": (16, False, "dynamic_mask_0000.png"),
    "18_colmap_distortion": (16, True, "undistorted"),
    "19_one_mask_for_all": (16, False, "unknown"),
    "23_centimetres": (16, True, None),
}


@pytest.mark.parametrize("name", sorted(_REPORTS))
def test_reported_folders_are_read(tmp_path, name):
    folder = shared_path(f"data/field_reports/{name}")
    count, masked, words = _REPORTS[name]
    views = import_folder(folder, tmp_path / "out", **CALLS)
    assert len(views) == count
    assert (views.mask(0) is not None) == masked
    if masked:
        assert 0.2 < (views.mask(0) > 127).mean() < 0.7
    warnings = views.meta.warnings
    assert any(words in warning for warning in warnings) if words else not warnings


@pytest.mark.parametrize("turned", [False, True])
def test_matrices_that_are_world_to_camera_are_recognised(tmp_path, turned):
    """Also once their axes were turned round, as OpenCV's have to be."""

    def change(data):
        for frame in data["frames"]:
            pose = np.linalg.inv(np.array(frame["transform_matrix"]))
            pose = pose @ np.diag([1.0, -1, -1, 1]) if turned else pose
            frame["transform_matrix"] = pose.tolist()

    captures.write_transforms(tmp_path / "in", change=change)
    error = refusal(tmp_path / "in", tmp_path / "out")
    assert "world-to-camera" in error.problem
    assert "Invert" in error.remedy


def test_the_largest_of_colmaps_models_is_read(tmp_path):
    captures.write_colmap(tmp_path / "in", binary=False, where="sparse/1")
    images = (tmp_path / "in/sparse/1/images.txt").read_text().splitlines()
    (tmp_path / "in/sparse/0").mkdir()
    for name, text in (
        ("cameras.txt", (tmp_path / "in/sparse/1/cameras.txt").read_text()),
        ("images.txt", "\n".join(images[:5]) + "\n"),
    ):
        (tmp_path / "in/sparse/0" / name).write_text(text)
    views = read(tmp_path / "in", tmp_path / "out")
    check_cameras(views)
    assert "2 in 0, 6 in 1. That in 1 is read" in views.meta.warnings[0]
    (tmp_path / "in/sparse/0/images.txt").unlink()
    alone = read(tmp_path / "in", tmp_path / "alone")
    check_cameras(alone)
    assert alone.meta.warnings == []
