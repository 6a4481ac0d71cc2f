"""Evaluation: scores that behave, and the published frames with their published figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation.published_frames import compare_with_published, published_samples
from dp3d_core.evaluation.scores import score
from dp3d_core.portraits.load import load_portrait
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import encode_png, over


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    return np.asarray(noise.resize((96, 96), Image.Resampling.BICUBIC))


def test_scores_of_the_same_and_of_a_blurred_frame(frame: np.ndarray) -> None:
    blurred = np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(3)))
    near = np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(1)))
    soft, softer = score([near], [frame]), score([blurred], [frame])
    assert 1 > soft.ssim > softer.ssim > 0
    assert soft.psnr > softer.psnr
    assert 1 > soft.sharpness > softer.sharpness
    noisy = np.clip(frame + np.random.default_rng(1).normal(0, 10, frame.shape), 0, 255)
    assert score([noisy.astype(np.uint8)], [frame]).psnr == pytest.approx(28.2, abs=0.7)
    with pytest.raises(ValueError, match="argument 2"):
        score([near, near], [frame])


def test_the_published_figures_come_out(official_outputs: Path) -> None:
    """Unmoved photo and start images: the figures every later engine is measured against."""
    samples = published_samples(official_outputs)
    known = {
        "0000028": {"unmoved": (0.352, 14.6), "start": (0.510, 16.8)},
        "0000380": {"unmoved": (0.620, 15.5), "start": (0.721, 19.7)},
    }
    assert {sample.name for sample in samples} == set(known)
    for sample in samples:
        comparison = compare_with_published(sample, progress=no_progress, cancel=never_cancel)
        for name, (ssim, psnr) in known[sample.name].items():
            assert comparison.scores[name].ssim == pytest.approx(ssim, abs=0.001)
            assert comparison.scores[name].psnr == pytest.approx(psnr, abs=0.06)
        ours = comparison.scores["preview"]
        assert ours.ssim > comparison.scores["unmoved"].ssim + 0.05
        assert ours.psnr > comparison.scores["unmoved"].psnr + 1
        assert ours.sharpness > comparison.scores["start"].sharpness


def test_a_folder_without_samples(tmp_path: Path) -> None:
    with pytest.raises(Dp3dError) as error:
        published_samples(tmp_path)
    assert error.value.code == "viewset.not_found"


def test_the_background_of_a_photo() -> None:
    wall = (70, 95, 140)
    view = SyntheticHead(random_subject(11)).render(canonical_camera(4, 2, 560, focal=2.8))
    r, g, b = load_portrait(encode_png(over(view.rgba, wall))).background_colour()
    assert b > r + 30, "a blue wall"
    assert b > g
    assert (r, g, b) == pytest.approx(wall, abs=3)
