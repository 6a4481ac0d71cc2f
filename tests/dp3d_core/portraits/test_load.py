"""Portraits: every kind of photo becomes a crop with a pose, or a clear sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras import trajectories
from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Dp3dError
from dp3d_core.portraits.crop import CROP_MARGIN, CROP_SIZE, MAX_CROP, Crop
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.pose import HeadAngles
from dp3d_core.portraits.report_picture import report_picture
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import neutral_subject, random_subject
from tests.support.photos import encode
from tests.support.synthetic import PaintedHead


def test_the_default_photo(astronaut):
    portrait = load_portrait(astronaut)
    report = portrait.report
    assert report.crop_source == "face"
    assert report.confidence > 0.9
    assert len(report.faces) == 1
    # eyes of this photo lie near (226, 188) and (307, 193), measured on the picture
    eyes = report.crop.from_photo(np.array([[226.0, 188.0], [307.0, 193.0]]), 1)
    assert abs(eyes[:, 0].mean() - 0.5) < 0.03
    assert 0.3 < eyes[0, 1] < 0.47
    assert portrait.image.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert portrait.matte[CROP_SIZE // 2, CROP_SIZE // 2] == 255
    assert portrait.matte[:40, :40].max() == 0
    assert report.warnings == []
    assert report_picture(portrait, 200).shape[0] == 200


def test_loading_is_deterministic(astronaut):
    a, b = load_portrait(astronaut), load_portrait(astronaut)
    np.testing.assert_array_equal(a.matte, b.matte)
    assert a.report == b.report


def test_greyscale_is_said(astronaut_rgb):
    portrait = load_portrait(encode(Image.fromarray(astronaut_rgb).convert("L")))
    assert portrait.report.crop_source == "face"
    assert any("greyscale" in w for w in portrait.report.warnings)


def test_transparent_cutout_gives_the_matte():
    camera = canonical_camera(size=512)
    view = PaintedHead().render(camera)
    rgba = np.dstack([view.composite((0, 0, 0)), view.mask])
    portrait = load_portrait(encode(rgba))
    assert portrait.report.matte_source == "alpha"
    # the file's own alpha, wherever the crop was laid
    v, u = np.mgrid[0:CROP_SIZE, 0:CROP_SIZE] + 0.5
    at = portrait.report.crop.to_photo(np.stack([u, v], -1))
    inside = portrait.inside
    x, y = (np.clip(at[..., i].astype(int), 0, 511) for i in (0, 1))
    agree = (view.mask[y, x] > 127) == (portrait.matte > 127)
    assert agree[inside].mean() > 0.99


@pytest.mark.parametrize("kind", ["speckles", "all but a corner", "hole in the face"])
def test_transparency_that_is_no_cutout_is_not_believed(astronaut_rgb, kind):
    alpha = np.full(astronaut_rgb.shape[:2], 255, np.uint8)
    if kind == "speckles":
        alpha[np.random.default_rng(0).random(alpha.shape) < 0.05] = 0
    elif kind == "all but a corner":
        alpha[:, :40] = 0
    else:
        alpha[80:330, 150:370] = 0
    portrait = load_portrait(encode(np.dstack([astronaut_rgb, alpha])))
    assert portrait.report.matte_source != "alpha"
    if kind == "all but a corner":  # nothing of the head is judged by it
        plain = load_portrait(encode(astronaut_rgb)).report
        ours, theirs = portrait.report.crop, plain.crop
        # what a file hides under its transparency is white: the crop may shift by a hair
        assert (ours.x, ours.y, ours.side) == pytest.approx(
            (theirs.x, theirs.y, theirs.side), abs=1.0
        )
        assert portrait.report.yaw_deg == pytest.approx(plain.yaw_deg, abs=1.0)
    assert any("transparency" in warning for warning in portrait.report.warnings)


def test_a_huge_photo_is_scaled_and_recorded(astronaut_rgb):
    huge = Image.fromarray(astronaut_rgb).resize((6000, 7031), Image.Resampling.BILINEAR)
    portrait = load_portrait(encode(huge, "JPEG", quality=80))
    assert max(portrait.report.width, portrait.report.height) <= 4096
    assert portrait.report.scale == pytest.approx(4096 / 7031, rel=0.01)
    assert portrait.report.crop_source == "face"


def test_a_tiny_face_is_used_with_a_warning(astronaut_rgb):
    small = Image.fromarray(astronaut_rgb).resize((128, 150), Image.Resampling.LANCZOS)
    portrait = load_portrait(encode(small))
    assert portrait.report.crop_source == "face"
    assert any("pixels wide" in w for w in portrait.report.warnings)


def test_no_face_is_a_warning_and_a_centre_crop():
    from skimage import data

    portrait = load_portrait(encode(data.chelsea()))
    assert portrait.report.crop_source == "centre"
    assert portrait.report.confidence == 0
    assert any("No face" in w for w in portrait.report.warnings)


def test_several_faces_are_said(astronaut_rgb):
    two = np.concatenate([astronaut_rgb, astronaut_rgb[:, ::-1]], axis=1)
    report = load_portrait(encode(two)).report
    assert len(report.faces) == 2
    assert any("More than one face" in w for w in report.warnings)


def test_manual_crop_wins(astronaut):
    portrait = load_portrait(astronaut, crop=(80, 50, 300))
    assert portrait.report.crop == Crop(80, 50, 300)
    assert portrait.report.crop_source == "manual"
    for bad in ((600, 0, 100), (0, 0, 2), (float("nan"), 0, 100), (0, 0), (0, 0, 1e9)):
        with pytest.raises(Dp3dError) as error:
            load_portrait(astronaut, crop=bad)
        assert error.value.code == "portrait.bad_crop"
    largest = MAX_CROP * 600
    assert load_portrait(astronaut, crop=(-100, -100, largest)).report.crop.side == largest


@pytest.mark.parametrize("yaw", [float("nan"), float("inf"), 181.0, -1e9])
def test_a_turn_that_no_head_can_have(yaw: float) -> None:
    for turn in ({"yaw_deg": yaw}, {"pitch_deg": yaw}, {"roll_deg": yaw}, {"pitch_deg": 81.0}):
        with pytest.raises(Dp3dError) as error:
            HeadAngles(**turn)
        assert error.value.code == "portrait.bad_turn"


def test_what_a_person_says_of_the_turn_is_kept(astronaut: Path) -> None:
    turn = HeadAngles(yaw_deg=12.0, pitch_deg=-6.0)
    report = load_portrait(astronaut, angles=turn).report
    assert (report.yaw_deg, report.pitch_deg) == pytest.approx((12.0, -6.0))
    assert report.roll_deg != 0  # still an estimate
    everything = HeadAngles(-8.0, 4.0, 10.0)
    by_hand = load_portrait(astronaut, (80, 50, 300), everything).report
    assert (by_hand.yaw_deg, by_hand.pitch_deg, by_hand.roll_deg) == pytest.approx(
        (-8.0, 4.0, 10.0)
    )


def test_angles_that_the_face_contradicts_are_a_warning(astronaut: Path) -> None:
    assert not load_portrait(astronaut, angles=HeadAngles(8.0)).report.warnings
    for turn in (HeadAngles(60.0), HeadAngles(roll_deg=90.0), HeadAngles(180.0)):
        warnings = load_portrait(astronaut, angles=turn).report.warnings
        assert any("set by hand differ" in warning for warning in warnings), warnings


def test_a_transparent_photo_is_refused() -> None:
    with pytest.raises(Dp3dError, match="completely transparent") as error:
        load_portrait(encode(np.zeros((200, 200, 4), np.uint8)))
    assert error.value.code == "portrait.unreadable"


def test_a_crop_says_which_face_and_not_how_large_it_is(astronaut: Path) -> None:
    own = load_portrait(astronaut)
    wide = load_portrait(astronaut, (0, 0, 512))
    # the same head in both: its size in the photo
    assert wide.camera.K[0, 0] * wide.report.crop.side == pytest.approx(
        own.camera.K[0, 0] * own.report.crop.side, rel=0.03
    )
    assert any("No face" in w for w in load_portrait(astronaut, (300, 400, 60)).report.warnings)


def test_a_turn_counts_without_a_face(plain) -> None:
    report = load_portrait(plain, angles=HeadAngles(30.0, 10.0, -20.0)).report
    assert report.crop_source == "centre"
    assert (report.yaw_deg, report.pitch_deg, report.roll_deg) == pytest.approx((30.0, 10.0, -20.0))


def test_a_folder_is_not_a_photo(tmp_path: Path) -> None:
    with pytest.raises(Dp3dError, match="is a folder") as error:
        load_portrait(tmp_path)
    assert error.value.code == "portrait.unreadable"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "portrait.unreadable"),
        (b"hello", "portrait.unreadable"),
        (
            encode(np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8))[:900],
            "portrait.unreadable",
        ),
        (encode(np.zeros((8, 100, 3), np.uint8)), "portrait.too_small"),
    ],
    ids=["empty", "text", "truncated", "sliver"],
)
def test_bad_files_name_the_trouble(tmp_path, content, code):
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(Dp3dError) as error:
        load_portrait(path)
    assert error.value.code == code
    with pytest.raises(Dp3dError) as error:
        load_portrait(tmp_path / "nowhere.png")
    assert error.value.code == "portrait.not_found"


def test_official_portraits(official_outputs):
    for name in ("0000028", "0000380"):
        report = load_portrait(official_outputs / name / "portrait.png").report
        assert report.crop_source == "face"
        assert report.confidence > 0.8


def test_the_camera_of_a_crop_without_a_face_is_canonical_with_a_margin(plain):
    camera = load_portrait(plain, crop=(80, 50, 200), angles=HeadAngles(10)).camera
    wide = canonical_camera(size=CROP_SIZE).K[0, 0] / camera.K[0, 0]
    assert wide == pytest.approx(CROP_MARGIN)
    assert camera.K[0, 2] == pytest.approx(CROP_SIZE / 2)
    assert camera.yaw_pitch_deg[0] == pytest.approx(10)


@pytest.mark.parametrize("subject", [neutral_subject(), random_subject(901)])
@pytest.mark.parametrize("side", [1, -1])
def test_a_head_from_the_side_lands_where_its_camera_was(subject, side):
    """A subject whose camera is exactly known, 60 degrees from the front."""
    camera = trajectories.capture_sphere(36, (0.0,), 512)[side * 6]
    rgba = SyntheticHead(subject).render(camera).rgba / 255
    picture = 255 * (rgba[..., :3] * rgba[..., 3:] + 0.7 * (1 - rgba[..., 3:]))
    portrait = load_portrait(encode(picture.astype(np.uint8)))
    report = portrait.report
    assert report.crop_source == "face"
    assert report.yaw_deg == pytest.approx(side * 60, abs=14)
    # the camera that was found, in pixels of the photo, beside the true one
    to_photo = report.crop.side / CROP_SIZE
    focal = portrait.camera.K[0, 0] * to_photo
    assert focal == pytest.approx(camera.K[0, 0], rel=0.08)
    centre = report.crop.to_photo(portrait.camera.K[:2, 2])
    np.testing.assert_allclose(centre, 256, atol=16)


@pytest.mark.parametrize(("seed", "yaw"), [(301, 85), (308, -90), (312, -85), (313, 90)])
def test_a_profile_is_placed_roughly_and_said(seed, yaw):
    """The mesh does not know faces from so far aside; the detector's key points give the pose."""
    camera = canonical_camera(yaw, 0, 512, focal=3.0)
    rgba = SyntheticHead(random_subject(seed)).render(camera).rgba / 255
    picture = 255 * (rgba[..., :3] * rgba[..., 3:] + 0.6 * (1 - rgba[..., 3:]))
    portrait = load_portrait(encode(picture.astype(np.uint8)))
    report = portrait.report
    assert (report.crop_source, report.chosen.detector) == ("face", "blazeface")
    assert report.yaw_deg == pytest.approx(yaw, abs=25)
    assert report.confidence < 0.3
    assert any("low confidence" in warning for warning in report.warnings)
    assert any("from the side" in warning for warning in report.warnings)
    assert report.shape == {}
    # the camera that was found, in pixels of the photo, beside the true one
    focal = portrait.camera.K[0, 0] * report.crop.side / CROP_SIZE
    assert focal == pytest.approx(camera.K[0, 0], rel=0.3)
    centre = report.crop.to_photo(portrait.camera.K[:2, 2])
    np.testing.assert_allclose(centre, 256, atol=60)
    by_hand = load_portrait(
        encode(picture.astype(np.uint8)), angles=HeadAngles(float(yaw), 0.0, 0.0)
    ).report
    assert by_hand.yaw_deg == pytest.approx(yaw)


