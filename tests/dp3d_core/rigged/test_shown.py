"""Lips and lids where a photo shows them, and teeth on their meshes rather than on the lips."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import canonical_camera, rolled
from dp3d_core.heads.face_mesh import INNER_LIPS, LIDS, POINTS
from dp3d_core.heads.space import MM
from dp3d_core.preview.photo.projection import Projection
from dp3d_core.rigged.keys import EYES, HeadKeys
from dp3d_core.rigged.lips import lip_rims, parting
from dp3d_core.rigged.mouth_material import rim_distance, without_teeth
from dp3d_core.rigged.narrowing import lid_rims, narrowing
from dp3d_core.rigged.rig import PHOTO_EXPRESSION
from dp3d_core.rigged.skin_material import lid_distance, vividness, without_eyes
from dp3d_core.rigged.small_materials import ShownTeeth, teeth_material, teeth_raster
from dp3d_core.rigged.smile import Smile
from dp3d_core.rigged.topology import skin_twins
from tests.support.rig_checks import Piercings, open_eyes, random_keys

SIZE = 640
"""Side of photos, pixels."""
SKIN, LIP, TEETH = (np.array(rgb) for rgb in ((0.8, 0.62, 0.5), (0.72, 0.4, 0.4), (0.9, 0.87, 0.8)))


def camera() -> Camera:
    return canonical_camera(0.0, 0.0, SIZE, focal=2.8)


def photo(colours: np.ndarray, landmarks: np.ndarray | None, view: Camera | None = None):
    plain = np.ones((SIZE, SIZE), np.float32)
    return Projection(
        camera() if view is None else view,
        colours.astype(np.float32),
        plain,
        plain,
        plain,
        plain,
        None,
        None,
        skin_tone=SKIN,
        landmarks=landmarks,
    )


def parted_edges(skin: np.ndarray, gap_mm: float) -> np.ndarray:
    """Edges of lips that are a gap apart in the middle and meet at the corners, pixels."""
    both = skin[np.concatenate(lip_rims())]
    low, high = both[:, 0].min(), both[:, 0].max()
    line = both[np.argsort(both[:, 0])]
    x = np.linspace(low, high, 11)
    middle = np.stack([np.interp(x, line[:, 0], line[:, k]) for k in range(3)], -1)
    apart = gap_mm * MM * np.sin(np.pi * (x - low) / (high - low))[:, None] * [0, 1, 0]
    return np.stack([camera().project(middle + s * apart / 2)[0] for s in (1, -1)])


@pytest.mark.parametrize("gap_mm", [6.0, 12.0])
def test_lips_part_as_far_as_the_photo_shows(person, gap_mm) -> None:
    _, keys = person
    skin = keys.vertices["skin"]
    edges = parted_edges(skin, gap_mm)
    offsets = parting(skin, camera(), edges)
    assert offsets is not None
    for rim, edge in zip(lip_rims(), edges, strict=True):
        inner = rim[np.abs(skin[rim, 0]) < 15 * MM]
        at = camera().project((skin + offsets)[inner])[0]
        wanted = np.interp(at[:, 0], edge[:, 0], edge[:, 1])
        assert np.abs(at[:, 1] - wanted).max() < 1.0  # pixels
    assert np.abs(offsets[rim_distance() > 30]).max() < 0.01 * MM


def test_lips_stay_where_the_photo_does_not_tell(person) -> None:
    _, keys = person
    skin = keys.vertices["skin"]
    assert parting(skin, camera(), parted_edges(skin, 1.0)) is None
    turned = canonical_camera(40.0, 0.0, SIZE, focal=2.8)
    assert parting(skin, turned, parted_edges(skin, 8.0)) is None
    assert parting(skin, rolled(camera(), 20.0), parted_edges(skin, 8.0)) is None


@pytest.mark.parametrize("seed", range(3))
def test_teeth_stay_behind_parted_lips(seed) -> None:
    neutral, keys = random_keys(seed)
    skin = keys.vertices["skin"]
    parted = parting(skin, camera(), parted_edges(skin, 9.0))
    keys = HeadKeys.of(dataclasses.replace(neutral, parted=parted))
    assert Piercings(keys, 1.5, 3).of({PHOTO_EXPRESSION: 1.0}) == {}


def test_narrowed_eyes_close_and_clear_the_eyeballs(person) -> None:
    neutral, keys = person
    narrow = HeadKeys.of(dataclasses.replace(neutral, narrowed={"Left": 0.3, "Right": 0.15}))
    for side, name in zip(("Left", "Right"), EYES, strict=True):
        assert open_eyes(narrow, {}, name) < 0.92 * open_eyes(keys, {}, name)
        assert open_eyes(narrow, {f"eyeBlink{side}": 1.0}, name) == 0
    piercings = Piercings(narrow, 2.0, 3)
    for weights in ({}, {"eyeBlinkLeft": 0.5}, {"eyeSquintRight": 1.0}, {"eyeWideLeft": 1.0}):
        assert piercings.of(weights) == {}, weights


def test_eyes_are_narrowed_as_far_as_landmarks_show(person) -> None:
    _, keys = person
    skin = keys.vertices["skin"]
    landmarks = np.zeros((POINTS, 2))
    for side, rims in lid_rims().items():
        curves = [camera().project(skin[rim])[0] for rim in rims]
        low, high = (f(curves[0][:, 0]) for f in (np.min, np.max))
        columns = np.linspace(low, high, 9)[1:-1]
        upper, lower = (np.interp(columns, *curve[np.argsort(curve[:, 0])].T) for curve in curves)
        for indices, rows in zip(LIDS[side], (upper + 0.25 * (lower - upper), lower), strict=True):
            landmarks[list(indices)] = np.stack([columns, rows], -1)
    shares = narrowing(skin, photo(np.zeros((SIZE, SIZE, 3)), landmarks))
    assert all(0.15 < share < 0.25 for share in shares.values())
    assert narrowing(skin, photo(np.zeros((SIZE, SIZE, 3)), None)) == {"Left": 0, "Right": 0}


def test_lips_part_as_a_whole_and_leave_the_nose(person) -> None:
    _, keys = person
    skin = keys.vertices["skin"]
    for gap_mm in (6.0, 14.0):
        offsets = parting(skin, camera(), parted_edges(skin, gap_mm))
        assert offsets is not None
        rim = lip_rims()[0]
        middle = rim[np.abs(skin[rim, 0]) < 4 * MM]
        lift = offsets[middle, 1].max()
        assert lift > 0.3 * gap_mm * MM
        beside = np.abs(skin[:, 0]) < 4 * MM
        height = (skin[:, 1] - skin[middle, 1].mean()) / MM
        front = beside & (skin_twins() >= 0) & (skin[:, 2] > 0)
        lip = front & (height > 0.5) & (height < 4.5)
        assert lip.sum() > 5
        assert offsets[lip, 1].min() > 0.85 * lift
        assert np.abs(offsets[front & (height > 24)]).max() < 0.02 * MM


def smiling(teeth: np.ndarray, half_gap: float = 14.0, off: float = 4.0) -> Projection:
    """A photo of lips around teeth of a colour, with landmarks off on the upper lip, pixels.

    ``half_gap`` is half the distance between the lips, pixels.
    """
    picture = np.tile(SKIN, (SIZE, SIZE, 1))
    x = np.linspace(260, 380, 11)
    arch = half_gap * np.sin(np.pi * (x - 260) / 120)
    edges = np.stack([np.stack([x, 400 - arch], -1), np.stack([x, 400 + arch], -1)])

    def filled(upper: np.ndarray, lower: np.ndarray, colour: np.ndarray) -> None:
        outline = np.concatenate([upper, lower[::-1]])
        cv2.fillPoly(picture, [np.rint(outline).astype(np.int32)], colour.tolist())

    filled(edges[0] - [0, 14], edges[1] + [0, 14], LIP)
    filled(*edges, teeth)
    landmarks = np.zeros((POINTS, 2))
    landmarks[list(INNER_LIPS[1])] = edges[1]
    landmarks[list(INNER_LIPS[0])] = edges[0] - [[0, off]]
    return photo(picture, landmarks)


def test_landmarks_beside_the_mouth_leave_the_teeth_where_they_are() -> None:
    smile = Smile.of(smiling(TEETH))
    assert smile is not None
    for places in ([[0.3, -0.1, 0.0]], [[x, -0.3, 0.1] for x in np.linspace(-0.2, 0.2, 30)]):
        assert np.isfinite(smile.drop(np.array(places)))
    assert smile.drop(np.array([[0.9, -0.1, 0.0]])) == 0


def test_the_edges_of_lips_are_found_beside_their_landmarks() -> None:
    smile = Smile.of(smiling(TEETH))
    assert smile is not None
    middle = smile.edges[:, len(smile.edges[0]) // 2, 1]
    np.testing.assert_allclose(middle, [386, 414], atol=1.6)


def test_a_dark_mouth_shows_no_teeth() -> None:
    assert Smile.of(smiling(np.array([0.15, 0.08, 0.08]))) is None
    assert Smile.of(photo(np.zeros((SIZE, SIZE, 3)), None)) is None


def test_gloss_on_closed_lips_is_no_tooth() -> None:
    golden = np.array([1.0, 0.86, 0.55])
    assert Smile.of(smiling(golden)) is None
    assert Smile.of(smiling(golden[[0, 0, 0]])) is not None
    # 2 pixels are 1.2 millimetres, 3 pixels 1.8
    assert Smile.of(smiling(TEETH, 0.0, off=2.0)) is None
    assert Smile.of(smiling(TEETH, 0.0, off=3.0)) is not None
    assert Smile.of(smiling(TEETH, 0.0, off=-3.0)) is None, "landmarks of closed lips crossed"


@pytest.mark.parametrize(("lips", "vivid"), [(LIP, 1.0), (np.full(3, 0.5), 0.0)])
def test_a_pale_face_with_red_lips_has_colours(lips, vivid) -> None:
    texture = np.full((90, 90, 3), 0.8)
    texture[32:44, 40:60] = lips
    assert vividness(texture) == vivid
    assert vividness(np.rint(texture * 255).astype(np.uint8)) == vivid


def test_teeth_are_taken_off_the_lips() -> None:
    side = 400
    row = np.abs(np.mgrid[0:side, 0:side][0] - side / 2)
    distance = (row / 6).astype(np.float32)  # millimetres
    image = np.where((distance < 8)[..., None], LIP, SKIN).astype(np.float32)
    image[distance < 2.5] = TEETH
    mended = without_teeth(image, distance)
    assert np.abs(mended[distance < 6] - LIP).max() < 0.08
    np.testing.assert_array_equal(mended[distance > 14], image[distance > 14])


def test_zones_of_lids_and_lips_lie_apart() -> None:
    assert not ((lid_distance() < 10) & (rim_distance() < 10)).any()


def test_teeth_of_a_photo_are_white_without_its_light() -> None:
    side = 128
    raster, _ = teeth_raster(side)
    count = len(raster.texel)
    for light in (0.35, 0.9):  # a dim photo and a bright one
        shown = ShownTeeth(np.full((count, 3), light), np.ones(count), np.ones(count))
        material = teeth_material(side, 1.0, shown)
        delit, photographed = (
            np.median(pixels.reshape(-1, 3)[raster.texel]) / 255
            for pixels in (material.delit, material.photographed)
        )
        assert delit > 0.85
        assert photographed == pytest.approx(light, abs=0.02)


def test_low_brows_are_not_painted_on_closed_lids() -> None:
    side = 480
    y, x = np.mgrid[:side, :side]
    tone = np.array([0.62, 0.45, 0.36], np.float32)
    image = np.tile(tone, (side, side, 1))
    lids = np.zeros((side, side), np.float32)
    for middle in (160, 320):
        zone = ((x - middle) / 50) ** 2 + ((y - 240) / 26) ** 2 < 1
        lids[zone] = 1
        white = ((x - middle) / 38) ** 2 + ((y - 240) / 18) ** 2 < 1
        image[white & (y > 246)] = (0.9, 0.9, 0.9)  # of the eye
        image[(np.abs(x - middle) < 55) & (y > 190) & (y < 225)] = (0.12, 0.09, 0.08)  # a low brow
    mended = without_eyes(image, lids, np.zeros_like(lids), tone)
    lightness = mended.mean(-1) / tone.mean()
    upper = (lids > 0) & (np.minimum(abs(x - 160), abs(x - 320)) < 20) & (y > 219) & (y < 240)
    assert lightness[upper].min() > 0.85  # the brow reaches into it
    assert lightness[lids > 0].max() < 1.3
    brow = (lids == 0) & (y > 195) & (y < 205) & (np.abs(x - 160) < 40)
    np.testing.assert_allclose(mended[brow], image[brow], atol=0.02)
