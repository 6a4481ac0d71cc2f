"""View sets: atomic, resumable, strict about their contents."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.trajectories import canonical_camera, full_orbit
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import write_atomic
from dp3d_core.viewsets.sheets import viewset_sheet
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet, encode_png, over
from dp3d_core.viewsets.writer import ViewSetWriter
from tests.support.small_views import CAMERAS, META, picture


def test_straight_alpha_takes_the_background_out(tmp_path):
    writer = ViewSetWriter(tmp_path, CAMERAS[:1], META)
    colour, alpha = np.array([40, 90, 200]), 0.5
    mixed = np.rint(colour * alpha + np.array(META.background) * (1 - alpha)).astype(np.uint8)
    writer.write(0, np.tile(mixed, (32, 32, 1)), np.full((32, 32), round(alpha * 255), np.uint8))
    rgba = writer.finish().rgba(0)
    np.testing.assert_allclose(rgba[0, 0, :3].astype(int), colour, atol=3)
    assert rgba[0, 0, 3] == 128


def test_a_lost_mask_makes_its_view_missing(tmp_path):
    writer = ViewSetWriter(tmp_path, CAMERAS, META)
    for i in range(4):
        writer.write(i, *picture(i))
    writer.views.mask_path(2).unlink()
    assert ViewSetWriter(tmp_path, CAMERAS, META).missing() == [2]
    with pytest.raises(Dp3dError) as error:
        ViewSet.open(tmp_path)
    assert error.value.code == "viewset.incomplete"


def test_without_masks_everything_is_foreground(tmp_path):
    writer = ViewSetWriter(tmp_path, CAMERAS[:1], META)
    writer.write(0, picture(0)[0])
    views = writer.finish()
    assert views.mask(0) is None
    assert (views.rgba(0)[..., 3] == 255).all()


def test_damaged_view_sets_are_refused(tmp_path):
    writer = ViewSetWriter(tmp_path, CAMERAS[:2], META)
    writer.write(0, *picture(0))
    writer.write(1, *picture(1))
    (tmp_path / "frames" / "0000.png").write_bytes(b"not a picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "frames" / "0001.png")
    views = ViewSet.open(tmp_path)
    for i in (0, 1):
        with pytest.raises(Dp3dError) as error:
            views.frame(i)
        assert error.value.code == "viewset.invalid"
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(Dp3dError) as error:
        ViewSet.open(tmp_path)
    assert error.value.code == "viewset.invalid"
    with pytest.raises(Dp3dError) as error:
        ViewSet.open(tmp_path / "nowhere")
    assert error.value.code == "viewset.not_found"


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "data.json"
    contents = [json.dumps({"n": i, "fill": "x" * 20000}).encode() for i in range(2)]
    write_atomic(path, contents[0])
    stop = threading.Event()
    partial: list[str] = []

    def read() -> None:
        while not stop.is_set():
            data = path.read_bytes()
            if data not in contents:
                partial.append(data[:40].decode())

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(100):
        write_atomic(path, contents[i % 2])
    stop.set()
    reader.join()
    assert not partial


def test_an_unwritable_path_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Dp3dError) as error:
        write_atomic(tmp_path / "file" / "under", b"x")
    assert error.value.code == "output.not_writable"


def write_rgba_views(root, pixels, background=(255, 255, 255)):
    """A view set as Blender writes it: frames with straight alpha, no masks."""
    cameras = [canonical_camera(size=pixels.shape[1])] * len(pixels)
    ViewSetWriter(root, cameras, ViewMeta(engine="blender", background=background))
    for i, rgba in enumerate(pixels):
        write_atomic(root / f"frames/{i:04d}.png", encode_png(rgba))
    return ViewSet.open(root)


class TestFramesWithAlpha:
    @pytest.fixture
    def pixels(self):
        return np.random.default_rng(1).integers(0, 256, (3, 8, 8, 4)).astype(np.uint8)

    def test_mask_frame_and_rgba(self, pixels, tmp_path):
        views = write_rgba_views(tmp_path, pixels, (0, 0, 255))
        for i, rgba in enumerate(pixels):
            np.testing.assert_array_equal(views.mask(i), rgba[..., 3])
            np.testing.assert_array_equal(views.rgba(i), rgba)
            np.testing.assert_array_equal(views.frame(i), over(rgba, (0, 0, 255)))

    def test_a_mask_file_counts_before_the_alpha(self, pixels, tmp_path):
        views = write_rgba_views(tmp_path, pixels)
        mask = np.full((8, 8), 17, np.uint8)
        write_atomic(views.mask_path(1), encode_png(mask))
        assert views.missing() == [], "the others have their alpha"
        np.testing.assert_array_equal(views.mask(1), mask)
        np.testing.assert_array_equal(views.rgba(1)[..., 3], mask)
        np.testing.assert_array_equal(views.rgba(1)[..., :3], pixels[1, ..., :3])
        np.testing.assert_array_equal(views.mask(0), pixels[0, ..., 3])

    def test_a_frame_without_either_is_missing_among_masks(self, pixels, tmp_path):
        views = write_rgba_views(tmp_path, pixels)
        write_atomic(views.mask_path(0), encode_png(pixels[0, ..., 3]))
        write_atomic(views.frame_path(1), encode_png(pixels[1, ..., :3]))
        assert views.missing() == [1]

    def test_half_a_frame_is_named(self, pixels, tmp_path):
        views = write_rgba_views(tmp_path, pixels)
        whole = views.frame_path(2).read_bytes()
        views.frame_path(2).write_bytes(whole[: len(whole) // 2])
        for read in (views.frame, views.mask, views.rgba):
            with pytest.raises(Dp3dError) as caught:
                read(2)
            assert caught.value.code == "viewset.invalid"
            assert "frames/0002.png" in caught.value.problem

    def test_a_frame_of_another_size_is_named(self, pixels, tmp_path):
        views = write_rgba_views(tmp_path, pixels)
        write_atomic(views.frame_path(0), encode_png(np.zeros((4, 8, 4), np.uint8)))
        with pytest.raises(Dp3dError) as caught:
            views.mask(0)
        assert caught.value.code == "viewset.invalid"

    def test_a_contact_sheet_shows_them_over_the_background(self, pixels, tmp_path):
        pixels[..., 3] = 0
        views = write_rgba_views(tmp_path, pixels, (0, 255, 0))
        sheet = viewset_sheet(views, tile=64)
        assert (sheet[32, 32] == (0, 255, 0)).all()


WRONG_META = {
    "background": [[float("inf")] * 3, [1, 2], "white", [0, 0, 300]],
    "seed": [1.5, "0", None],
    "engine": [None, 3, "x" * 1000],
    "parameters": [
        [],
        {"depth_unit": []},
        {"depth_unit": 0},
        {"held_out": 3},
        {"held_out": ["a"]},
        {"held_out": [1.0]},
        {"held_out": [99]},
    ],
    "warnings": ["text", [1]],
    "photos": ["text", [1], [{}] * 101],
    "approximate_poses": ["yes"],
    "unknown": [1],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_META.items() for value in values]
)
def test_bad_values_in_the_meta_are_refused(tmp_path, name, value):
    cameras = full_orbit(2, size=8)
    writer = ViewSetWriter(tmp_path, cameras, ViewMeta(engine="test"))
    for i in range(2):
        writer.write(i, np.zeros((8, 8, 3), np.uint8))
    meta = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps({**meta, name: value}))
    with pytest.raises(Dp3dError) as error:
        ViewSet.open(tmp_path)
    assert error.value.code == "viewset.invalid"


def test_a_deeply_nested_meta_is_refused(tmp_path):
    ViewSetWriter(tmp_path, full_orbit(2, size=8), ViewMeta(engine="test"))
    for depth in (100, 100_000):
        nested = '{"schema": "dp3d.views/1", "run": ' + '{"a": ' * depth + "1" + "}" * (depth + 1)
        (tmp_path / "meta.json").write_text(nested)
        with pytest.raises(Dp3dError, match="nested too deeply"):
            ViewSet.open(tmp_path, complete=False)


def test_an_unusable_camera_is_named(tmp_path):
    cameras = full_orbit(3, size=16)
    writer = ViewSetWriter(tmp_path, cameras, ViewMeta(engine="test"))
    for i in writer.missing():
        writer.write(i, np.zeros((cameras[i].height, cameras[i].width, 3), np.uint8))
    data = json.loads((tmp_path / "cameras.json").read_text())
    data["cameras"][1]["K"][0][0] = 1e-300
    (tmp_path / "cameras.json").write_text(json.dumps(data))
    with pytest.raises(Dp3dError) as caught:
        ViewSet.open(tmp_path)
    assert caught.value.code == "camera.invalid"
    assert caught.value.problem.startswith("The camera of view 1 cannot be used: fx is 1e-300")