def test_without_models_no_portrait_is_read(astronaut: Path, plain: bytes, no_models: None) -> None:
    for photo in (astronaut, plain):
        with pytest.raises(Dp3dError) as error:
            load_portrait(photo)
        assert error.value.code == "portrait.model_missing"
        assert "dp3d setup models" in error.value.remedy


TIGHT = {
    # left, top, right, bottom in sides of the face box from its centre
    "all": ((0.47, 0.47, 0.47, 0.47), ("top of the head", "neck", "photo's right"), 0.5),
    "tighter": ((0.38, 0.4, 0.38, 0.45), ("top of the head", "photo's left", "photo's right"), 0.3),
    "top": ((9, 0.3, 9, 9), ("The top edge of the photo cuts the face", "top of the head"), 0.7),
    "left": ((0.3, 9, 9, 9), ("The left edge of the photo cuts", "photo's left"), 0.8),
    "right": ((9, 9, 0.3, 9), ("The right edge of the photo cuts", "photo's right"), 0.8),
    "bottom": ((9, 9, 9, 0.42), ("The bottom edge of the photo cuts", "neck"), 0.85),
}


@pytest.mark.parametrize("how", TIGHT)
def test_a_photo_that_cuts_the_head_says_where(astronaut, astronaut_rgb, how):
    (left, top, right, bottom), words, most = TIGHT[how]
    height, width = astronaut_rgb.shape[:2]
    x, y, side = 265, 223, 211
    rows = slice(max(0, int(y - top * side)), min(height, int(y + bottom * side)))
    columns = slice(max(0, int(x - left * side)), min(width, int(x + right * side)))
    portrait = load_portrait(encode(astronaut_rgb[rows, columns]))
    text = " ".join(portrait.report.warnings)
    for word in words:
        assert word in text
    assert 0.05 < portrait.report.confidence < most
    assert portrait.report.matte_source == "segmenter"
    assert not portrait.matte[~portrait.inside].any()


def test_a_whole_head_is_not_cut(astronaut):
    portrait = load_portrait(astronaut)
    assert portrait.report.confidence > 0.95
    assert portrait.report.warnings == []


def test_the_tight_photos_of_the_field_reports():
    folder = Path(__file__).parents[4] / "shared/data/field_reports/p12_tight"
    if not folder.is_dir():
        pytest.skip("the field reports are not beside this checkout")
    for name, most in (("f12_tight.jpg", 0.45), ("f16_snug.jpg", 0.75)):
        report = load_portrait(folder / name).report
        assert report.confidence < most
        assert any("top of the head" in warning for warning in report.warnings)
