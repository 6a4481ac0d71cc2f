"""Parsing, hair and clothes of synthetic photos whose labels are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.heads.space import MM
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits import face_models
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.pose import components_of, expression_of
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.clothing.neckline import Clothes
from dp3d_core.preview.hair.fit import (
    _shows_behind,
    _shows_front,
    _with_ragged_ends,
    _without_spires,
    grow_hair,
)
from dp3d_core.preview.hair.length import is_bald
from dp3d_core.preview.hair.mask import _without_tabs
from dp3d_core.preview.hair.outline_marks import GRID, HairView, Outline
from dp3d_core.preview.hair.styles import HANGS, STYLES
from dp3d_core.preview.parts import Part
from dp3d_core.preview.photo.parsing import PARSING_SIDE, Kind, parse_photo
from dp3d_core.preview.shape.placement import PlacedHead, place_head
from dp3d_core.synthetic.labels import Label
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import encode_png
from tests.support.posed_photos import person_with, portrait_of, posed_photo

needs_models = pytest.mark.skipif(
    not face_models.installed(), reason="the face models are absent: dp3d setup models"
)
pytestmark = needs_models


def photograph(hair: str | None, seed: int = 11, yaw: float = 8.0):
    """A portrait of a synthetic person with that hair, and its label picture."""
    subject = random_subject(seed)
    spec = dataclasses.replace(subject.spec, hair=hair, hat=None, beard=0.0, glasses=None)
    head = SyntheticHead(dataclasses.replace(subject, spec=spec))
    view = head.render(canonical_camera(yaw, 2, 560, focal=2.8))
    return load_portrait(encode_png(view.rgb)), view.labels


@pytest.fixture(scope="module", params=[None, "crop", "long", "afro"])
def case(request):
    portrait, truth = photograph(request.param)
    return request.param, portrait, truth, place_head(portrait)


def test_pixels_are_of_their_true_class(case) -> None:
    hair, portrait, labels, placed = case
    pixels = np.stack(np.meshgrid(*2 * [np.arange(PARSING_SIDE) + 0.5]), -1)
    at = portrait.report.crop.to_photo(pixels, PARSING_SIDE)
    u, v = np.clip(at.astype(int), 0, labels.shape[0] - 1).transpose(2, 0, 1)
    true = labels[v, u]
    wanted = np.full(true.shape, int(Kind.SKIN))
    wanted[true == Label.BACKGROUND] = Kind.BACKGROUND
    wanted[true == Label.HAIR] = Kind.HAIR
    wanted[true == Label.SHOULDERS] = Kind.CLOTH
    kind = placed.parsing.probabilities.argmax(-1)
    known = placed.parsing.valid
    assert (kind == wanted)[known].mean() > 0.92, hair


def test_a_bald_head_is_bald_and_others_are_not(case) -> None:
    hair, _, _, placed = case
    assert is_bald(placed.parsing) == (hair is None)
    assert (placed.mesh.parts == Part.HAIR).any() == (hair is not None)


def lowest_hair(placed: PlacedHead) -> float:
    """Height, millimetres, down to which the shell of the hair stands outside the head."""
    hair = placed.mesh.parts == Part.HAIR
    used = np.zeros(len(hair), bool)
    used[placed.mesh.faces.ravel()] = True
    return float(np.percentile(placed.mesh.vertices[hair & used, 1], 2) / MM)


def test_hair_that_hangs_is_told_from_hair_that_does_not() -> None:
    heights = {name: lowest_hair(place_head(photograph(name)[0])) for name in ("long", "crop")}
    assert heights["long"] < -85, heights
    assert heights["crop"] > -75, heights


@pytest.mark.parametrize("name", ["long", "shoulder"])
def test_hair_that_is_chosen_lies_on_the_shoulders(name: str) -> None:
    portrait, _ = photograph("crop")
    bare = BareHead.of(components_of(portrait.report.shape), expression_of(portrait.report.shape))
    parsing = parse_photo(portrait, bare.caster, bare.region_of)
    hair = grow_hair(portrait, parsing, bare.caster, int(Part.HAIR), style=STYLES[name])
    hits = bare.caster.cast(*GRID.inward_rays())
    skin = np.zeros(GRID.rows * GRID.columns)
    skin[hits.ray] = GRID.radius(hits.points)
    depth = (skin.reshape(hair.radius.shape) - hair.radius) / MM
    assert depth[hair.mask > 0.62].max() < 2


def test_hair_that_stands_off_stands_off_behind_too() -> None:
    depth = {}
    for name in ("afro", "buzz"):
        placed = place_head(photograph(name)[0])
        hits = RayCaster(placed.mesh).cast(
            np.array([[0.0, 0.1, -2.0]]), np.array([[0.0, 0.0, 1.0]])
        )
        depth[name] = float(-hits.points[0, 2] / MM)
    assert depth["afro"] > depth["buzz"] + 15, depth


def test_the_shell_follows_the_photos_outline(case) -> None:
    hair, portrait, _, placed = case
    matte = (portrait.matte > 127) & portrait.inside
    seen = np.isfinite(RayCaster(placed.mesh).depth(portrait.camera)) & portrait.inside
    assert (matte & seen).sum() / (matte | seen).sum() > 0.96, hair


def test_the_skull_never_shows_through_its_hair() -> None:
    placed = place_head(photograph("crop")[0])
    hits = RayCaster(placed.mesh).cast(*GRID.inward_rays())
    part = placed.mesh.parts[placed.mesh.faces[hits.face, 0]]
    upper = hits.points[:, 1] > 100 * MM
    assert (part[upper] == Part.HAIR).mean() > 0.998


def test_hair_is_the_same_for_the_same_photo() -> None:
    portrait, _ = photograph("crop")
    placed = place_head(portrait)
    shells = [
        grow_hair(portrait, placed.parsing, placed.bare.caster, int(Part.HAIR)) for _ in range(2)
    ]
    np.testing.assert_array_equal(shells[0].mesh.vertices, shells[1].mesh.vertices)


def test_clothes_begin_where_the_photo_shows_them(case) -> None:
    hair, portrait, _, placed = case
    clothes = Clothes.of(placed.bare, portrait, placed.parsing)
    assert clothes.visible
    bust = np.array([[0.0, -175 * MM, 0.12], [0.1, -175 * MM, 0.05]])
    assert (clothes.cover(bust) > 0.9).all(), hair
    assert not clothes.below_chin(np.array([[0.0, 0.0, 0.2]])).any()


def test_the_lower_edge_of_hair_has_no_tabs() -> None:
    rows = np.arange(GRID.rows)[:, None]
    end = np.full(GRID.columns, 70)
    middle = 3 * GRID.columns // 4  # beside the face
    end[middle - 3 : middle + 3] = 100
    mask = (rows < end).astype(float)
    calm = _without_tabs(mask)
    ends = (calm > 0.5).sum(0)
    assert ends[middle] < 88
    assert (ends[: GRID.columns // 8] >= 69).all()
    # nor does it go on below a gap
    below = (rows < 70) | ((rows > 85) & (rows < 100)) & (mask[:1] >= 0)
    assert not _without_tabs(below.astype(float))[90, : GRID.columns // 8].any()


def test_a_horn_is_cut_and_volume_stays() -> None:
    thickness = np.full((GRID.rows, GRID.columns), 20 * MM)
    thickness[5:50, 40:110] = 50 * MM
    volume = _without_spires(thickness)
    np.testing.assert_allclose(volume[20:30, 60:90], 50 * MM, rtol=0.02)
    thickness[15:30, 200:215] = 90 * MM
    assert _without_spires(thickness)[22, 207] < 40 * MM
    # beside the face locks stand out
    lock = np.full_like(thickness, 20 * MM)
    lock[80:110, 200:215] = 60 * MM
    np.testing.assert_array_equal(_without_spires(lock), lock)


def test_hair_that_hangs_ends_unevenly_and_never_hangs_less_than_hanging() -> None:
    length = np.full(GRID.columns, -120 * MM)
    ends = _with_ragged_ends(length) / MM
    assert 1.5 < ends.std() < 6
    assert ends.min() > -135
    short = np.zeros(GRID.columns)
    np.testing.assert_array_equal(_with_ragged_ends(short), short)
    barely = _with_ragged_ends(np.full(GRID.columns, HANGS * MM - 1e-4))
    assert (barely < HANGS * MM).all()


def test_a_bun_stands_out_behind_alone() -> None:
    portrait, _ = photograph("crop")
    bare = BareHead.of(components_of(portrait.report.shape), expression_of(portrait.report.shape))
    parsing = parse_photo(portrait, bare.caster, bare.region_of)
    short, bun = (
        grow_hair(portrait, parsing, bare.caster, int(Part.HAIR), style=STYLES[name])
        for name in ("short", "bun")
    )
    stands = (bun.radius - short.radius) / MM
    angle = GRID.longitude_deg()
    assert stands[:, angle > 175].max() > 25
    assert np.abs(stands[:, angle < 120]).max() < 1
    assert np.abs(stands[GRID.dome_rows + 6 :]).max() < 4
    assert ((bun.mask > 0.5) == (short.mask > 0.5)).mean() > 0.98


@pytest.mark.parametrize("hat", ["brim", "cap"])
def test_a_hat_that_the_photo_cuts_goes_on_over_the_head(hat: str) -> None:
    subject = random_subject(1021)
    spec = dataclasses.replace(subject.spec, hat=hat, hair="crop", glasses=None)
    head = SyntheticHead(dataclasses.replace(subject, spec=spec))
    photo = head.render(canonical_camera(4, 2, 560, focal=2.8)).rgb
    # the face, the rim of the hat and nothing above it; the face box is 222 pixels wide
    portrait = load_portrait(encode_png(np.ascontiguousarray(photo[165:398, 176:375])))
    hits = RayCaster((placed := place_head(portrait)).mesh).cast(*GRID.inward_rays())
    part = placed.mesh.parts[placed.mesh.faces[hits.face, 0]]
    x, y, z = (hits.points / MM).T
    front = (y > 100) & (np.abs(x) < 40) & (z > 30)
    assert (part[front] == Part.HAIR).mean() > 0.97


@pytest.mark.parametrize(
    ("yaw", "front", "behind"),
    [(20, False, False), (80, True, True), (-80, True, True), (178, False, True)],
)
def test_a_profile_shows_the_outline_in_front_and_behind(
    yaw: int, front: bool, behind: bool
) -> None:
    head = person_with("crop")
    portrait = portrait_of(head)
    bare = BareHead.of(components_of(portrait.report.shape), expression_of(portrait.report.shape))
    photo, _ = posed_photo(head, yaw, np.ones(3))
    view = HairView.of(photo, parse_photo(photo, bare.caster, bare.region_of))
    assert _shows_behind(photo) == behind
    assert _shows_front(view) == front
    # nor does a profile whose crown lies beyond the photo, or without an outline
    camera = photo.camera.resized(PARSING_SIDE, PARSING_SIDE)
    row = camera.project([[0.0, 70 * MM, 90 * MM]])[0][0, 1]
    low = view.outline.uv[:, 1] > row
    cropped = Outline(view.outline.uv[low], view.outline.normal[low])
    assert not _shows_front(dataclasses.replace(view, outline=cropped))
    assert not _shows_front(dataclasses.replace(view, outline=Outline(*np.zeros((2, 0, 2)))))
