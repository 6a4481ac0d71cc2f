"""Writing of view sets: resumed for an equal job alone, strict about shapes."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera, full_orbit
from dp3d_core.decoding.png import read_png
from dp3d_core.errors import Dp3dError
from dp3d_core.viewsets.viewset import ViewMeta, over
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.views.dataset import views_hash
from tests.support.small_views import CAMERAS, META, picture


def test_write_read_and_resume(tmp_path):
    writer = ViewSetWriter(tmp_path / "v", CAMERAS, META)
    writer.write(0, *picture(0))
    writer.write(2, *picture(2))
    with pytest.raises(Dp3dError) as error:
        writer.finish()
    assert error.value.code == "viewset.incomplete"

    again = ViewSetWriter(tmp_path / "v", CAMERAS, META)
    assert again.missing() == [1, 3]
    for i in again.missing():
        again.write(i, *picture(i))
    views = again.finish()
    assert len(views) == 4
    assert views.meta == META
    for i in range(4):
        rgb, mask = picture(i)
        np.testing.assert_array_equal(views.frame(i), rgb)
        np.testing.assert_array_equal(views.mask(i), mask)
        np.testing.assert_allclose(views.cameras[i].c2w, CAMERAS[i].c2w, atol=1e-12)
    assert not list(tmp_path.rglob("*.tmp"))


def test_records_of_photos_survive_a_resume(tmp_path):
    """They are known once the engine has placed the photos, and do not tell jobs apart."""
    record = {"name": "back.jpg", "used": False, "reason": "It is blurred."}
    writer = ViewSetWriter(tmp_path / "v", CAMERAS[:2], META)
    writer.amend({}, ["a warning"], [record])
    writer.write(0, *picture(0))
    again = ViewSetWriter(tmp_path / "v", CAMERAS[:2], META)
    assert again.missing() == [1]
    again.write(1, *picture(1))
    meta = again.finish().meta
    assert (meta.photos, meta.warnings) == ([record], ["a warning"])
    assert "photos" not in META.to_dict()


@pytest.mark.parametrize(
    ("cameras", "meta"),
    [
        (CAMERAS, ViewMeta(engine="test", seed=4, parameters={"a": 1}, background=(255, 0, 0))),
        (CAMERAS, ViewMeta(engine="test", seed=3, parameters={"a": 2}, background=(255, 0, 0))),
        (full_orbit(4, 10, size=32), META),
        (CAMERAS[:3], META),
    ],
    ids=["seed", "parameters", "cameras", "fewer cameras"],
)
def test_another_job_does_not_mix_in(tmp_path, cameras, meta):
    ViewSetWriter(tmp_path, CAMERAS, META).write(0, *picture(0))
    with pytest.raises(Dp3dError) as error:
        ViewSetWriter(tmp_path, cameras, meta)
    assert error.value.code == "viewset.mismatch"


def test_newer_versions_may_resume(tmp_path):
    ViewSetWriter(tmp_path, CAMERAS, META)
    newer = ViewMeta(**{**META.__dict__, "versions": {"numpy": "99"}})
    assert ViewSetWriter(tmp_path, CAMERAS, newer).missing() == [0, 1, 2, 3]


def test_wrong_shapes_are_a_programming_error(tmp_path):
    writer = ViewSetWriter(tmp_path, CAMERAS, META)
    with pytest.raises(ValueError, match="frame 0"):
        writer.write(0, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="mask 0"):
        writer.write(0, picture(0)[0], np.zeros((32, 32)))


def test_a_set_stopped_before_its_first_frame_may_become_another(tmp_path) -> None:
    cameras = full_orbit(2, size=8)
    ViewSetWriter(tmp_path, cameras, ViewMeta(engine="a", seed=1))
    writer = ViewSetWriter(tmp_path, cameras, ViewMeta(engine="a", seed=2))
    writer.write(0, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(Dp3dError) as caught:
        ViewSetWriter(tmp_path, cameras, ViewMeta(engine="a", seed=3))
    assert caught.value.code == "viewset.mismatch"
    # another device resumes the set
    again = ViewMeta(engine="a", seed=2, run={"device": "cuda"}, warnings=["one"])
    assert ViewSetWriter(tmp_path, cameras, again).missing() == [1]


class TestRgba:
    def test_a_writer_adds_it_and_completes_an_older_set(self, tmp_path):
        cameras = [canonical_camera(size=8)] * 3
        meta = ViewMeta(engine="x", background=(10, 200, 30))
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (3, 8, 8, 4)).astype(np.uint8)
        old = ViewSetWriter(tmp_path, cameras, meta)
        for i in range(2):
            old.write(i, over(pixels[i], meta.background), pixels[i, ..., 3])
        new = ViewSetWriter(tmp_path, cameras, meta, rgba=True)
        assert new.missing() == [2]
        new.write(2, over(pixels[2], meta.background), pixels[2, ..., 3])
        assert new.views.rgba_path(2).is_file()
        views = new.finish()
        for i in range(3):
            written = read_png(views.rgba_path(i), "RGBA")
            np.testing.assert_array_equal(written, views.rgba(i))
            np.testing.assert_array_equal(written[..., 3], pixels[i, ..., 3])
            back = over(written, meta.background).astype(int)
            assert np.abs(back - views.frame(i)).max() <= 1

    def test_it_does_not_change_the_hash_of_the_views(self, tmp_path):
        cameras = [canonical_camera(size=8)] * 2
        frame, mask = np.full((8, 8, 3), 90, np.uint8), np.full((8, 8), 200, np.uint8)
        sets = []
        for name, rgba in (("a", False), ("b", True)):
            writer = ViewSetWriter(tmp_path / name, cameras, ViewMeta(engine="x"), rgba=rgba)
            for i in range(2):
                writer.write(i, frame, mask)
            sets.append(writer.finish())
        assert views_hash(sets[0]) == views_hash(sets[1])
        assert (tmp_path / "b/rgba/0001.png").is_file()
        assert not (tmp_path / "a/rgba").exists()
