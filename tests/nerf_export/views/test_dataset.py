from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.files import cameras_from_transforms
from dp3d_core.cameras.trajectories import full_orbit
from dp3d_core.decoding.png import read_png
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.views.dataset import (
    exclude_rays,
    hold_out,
    training_size,
    views_hash,
    write_dataset,
)
from tests.support.scene import write_views


@pytest.mark.parametrize(
    ("views", "expected"),
    [(4, (3,)), (6, (5,)), (16, (5, 11)), (32, (5, 11, 17, 23, 29))],
)
def test_every_sixth_view_is_held_out(views: int, expected: tuple[int, ...]) -> None:
    assert hold_out(views) == expected


def test_at_most_six_views_are_held_out_and_they_are_spread() -> None:
    held = hold_out(120)
    assert len(held) == 6
    assert held[0] < 12
    assert held[-1] > 108


def test_poses_and_intrinsics_survive_at_the_training_size(head_views: ViewSet, tmp_path: Path):
    dataset = write_dataset(head_views, tmp_path, 48, progress=no_progress, cancel=never_cancel)
    data = json.loads((tmp_path / "transforms.json").read_text())
    cameras, paths = cameras_from_transforms(data)
    assert paths[3] == "images/0003.png"
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3))
    for small, camera in zip(cameras, head_views.cameras, strict=True):
        assert (small.width, small.height) == (48, 48)
        np.testing.assert_allclose(
            small.project(points)[0] * 2, camera.project(points)[0], atol=1e-6
        )
    names = set(data["train_filenames"]) | set(data["val_filenames"])
    assert len(names) == len(head_views)
    assert len(dataset.training) + len(dataset.held_out) == len(head_views)


def test_shrunken_edges_take_no_background_colour(tmp_path: Path) -> None:
    """A red disc on white stays pure red, however soft its edge gets."""
    cameras = full_orbit(4, size=64)
    v, u = np.mgrid[:64, :64]
    inside = np.hypot(u - 31.5, v - 31.5) < 20
    frame = np.where(inside[..., None], [200, 0, 0], 255).astype(np.uint8)
    writer = ViewSetWriter(tmp_path / "views", cameras, ViewMeta(engine="test"))
    for i in range(4):
        writer.write(i, frame, np.where(inside, 255, 0).astype(np.uint8))
    write_dataset(writer.finish(), tmp_path / "data", 20, progress=no_progress, cancel=never_cancel)
    small = np.asarray(Image.open(tmp_path / "data/images/0000.png")).astype(int)
    soft = small[(small[..., 3] > 30) & (small[..., 3] < 225)]
    assert len(soft) > 10
    assert np.abs(soft[:, :3] - [200, 0, 0]).max() <= 4
    original = np.asarray(Image.open(tmp_path / "data/originals/0000.png"))
    assert original.shape == (64, 64, 4)


def test_frames_are_never_enlarged() -> None:
    camera = full_orbit(1, size=100)[0]
    assert training_size(camera, 256) == (100, 100)
    assert training_size(camera.resized(400, 200), 100) == (100, 50)


def test_too_few_views_are_refused(tmp_path: Path) -> None:
    views = write_views(tmp_path / "views", full_orbit(3, size=16))
    with pytest.raises(Dp3dError) as caught:
        write_dataset(views, tmp_path / "data", 16, progress=no_progress, cancel=never_cancel)
    assert caught.value.code == "viewset.invalid"


def test_cancel_stops_between_pictures(head_views: ViewSet, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        write_dataset(head_views, tmp_path, 16, progress=no_progress, cancel=lambda: True)


def test_hash_differs_between_view_sets(tmp_path: Path) -> None:
    first = write_views(tmp_path / "a", full_orbit(4, size=16))
    same = write_views(tmp_path / "b", full_orbit(4, size=16))
    without_masks = write_views(tmp_path / "c", full_orbit(4, size=16), masks=False)
    assert views_hash(first) == views_hash(same) != views_hash(without_masks)


def test_excluded_pixels_get_no_rays(head_views: ViewSet, tmp_path: Path) -> None:
    calls = {"progress": no_progress, "cancel": never_cancel}
    dataset = write_dataset(head_views, tmp_path, 64, **calls)
    before = [read_png(tmp_path / f"masks/{i:04d}.png", "L") for i in range(2)]
    lower = np.zeros((16, 16), bool)
    lower[8:] = True
    exclude_rays(dataset, [lower, *[None] * (len(head_views) - 1)])
    after = [read_png(tmp_path / f"masks/{i:04d}.png", "L") for i in range(2)]
    half = len(before[0]) // 2
    np.testing.assert_array_equal(after[0][:half], before[0][:half])
    assert before[0][half:].any()
    assert not after[0][half:].any()
    np.testing.assert_array_equal(after[1], before[1])


def test_rays_are_drawn_at_valid_pixels(tmp_path: Path) -> None:
    cameras = full_orbit(4, size=64)
    valid = np.zeros((64, 64), bool)
    valid[:, :33] = True
    writer = ViewSetWriter(tmp_path / "views", cameras, ViewMeta(engine="test"))
    for i in range(4):
        head = np.where(valid, 255, 0).astype(np.uint8)
        head[:, :10] = 0
        writer.write(i, np.full((64, 64, 3), 90, np.uint8), head, valid)
    views = writer.finish()
    assert np.array_equal(views.valid_mask(0), valid)
    dataset = write_dataset(views, tmp_path / "data", 32, progress=no_progress, cancel=never_cancel)
    drawn = np.asarray(Image.open(tmp_path / "data/masks/0000.png")) > 0
    assert drawn[:, 8:16].all()
    assert not drawn[:, 16:].any()  # column 16 is known in half
    assert dataset.valid[0][:, :16].all()
    assert dataset.has_masks
    before = views_hash(views)
    views.valid_mask_path(0).unlink()
    assert views_hash(views) != before
