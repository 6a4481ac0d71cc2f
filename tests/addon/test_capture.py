# SPDX-License-Identifier: GPL-3.0-or-later
"""Face captures in Blender: the values of dp3d's reader, on keys and head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dp3d_core.portraits import face_models
from dp3d_core.rigged.capture_file import read_capture, to_csv
from dp3d_core.rigged.example_take import example_take
from dp3d_core.rigged.gltf import to_glb
from dp3d_core.rigged.rig import arkit_names
from tests.support.rig_checks import random_rig

TITLES = "Timecode,BlendShapeCount,EyeBlinkLeft,JAWOPEN,HeadYaw"
TABLES = {
    "midnight": [TITLES, "23:59:59:58.5,61,-1,2,0.3", "00:00:00:02.25,61,0.5,0.25,-9"],
    "degrees and a lost face": [
        *(TITLES, "00:00:00:00,61,0,0.4,30", "00:00:00:20,0", "00:00:00:22,0, ,,"),
        "00:00:01:00,61,1,1,0",
    ],
    "no times": [TITLES, "a,61,0,0.4,0", "b,61,1,0.5,0"],
    "within a second": [TITLES, "00:00:00:00,61,0,0.4,0", "00:00:00:09,61,1,0.5,0"],
    "one key": ["Timecode,JawOpen", "00:00:00:00,0.1", "00:00:00:30,1", "00:00:01:00,0.2"],
    "two keys alone": ["JawOpen,EyeBlinkLeft", "0.5,0.2", "0.6,0.3", "0.1,0.2"],
    "times last, some missing": [
        *("JawOpen,Timecode", "0.5,00:00:00:00", "0.7", "0.6,00:00:01:00"),
    ],
    "semicolons": ["Timecode;JawOpen", "00:00:00:00;0.1", "00:00:00:30;1", "00:00:01:00;0.2"],
    "names of others twice": ["Note,Note,Timecode,JawOpen", "a,b,x,0.4", "", "c,,y,0.8"],
}
"""Lines of captures that both readers must read alike."""


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not face_models.installed():
        pytest.skip("dp3d setup models")


@pytest.mark.parametrize("name", ["example", *TABLES])
def test_both_readers_agree(addon, tmp_path: Path, name: str) -> None:
    path = tmp_path / "take.csv"
    text = to_csv(example_take()) if name == "example" else "\n".join(TABLES[name])
    path.write_text(text, "utf-8")
    take = read_capture(path).take
    assert take.weights_of("jawOpen").max() > 0.3
    read = addon("capture_file").read(path, arkit_names())
    np.testing.assert_allclose(read.times, take.times, atol=1e-9)
    middle = take.duration * 0.4
    for key in arkit_names():
        expected = np.interp(middle, take.times, take.weights_of(key))
        assert read.at(key.lower(), middle) == pytest.approx(expected, abs=1e-9), key
    for column, angles in zip(("headyaw", "headpitch", "headroll"), take.angles.T, strict=True):
        expected = np.interp(middle, take.times, angles)
        assert read.at(column, middle) == pytest.approx(expected, abs=1e-9), column


@pytest.mark.parametrize(
    "text", ["", TITLES, "a,b\n1,2", f"{TITLES}\n0,61,x,0,0", f"{TITLES}\n0,61,nan,0,0"]
)
def test_bad_captures_are_refused(addon, tmp_path: Path, text: str) -> None:
    path = tmp_path / "take.csv"
    path.write_text(text, "utf-8")
    for wrong in (path, tmp_path, tmp_path / "none.csv"):
        with pytest.raises(addon("link.errors").AddonError) as error:
            addon("capture_file").read(wrong, arkit_names())
        assert error.value.code == "addon.capture_unreadable"


@pytest.mark.bpy
def test_a_capture_moves_the_head_as_the_glb_does(blender, tmp_path: Path) -> None:
    rig, take = random_rig(1), example_take()
    names = {name: tmp_path / name for name in ("plain.glb", "animated.glb", "take.csv")}
    names["plain.glb"].write_bytes(to_glb(rig, "quarter"))
    names["animated.glb"].write_bytes(to_glb(rig, "quarter", take))
    names["take.csv"].write_text(to_csv(take), "utf-8")
    report = blender(
        "capture",
        plain=names["plain.glb"],
        animated=names["animated.glb"],
        csv=names["take.csv"],
        times=[0.5, 1.75, 3.0, 5.0, 8.5],  # whole frames at 24 per second
    )
    assert (report["none"], report["bad"]) == ("addon.head_missing", "addon.capture_unreadable")
    assert report["end"] >= take.duration * 24
    for ours, glb in zip(report["ours"], report["glb"], strict=True):
        assert ours["keys"] == pytest.approx(glb["keys"], abs=2e-3)
        np.testing.assert_allclose(ours["turn"], glb["turn"], atol=2e-3)
