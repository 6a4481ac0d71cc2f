"""What lies on a face's sides and is none of its skin."""

from __future__ import annotations

import numpy as np

from dp3d_core.preview.photo.occlusions import occluded_skin

TONE = np.array([0.78, 0.58, 0.48])
SIDE = 256


def portrait() -> tuple[np.ndarray, np.ndarray]:
    """Skin that grows darker to the right, with grain, before black; and where it is."""
    rng = np.random.default_rng(0)
    shade = np.linspace(1.1, 0.7, SIDE)[None, :, None]
    image = TONE * shade * np.exp(rng.normal(0, 0.03, (SIDE, SIDE, 1)))
    skin = np.zeros((SIDE, SIDE), bool)
    skin[30:220, 40:210] = True
    return np.where(skin[..., None], image, 0).astype(np.float32), skin


def foreign(image, skin, doubted=1.0, glaring=0.0) -> np.ndarray:
    full = np.ones(skin.shape, np.float32)
    return occluded_skin(image, skin, full * doubted, full * glaring, TONE)


def test_shade_and_grain_are_skin():
    image, skin = portrait()
    assert foreign(image, skin)[skin].mean() < 0.01


def test_an_earring_and_a_strand_are_none():
    image, skin = portrait()
    image[100:110, 190:198] = [0.9, 0.9, 0.95]
    image[60:200, 60:63] = [0.15, 0.1, 0.08]
    doubt = foreign(image, skin)
    assert doubt[102:108, 192:196].min() > 0.9
    assert doubt[80:180, 61].min() > 0.8
    assert doubt[60:200, 100:150].max() < 0.1


def test_features_are_left_alone_and_hair_on_a_forehead_too():
    image, skin = portrait()
    image[100:110, 100:120] = [0.1, 0.08, 0.08]
    image[100:110, 150:160] = [0.98, 0.95, 0.95]
    assert foreign(image, skin, doubted=0.0).max() == 0
    glare = foreign(image, skin, doubted=0.0, glaring=1.0)
    assert glare[102:108, 102:118].max() < 0.1
    assert glare[102:108, 152:158].min() > 0.9


def test_a_picture_without_skin_is_no_failure():
    image, skin = portrait()
    assert foreign(image, np.zeros_like(skin)).max() == 0


def test_shade_on_half_a_face_is_skin():
    """Far from the tone of the face, it is told by the skin around it."""
    image, skin = portrait()
    image[:, 130:] *= 0.6
    image[100:106, 180:186] = [0.9, 0.9, 0.95]
    doubt = foreign(image, skin)
    assert doubt[60:90, 170:200].mean() < 0.15
    assert doubt[102:104, 182:184].min() > 0.8


def test_arms_of_glasses_are_left():
    image, skin = portrait()
    image[120:123, 150:205] = [0.1, 0.08, 0.08]
    assert foreign(image, skin)[121, 160:195].max() < 0.2
