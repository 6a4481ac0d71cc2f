"""Blend shapes: their names, what they move, and that nothing comes through the skin."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dp3d_core.heads.space import MM
from dp3d_core.rigged.keys import EYES
from dp3d_core.rigged.mouth_material import rim_distance
from dp3d_core.rigged.rig import PHOTO_EXPRESSION, arkit_names
from dp3d_core.rigged.sheet import with_company
from dp3d_core.rigged.skin_material import lid_distance
from dp3d_core.rigged.topology import skin_twins
from tests.support.rig_checks import Piercings, open_eyes, random_keys

ARKIT = [
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight",
    "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft",
    "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
]  # fmt: skip
"""ARKit's ``ARFaceAnchor.BlendShapeLocation``."""


def test_the_names_are_those_of_arkit(person) -> None:
    assert list(arkit_names()) == sorted(ARKIT)
    assert len(ARKIT) == 52
    _, keys = person
    assert set(keys.offsets) == set(ARKIT)
    assert all(parts for parts in keys.offsets.values())


def test_an_open_jaw_takes_the_lower_teeth_down_and_leaves_the_eyes(person) -> None:
    _, keys = person
    jaw = keys.offsets["jawOpen"]
    assert np.median(jaw["lower_teeth"][:, 1]) / MM < -15
    assert "upper_teeth" not in jaw
    assert not set(EYES) & set(jaw)
    assert np.median(jaw["tongue"][:, 1]) / MM < -8


def test_eyes_turn_about_their_centres(person) -> None:
    _, keys = person
    for side, name in zip(("Left", "Right"), EYES, strict=True):
        ball, vertices = keys.eyeballs[name], keys.vertices[name]
        for where in ("Up", "Down", "In", "Out"):
            offsets = keys.offsets[f"eyeLook{where}{side}"][name]
            radius = np.linalg.norm(vertices + offsets - ball.centre, axis=1)
            np.testing.assert_allclose(radius, ball.radius, atol=0.01 * MM)
            front = vertices[:, 2].argmax()
            x, y = offsets[front, :2] / MM
            outwards = 1 if side == "Left" else -1
            moved = {"Up": y, "Down": -y, "In": -x * outwards, "Out": x * outwards}[where]
            assert moved > 1.5, (where, side)


@pytest.mark.parametrize("seed", range(4))
def test_lids_close(seed) -> None:
    _, keys = random_keys(seed)
    for side, name in zip(("Left", "Right"), EYES, strict=True):
        open_, half, closed = (
            open_eyes(keys, {f"eyeBlink{side}": weight}, name) for weight in (0, 0.5, 1)
        )
        assert open_ > 250
        assert half < 0.6 * open_
        assert closed == 0


def pierced(seed: int, spacing: float, views: int) -> list[object]:
    _, keys = random_keys(seed)
    piercings = Piercings(keys, spacing, views)
    piercing: list[object] = [counts for counts in (piercings.of({}),) if counts]
    for key in arkit_names():
        for weight in (0.5, 1.0):
            if counts := piercings.of(with_company(key, weight)):
                piercing.append((key, weight, counts))
    return piercing


@pytest.mark.parametrize("seed", range(3))
def test_nothing_comes_through_the_skin(seed) -> None:
    assert pierced(seed, 2.5, 2) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
def test_nothing_comes_through_the_skin_of_many(seed) -> None:
    assert pierced(seed, 1.0, 5) == []


def test_the_rays_would_tell(person) -> None:
    _, keys = person
    ball = keys.eyeballs["eye_left"]
    large = ball.centre + (keys.vertices["eye_left"] - ball.centre) * 1.3
    forward = keys.vertices["upper_teeth"] + np.array([0, 0, 12 * MM])
    vertices = {**keys.vertices, "eye_left": large, "upper_teeth": forward}
    counts = Piercings(keys, 2.0, 1)
    counts.keys = dataclasses.replace(keys, vertices=vertices)
    assert set(counts.of({})) == {"eye_left", "upper_teeth"}


def test_the_photo_expression_can_be_taken_off(rig, fitted) -> None:
    skin = rig.part("skin")
    assert PHOTO_EXPRESSION in skin.keys
    assert set(rig.expression) <= set(arkit_names())
    on = skin.posed({PHOTO_EXPRESSION: 1.0})
    assert np.abs(on - skin.vertices).max() > 0.2 * MM
    # with it, the skin is the fitted head's
    shared = skin_twins() >= 0
    apart = np.linalg.norm(on[shared] - fitted.mesh.vertices[skin_twins()[shared]], axis=1) / MM
    beside = (lid_distance() > 25) & (rim_distance() > 25)
    assert apart[beside[shared]].max() < 0.3  # a blink moves the brow a little
    assert np.quantile(apart[beside[shared]], 0.9) < 0.05
    assert apart.max() < 4.0  # lids and lips are where the photo shows them


def test_hair_and_clothes_move_with_the_skin(rig) -> None:
    hair, clothes = rig.part("hair"), rig.part("clothes")
    assert "browInnerUp" in hair.keys
    for part in (hair, clothes):
        for key in part.keys.values():
            assert np.isfinite(key.offsets).all()
            assert np.linalg.norm(key.offsets, axis=1).max() / MM < 45
