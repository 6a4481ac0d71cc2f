from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import canonical_camera, capture_sphere
from dp3d_core.errors import Dp3dError
from dp3d_core.viewsets.viewset import ViewMeta
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.shape.hull import Hull, visual_hull
from nerf_export.views.consistency import (
    check_cameras,
    check_frames,
    compare_silhouettes,
    score_warnings,
)
from nerf_export.views.dataset import Look
from tests.support.fits import fit_tiny
from tests.support.scene import trace

CAMERAS = list(capture_sphere(12, (-15.0, 25.0), 96))


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    return [trace(camera)[1] for camera in CAMERAS]


def moved(camera: Camera, factor: float) -> Camera:
    pose = camera.c2w.copy()
    pose[:3, 3] *= factor
    return Camera(pose, camera.K, camera.width, camera.height)


def hull_of(cameras: Sequence[Camera], masks: Sequence[np.ndarray]) -> Hull:
    return visual_hull(cameras, masks, 48)


def agreement(cameras: Sequence[Camera], masks: Sequence[np.ndarray]):
    return compare_silhouettes(cameras, masks, [None] * len(cameras), hull_of(cameras, masks))


def test_consistent_views_give_no_warning(masks) -> None:
    compared = agreement(CAMERAS, masks)
    assert min(compared.filled) > 0.97
    assert compared.warnings(range(len(masks))) == []


def test_a_frame_with_another_lens_is_named(masks) -> None:
    cameras = list(CAMERAS)
    K = cameras[4].K.copy()
    K[[0, 1], [0, 1]] *= 0.5  # its silhouette now means twice the head
    cameras[4] = Camera(cameras[4].c2w, K, cameras[4].width, cameras[4].height)
    (warning,) = agreement(cameras, masks).warnings(range(len(masks)))
    assert "view 4 contradict" in warning


def test_pixels_beyond_the_hull_are_reported(masks) -> None:
    assert agreement(CAMERAS, masks).beyond == (None,) * len(masks)
    with_shoulders = [masks[0].copy(), *masks[1:]]
    with_shoulders[0][-30:] = 255  # shoulders that no other frame shows
    compared = agreement(CAMERAS, with_shoulders)
    assert compared.beyond[1:] == (None,) * (len(masks) - 1)
    beyond = np.kron(compared.beyond[0], np.ones((3, 3), bool))[::2, ::2]  # 64 pixels for 96
    assert not beyond[:60].any()
    assert beyond[-20:, :20].all()


def test_masks_of_other_cameras_give_a_warning(masks) -> None:
    shifted = [
        np.roll(mask, (7 * (i % 5) - 14, 11 * (i % 4) - 16), (0, 1)) for i, mask in enumerate(masks)
    ]
    (warning,) = agreement(CAMERAS, shifted).warnings(range(len(masks)))
    assert "contradict each other" in warning


def test_invalid_pixels_do_not_lower_the_agreement(masks) -> None:
    hull = hull_of(CAMERAS, masks)
    one_full = [np.full_like(masks[0], 255), *masks[1:]]
    known = [masks[0] >= 128, *[None] * (len(masks) - 1)]
    assert compare_silhouettes(CAMERAS, one_full, [None] * len(masks), hull).filled[0] < 0.5
    assert compare_silhouettes(CAMERAS, one_full, known, hull).filled[0] > 0.95


def test_cameras_in_the_head_or_in_one_place_are_refused(masks) -> None:
    hull = hull_of(CAMERAS, masks)
    assert check_cameras(CAMERAS, hull) == []
    with pytest.raises(Dp3dError, match="camera of view 3 stands inside"):
        check_cameras([*CAMERAS[:3], moved(CAMERAS[3], 0.02)], hull)
    with pytest.raises(Dp3dError, match="from one place"):
        check_cameras([CAMERAS[0]] * 6, hull)
    near = [canonical_camera(yaw, 0, 96) for yaw in (-10, 0, 10)]
    assert "within 20 degrees" in check_cameras(near, hull)[0]


def test_frames_without_content_are_refused_or_noted() -> None:
    empty = np.zeros((8, 8, 4), np.uint8)
    with pytest.raises(Dp3dError, match="every mask is empty"):
        check_frames([Look.of(empty), Look.of(empty)])
    black = empty.copy()
    black[..., 3] = 255
    with pytest.raises(Dp3dError, match="of one colour each"):
        check_frames([Look.of(black), Look.of(black)])
    cut_out = black.copy()
    cut_out[:2, :, 3] = 0
    assert "silhouettes alone" in check_frames([Look.of(cut_out)])[0]
    picture = black.copy()
    picture[4:, :, 0] = 200
    assert check_frames([Look.of(black), Look.of(picture)]) == []


def test_a_poor_score_gives_a_warning() -> None:
    def warnings_of(psnr: float, views: int = 3) -> list[str]:
        return score_warnings({"foreground_psnr": psnr, "held_out_views": views}, has_masks=True)

    assert warnings_of(25.0) == []
    assert "contradict" in warnings_of(9.0)[0]
    assert "nobody has measured" in warnings_of(0.0, views=0)[0]


@pytest.mark.nerf
def test_refused_views_leave_an_empty_folder(nerf_environment: Path, tmp_path: Path) -> None:
    writer = ViewSetWriter(tmp_path / "views", [CAMERAS[0]] * 6, ViewMeta(engine="test", seed=0))
    for i in range(6):
        writer.write(i, *trace(CAMERAS[0]))
    with pytest.raises(Dp3dError) as caught:
        fit_tiny(tmp_path / "views", tmp_path / "fit")
    assert caught.value.code == "viewset.invalid"
    assert list((tmp_path / "fit").iterdir()) == []
