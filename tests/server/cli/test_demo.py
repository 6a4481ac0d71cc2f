"""The demo: finished, interrupted and repeated stages; and all stages at small sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.photo_file import default_photo
from server.cli import demo
from server.cli.console import Console
from server.cli.demo import Stages
from server.cli.main import run


@pytest.fixture
def console():
    console = Console(as_json=True, debug=False)
    yield console
    console.close()


class Counter:
    def __init__(self, path, fails=None):
        self.path, self.fails, self.calls = path, fails, 0

    def __call__(self):
        self.calls += 1
        if self.fails:
            raise self.fails
        self.path.write_text("made")
        return {"calls": self.calls}


def test_a_stage_with_unchanged_inputs_is_kept(tmp_path, console):
    work = Counter(tmp_path / "result")
    for _ in range(2):
        summary = Stages(tmp_path, console).run("one", {"a": 1}, ["result"], work)
    assert (summary, work.calls) == ({"calls": 1}, 1)


def test_changed_inputs_repeat_a_stage(tmp_path, console):
    work = Counter(tmp_path / "result")
    Stages(tmp_path, console).run("one", {"a": 1}, ["result"], work)
    Stages(tmp_path, console).run("one", {"a": 2}, ["result"], work)
    assert work.calls == 2


def test_a_lost_result_is_made_again(tmp_path, console):
    work = Counter(tmp_path / "result")
    Stages(tmp_path, console).run("one", {}, ["result"], work)
    (tmp_path / "result").unlink()
    Stages(tmp_path, console).run("one", {}, ["result"], work)
    assert work.calls == 2


def test_an_interrupted_stage_keeps_its_partial_results(tmp_path, console):
    (tmp_path / "half").mkdir()
    with pytest.raises(Cancelled):
        Stages(tmp_path, console).run("one", {}, ["half"], Counter(None, Cancelled()))
    (tmp_path / "half" / "frame").write_text("x")
    Stages(tmp_path, console).run("one", {}, ["half"], Counter(tmp_path / "half" / "rest"))
    assert (tmp_path / "half" / "frame").exists()


def test_files_of_others_are_never_removed(tmp_path, console):
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "mine").write_text("x")
    Stages(tmp_path, console).run("one", {}, ["views"], lambda: {})
    assert (tmp_path / "views" / "mine").exists()


def test_a_damaged_stages_file_is_ignored(tmp_path, console):
    (tmp_path / ".stages.json").write_text('{"one": 3, "two"')
    assert Stages(tmp_path, console).notes == {}


def test_the_default_photo_is_there():
    with Image.open(default_photo()) as image:
        assert image.size == (512, 512)


def test_a_mesh_without_texture_is_refused(tmp_path):
    import trimesh

    from server.reports.turntable import turntable

    for name, data in (
        ("box.glb", trimesh.creation.box().export(file_type="glb")),
        ("text.glb", b"no mesh"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Dp3dError) as caught:
            next(turntable(tmp_path / name, 1, 16))
        assert caught.value.code == "mesh.unreadable"


def test_the_turntable_shows_the_texture_the_right_way_up(tmp_path):
    """A square at the origin: red top left, green top right, blue below."""
    import trimesh

    from server.reports.turntable import turntable

    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :32], texture[:32, 32:] = (255, 0, 0), (0, 255, 0)
    texture[32:] = (0, 0, 255)
    corners = [(-0.3, -0.3), (0.3, -0.3), (0.3, 0.3), (-0.3, 0.3)]
    mesh = trimesh.Trimesh(
        [(x, y, 0.0) for x, y in corners],
        [(0, 1, 2), (0, 2, 3)],
        visual=trimesh.visual.TextureVisuals(
            uv=[(0, 0), (1, 0), (1, 1), (0, 1)],
            material=trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture)),
        ),
        process=False,
    )
    (tmp_path / "quad.glb").write_bytes(trimesh.Scene(mesh).export(file_type="glb"))
    frame = next(turntable(tmp_path / "quad.glb", 4, 64))
    assert frame.shape == (64, 128, 3)
    assert tuple(frame[16, 16]) == (255, 0, 0)
    assert tuple(frame[16, 48]) == (0, 255, 0)
    assert tuple(frame[48, 16]) == (0, 0, 255)


def test_the_turntable_follows_position_and_size_of_the_mesh(tmp_path):
    import trimesh

    from server.reports.turntable import turntable

    ball = trimesh.creation.icosphere(subdivisions=2, radius=3.0)
    ball.apply_translation((5.0, 1.0, -20.0))
    ball.visual = trimesh.visual.TextureVisuals(
        uv=np.zeros((len(ball.vertices), 2)),
        material=trimesh.visual.material.PBRMaterial(
            baseColorTexture=Image.new("RGB", (8, 8), (255, 0, 0))
        ),
    )
    (tmp_path / "ball.glb").write_bytes(trimesh.Scene(ball).export(file_type="glb"))
    for frame in turntable(tmp_path / "ball.glb", 4, 32):
        red = (frame[:, :32] == (255, 0, 0)).all(-1)
        assert 0.2 < red.mean() < 0.6
        assert not red[[0, -1]].any()
        assert not red[:, [0, -1]].any()


def test_the_fitted_head_is_written_and_shown_beside_another_mesh(tmp_path, console):
    portrait = load_portrait(default_photo())
    demo._make_views(portrait, [canonical_camera(0, 0, 64)], tmp_path, console)
    summary = demo._write_fitted_head(tmp_path, console)
    assert summary["faces"] > 10_000
    assert summary["bytes"] == (tmp_path / "head_fitted.glb").stat().st_size
    (tmp_path / "head.glb").write_bytes((tmp_path / "head_fitted.glb").read_bytes())
    demo._draw_meshes(tmp_path, console)
    with Image.open(tmp_path / "meshes.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape == (2 * (256 + 16), 8 * 256, 3)
    left, right = sheet[:256, :1024], sheet[:256, 1024:]
    np.testing.assert_array_equal(left, right)
    front, clay = left[60:200, 80:176].astype(int), sheet[272 + 60 : 272 + 200, 80:176].astype(int)
    assert (front[..., 0] - front[..., 2]).mean() > 20  # skin and hair in colour
    assert (front != 255).any(-1).mean() > 0.9
    assert np.ptp(clay, -1).mean() < 40


@pytest.mark.nerf
@pytest.mark.slow
def test_the_whole_demo_at_small_sizes(tmp_path, capsys):
    from nerf_export.process.environment import nerf_python

    try:
        nerf_python()
    except Dp3dError as error:
        pytest.skip(str(error))
    arguments = [
        *("demo", "--out", str(tmp_path / "demo"), "--views", "8", "--size", "64", "--json"),
        *("--fit-preset", "tiny", "--faces", "1000", "--texture-size", "64"),
    ]
    assert run(arguments) == 0
    out = tmp_path / "demo"
    wanted = [
        *("portrait.png", "views", "cameras.json", "contact_sheet.png", "fit", "head.glb"),
        *("turntable.gif", "report.md", "report.json", "fit/report/report.html"),
        *("head_rigged.glb", "head_rigged.png", "head_fitted.glb", "meshes.png"),
    ]
    assert all((out / name).exists() for name in wanted)
    report = json.loads((out / "report.json").read_text())
    assert report["stages"]["mesh"]["faces"] > 0
    assert report["stages"]["fit"]["scores"]["psnr"] > 10
    assert report["stages"]["rigged head"]["keys"] == 53
    assert list(report["stages"])[:3] == ["portrait", "rigged head", "views"]
    assert "| mesh |" in (out / "report.md").read_text()
    with Image.open(out / "turntable.gif") as gif:
        assert gif.n_frames == 36
    capsys.readouterr()
    assert run(arguments) == 0
    again = json.loads(capsys.readouterr().out)["result"]
    assert again["seconds_this_run"] < report["seconds_this_run"] / 3
