"""Photos of many kinds become heads, and the photo's own camera sees the photo again."""

from __future__ import annotations

import pytest

from dp3d_core.evaluation.scores import score_front
from dp3d_core.portraits.load import load_portrait
from dp3d_core.preview.head import PreviewHead
from dp3d_core.synthetic.sample_photos import sample_photos


@pytest.mark.parametrize(("name", "psnr", "iou"), [("astronaut", 32, 0.90), ("painting", 32, 0.97)])
def test_a_photo_is_repeated_at_its_own_camera(name, psnr, iou):
    portrait = load_portrait(sample_photos()[name]())
    head = PreviewHead(portrait)
    front = score_front(portrait, head.render(portrait.camera))
    assert front.psnr > psnr
    assert front.head_iou > iou
    # a head moved by a tenth of the picture would not pass for it
    K = portrait.camera.K.copy()
    K[0, 2] += 64
    aside = type(portrait.camera)(portrait.camera.c2w, K, 640, 640)
    moved = score_front(portrait, head.render(aside))
    assert moved.head_iou < iou or moved.psnr < psnr - 6


def test_a_cat_is_no_face_but_gives_a_head():
    portrait = load_portrait(sample_photos()["cat"]())
    assert portrait.report.crop_source in {"centre", "face"}
    if portrait.report.crop_source == "centre":
        assert any("No face" in warning for warning in portrait.report.warnings)
    assert PreviewHead(portrait).render(portrait.camera.resized(64, 64)).alpha.max() == 1
