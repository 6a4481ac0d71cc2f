"""Portraits: every kind of file becomes a crop or a clear sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core import face_models, faces, trajectories
from dp3d_core.alignment import Turn
from dp3d_core.errors import Dp3dError
from dp3d_core.landmarks import Landmarks
from dp3d_core.matting import keep_symmetric
from dp3d_core.portrait import (
    CROP_MARGIN,
    CROP_SIZE,
    MAX_CROP,
    Crop,
    decode_photo,
    load_portrait,
    report_picture,
)
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import neutral_subject, random_subject
from dp3d_core.trajectories import canonical_camera
from tests.support.synthetic import PaintedHead

needs_models = pytest.mark.skipif(
    not face_models.installed(), reason="the face models are absent: dp3d setup models"
)


@pytest.fixture(scope="session")
def hopper() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="session")
def plain() -> bytes:
    """A photo of nothing."""
    return encode(np.full((300, 240, 3), (90, 140, 60), np.uint8))


@pytest.fixture(scope="session")
def hopper_rgb(hopper) -> np.ndarray:
    return np.asarray(Image.open(hopper).convert("RGB"))


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_the_default_photo(hopper):
    portrait = load_portrait(hopper)
    report = portrait.report
    assert report.crop_source == "face"
    assert report.confidence > 0.9
    assert len(report.faces) == 1
    # eyes of this photo lie near (228, 187) and (293, 187), measured on the picture
    eyes = report.crop.from_photo(np.array([[228.0, 187.0], [293.0, 187.0]]), 1)
    assert abs(eyes[:, 0].mean() - 0.5) < 0.03
    assert 0.3 < eyes[0, 1] < 0.47
    assert portrait.image.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert portrait.matte[CROP_SIZE // 2, CROP_SIZE // 2] == 255
    assert portrait.matte[:40, :40].max() == 0
    assert report.warnings == []
    assert report_picture(portrait, 200).shape[0] == 200


def test_loading_is_deterministic(hopper):
    a, b = load_portrait(hopper), load_portrait(hopper)
    np.testing.assert_array_equal(a.matte, b.matte)
    assert a.report == b.report


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(hopper, hopper_rgb, orientation):
    inverse = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encode(np.ascontiguousarray(inverse(hopper_rgb)), "PNG", exif=exif)
    upright, _, _ = decode_photo(stored)
    np.testing.assert_array_equal(upright, hopper_rgb)


def in_mode(rgb: np.ndarray, mode: str) -> bytes:
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    if mode == "I;16":
        return encode(Image.fromarray(grey.astype(np.uint16) * 257))
    if mode == "F":
        return encode(Image.fromarray((grey / 255).astype(np.float32)), "TIFF")
    if mode in {"LA", "RGBA"}:
        return encode(Image.fromarray(rgb).convert(mode))
    if mode == "CMYK":
        return encode(Image.fromarray(rgb).convert("CMYK"), "JPEG", quality=95)
    if mode == "P":
        return encode(Image.fromarray(rgb).quantize(256))
    return encode(Image.fromarray(rgb).convert(mode))


@pytest.mark.parametrize("mode", ["L", "I;16", "F", "LA", "RGBA", "P", "CMYK", "1"])
def test_every_mode_decodes_to_the_same_picture(hopper_rgb, mode):
    rgb, alpha, scale = decode_photo(in_mode(hopper_rgb, mode))
    assert rgb.dtype == np.uint8
    assert rgb.shape == hopper_rgb.shape
    assert alpha is None  # opaque alpha is none
    assert scale == 1
    grey = np.asarray(Image.fromarray(hopper_rgb).convert("L"), float)
    got = np.asarray(Image.fromarray(rgb).convert("L"), float)
    # dithering to one bit keeps only the mean; a palette and CMYK lose a little
    assert abs(got.mean() - grey.mean()) < 4
    if mode != "1":
        assert np.abs(got - grey).mean() < 6


def test_greyscale_is_said(hopper_rgb):
    portrait = load_portrait(in_mode(hopper_rgb, "I;16"))
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
def test_transparency_that_is_no_cutout_is_not_believed(hopper_rgb, kind):
    alpha = np.full(hopper_rgb.shape[:2], 255, np.uint8)
    if kind == "speckles":
        alpha[np.random.default_rng(0).random(alpha.shape) < 0.05] = 0
    elif kind == "all but a corner":
        alpha[:, :40] = 0
    else:
        alpha[80:330, 150:370] = 0
    portrait = load_portrait(encode(np.dstack([hopper_rgb, alpha])))
    assert portrait.report.matte_source != "alpha"
    if kind == "all but a corner":  # nothing of the head is judged by it
        plain = load_portrait(encode(hopper_rgb)).report
        ours, theirs = portrait.report.crop, plain.crop
        # what a file hides under its transparency is white: the crop may shift by a hair
        assert (ours.x, ours.y, ours.side) == pytest.approx(
            (theirs.x, theirs.y, theirs.side), abs=1.0
        )
        assert portrait.report.yaw_deg == pytest.approx(plain.yaw_deg, abs=1.0)
    assert any("transparency" in warning for warning in portrait.report.warnings)


def test_a_huge_photo_is_scaled_and_recorded(hopper_rgb):
    huge = Image.fromarray(hopper_rgb).resize((6000, 7031), Image.Resampling.BILINEAR)
    portrait = load_portrait(encode(huge, "JPEG", quality=80))
    assert max(portrait.report.width, portrait.report.height) <= 4096
    assert portrait.report.scale == pytest.approx(4096 / 7031, rel=0.01)
    assert portrait.report.crop_source == "face"


def test_a_tiny_face_is_used_with_a_warning(hopper_rgb):
    small = Image.fromarray(hopper_rgb).resize((128, 150), Image.Resampling.LANCZOS)
    portrait = load_portrait(encode(small))
    assert portrait.report.crop_source == "face"
    assert any("pixels wide" in w for w in portrait.report.warnings)


def test_no_face_is_a_warning_and_a_centre_crop():
    from skimage import data

    portrait = load_portrait(encode(data.chelsea()))
    assert portrait.report.crop_source == "centre"
    assert portrait.report.confidence == 0
    assert any("No face" in w for w in portrait.report.warnings)


def test_several_faces_are_said(hopper_rgb):
    two = np.concatenate([hopper_rgb, hopper_rgb[:, ::-1]], axis=1)
    report = load_portrait(encode(two)).report
    assert len(report.faces) == 2
    assert any("More than one face" in w for w in report.warnings)


def test_manual_crop_wins(hopper):
    portrait = load_portrait(hopper, crop=(80, 50, 300))
    assert portrait.report.crop == Crop(80, 50, 300)
    assert portrait.report.crop_source == "manual"
    for bad in ((600, 0, 100), (0, 0, 2), (float("nan"), 0, 100), (0, 0), (0, 0, 1e9)):
        with pytest.raises(Dp3dError) as error:
            load_portrait(hopper, crop=bad)
        assert error.value.code == "portrait.bad_crop"
    largest = MAX_CROP * 600
    assert load_portrait(hopper, crop=(-100, -100, largest)).report.crop.side == largest


@pytest.mark.parametrize("yaw", [float("nan"), float("inf"), 181.0, -1e9])
def test_a_turn_that_no_head_can_have(yaw: float) -> None:
    for turn in ({"yaw_deg": yaw}, {"pitch_deg": yaw}, {"roll_deg": yaw}, {"pitch_deg": 81.0}):
        with pytest.raises(Dp3dError) as error:
            Turn(**turn)
        assert error.value.code == "portrait.bad_turn"


def test_what_a_person_says_of_the_turn_is_kept(hopper: Path) -> None:
    turn = Turn(yaw_deg=12.0, pitch_deg=-6.0)
    found = load_portrait(hopper, turn=turn).report
    assert (found.yaw_deg, found.pitch_deg) == pytest.approx((12.0, -6.0))
    assert found.roll_deg != 0  # still an estimate
    everything = Turn(-8.0, 4.0, 10.0)
    by_hand = load_portrait(hopper, (80, 50, 300), everything).report
    assert (by_hand.yaw_deg, by_hand.pitch_deg, by_hand.roll_deg) == pytest.approx(
        (-8.0, 4.0, 10.0)
    )


@needs_models
def test_a_turn_that_the_face_contradicts_is_told(hopper: Path) -> None:
    assert not load_portrait(hopper, turn=Turn(8.0)).report.warnings
    for turn in (Turn(60.0), Turn(roll_deg=90.0), Turn(180.0)):
        warnings = load_portrait(hopper, turn=turn).report.warnings
        assert any("by hand is" in warning for warning in warnings), warnings


def test_a_transparent_photo_is_refused() -> None:
    with pytest.raises(Dp3dError, match="transparent all over") as error:
        load_portrait(encode(np.zeros((200, 200, 4), np.uint8)))
    assert error.value.code == "portrait.unreadable"


@needs_models
def test_a_crop_says_which_face_and_not_how_large_it_is(hopper: Path) -> None:
    own = load_portrait(hopper)
    wide = load_portrait(hopper, (0, 0, 512))
    # the same head in both: its size in the photo
    assert wide.camera.K[0, 0] * wide.report.crop.side == pytest.approx(
        own.camera.K[0, 0] * own.report.crop.side, rel=0.03
    )
    assert any("No face" in w for w in load_portrait(hopper, (300, 400, 60)).report.warnings)


def test_a_turn_counts_without_a_face(plain) -> None:
    report = load_portrait(plain, turn=Turn(30.0, 10.0, -20.0)).report
    assert report.crop_source == "centre"
    assert (report.yaw_deg, report.pitch_deg, report.roll_deg) == pytest.approx((30.0, 10.0, -20.0))


def test_a_folder_is_not_a_photo(tmp_path: Path) -> None:
    with pytest.raises(Dp3dError, match="is a folder") as error:
        load_portrait(tmp_path)
    assert error.value.code == "portrait.unreadable"


def bomb(width: int, height: int) -> bytes:
    """A PNG whose head claims a size that its few bytes do not hold."""
    data = bytearray(encode(np.zeros((64, 64, 3), np.uint8)))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize("side", [11_500, 60_000])
@pytest.mark.filterwarnings("error")
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    with pytest.raises(Dp3dError) as error:
        load_portrait(bomb(side, side))
    assert error.value.code == "portrait.too_large"


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


def test_a_bomb_is_refused_before_it_is_decoded():
    bomb = encode(Image.new("1", (30000, 30000)))
    with pytest.raises(Dp3dError) as error:
        decode_photo(bomb)
    assert error.value.code in {"portrait.too_large", "portrait.unreadable"}


def test_official_portraits(official_outputs):
    for name in ("0000028", "0000380"):
        report = load_portrait(official_outputs / name / "portrait.png").report
        assert report.crop_source == "face"
        assert report.confidence > 0.8


def test_a_crop_pixel_is_a_photo_pixel():
    crop = Crop(10, 20, 128)
    uv = np.array([[0.0, 0.0], [64, 32]])
    np.testing.assert_allclose(crop.to_photo(uv, 64), [[10, 20], [138, 84]])
    np.testing.assert_allclose(crop.from_photo(crop.to_photo(uv)), uv)


def test_the_camera_of_a_crop_without_a_face_is_canonical_with_a_margin(plain):
    camera = load_portrait(plain, crop=(80, 50, 200), turn=Turn(10)).camera
    wide = canonical_camera(size=CROP_SIZE).K[0, 0] / camera.K[0, 0]
    assert wide == pytest.approx(CROP_MARGIN)
    assert camera.K[0, 2] == pytest.approx(CROP_SIZE / 2)
    assert camera.yaw_pitch_deg[0] == pytest.approx(10)


def test_landmarks_become_a_face():
    points = np.zeros((468, 2))
    points[[10, 152, 234, 454, 4]] = [[100, 50], [100, 150], [60, 100], [140, 100], [80, 110]]
    face = faces._face_from_landmarks(Landmarks(points, np.zeros(len(points)), 1.0))
    assert (face.x, face.y) == (100, 100)
    assert face.side == pytest.approx(105)
    # the nose points to the left of the picture: the camera stands on the head's +x side
    assert 15 < face.yaw_deg < 40
    assert face.points is points


def test_background_on_one_side_of_a_frontal_head_is_taken_away():
    size, middle = 200, 90
    v, u = np.mgrid[0:size, 0:size]
    head = np.hypot((u + 0.5 - middle) / 40, (v - 90) / 60) < 1
    shoulder = (v > 160) & (u > 60)
    tassel = (np.abs(u - 40) < 12) & (np.abs(v - 90) < 30)
    matte = ((head | shoulder | tassel) * 255).astype(np.uint8)
    kept = keep_symmetric(matte, middle)
    assert kept[head].min() > 250
    assert kept[90, 30:45].max() < 5
    assert (kept[170] == matte[170]).all()  # shoulders may differ
    assert (kept <= matte).all()


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
