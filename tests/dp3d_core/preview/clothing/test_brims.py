"""Brims of hats: thin, all around, and only where a hat has one."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.evaluation.scores import score_front
from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import MM
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.asset import textured_parts
from dp3d_core.preview.choices import HeadChoices
from dp3d_core.preview.hair.outline_marks import SHELL
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.kept_heads import head_bytes, read_head
from dp3d_core.preview.parts import Part
from dp3d_core.preview.shape.placement import PlacedHead, place_head
from dp3d_core.synthetic.sample_photos import sample_photos


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return load_portrait(sample_photos()["hat_and_glasses"]())


@pytest.fixture(scope="module")
def head(portrait: Portrait) -> PreviewHead:
    return PreviewHead(portrait)


def brim_of(head: PreviewHead | PlacedHead) -> np.ndarray:
    """(n, 3) vertices of a brim, millimetres; none without one."""
    return head.mesh.vertices[len(bust().rest) + SHELL :] / MM


def test_a_brim_is_wide_and_thin_and_all_around(head: PreviewHead) -> None:
    brim = brim_of(head)
    assert head.chosen["hat"].choice == "worn"
    x, _, z = brim.T
    outer = np.hypot(x, z) > 130
    angles = np.degrees(np.arctan2(x, z))[outer]
    assert np.histogram(angles, 8, (-180, 180))[0].min() > 0
    assert (head.mesh.parts[-len(brim) :] == Part.HAT).all()
    # from above and from just below it is met within a few millimetres
    for at in ((115.0, 0.0), (-115.0, 0.0), (0.0, 140.0), (0.0, -140.0)):
        near = np.hypot(x - at[0], z - at[1]) < 15
        low = brim[near, 1].min() - 15
        places = np.array([[at[0], 300.0, at[1]], [at[0], low, at[1]]]) * MM
        hits = head.caster.cast(places, np.array([[0, -1.0, 0], [0, 1.0, 0]]))
        assert len(hits.ray) == 2
        assert np.ptp(hits.points[:, 1]) < 12 * MM


def test_its_outline_is_the_photos(portrait: Portrait, head: PreviewHead) -> None:
    front = score_front(portrait, head.render(portrait.camera))
    assert front.head_iou > 0.96


def test_its_colour_is_that_of_the_hat(portrait: Portrait, head: PreviewHead) -> None:
    brim = next(part for part in textured_parts(head, 512) if part.name == "brim")
    hat, hair = portrait.image[60:120, 300:360], portrait.image[330:420, 165:185]
    hat, hair = (np.median(patch.reshape(-1, 3), axis=0) for patch in (hat, hair))
    texels = brim.texture.reshape(-1, 3).astype(float)
    # in the shade below a brim cloth is darker, but not black, and of one hue
    assert np.quantile(texels.mean(-1), 0.1) > 0.4 * hat.mean()
    texels, hat, hair = (c / c.sum(-1, keepdims=True).clip(1) for c in (texels, hat, hair))
    nearer = np.linalg.norm(texels - hat, axis=1) < np.linalg.norm(texels - hair, axis=1)
    assert nearer.mean() > 0.95
    assert brim.uv.min() >= 0
    assert brim.uv.max() <= 1


def test_a_head_with_a_brim_is_kept(head: PreviewHead, tmp_path) -> None:
    (tmp_path / "head.npz").write_bytes(head_bytes(head))
    again = read_head(tmp_path / "head.npz")
    camera = canonical_camera(40.0, 15.0, 96)
    np.testing.assert_array_equal(again.render(camera).rgb, head.render(camera).rgb)


def test_shoulders_in_a_crop_without_a_face_are_no_brim() -> None:
    photo = sample_photos()["astronaut"]()
    portrait = load_portrait(photo, crop=(150.0, 180.0, 200.0))
    assert portrait.report.chosen is None
    assert place_head(portrait).observed["hat"].choice == "none"


def test_without_a_hat_there_is_no_brim(portrait: Portrait) -> None:
    assert not len(brim_of(place_head(portrait, choices=HeadChoices(hat="none"))))
    assert not len(brim_of(place_head(load_portrait(sample_photos()["astronaut"]()))))
