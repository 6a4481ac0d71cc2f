"""The preview engine: a head in the photo's place, the same from everywhere."""

from __future__ import annotations

import io
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import WHOLE_HEAD_FOCAL, canonical_camera, full_orbit
from dp3d_core.decoding.png import read_png
from dp3d_core.engines.registry import engine_names, get_engine, list_engines
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.portraits.crop import CROP_FOCAL
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.pose import HeadAngles, crop_camera
from dp3d_core.preview.choices import ALL_AUTO
from dp3d_core.preview.engine import PreviewEngine
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.kept_heads import fitted_head, head_key, keep
from dp3d_core.progress import never_cancel
from dp3d_core.synthetic.labels import Label
from dp3d_core.synthetic.rendering import SyntheticHead, condition_image
from dp3d_core.synthetic.subjects import random_subject
from tests.support.synthetic import PaintedHead


def as_png(rgba: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def painted() -> PaintedHead:
    return PaintedHead()


@pytest.fixture(scope="session")
def portrait(painted):
    """The painted head as a cut-out photo, cropped where its camera really looked."""
    view = painted.render(canonical_camera(size=512))
    rgba = np.dstack([view.composite((0, 0, 0)), view.mask])
    # the canonical camera saw the middle 1/1.25 of the crop
    side = 512 * 1.25
    return load_portrait(
        as_png(rgba), crop=(256 - side / 2, 256 - side / 2, side), angles=HeadAngles(0.0)
    )


@pytest.fixture(scope="session")
def head(portrait) -> PreviewHead:
    return PreviewHead(portrait)


@pytest.fixture
def kept(head, portrait, tmp_path, monkeypatch):
    """A dp3d folder that keeps the portrait's head of seed 0."""
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))
    keep(head_key(portrait, 0, ALL_AUTO), head)


@pytest.fixture
def nothing_kept(tmp_path, monkeypatch):
    """No head was fitted before."""
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))


def test_front_view_is_the_photo(head, portrait, painted):
    """The camera that was found sees what the painted head's own camera sees."""
    taken_by = crop_camera(HeadAngles(0.0))
    ours, truth = head.render(portrait.camera), painted.render(taken_by)
    known = portrait.inside
    inter = ((ours.alpha > 0.5) & (truth.alpha > 0.5) & known).sum()
    union = (((ours.alpha > 0.5) | (truth.alpha > 0.5)) & known).sum()
    assert inter / union > 0.97
    both = (ours.alpha > 0.99) & (truth.alpha > 0.99) & known
    error = ((ours.rgb - truth.rgb)[both] ** 2).mean()
    assert -10 * np.log10(error) > 32


def test_novel_views_resemble_the_truth(head, painted):
    """The painted head is the template itself: geometry is right, so features must land."""
    for yaw in (20, -35):
        camera = canonical_camera(yaw, 5, size=256)
        ours, truth = head.render(camera), painted.render(camera)
        both = (ours.alpha > 0.99) & (truth.alpha > 0.99)
        error = ((ours.rgb - truth.rgb)[both] ** 2).mean()
        assert -10 * np.log10(error) > 20, yaw


def test_the_back_has_no_second_face(head):
    """Colours behind the ears: hair where there is hair, and nothing that looks like eyes."""
    view = head.render(canonical_camera(180, 0, size=256))
    upper = view.alpha > 0.99
    upper[110:] = False
    colours = view.rgb[upper]
    assert colours.mean() < 0.3  # dark hair, not skin
    assert colours.std(0).max() < 0.08


def test_a_view_without_the_head_is_empty(head):
    centred = canonical_camera(size=64)
    aside = Camera(
        np.array(centred.c2w) + np.eye(4)[0][:, None] * np.eye(4)[3] * 5, centred.K, 64, 64
    )
    for camera in (aside, canonical_camera(size=64, radius=1e6)):
        view = head.render(camera)
        assert view.mask.max() == 0
        assert (view.composite((1, 2, 3)) == (1, 2, 3)).all()


def test_a_wall_beside_the_jaw_does_not_become_skin(painted):
    """Where the template is wider than the person, the photo shows something else there."""
    camera = canonical_camera(size=512)
    view = painted.render(camera)
    colours = view.composite((0, 0, 0))
    columns = np.indices(view.mask.shape)[1]
    # the outer part of the jaw, at each height a tenth of the width
    for row in range(345, 385):
        inside = np.flatnonzero(view.mask[row] > 127)
        edge = (inside[-1] - inside[0]) // 10
        beside = (columns[row] < inside[0] + edge) | (columns[row] > inside[-1] - edge)
        colours[row, beside] = (20, 40, 230)
    side = 512 * 1.25
    portrait = load_portrait(
        as_png(np.dstack([colours, view.mask])), crop=(256 - side / 2, 256 - side / 2, side)
    )
    head = PreviewHead(portrait)
    for yaw in (30, 60, -60, 110):
        seen = head.render(canonical_camera(yaw, 0, size=256))
        blue = (seen.rgb[..., 2] > seen.rgb[..., 0] + 0.5) & (seen.alpha > 0.9)
        assert blue.sum() < 0.004 * (seen.alpha > 0.9).sum(), yaw


