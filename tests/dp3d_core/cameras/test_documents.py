"""Camera documents of other tools become cameras in head space."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dp3d_core.cameras.documents import NORMALISATION_FILE, Normalisation, read_camera_document
from dp3d_core.cameras.files import TRANSPOSED, cameras_to_dict, cameras_to_transforms
from dp3d_core.cameras.trajectories import cameras_from_request, full_orbit
from dp3d_core.errors import Dp3dError
from tests.support import captures


def write(path, data):
    path.write_text(json.dumps(data))
    return path


def check(document, truth):
    for camera, true in zip(cameras_from_request(document), truth, strict=True):
        np.testing.assert_allclose(camera.c2w, true.c2w, atol=1e-7)
        np.testing.assert_allclose(camera.K, true.K, rtol=1e-7)
        assert (camera.width, camera.height) == (true.width, true.height)


def test_our_own_files_are_returned_unchanged(tmp_path):
    data = cameras_to_dict(full_orbit(3, size=64))
    assert read_camera_document(write(tmp_path / "c.json", data)) == (data, [])


def test_a_transforms_file(tmp_path):
    truth = full_orbit(3, size=64)
    data = cameras_to_transforms(truth, ["a.png", "b.png", "c.png"])
    document, notes = read_camera_document(write(tmp_path / "t.json", data))
    check(document, truth)
    assert notes == []


def test_a_transforms_file_without_sizes(tmp_path):
    truth = full_orbit(3, size=64)
    data = cameras_to_transforms(truth, ["a.png", "b.png", "c.png"])
    for frame in data["frames"]:
        del frame["w"], frame["h"]
    path = write(tmp_path / "t.json", data)
    check(read_camera_document(path, size_of=lambda frame: (64, 64))[0], truth)
    with pytest.raises(Dp3dError) as caught:
        read_camera_document(path)
    assert "w is missing" in caught.value.problem


def test_distortion_is_left_out_with_a_note_and_a_fisheye_refused(tmp_path):
    truth = full_orbit(1, size=64)
    data = cameras_to_transforms(truth, ["a.png"]) | {"k1": 0.1}
    document, notes = read_camera_document(write(tmp_path / "t.json", data))
    check(document, truth)
    assert "left out" in notes[0]
    with pytest.raises(Dp3dError) as caught:
        read_camera_document(write(tmp_path / "t.json", data | {"is_fisheye": True}))
    assert caught.value.code == "camera.not_perspective"


def test_nerfstudios_path(tmp_path):
    truth = full_orbit(4, 10, size=64)
    path = write(tmp_path / "camera_path.json", captures.camera_path(truth))
    document, notes = read_camera_document(path)
    check(document, truth)
    assert NORMALISATION_FILE in notes[0]


def test_a_crop_of_nerfstudios_path_is_left_out_with_a_note(tmp_path):
    data = captures.camera_path(full_orbit(2, size=64)) | {"crop": {"crop_scale": [1, 1, 1]}}
    notes = read_camera_document(write(tmp_path / "camera_path.json", data))[1]
    assert "crop" in notes[-1]


def test_nerfstudios_own_space_is_undone(tmp_path):
    """The dataparser's transform is undone, with and without an ``applied_transform`` of the data."""
    truth = full_orbit(4, 10, size=64)
    angle = 0.4
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = 0.3, -0.2, 0.1
    applied = np.array([[0, 1.0, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    data = captures.camera_path(truth)
    for entry in data["camera_path"]:
        pose = turn @ np.array(entry["camera_to_world"]).reshape(4, 4)
        pose[:3, 3] *= 0.37
        entry["camera_to_world"] = pose.ravel().tolist()
    path = write(tmp_path / "camera_path.json", data)
    write(tmp_path / NORMALISATION_FILE, {"transform": turn[:3].tolist(), "scale": 0.37})
    check(read_camera_document(path)[0], truth)
    # as nerfstudio saves it where the data's transforms.json has an applied_transform
    saved = {"transform": (turn @ applied)[:3].tolist(), "scale": 0.37 * 2}
    write(tmp_path / NORMALISATION_FILE, saved)
    before = Normalisation(applied, 2.0)
    check(read_camera_document(path, applied=before)[0], truth)


@pytest.mark.parametrize(
    "change",
    [
        {"camera_type": "equirectangular"},
        {"camera_type": "fisheye"},
        {"camera_type": 3},
        {"camera_path": []},
        {"camera_path": [3]},
        {"camera_path": [{"fov": 50}]},
        {"camera_path": [{"camera_to_world": [1.0] * 16, "fov": 50}]},
        {"camera_path": [{"camera_to_world": np.eye(4).ravel().tolist()}]},
        {"camera_path": [{"camera_to_world": np.eye(4).ravel().tolist(), "fov": 180}]},
        {"render_width": None},
        {"render_width": 64.5},
        {"render_height": 1e400},
        {"normalisation": {"transform": [[0] * 4] * 3, "scale": 1}},
        {"normalisation": {"transform": np.eye(4).tolist(), "scale": 0}},
        {"normalisation": []},
    ],
)
def test_bad_paths_are_refused(tmp_path, change):
    space = change.pop("normalisation", None)
    path = write(tmp_path / "p.json", captures.camera_path(full_orbit(2, size=64)) | change)
    if space is not None:
        write(tmp_path / NORMALISATION_FILE, space)
    with pytest.raises(Dp3dError) as caught:
        read_camera_document(path)
    assert caught.value.code in {"camera.file_invalid", "camera.not_perspective"}


def refused(path):
    with pytest.raises(Dp3dError) as caught:
        read_camera_document(path)
    assert caught.value.code == "camera.file_invalid"
    return caught.value


@pytest.mark.parametrize("nested", [False, True])
def test_transposed_matrices_of_a_path_are_turned_round(tmp_path, nested):
    truth = full_orbit(3, size=64)
    data = captures.camera_path(truth)
    for entry in data["camera_path"]:
        matrix = np.reshape(entry["camera_to_world"], (4, 4)).T
        entry["camera_to_world"] = (matrix if nested else matrix.ravel()).tolist()
    document, notes = read_camera_document(write(tmp_path / "camera_path.json", data))
    check(document, truth)
    assert TRANSPOSED in notes


def test_transposed_matrices_of_a_transforms_file_are_turned_round(tmp_path):
    truth = full_orbit(3, size=64)
    data = cameras_to_transforms(truth, ["a.png", "b.png", "c.png"])
    for frame in data["frames"]:
        frame["transform_matrix"] = np.transpose(frame["transform_matrix"]).tolist()
    document, notes = read_camera_document(write(tmp_path / "t.json", data))
    check(document, truth)
    assert notes == [TRANSPOSED]


def test_a_path_of_keyframes_alone(tmp_path):
    data = captures.camera_path(full_orbit(2, size=64))
    data |= {"keyframes": data["camera_path"], "camera_path": []}
    assert "keyframes alone" in refused(write(tmp_path / "camera_path.json", data)).problem


def test_instant_ngps_own_path_is_named(tmp_path):
    data = {"path": [{"R": [1, 0, 0, 0], "T": [0, 0, 0], "fov": 50}], "time": 0.0}
    assert "instant-ngp" in refused(write(tmp_path / "base_cam.json", data)).problem


def test_fields_of_view_in_radians_are_refused(tmp_path):
    data = captures.camera_path(full_orbit(2, size=64))
    for entry in data["camera_path"]:
        entry["fov"] = float(np.radians(entry["fov"]))
    error = refused(write(tmp_path / "camera_path.json", data))
    assert "radians" in error.problem
    assert "degrees" in error.remedy


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
def test_pipes_devices_and_folders_are_not_opened(tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for path, what in ((pipe, "a pipe"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
        assert what in refused(path).problem
    data = write(tmp_path / "camera_path.json", captures.camera_path(full_orbit(2, size=64)))
    (tmp_path / NORMALISATION_FILE).symlink_to("/dev/zero")
    assert NORMALISATION_FILE in refused(data).problem
