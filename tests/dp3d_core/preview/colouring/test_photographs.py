"""Photos of other exposure and white balance make one texture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.evaluation.photos_benchmark import Shot
from dp3d_core.portraits.references import PhotoSource, load_person
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.kept_heads import head_bytes, read_head
from tests.support.photos import encode

GAIN = np.array([1.25, 1.1, 0.9])
"""Exposure and white balance of the changed photo."""


def head_of(front: bytes, side: bytes) -> PreviewHead:
    return PreviewHead(load_person(front, [PhotoSource(side)]))


@pytest.fixture(scope="module")
def head(person_pngs: list[bytes]) -> PreviewHead:
    return head_of(*person_pngs[:2])


@pytest.mark.slow
def test_exposure_and_white_balance_are_equalised(
    head: PreviewHead, person_pngs: list[bytes], person_shots: list[Shot]
) -> None:
    darker = np.asarray(Image.open(io.BytesIO(person_pngs[1])).convert("RGB")) * 0.7
    plain = head_of(person_pngs[0], encode(darker.astype(np.uint8)))
    changed = head_of(person_pngs[0], encode((darker * GAIN).clip(0, 255).astype(np.uint8)))
    yaw = person_shots[1].camera.yaw_pitch_deg[0]
    camera = canonical_camera(yaw, 0, 128)
    first, second = (h.render(camera) for h in (plain, changed))
    shown = (first.alpha > 0.9) & (second.alpha > 0.9)
    ratio = np.median(second.rgb[shown] / np.maximum(first.rgb[shown], 0.02), axis=0)
    # without equalisation the photo's own texels would differ by GAIN
    assert np.abs(np.log(ratio)).max() < 0.4 * np.abs(np.log(GAIN)).max()


def test_the_photo_that_shows_a_point_best_colours_it(
    head: PreviewHead, person_shots: list[Shot]
) -> None:
    photographs = head.appearance.photographs
    assert len(photographs.photos) == 2
    mesh = head.mesh
    ear = np.zeros(len(mesh.vertices))
    colours, confidence = photographs.sample(mesh.vertices, mesh.normals, mesh.parts, ear)
    side, side_confidence, quality = photographs.photos[1].sample(
        mesh.vertices, mesh.normals, mesh.parts, ear
    )
    portrait_quality = photographs.photos[0].sample(mesh.vertices, mesh.normals, mesh.parts, ear)[2]
    best = (quality > 0.6) & (portrait_quality < 0.1)
    assert best.sum() > 500
    np.testing.assert_allclose(colours[best], side[best], atol=0.02)
    assert (confidence >= side_confidence - 1e-9).all()


def test_a_head_of_two_photos_is_kept_bit_for_bit(head: PreviewHead, tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(head_bytes(head))
    again = read_head(path)
    camera = canonical_camera(100, 5, 96)
    np.testing.assert_allclose(again.render(camera).rgb, head.render(camera).rgb, atol=1 / 200)
    assert [use.to_dict() for use in again.photos] == [use.to_dict() for use in head.photos]
