"""Hair, headwear, clothes and beard that are chosen, on synthetic photos."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.heads.space import MM
from dp3d_core.portraits import face_models
from dp3d_core.portraits.load import load_portrait
from dp3d_core.preview.choices import (
    BEARD,
    CLOTHES,
    HAIR,
    HAT,
    Choice,
    HeadChoices,
    choice_warnings,
    choices_line,
    choices_to_dict,
)
from dp3d_core.preview.clothing.neckline import COLLARS
from dp3d_core.preview.hair.beard import beard_density
from dp3d_core.preview.hair.styles import STYLES
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.parts import Part
from dp3d_core.preview.shape.placement import PlacedHead, place_head
from dp3d_core.preview.texture.tones import lab
from dp3d_core.synthetic.labels import Label
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import encode_png

needs_models = pytest.mark.skipif(
    not face_models.installed(), reason="the face models are absent: dp3d setup models"
)


@lru_cache
def photograph(hair: str, hat: str | None = None, seed: int = 11):
    """A portrait of a synthetic person, and the median colours, 0 to 1, of its classes."""
    subject = random_subject(seed)
    calm = dataclasses.replace(subject.spec.person, expression={})
    spec = dataclasses.replace(
        subject.spec, person=calm, hair=hair, hat=hat, beard=0.0, glasses=None
    )
    head = SyntheticHead(dataclasses.replace(subject, spec=spec))
    view = head.render(canonical_camera(8.0, 2, 560, focal=2.8))
    colours = {
        label: np.median(view.rgb[view.labels == label], axis=0) / 255
        for label in (Label.SKIN, Label.HAIR, Label.SHOULDERS)
    }
    return load_portrait(encode_png(view.rgb)), colours


@lru_cache
def head_with(person: str = "crop", wears: str | None = None, **choices: str) -> PreviewHead:
    """The head of a synthetic person with that hair and hat, and some choices."""
    return PreviewHead(photograph(person, wears)[0], choices=HeadChoices(**choices))


@lru_cache
def placed_with(person: str = "crop", wears: str | None = None, **choices: str) -> PlacedHead:
    """The surface alone of such a head, which needs a fourth of the time."""
    return place_head(photograph(person, wears)[0], choices=HeadChoices(**choices))


def colour_at(head: PreviewHead, point: tuple[float, float, float], yaw: float) -> np.ndarray:
    """Median colour around a place, millimetres, seen from a camera all around."""
    camera = canonical_camera(yaw, 0, 256)
    u, v = camera.project(np.array([point]) * MM)[0][0].astype(int)
    view = head.render(camera)
    patch = np.s_[v - 4 : v + 5, u - 4 : u + 5]
    assert view.alpha[patch].min() > 0.9
    return np.median(view.rgb[patch].reshape(-1, 3), axis=0)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Lab distance with little of the lightness, which shade changes."""
    apart = (lab(first[None]) - lab(second[None])) * [0.5, 1, 1]
    return float(np.linalg.norm(apart))


def nearest(colour: np.ndarray, names: dict[Label, np.ndarray]) -> Label:
    """The class whose colour is nearest."""
    return min(names, key=lambda label: distance(colour, names[label]))


def lowest_hair(head: PreviewHead | PlacedHead) -> float:
    """Height, millimetres, of the ends of the hair."""
    hair = head.mesh.parts == Part.HAIR
    used = np.zeros(len(hair), bool)
    used[head.mesh.faces.ravel()] = True
    return float(np.percentile(head.mesh.vertices[hair & used, 1], 2) / MM)


@needs_models
class TestHair:
    def test_a_bald_crown_has_the_colour_of_skin(self) -> None:
        colours = photograph("crop")[1]
        bald = head_with(hair="bald", clothes="none", beard="full")
        assert not (bald.mesh.parts == Part.HAIR).any()
        for yaw in (0.0, 90.0, 180.0):
            seen = colour_at(bald, (0.0, 115.0, 0.0), yaw)
            assert nearest(seen, colours) == Label.SKIN, yaw
            usual = colour_at(head_with(), (0.0, 115.0, 0.0), yaw)
            assert nearest(usual, colours) != Label.SKIN, yaw

    def test_long_hair_hangs_beside_the_neck(self) -> None:
        colours = photograph("crop")[1]
        beside = (70.0, -110.0, -30.0)
        long = head_with(hair="long", clothes="high")
        assert nearest(colour_at(long, beside, 90.0), colours) == Label.HAIR
        assert lowest_hair(long) < -170 < -75 < lowest_hair(head_with())

    def test_long_hair_is_cut(self) -> None:
        assert lowest_hair(placed_with("long")) < -85
        assert lowest_hair(placed_with("long", hair="short")) > -75

    def test_a_buzz_cut_lies_on_the_skull(self) -> None:
        placed = {hair: placed_with("afro", hair=hair) for hair in ("auto", "buzz", "bald")}
        top = {hair: head.mesh.vertices[:, 1].max() / MM for hair, head in placed.items()}
        assert abs(top["bald"] - top["buzz"]) < 12
        assert top["auto"] > max(top["bald"], top["buzz"]) + 15


