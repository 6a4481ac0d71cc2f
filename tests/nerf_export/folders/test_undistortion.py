"""Distorted pictures become those of pinholes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.lenses import Distortion, Lens, colmap_lens, transforms_lens
from nerf_export.folders.undistortion import Undistortion
from tests.support import captures
from tests.support.captures import read
from tests.support.scene import trace

SIDE, FOCAL = 96, 150.0
LENSES = {
    "RADIAL": (-0.9, 0.4),
    "OPENCV": (0.6, -0.2, 0.02, -0.03),
    "FULL_OPENCV": (0.6, -0.2, 0.02, -0.03, 0.3, 0.1, 0.05, 0.01),
    "OPENCV_FISHEYE": (-0.8, 0.3, 0.05, 0.0),
    "SIMPLE_RADIAL_FISHEYE": (-0.6,),
}


def lens_of(model: str) -> Lens:
    focal = [FOCAL] if model.startswith(("SIMPLE", "RADIAL")) else [FOCAL, FOCAL * 1.1]
    return colmap_lens(model, [*focal, 50.0, 44.0, *LENSES[model]], SIDE, SIDE)


def undistorted_points(lens: Lens, uv: np.ndarray) -> np.ndarray:
    """(n, 2) pinhole pixels of distorted ones, by OpenCV's inverse."""
    bends, points = np.array(lens.coefficients), uv.reshape(-1, 1, 2)
    if lens.distortion is Distortion.FISHEYE:
        flat = cv2.fisheye.undistortPoints(points, lens.K, bends)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)
        flat = cv2.undistortPointsIter(points, lens.K, bends, np.eye(3), np.eye(3), criteria)
    return flat.reshape(-1, 2) * [lens.fx, lens.fy] + [lens.cx, lens.cy]


class _Bent(Camera):
    """A camera with the rays of a distorted lens, which renders what a real lens photographs."""

    lens: Lens

    def directions(self, uv):
        uv = np.asarray(uv, np.float64)
        scale = self.width / self.lens.width
        straight = undistorted_points(self.lens, uv.reshape(-1, 2) / scale) * scale
        return super().directions(straight.reshape(uv.shape))

    def resized(self, width, height):
        camera = super().resized(width, height)
        return bent(camera, self.lens)


def bent(camera: Camera, lens: Lens) -> _Bent:
    camera_with_lens = _Bent(camera.c2w, camera.K, camera.width, camera.height)
    object.__setattr__(camera_with_lens, "lens", lens)
    return camera_with_lens


@pytest.mark.parametrize("model", sorted(LENSES))
def test_a_photograph_of_a_bent_lens_becomes_a_pinhole_one(model: str) -> None:
    lens = lens_of(model)
    place = captures.cameras()[1]
    near = np.array(place.c2w)
    near[:3, 3] *= 0.33  # the head reaches the border, where the lens bends most
    camera = Camera(near, lens.K, SIDE, SIDE)
    photograph, _ = trace(bent(camera, lens))
    truth, _ = trace(camera)
    undistortion = Undistortion.of(lens)
    result = undistortion.apply(photograph)
    valid = undistortion.valid
    assert valid.mean() > 0.6
    before = np.abs(photograph.astype(float) - truth)[valid].mean()
    after = np.abs(result.astype(float) - truth)[valid].mean()
    assert after < 2.0
    assert after < before / 3


def test_pixels_outside_a_barrel_picture_are_invalid(tmp_path: Path) -> None:
    captures.write_transforms(tmp_path / "in", change=lambda d: d.update(k1=3.0, p1=0.0))
    views = read(tmp_path / "in", tmp_path / "out")
    valid = views.valid_mask(0)
    assert not valid[0, 0]
    assert valid[16, 16]
    assert not views.mask(0)[~valid].any()
    assert "undistorted" in views.meta.warnings[0]


def test_a_polynomial_that_turns_back_shows_nothing_twice() -> None:
    lens = Lens(30.0, 30.0, 48.0, 48.0, SIDE, SIDE, Distortion.BROWN, (-0.4, *[0.0] * 7))
    valid = Undistortion.of(lens).valid
    assert valid[48, 48]
    # x - 0.4 x^3 turns back at a tangent of 0.91: 27 pixels from the centre
    assert not valid[48, 80]
    assert not valid[0].any()


def test_a_fisheye_shows_nothing_beyond_its_circle() -> None:
    lens, _ = transforms_lens(
        {"is_fisheye": True, "fisheye_crop_radius": 30}, {"fl_x": FOCAL}, (SIDE, SIDE)
    )
    valid = Undistortion.of(lens).valid
    assert valid[48, 48]
    assert not valid[48, 10]
    assert valid.sum() == pytest.approx(np.pi * 30**2, rel=0.1)
    half = Undistortion.of(lens.resized(SIDE // 2, SIDE // 2)).valid
    assert half.sum() == pytest.approx(valid.sum() / 4, rel=0.1)


def test_masks_are_undistorted_as_well(tmp_path: Path) -> None:
    bends = {"k1": 1.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}
    captures.write_transforms(tmp_path / "a", alpha=False, change=lambda d: d.update(bends))
    captures.write_transforms(tmp_path / "b", change=lambda d: d.update(bends))
    a, b = (read(tmp_path / name, tmp_path / f"{name}-out") for name in "ab")
    np.testing.assert_array_equal(a.mask(0), b.mask(0))
    straight = captures.write_transforms(tmp_path / "c")
    assert straight
    plain = read(tmp_path / "c", tmp_path / "c-out")
    assert np.abs(a.mask(0).astype(int) - plain.mask(0)).max() > 20


def test_pictures_of_one_colour_stay_so() -> None:
    lens = lens_of("OPENCV")
    grey = np.full((SIDE, SIDE, 3), 77, np.uint8)
    undistortion = Undistortion.of(lens)
    assert (undistortion.apply(grey)[undistortion.valid] == 77).all()
    assert Image.fromarray(undistortion.apply(grey)).size == (SIDE, SIDE)