def test_a_strip_of_cloth_below_the_collar_clothes_the_shoulders():
    """The photo ends just below the collar: skin is what it shows most of, but cloth goes on."""
    subject = SyntheticHead(random_subject(4))
    camera = canonical_camera(0, 0, 640, focal=CROP_FOCAL)
    view = subject.render(camera)
    clothes = view.labels == Label.SHOULDERS
    last = int(np.flatnonzero(clothes.sum(1) > 80)[0]) + 45
    rgba = view.rgba[:last]
    head = PreviewHead(load_portrait(as_png(rgba), angles=HeadAngles(0.0)))
    back = canonical_camera(180, 0, 256, focal=WHOLE_HEAD_FOCAL)
    truth, ours = subject.render(back), head.render(back)
    dressed = (truth.labels == Label.SHOULDERS) & (ours.alpha > 0.99)
    # how high the collar is behind, the photo does not show
    dressed[: int(np.flatnonzero(dressed.any(1))[-1]) - 4] = False
    wanted = np.median(view.rgba[clothes][:, :3], axis=0) / 255
    skin = np.median(view.rgba[view.labels == Label.SKIN][:, :3], axis=0) / 255
    shown = np.median(ours.rgb[dressed], axis=0)
    assert np.linalg.norm(shown - wanted) < 0.5 * np.linalg.norm(shown - skin)


def test_the_photos_own_view_is_the_photo(portrait, head):
    """Even where it sees a side at a grazing angle, which no other view takes from it."""
    view = head.render(portrait.camera)
    inside = cv2.erode((portrait.matte > 250).astype(np.uint8), np.ones((7, 7))) > 0
    inside &= portrait.inside & (view.alpha > 0.99)
    assert inside.mean() > 0.2
    error = view.rgb[inside] - portrait.image[inside] / 255
    assert np.sqrt((error**2).mean()) < 0.01


@pytest.mark.parametrize(("yaws", "repeat_photo"), [((40, 55), True), ((2, 12), False)])
def test_views_agree_in_three_dimensions(head, monkeypatch, yaws, repeat_photo):
    """A surface point has one colour, whichever camera looks at it."""
    cameras = [canonical_camera(yaw, 5, size=256) for yaw in yaws]
    monkeypatch.setattr(head.appearance, "repeat_photo", repeat_photo)
    views = [head.render(c) for c in cameras]
    v, u = np.nonzero(views[0].alpha > 0.99)
    uv = np.stack([u, v], -1) + 0.5
    depth = views[0].depth[v, u].astype(float)
    rays = cameras[0].directions(uv)
    points = cameras[0].position + rays * (depth / (rays @ cameras[0].c2w[:3, 2]))[:, None]
    other, other_depth = cameras[1].project(points)
    x, y = (np.clip(other[:, i].astype(int), 0, 255) for i in (0, 1))
    seen = np.abs(views[1].depth[y, x] - other_depth) < 0.003
    assert seen.mean() > 0.5
    difference = np.abs(views[0].rgb[v, u] - views[1].rgb[y, x])[seen]
    assert np.median(difference) < 0.02
    assert (difference.max(1) > 0.15).mean() < 0.03


def test_depth_is_where_the_mesh_is(head):
    camera = canonical_camera(size=128)
    view = head.render(camera)
    middle = view.depth[64, 64]
    nose = head.mesh.vertices[np.abs(head.mesh.vertices[:, 0]) < 0.02, 2].max()
    assert 2.7 - nose - 0.01 < middle < 2.7
    assert np.isinf(view.depth[0, 0])
    assert nose == pytest.approx(0.248, abs=0.03)


