"""Photos from behind, parsed by the colours that the portrait shows."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import pytest

from dp3d_core.arrays import Labels
from dp3d_core.cameras.camera import Camera
from dp3d_core.heads.space import MM
from dp3d_core.portraits import face_models
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.portraits.pose import components_of, expression_of
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.clothing.neckline import Clothes
from dp3d_core.preview.hair.length import length_by_column
from dp3d_core.preview.hair.styles import HANGS
from dp3d_core.preview.photo.parsing import PARSING_SIDE, Kind, Parsing, palette_of, parse_photo
from dp3d_core.synthetic.labels import Label
from dp3d_core.synthetic.rendering import SyntheticHead, SyntheticView
from tests.support.posed_photos import person_with, portrait_of, posed_photo

pytestmark = pytest.mark.skipif(
    not face_models.installed(), reason="the face models are absent: dp3d setup models"
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A person from the front and from behind, in other light.

    Attributes:
        bare: the fitted head without hair.
        front, back: both photos, the second with its true pose and matte.
        parsing: that of the front.
        labels: true labels of the parsed pixels of the back.

    """

    bare: BareHead
    front: Portrait
    back: Portrait
    parsing: Parsing
    labels: Labels

    def behind(self, with_palette: bool) -> Parsing:
        """Parsing of the photo from behind."""
        palette = palette_of(self.front, self.parsing) if with_palette else None
        return parse_photo(self.back, self.bare.caster, self.bare.region_of, palette)

    def right(self, parsing: Parsing, *labels: Label) -> float:
        """Share of the back's pixels with these labels that are classified so."""
        kinds = {Label.HAIR: Kind.HAIR, Label.NECK: Kind.SKIN, Label.SHOULDERS: Kind.CLOTH}
        of_kind = np.isin(self.labels, labels) & parsing.valid
        wanted = np.vectorize(lambda label: int(kinds.get(label, Kind.SKIN)))(self.labels)
        return float((parsing.probabilities.argmax(-1) == wanted)[of_kind].mean())

    def classified(self, label: Label) -> tuple[float, float]:
        """Shares of the back's pixels with a label that are skin and cloth, with the palette."""
        parsing = self.behind(with_palette=True)
        kind = parsing.probabilities.argmax(-1)[(self.labels == label) & parsing.valid]
        return float((kind == Kind.SKIN).mean()), float((kind == Kind.CLOTH).mean())


@lru_cache
def photographed(hair: str) -> Case:
    """The case of a synthetic person with that hair."""
    return photographed_person(person_with(hair))


def photographed_person(head: SyntheticHead) -> Case:
    """The case of a synthetic person."""
    front = portrait_of(head)
    back, labels = posed_photo(head, 172, np.array([0.8, 0.85, 0.9]))
    shape = front.report.shape
    bare = BareHead.of(components_of(shape), expression_of(shape))
    return Case(bare, front, back, parse_photo(front, bare.caster, bare.region_of), labels)


def test_hair_over_the_neck_is_hair_and_not_skin() -> None:
    case = photographed("long")
    alone, known = (case.right(case.behind(known), Label.HAIR) for known in (False, True))
    assert known > 0.9
    assert known > alone + 0.05, (alone, known)


def test_neck_and_clothes_are_told_apart_from_behind() -> None:
    case = photographed("crop")
    parsing = case.behind(with_palette=True)
    assert case.right(parsing, Label.NECK) > 0.8
    assert case.right(parsing, Label.SHOULDERS) > 0.95
    assert case.right(parsing, Label.HAIR) > 0.9


class WithBareShoulders(SyntheticHead):
    """A synthetic person whose shoulders have the colour of the neck."""

    def render(self, camera: Camera) -> SyntheticView:
        """The person in a view."""
        view = super().render(camera)
        shoulders = view.labels == Label.SHOULDERS
        light = view.rgb[shoulders].mean(1, keepdims=True)
        tone = np.median(view.rgb[view.labels == Label.NECK], axis=0)
        rgb = view.rgb.copy()
        rgb[shoulders] = np.clip(tone * np.sqrt(light / np.median(light)), 0, 255)
        return dataclasses.replace(view, rgb=rgb)


def test_shoulders_that_are_bare_from_behind_are_skin_and_dressed_ones_are_not() -> None:
    dressed = person_with("crop", 5)
    bare = WithBareShoulders(dressed.subject)
    shares = [photographed_person(head).classified(Label.SHOULDERS) for head in (bare, dressed)]
    (as_skin, _), (_, as_cloth) = shares
    assert as_skin > 0.95  # 0.89 with the prior of dressed shoulders
    assert as_cloth > 0.95


def test_a_photo_without_hair_on_the_scalp_tells_no_colours() -> None:
    case = photographed("crop")
    for covered in (None, 0.1):
        bald = dataclasses.replace(case.parsing, scalp_hair=covered)
        assert palette_of(case.front, bald) is None
    assert palette_of(case.front, case.parsing) is not None


def test_a_photo_without_certain_hair_tells_no_colours() -> None:
    case = photographed("crop")
    uncertain = case.parsing.probabilities.copy()
    uncertain[..., Kind.HAIR] = np.minimum(uncertain[..., Kind.HAIR], 0.45)
    parsing = dataclasses.replace(case.parsing, probabilities=uncertain)
    assert palette_of(case.front, parsing) is None


@pytest.mark.parametrize("hair", ["long", "crop"])
def test_a_photo_from_behind_tells_how_long_hair_hangs_there(hair: str) -> None:
    front, behind = photographed("long"), photographed(hair)
    further = [(behind.back, behind.behind(with_palette=True))]
    alone = length_by_column(front.parsing, front.front, 72)
    length = length_by_column(front.parsing, front.front, 72, further)
    assert alone[0] < HANGS * MM
    assert (length[0] < HANGS * MM) == (hair == "long")
    np.testing.assert_array_equal(length[18:54], alone[18:54])


@pytest.mark.parametrize("end_mm", [-30, -100])
def test_a_photo_from_behind_that_cuts_the_hair_does_not_shorten_it(end_mm: float) -> None:
    case = photographed("long")
    parsing = case.behind(with_palette=True)
    camera = case.back.camera.resized(PARSING_SIDE, PARSING_SIDE)
    row = int(camera.project([[0.0, end_mm * MM, -70 * MM]])[0][0, 1])
    valid = parsing.valid.copy()
    assert valid[row:].sum() > 1000
    valid[row:] = False
    cut = dataclasses.replace(parsing, valid=valid)
    alone = length_by_column(case.parsing, case.front, 72)
    length = length_by_column(case.parsing, case.front, 72, [(case.back, cut)])
    assert alone[0] < HANGS * MM
    np.testing.assert_array_equal(length, alone)


def test_the_neckline_behind_is_that_of_the_photo_from_behind() -> None:
    case = photographed("crop")
    parsing = case.behind(with_palette=True)
    camera = case.back.camera.resized(PARSING_SIDE, PARSING_SIDE)
    hits = case.bare.caster.seen(camera)
    labels = case.labels.ravel()[hits.ray]
    bust = np.isin(labels, (Label.NECK, Label.SHOULDERS))
    right = []
    for further in ([], [(case.back, parsing)]):
        clothes = Clothes.of(case.bare, case.front, case.parsing, further=further)
        covered = clothes.cover(hits.points) > 0.5
        right.append(float((covered == (labels == Label.SHOULDERS))[bust].mean()))
    assert right[1] > 0.95, right
    assert right[1] > right[0], right
