"""Face captures: CSV files of Live Link Face, the animation in a GLB, clips, our example."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pygltflib
import pytest
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.rigged import clip
from dp3d_core.rigged.capture_file import MOST_ROWS, USUAL_RATE, read_capture, to_csv
from dp3d_core.rigged.clip import CLIP_FPS, check_clip_path, frame_count, write_clip
from dp3d_core.rigged.example_take import example_take
from dp3d_core.rigged.gltf import to_glb
from dp3d_core.rigged.rig import PHOTO_EXPRESSION, RiggedHead, arkit_names
from dp3d_core.rigged.take import Take, turned
from tests.support import viewers

HEADER = "Timecode,BlendShapeCount,EyeBlinkLeft,JAWOPEN,HeadYaw"


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "take.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def row(timecode: str, blink: float = 0.0, jaw: float = 0.0, yaw: float = 0.0) -> str:
    return f"{timecode},61,{blink},{jaw},{yaw}"


# -- files --


def test_our_example_survives_its_file(tmp_path) -> None:
    take = example_take()
    path = written(tmp_path, to_csv(take))
    read, missing, is_timed = read_capture(path)
    assert (missing, is_timed) == ((), True)
    np.testing.assert_allclose(read.times, take.times, atol=1e-9)
    np.testing.assert_allclose(read.weights, take.weights, atol=1e-6)
    np.testing.assert_allclose(read.angles, take.angles, atol=1e-6)


def test_columns_are_found_by_name_and_weights_are_clipped(tmp_path) -> None:
    lines = [row(f"23:59:59:{n:02}.125", blink=-0.1, jaw=1.2, yaw=0.3) for n in (0, 30, 59)]
    lines.append(row("00:00:00:00.125", blink=0.5, jaw=0.25, yaw=0.3))
    take, missing, is_timed = read_capture(written(tmp_path, HEADER, *lines))
    assert is_timed
    np.testing.assert_allclose(take.times, [0, 0.5, 59 / 60, 1.0])  # over midnight
    assert take.weights_of("eyeBlinkLeft").tolist() == [0, 0, 0, 0.5]
    assert take.weights_of("jawOpen").tolist() == [1, 1, 1, 0.25]
    assert set(missing) == {*arkit_names()} - {"eyeBlinkLeft", "jawOpen"}
    assert take.angles[0].tolist() == [0.3, 0, 0]


def test_a_moment_without_a_face_keeps_what_was_before(tmp_path) -> None:
    lines = [row("00:00:00:00", jaw=0.4), "00:00:00:20,0", row("00:00:01:00", jaw=0.6)]
    take = read_capture(written(tmp_path, HEADER, *lines)).take
    assert take.weights_of("jawOpen").tolist() == [0.4, 0.4, 0.6]


def test_angles_in_degrees_are_noticed(tmp_path) -> None:
    lines = [row("00:00:00:00", yaw=30), row("00:00:01:00", yaw=-15)]
    take = read_capture(written(tmp_path, HEADER, *lines)).take
    np.testing.assert_allclose(np.degrees(take.angles[:, 0]), [30, -15])


@pytest.mark.parametrize("timecodes", [("x", "y"), ("00:00:00:01", "00:00:00:02"), ("", "")])
def test_without_times_rows_are_evenly_spaced(tmp_path, timecodes) -> None:
    take, _, is_timed = read_capture(written(tmp_path, HEADER, *map(row, timecodes)))
    assert not is_timed
    np.testing.assert_allclose(take.times, [0, 1 / USUAL_RATE])


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("capture.unreadable", [HEADER]),
        ("capture.unreadable", ["frame,smile", "0,0.5"]),
        ("capture.unreadable", [HEADER + ",JawOpen", row("00:00:00:00") + ",0"]),
        ("capture.unreadable", [HEADER, row("00:00:00:00"), "00:00:01:00,61,0.5"]),
        ("capture.unreadable", [HEADER, "00:00:00:00,61,much,0,0"]),
        ("capture.unreadable", [HEADER, "00:00:00:00,61,nan,0,0"]),
        ("capture.too_large", [HEADER, *[row("00:00:00:00")] * (MOST_ROWS + 1)]),
    ],
)
def test_bad_captures_are_refused(tmp_path, code, lines) -> None:
    with pytest.raises(Dp3dError) as error:
        read_capture(written(tmp_path, *lines))
    assert error.value.code == code


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("0.1,,0.2", ("no number", "row 3", "'JAWOPEN'")),
        ("0.1,0.2,much", ("much", "row 3", "'HeadYaw'")),
        ("0.1,0.2,inf", ("inf", "row 3", "'HeadYaw'")),
        ('"0,1",0.2,0.3', ("decimal comma", "0,1", "row 3", "'EyeBlinkLeft'")),
    ],
)
def test_a_bad_number_is_named_with_row_and_column(tmp_path, cells, words) -> None:
    path = written(tmp_path, HEADER, row("00:00:00:00"), f"00:00:01:00,61,{cells}")
    with pytest.raises(Dp3dError, match=r"capture.unreadable") as error:
        read_capture(path)
    assert [word for word in words if word not in error.value.problem] == []


@pytest.mark.parametrize("sign", [";", "\t"])
def test_columns_may_be_apart_by_other_signs(tmp_path, sign) -> None:
    lines = [HEADER, row("00:00:00:00", jaw=0.25), row("00:00:00:30"), row("00:00:01:00", yaw=0.5)]
    expected = read_capture(written(tmp_path, *lines))
    other = read_capture(written(tmp_path, *(line.replace(",", sign) for line in lines)))
    np.testing.assert_array_equal(other.take.weights, expected.take.weights)
    np.testing.assert_array_equal(other.take.angles, expected.take.angles)
    assert other.is_timed
    assert expected.take.weights.max() == 0.25
    assert other.missing == expected.missing


def test_a_decimal_comma_between_semicolons_is_named(tmp_path) -> None:
    lines = [HEADER, row("00:00:00:00", jaw=0.25)]
    changed = [line.replace(",", ";").replace(".", ",") for line in lines]
    with pytest.raises(Dp3dError, match=r"decimal comma .* row 2 .*'EyeBlinkLeft'.*0,0"):
        read_capture(written(tmp_path, *changed))


def test_a_folder_is_no_capture(tmp_path) -> None:
    with pytest.raises(Dp3dError, match=r"is a folder") as error:
        read_capture(tmp_path)
    assert error.value.code == "capture.unreadable"


def test_files_that_are_no_tables_are_refused(tmp_path) -> None:
    with pytest.raises(Dp3dError, match=r"capture.not_found"):
        read_capture(tmp_path / "none.csv")
    picture = tmp_path / "picture.csv"
    picture.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(Dp3dError, match=r"capture.unreadable"):
        read_capture(picture)


# -- the example --


def test_the_example_blinks_speaks_and_turns() -> None:
    take = example_take()
    assert take.weights.shape == (len(take.times), len(arkit_names()))
    assert take.weights.min() >= 0
    assert take.weights.max() <= 1
    for name in ("eyeBlinkLeft", "mouthSmileRight", "browInnerUp", "mouthPucker", "tongueOut"):
        assert take.weights_of(name).max() > 0.7, name
    assert np.degrees(np.ptp(take.angles[:, 0])) > 30
    assert take.pose(0.0).weights == {}
    assert np.abs(np.diff(take.weights, axis=0)).max() < 0.3  # nothing jumps


# -- on a head --


def test_the_head_turns_about_its_bone_and_the_shoulders_stay(plain: RiggedHead) -> None:
    moment = Take(np.zeros(1), np.zeros((1, 52)), np.array([[0.5, 0, 0]])).pose(0.0)
    skin = plain.part("skin")
    moved = turned(skin.vertices, skin, plain.bones, moment.turn)
    nose = skin.vertices[:, 2].argmax()
    assert moved[nose, 0] > skin.vertices[nose, 0] + 0.1  # to the person's left
    low = skin.vertices[:, 1] < skin.vertices[:, 1].min() + 0.02
    np.testing.assert_allclose(moved[low], skin.vertices[low], atol=1e-9)


def test_a_glb_plays_all_keys_and_the_head(plain: RiggedHead, tmp_path) -> None:
    full = example_take()
    take = Take(full.times[::20], full.weights[::20], full.angles[::20])
    path = tmp_path / "head.glb"
    path.write_bytes(to_glb(plain, "quarter", take))
    document = pygltflib.GLTF2().load(str(path))
    (animation,) = document.animations
    played = {(document.nodes[c.target.node].name, c.target.path) for c in animation.channels}
    with_keys = {part.name for part in plain.parts if part.keys}
    assert played == {("head", "rotation"), *((name, "weights") for name in with_keys)}
    channel = next(c for c in animation.channels if document.nodes[c.target.node].name == "skin")
    values = samples(document, animation.samplers[channel.sampler].output)
    names = document.meshes[document.nodes[channel.target.node].mesh].extras["targetNames"]
    by_name = dict(zip(names, values.reshape(len(take.times), -1).T, strict=True))
    np.testing.assert_allclose(by_name["jawOpen"], take.weights_of("jawOpen"), atol=1e-6)
    assert not np.any(by_name.get(PHOTO_EXPRESSION, 0))
    clock = samples(document, animation.samplers[channel.sampler].input)
    np.testing.assert_allclose(clock, take.times, atol=1e-5)


@pytest.mark.viewers
def test_khronos_validator_finds_nothing_in_a_take(
    plain: RiggedHead, node_command: str, tmp_path
) -> None:
    path = tmp_path / "head.glb"
    path.write_bytes(to_glb(plain, "quarter", example_take()))
    issues = viewers.validate(node_command, path)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def samples(document: pygltflib.GLTF2, number: int) -> np.ndarray:
    accessor = document.accessors[number]
    view = document.bufferViews[accessor.bufferView]
    return np.frombuffer(document.binary_blob(), "<f4", view.byteLength // 4, view.byteOffset)


def test_a_clip_shows_the_take(plain: RiggedHead, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(clip, "CLIP_SECONDS", 0.6)
    take = example_take()
    blinking = replace(take, times=take.times - 0.4)
    path = tmp_path / "new" / "head.gif"
    steps = []
    write_clip(plain, blinking, path, side=48, detail="quarter", on_frame=lambda: steps.append(1))
    with Image.open(path) as picture:
        assert picture.n_frames == len(steps) == frame_count(blinking) == int(0.6 * CLIP_FPS) + 1
        assert picture.info["duration"] == round(1000 / CLIP_FPS)
        assert picture.size == (48, 48)
    with pytest.raises(Dp3dError, match=r"video.bad_option"):
        check_clip_path(tmp_path / "head.mov")