@pytest.mark.usefixtures("kept")
def test_engine_writes_resumes_and_cancels(tmp_path, portrait):
    engine = get_engine("preview")
    cameras = full_orbit(10, size=64)
    events = []

    def stop_after_two() -> bool:
        return sum(e.stage == "views" and e.step > 0 for e in events) >= 2

    out = tmp_path / "views"
    with pytest.raises(Cancelled) as caught:
        engine.generate(
            portrait, cameras, {}, out=out, seed=0, progress=events.append, cancel=stop_after_two
        )
    written = sorted((out / "frames").iterdir())
    # those that were begun in other threads are finished, and nobody writes any more
    assert 2 <= len(written) < len(cameras)
    time.sleep(0.5)
    assert sorted((out / "frames").iterdir()) == written
    assert caught.value.code == "job.cancelled"
    before = [p.stat().st_mtime_ns for p in written]
    views = engine.generate(
        portrait, cameras, {}, out=out, seed=0, progress=events.append, cancel=lambda: False
    )
    assert len(views) == 10
    assert [p.stat().st_mtime_ns for p in written] == before
    assert events[-1].step == events[-1].of == 10
    assert events[-1].values["file"] == "frames/0009.png"

    fresh = engine.generate(
        portrait, cameras, {}, out=tmp_path / "b", seed=0, progress=print, cancel=lambda: False
    )
    for i in range(10):
        np.testing.assert_array_equal(views.frame(i), fresh.frame(i))


@pytest.mark.usefixtures("kept")
def test_options(tmp_path, portrait):
    engine = PreviewEngine()
    views = engine.generate(
        portrait, full_orbit(1, size=32), {"background": "#102030"}, out=tmp_path / "v"
    )
    np.testing.assert_array_equal(views.frame(0)[0, 0], [0x10, 0x20, 0x30])
    assert not (tmp_path / "v" / "condition").exists()
    views = engine.generate(
        portrait,
        full_orbit(2, size=32),
        {"background": "photo", "guides": True},
        out=tmp_path / "g",
    )
    np.testing.assert_array_equal(views.frame(0)[0, 0], portrait.background_colour())
    (tmp_path / "g" / "condition" / "0001.png").unlink()
    options = {"background": "photo", "guides": True}
    engine.generate(portrait, full_orbit(2, size=32), options, out=tmp_path / "g")
    for i, camera in enumerate(full_orbit(2, size=32)):
        guide = read_png(tmp_path / "g" / "condition" / f"{i:04d}.png", "RGB")
        np.testing.assert_array_equal(guide, condition_image(camera))
    for bad in (
        {"nonsense": 1},
        {"background": 3},
        {"background": "blue"},
        {"guides": "yes"},
        {"hair": "mohawk"},
        {"hat": True},
        {"clothes": "coat"},
        {"beard": ""},
    ):
        with pytest.raises(Dp3dError) as error:
            engine.generate(portrait, full_orbit(1, size=32), bad, out=tmp_path / "w")
        assert error.value.code == "engine.bad_option"
    assert not (tmp_path / "w").exists()


@pytest.mark.usefixtures("nothing_kept")
def test_what_was_chosen_is_kept_with_the_views(tmp_path, portrait):
    engine, cameras = PreviewEngine(), full_orbit(1, size=32)
    options = {"hair": "bald"}
    views = engine.generate(portrait, cameras, options, out=tmp_path / "v")
    record = views.meta.choices
    assert set(record) == {"hair", "hat", "clothes", "beard"}
    assert record["hair"] == {"choice": "bald", "confidence": 1.0, "by_user": True}
    assert not record["beard"]["by_user"]
    assert len(views.meta.warnings) <= sum(c["confidence"] < 0.5 for c in record.values())
    again = engine.generate(portrait, cameras, options, out=tmp_path / "v")
    assert again.meta == views.meta  # nothing was fitted
    with pytest.raises(Dp3dError) as error:
        engine.generate(portrait, cameras, {"hair": "long"}, out=tmp_path / "v")
    assert error.value.code == "viewset.mismatch"


def test_engines_are_listed():
    assert engine_names() == [info.name for info in list_engines()]
    info = list_engines()[0]
    assert info.available
    assert {o["name"] for o in info.options} == {
        *("background", "guides", "repeat_photo", "lit"),
        *("hair", "hat", "clothes", "beard"),
    }
    with pytest.raises(Dp3dError) as error:
        get_engine("nonsense")
    assert error.value.code == "engine.unknown"


@pytest.mark.usefixtures("nothing_kept")
class TestProgressOfTheHead:
    def test_every_step_says_what_goes_on(self, portrait):
        events = []
        fitted_head(portrait, progress=events.append, cancel=never_cancel)
        assert {e.stage for e in events} == {"head"}
        assert [e.step for e in events] == [0, *range(events[-1].of + 1)]
        messages = [e.message for e in events]
        assert len(set(messages)) == len(messages)
        assert "" not in messages

    def test_cancel_is_polled_between_them(self, portrait):
        events = []
        with pytest.raises(Cancelled):
            fitted_head(portrait, progress=events.append, cancel=lambda: len(events) == 7)
        assert events[-1].step == 5
