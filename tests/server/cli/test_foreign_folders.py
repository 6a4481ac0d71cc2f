"""Folders of other tools on the command line: real processes, notes as warnings."""

from __future__ import annotations

import pytest

from nerf_export.folders.capture_folders import is_view_set
from tests.server.cli.conftest import result
from tests.support import captures


@pytest.fixture
def answer_of(dp3d):
    def run_without_traceback(*arguments):
        run = dp3d(*arguments, "--json")
        assert "Traceback" not in run.stderr
        return result(run)

    return run_without_traceback


def scaled(data):
    for frame in data["frames"]:
        frame["transform_matrix"] = [
            [value * (1 if k == 3 else 2.5) for k, value in enumerate(row)]
            for row in frame["transform_matrix"]
        ]


def test_export_and_evaluate(answer_of, tmp_path):
    captures.write_transforms(tmp_path / "in", change=scaled)
    answer = answer_of("export", tmp_path / "in", "--to", "instant-ngp", "--out", tmp_path / "out")
    assert answer["result"]["count"] == captures.COUNT
    assert "scaled by 2.5" in answer["result"]["warnings"][0]
    assert not is_view_set(tmp_path / "out")
    captures.check_cameras(captures.read(tmp_path / "out", tmp_path / "back"))
    answer = answer_of(
        *("evaluate", tmp_path / "in/transforms.json", "--against", tmp_path / "out"),
        *("--metrics", "psnr"),
    )
    assert answer["result"]["metrics"]["psnr"] > 60
    assert "scaled by 2.5" in answer["result"]["warnings"][0]


def test_an_unusable_folder_is_refused(answer_of, tmp_path):
    captures.write_transforms(tmp_path / "in", change=lambda data: data.update(latlong=True))
    answer = answer_of("export", tmp_path / "in", "--out", tmp_path / "out")
    assert answer["error"]["code"] == "camera.file_invalid"
    assert "frame 0" in answer["error"]["problem"]
    assert not (tmp_path / "out").exists()


def test_an_export_in_another_order_is_evaluated_against_its_views(answer_of, tmp_path):
    def hold_out(data):
        names = [frame["file_path"] for frame in data["frames"]]
        data |= {"train_filenames": names[:1] + names[2:], "val_filenames": names[1:2]}

    captures.write_transforms(tmp_path / "in", change=hold_out)
    answer_of("export", tmp_path / "in", "--to", "blender", "--out", tmp_path / "blender")
    answer = answer_of(
        *("evaluate", tmp_path / "blender", "--against", tmp_path / "in"), *("--metrics", "psnr")
    )
    assert answer["result"]["metrics"]["psnr"] > 60
    assert "another order" in answer["result"]["warnings"][0]
