"""``dp3d generate``: exit codes, files, and resuming after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from dp3d_core.cameras.files import cameras_to_dict
from dp3d_core.cameras.trajectories import full_orbit
from dp3d_core.engines.photos import photo_line
from dp3d_core.preview.choices import choices_line
from dp3d_core.viewsets.viewset import ViewSet
from tests.server.cli.conftest import result


def small(*options):
    return ("--views", 3, "--size", 32, *options)


def test_views_are_written(dp3d, photo, tmp_path):
    run = dp3d("generate", photo, "--out", tmp_path / "v", *small())
    views = tmp_path / "v"
    assert (run.returncode, run.stdout.splitlines()) == (
        0,
        [
            f"3 views in {views}",
            choices_line(ViewSet.open(views).meta.choices),
            f"look at {views / 'contact_sheet.png'} and {views / 'portrait.png'}",
        ],
    )
    assert (views / "contact_sheet.png").is_file()
    assert (views / "portrait.png").is_file()
    assert len(ViewSet.open(tmp_path / "v")) == 3
    assert "views 3/3" in run.stderr


def test_json(dp3d, photo, tmp_path):
    run = dp3d("generate", photo, "--out", tmp_path / "v", *small("--json"))
    assert run.returncode == 0
    answer = result(run)
    assert answer["ok"] is True
    assert set(answer["result"]) == {
        *("views", "count", "portrait_report", "photos", "choices", "warnings"),
    }
    assert answer["result"]["choices"]["hair"]["by_user"] is False
    events = [json.loads(line) for line in run.stderr.splitlines()]
    assert all(set(e) == {"stage", "step", "of", "message", "eta_s", "values"} for e in events)
    assert events[-1]["stage"] == "views"


@pytest.fixture
def further(photo, tmp_path):
    """The mirrored photo, and a picture without a face."""
    with Image.open(photo) as picture:
        mirrored = picture.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(tmp_path / "mirrored.png")
    Image.new("RGB", (96, 96), (90, 70, 50)).save(tmp_path / "nape.png")
    return tmp_path / "mirrored.png", tmp_path / "nape.png"


def test_several_photos(dp3d, photo, further, tmp_path):
    mirrored, nape = further
    arguments = ("generate", photo, "--also", mirrored, f"back:{nape}", "--out", tmp_path / "v")
    run = dp3d(*arguments, *small("--json"))
    assert run.returncode == 0, run.stdout
    photos = {record["name"]: record for record in result(run)["result"]["photos"]}
    assert set(photos) == {"mirrored.png", "nape.png"}
    assert photos["nape.png"]["side"] == "back"
    assert {name: record["used"] for name, record in photos.items()} == {
        "mirrored.png": True,
        "nape.png": False,
    }
    for record in photos.values():
        assert {"sha256", "yaw_deg", "pitch_deg", "roll_deg"} < set(record)
        assert record["used"] is not bool(record["reason"])
    meta = ViewSet.open(tmp_path / "v").meta
    assert {reference["side"] for reference in meta.parameters["references"]} == {"auto", "back"}
    for_people = dp3d(*arguments, *small())  # all frames are there: nothing is computed
    assert "note: nape.png is left out: no person was found in it." in for_people.stderr
    assert [line for line in for_people.stdout.splitlines() if " shows the head from " in line] == [
        photo_line(record) for record in photos.values() if record["used"]
    ]
    assert ViewSet.open(tmp_path / "v").meta == meta
    alone = dp3d("generate", photo, "--out", tmp_path / "v", *small("--json"))
    assert result(alone)["error"]["code"] == "viewset.mismatch"


def test_too_many_photos_are_refused_with_the_number_of_the_engine(dp3d, photo, tmp_path):
    run = dp3d("generate", photo, "--also", *8 * [photo], "--out", tmp_path / "v", "--json")
    error = result(run)["error"]
    assert error["code"] == "portrait.too_many_photos"
    assert "preview takes 8 photos" in error["problem"]
    assert not (tmp_path / "v").exists()


def test_camera_file_crop_and_options(dp3d, photo, tmp_path):
    cameras = tmp_path / "path.json"
    cameras.write_text(json.dumps(cameras_to_dict(full_orbit(2, size=40))))
    run = dp3d(
        *("generate", photo, "--out", tmp_path / "v", "--cameras", cameras),
        *("--crop", 30, 0, 460, "--option", "background=#102030"),
    )
    assert run.returncode == 0, run.stderr
    views = ViewSet.open(tmp_path / "v")
    assert (len(views), views.cameras[0].width) == (2, 40)
    assert views.meta.background == (16, 32, 48)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nobody.jpg",), "portrait.not_found"),
        ((__file__,), "portrait.unreadable"),
        (("PHOTO", "--also", "nobody.jpg"), "portrait.not_found"),
        (("PHOTO", "--also", "back:nobody.jpg"), "portrait.not_found"),
        (("PHOTO", "--engine", "magic"), "engine.unknown"),
        (("PHOTO", "--option", "colour"), "engine.bad_option"),
        (("PHOTO", "--option", "colour=3"), "engine.bad_option"),
        (("PHOTO", "--views", "0"), "camera.invalid"),
        (("PHOTO", "--cameras", "nothing.json"), "camera.file_invalid"),
        (("PHOTO", "--cameras", __file__), "camera.file_invalid"),
        (("PHOTO", "--cameras", "DEEP"), "camera.file_invalid"),
        (("PHOTO", "--crop", "9999", "0", "10"), "portrait.bad_crop"),
        (("PHOTO", "--head-yaw-deg", "nan"), "portrait.bad_turn"),
        (("PHOTO", "--pitch-deg", "5", "--head-pitch-deg", "81"), "portrait.bad_turn"),
        (("PHOTO", "--seed", "-1"), "seed.out_of_range"),
    ],
)
def test_bad_input_exits_with_3_and_its_code(dp3d, photo, tmp_path, arguments, code):
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    arguments = [{"PHOTO": photo, "DEEP": deep}.get(a, a) for a in arguments]
    run = dp3d("generate", *arguments, "--out", tmp_path / "v", "--json")
    assert run.returncode == 3
    answer = result(run)
    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert answer["error"]["problem"]
    assert answer["error"]["remedy"]
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("name", ["portrait.png", "contact_sheet.png", "frames/0000.png"])
@pytest.mark.parametrize("command", ["generate", "demo"])
def test_the_photo_itself_is_never_overwritten(dp3d, photo, tmp_path, name, command):
    users_photo = tmp_path / "mine" / name
    users_photo.parent.mkdir(parents=True)
    users_photo.write_bytes(photo.read_bytes())
    run = dp3d(command, users_photo, "--out", tmp_path / "mine", "--views", "3", "--json")
    assert result(run)["error"]["code"] == "output.occupied"
    assert [p for p in (tmp_path / "mine").rglob("*") if p.is_file()] == [users_photo]
    assert users_photo.read_bytes() == photo.read_bytes()


def test_an_error_for_people(dp3d, tmp_path):
    run = dp3d("generate", "nobody.jpg", "--out", tmp_path / "v")
    assert run.stdout == ""
    assert run.stderr.startswith("error: There is no photo at nobody.jpg.\n")
    assert "[portrait.not_found]" in run.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_work_and_a_second_run_resumes(dp3d, photo, tmp_path, home, number):
    arguments = ("generate", photo, "--out", tmp_path / "v", "--views", 40, "--size", 96)
    process = subprocess.Popen(
        [sys.executable, "-m", "server.cli.main", *map(str, arguments), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"DP3D_HOME": str(home)},
    )
    for line in process.stderr:
        event = json.loads(line)
        if event["stage"] == "views" and event["step"] == 5:
            break
    process.send_signal(number)
    answer, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(answer)["error"]["code"] == "job.cancelled"
    finished = 40 - len(ViewSet.open(tmp_path / "v", complete=False).missing())
    assert 5 <= finished < 40
    run = dp3d(*arguments, "--json")
    assert run.returncode == 0
    views = [json.loads(line) for line in run.stderr.splitlines()]
    assert next(e["step"] for e in views if e["stage"] == "views") == finished
