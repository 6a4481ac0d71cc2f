"""``dp3d head``: a rigged head or one mesh, from a photo or from its views."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh

from dp3d_core.preview.kept_heads import HEAD_FILE
from dp3d_core.rigged.rig import PHOTO_EXPRESSION, arkit_names
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


def test_a_head_from_views_and_from_the_photo(dp3d, photo, tmp_path) -> None:
    views = tmp_path / "views"
    assert dp3d("generate", photo, "--out", views, "--views", 2, "--size", 32).returncode == 0
    out, sheet = tmp_path / "head.glb", tmp_path / "keys.png"
    run = dp3d("head", views, "--out", out, "--detail", "half", "--sheet", sheet, *SMALL)
    assert run.returncode == 0, run.stderr
    data = result(run)["result"]
    assert set(data["keys"]) == {*arkit_names(), PHOTO_EXPRESSION}
    assert data["files"] == [str(out), str(sheet)]
    assert 4_000 < data["parts"]["skin"]["quads"] < 5_000
    assert sheet.is_file()
    scene = trimesh.load_scene(out)
    assert set(scene.geometry) == set(data["parts"])
    meta = json.loads((views / "meta.json").read_text())
    assert meta["portrait_sha256"].encode() in out.read_bytes()

    static = tmp_path / "static.glb"
    run = dp3d("head", photo, "--static", "--out", static, *SMALL)
    assert run.returncode == 0, run.stderr
    assert set(result(run)["result"]["parts"]) <= {"head", "hair", "brim"}

    capture, clip = tmp_path / "take.csv", tmp_path / "head.gif"
    capture.write_text("Timecode,JawOpen\n00:00:00:00,0\n00:00:00:30,1\n00:00:01:00,0\n")
    played = ("--capture", capture, "--clip", clip, "--detail", "quarter")
    run = dp3d("head", views, "--out", out, *played, *SMALL)
    assert run.returncode == 0, run.stderr
    data = result(run)["result"]
    assert (data["capture_seconds"], data["files"][1:]) == (1.0, [str(clip)])
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
    run = dp3d("head", views, "--out", out, *SMALL)
    assert run.returncode == 3
    assert result(run)["error"]["code"] == "heads.no_shape"
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
    run = dp3d("head", photo, *options, "--json")
    assert run.returncode == 3
    assert result(run)["error"]["code"] == code