@needs_models
class TestClothesAndBeard:
    def test_bare_shoulders_are_skin_and_a_high_collar_is_cloth(self) -> None:
        colours = photograph("crop")[1]
        below_neck, neck = (0.0, -132.0, 30.0), (0.0, -115.0, 20.0)
        bare = head_with(hair="bald", clothes="none", beard="full")
        high = head_with(hair="long", clothes="high")
        assert nearest(colour_at(bare, below_neck, 0.0), colours) == Label.SKIN
        assert nearest(colour_at(high, neck, 0.0), colours) == Label.SHOULDERS

    def test_a_full_beard_has_the_colour_of_hair_and_stands_off(self) -> None:
        shaven = head_with(hair="bald", clothes="none")
        bearded = head_with(hair="bald", clothes="none", beard="full")
        chin = colour_at(shaven, (0.0, -66.0, 85.0), 0.0)
        grown = colour_at(bearded, (0.0, -66.0, 85.0), 0.0)
        hair = photograph("crop")[1][Label.HAIR]
        assert distance(grown, hair) < 0.7 * distance(chin, hair)
        full = np.flatnonzero(beard_density() > 0.9)
        lift = np.linalg.norm(bearded.mesh.vertices[full] - shaven.mesh.vertices[full], axis=1)
        assert np.median(lift) == pytest.approx(7 * MM, rel=0.2)

    def test_a_beard_leaves_lips_nose_and_eyes_free(self) -> None:
        mesh = head_with().mesh
        x, y, z = (mesh.vertices[: len(beard_density())] / MM).T
        for choice in ("stubble", "moustache", "full"):
            density = beard_density(choice)
            assert density.max() == 1
            assert density[(y > 15) | (z < -20)].max() == 0
            lips = (np.abs(x) < 15) & (np.abs(y + 42) < 4) & (z > 80)
            assert density[lips].max() < 0.5


@needs_models
class TestHeadwear:
    def test_worn_headwear_leaves_no_hair_on_the_crown_and_is_even(self) -> None:
        cap = head_with(hat="worn")
        upper = cap.mesh.vertices[:, 1] > 100 * MM
        assert (cap.mesh.parts == Part.HAT)[upper].any()
        assert not (cap.mesh.parts == Part.HAIR)[upper].any()
        back = cap.render(canonical_camera(180, 0, 128))
        usual = head_with().render(canonical_camera(180, 0, 128))
        crown = np.s_[20:50, 45:83]
        assert back.rgb[crown].std(axis=(0, 1)).max() < usual.rgb[crown].std(axis=(0, 1)).max()

    def test_it_is_assumed_above_hair_that_differs(self) -> None:
        worn = place_head(photograph("long", "cap", 13)[0])
        assert worn.observed["hat"].choice == "worn"
        assert (worn.mesh.parts == Part.HAIR).any()
        upper = worn.mesh.vertices[:, 1] > 100 * MM
        covering = np.isin(worn.mesh.parts, (Part.HAIR, Part.HAT))
        assert (worn.mesh.parts[upper & covering] == Part.HAT).all()
        assert placed_with("long").observed["hat"].choice == "none"


@needs_models
class TestTheRecord:
    def test_the_photo_decides_with_some_confidence(self) -> None:
        chosen = head_with().chosen
        assert list(chosen) == ["hair", "hat", "clothes", "beard"]
        assert {name: chosen[name].choice for name in ("hair", "hat", "beard")} == {
            "hair": "short",
            "hat": "none",
            "beard": "none",
        }
        assert all(0 <= choice.confidence < 1 for choice in chosen.values())
        assert not any(choice.by_user for choice in chosen.values())

    def test_a_choice_overrules_it(self) -> None:
        chosen = head_with(hair="long", clothes="high").chosen
        assert chosen["hair"] == Choice("long", 1.0, by_user=True)
        assert chosen["clothes"].by_user
        assert not chosen["beard"].by_user


class TestWords:
    def test_every_choice_has_words_and_a_meaning(self) -> None:
        for hair in HAIR[1:]:
            assert hair == "bald" or hair in STYLES
        assert set(CLOTHES[1:]) == set(COLLARS)
        values = {"hair": HAIR, "hat": HAT, "clothes": CLOTHES, "beard": BEARD}
        for name, known in values.items():
            for value in known[1:]:
                usual = {"hair": "short", "hat": "none", "clothes": "crew", "beard": "none"}
                record = {k: Choice(v, 0.8) for k, v in {**usual, name: value}.items()}
                line = choices_line(choices_to_dict(record))
                assert line.count("(0.8)") == 4
                assert line.startswith("The head has ")

    def test_doubt_is_told_with_the_option_that_ends_it(self) -> None:
        reason = "The photo ends before the hair does."
        chosen = {
            "hair": Choice("chin", 0.4, reason=reason),
            "hat": Choice("none", 0.8),
            "clothes": Choice("crew", 0.3, reason=reason),
            "beard": Choice("none", 1.0, by_user=True),
        }
        (warning,) = choice_warnings(chosen)
        assert warning.startswith(reason)
        assert "hair=" in warning
        assert "clothes=" in warning
        assert "0.3" in warning
        assert "beard" not in warning
