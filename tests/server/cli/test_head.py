"""``dp3d head``: a rigged head or one mesh, from a photo or from its views."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import Image

from dp3d_core.preview.kept_heads import HEAD_FILE
from dp3d_core.rigged import sheet
from dp3d_core.rigged.rig import PHOTO_EXPRESSION, arkit_names
from server.cli.arguments import HeadOptions
from server.cli.main import run
from tests.server.cli.conftest import result

SMALL = ("--texture-size", 512, "--json")


def highest_weight(path: Path, key: str) -> float:
    """Greatest value of a key of the skin in the animation of a GLB."""
    document = pygltflib.GLTF2().load(str(path))
    (animation,) = document.animations
    channel = next(c for c in animation.channels if document.nodes[c.target.node].name == "skin")
    accessor = document.accessors[animation.samplers[channel.sampler].output]
    view = document.bufferViews[accessor.bufferView]
    data = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    names = document.meshes[document.nodes[channel.target.node].mesh].extras["targetNames"]
    values = np.frombuffer(data, "<f4").reshape(-1, len(names))
    return float(values[:, names.index(key)].max())


@pytest.fixture
def dp3d_here(home, monkeypatch, capsys):
    """The command line in this process, with a sheet of small pictures of a light head."""
    monkeypatch.setenv("DP3D_HOME", str(home))
    monkeypatch.setattr(sheet, "keys_sheet", partial(sheet.keys_sheet, size=48, detail="quarter"))

    def run_here(*arguments):
        assert run(list(map(str, arguments))) == 0
        return json.loads(capsys.readouterr().out)["result"]

    return run_here


@pytest.fixture
def dp3d_refuses(tmp_path, monkeypatch, capsys):
    """The command line in this process, which ends before a photo is read."""
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "none"))
    monkeypatch.setattr(HeadOptions, "load", lambda *_: pytest.fail("a photo was read"))

    def run_here(*arguments):
        assert run([*map(str, arguments), "--json"]) == 3
        return json.loads(capsys.readouterr().out)["error"]["code"]

    return run_here


def test_a_head_from_views_and_from_the_photo(dp3d, dp3d_here, photo, tmp_path) -> None:
    views = tmp_path / "views"
    assert dp3d("generate", photo, "--out", views, "--views", 2, "--size", 32).returncode == 0
    out, keys = tmp_path / "head.glb", tmp_path / "keys.png"
    rigged = dp3d("head", views, "--out", out, "--detail", "half", *SMALL)
    assert rigged.returncode == 0, rigged.stderr
    data = result(rigged)["result"]
    assert set(data["keys"]) == {*arkit_names(), PHOTO_EXPRESSION}
    assert data["files"] == [str(out)]
    assert 4_000 < data["parts"]["skin"]["quads"] < 5_000
    scene = trimesh.load_scene(out)
    assert set(scene.geometry) == set(data["parts"])
    meta = json.loads((views / "meta.json").read_text())
    assert meta["portrait_sha256"].encode() in out.read_bytes()

    static = tmp_path / "static.glb"
    one_mesh = dp3d("head", photo, "--static", "--out", static, *SMALL)
    assert one_mesh.returncode == 0, one_mesh.stderr
    assert set(result(one_mesh)["result"]["parts"]) <= {"head", "hair", "brim"}

    capture, clip = tmp_path / "take.csv", tmp_path / "head.gif"
    capture.write_text("Timecode,JawOpen\n00:00:00:00,0\n00:00:00:30,1\n00:00:01:00,0\n")
    played = ("--capture", capture, "--clip", clip, "--detail", "quarter")
    data = dp3d_here("head", views, "--out", out, *played, "--sheet", keys, *SMALL)
    assert (data["capture_seconds"], data["files"]) == (1.0, [str(out), str(keys), str(clip)])
    with Image.open(keys) as picture:
        assert picture.size == (9 * 48, 6 * 48), "the neutral face, the photo's expression, 52 keys"
    assert highest_weight(out, "jawOpen") == pytest.approx(1)
    assert clip.read_bytes()[:3] == b"GIF"

    # as an earlier version kept it
    path = views / HEAD_FILE
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    about = json.loads(arrays["about"].tobytes())
    del about["shape"]
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    assert zipfile.is_zipfile(buffer)
    path.write_bytes(buffer.getvalue())
    refused = dp3d("head", views, "--out", out, *SMALL)
    assert refused.returncode == 3
    assert result(refused)["error"]["code"] == "heads.no_shape"
    assert dp3d("head", views, "--static", "--out", static, *SMALL).returncode == 0


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("capture.not_found", ("--capture", "none.csv")),
        ("capture.bad_option", ("--capture", "none.csv", "--static")),
        ("capture.bad_option", ("--capture", "none.csv", "--out", "head.obj")),
        ("video.bad_option", ("--clip", "head.avi")),
    ],
)
def test_captures_are_checked_before_the_photo(dp3d, photo, code, options) -> None:
    refused = dp3d("head", photo, *options, "--json")
    assert refused.returncode == 3
    assert result(refused)["error"]["code"] == code


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("output.occupied", ("--sheet", "me.png")),
        ("output.occupied", ("--sheet", "./side.png", "--also", "left:side.png")),
        ("output.occupied", ("--sheet", "foreign.png")),
        ("output.occupied", ("--clip", "foreign.gif")),
        ("output.occupied", ("--out", "foreign.glb")),
        ("output.occupied", ("--out", "foreign.obj")),
        ("output.occupied", ("--out", "foreign.glb", "--static")),
        ("output.occupied", ("--out", "new.obj", "--sheet", "new_skin.png")),
        ("output.occupied", ("--out", "folder.glb")),
        ("output.not_writable", ("--out", "foreign.gif/head.glb")),
        ("output.not_writable", ("--sheet", "foreign.gif/keys.png")),
        ("output.not_writable", ("--clip", "foreign.glb/head.gif")),
        ("output.not_writable", ("--sheet", "keys.jpg")),
    ],
)
def test_files_of_another_origin_are_kept(
    dp3d_refuses, photo, tmp_path, monkeypatch, code, options
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("me.png", "side.png"):
        shutil.copy(photo, name)
    for name in ("foreign.png", "foreign.gif", "foreign.glb", "foreign.obj"):
        Path(name).write_text("precious")
    Path("folder.glb").mkdir()
    before = {path.name: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    assert dp3d_refuses("head", "me.png", *options) == code
    after = {path.name: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    assert after == before
