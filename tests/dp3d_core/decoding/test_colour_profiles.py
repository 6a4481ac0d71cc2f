"""Colours of files: the picture looks as in a viewer that knows profiles."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dp3d_core.decoding import colour_profiles
from dp3d_core.decoding.colour_profiles import (
    ADOBE_RGB,
    BROKEN,
    DISPLAY_P3,
    SRGB,
    ColourSpace,
    icc_profile,
)
from dp3d_core.decoding.picture import decode_picture
from tests.support.photos import encode, grey_profile, ink_profile

PROPHOTO = ColourSpace((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585), 1.8)
SPACES = {"p3": DISPLAY_P3, "adobe": ADOBE_RGB, "prophoto": PROPHOTO}
REPORT = Path(__file__).parents[4] / "shared/data/field_reports/p02_colour_profiles"


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Smooth sRGB colours of middling chroma, which 8 bits of every space hold well."""
    y, x = np.mgrid[0:96, 0:128] / 127
    return np.rint(255 * np.stack([0.25 + 0.5 * x, 0.3 + 0.4 * y, 0.6 - 0.3 * x], -1)).astype(
        np.uint8
    )


def in_space(picture: np.ndarray, space: ColourSpace) -> Image.Image:
    """The values that show ``picture`` in another space."""
    profiles = [ImageCms.ImageCmsProfile(io.BytesIO(icc_profile(one))) for one in (SRGB, space)]
    return ImageCms.profileToProfile(Image.fromarray(picture), *profiles)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "JPEG"])
@pytest.mark.parametrize("name", SPACES)
def test_profiles_of_rgb_pictures(picture, name, kind):
    image = in_space(picture, SPACES[name])
    assert difference(np.asarray(image), picture) > 8
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    options = lossless.get(kind, {"quality": 95} if kind == "AVIF" else {})
    photo = decode_picture(encode(image, kind, icc_profile=icc_profile(SPACES[name]), **options))
    assert photo.notes == []
    # 8 bits of ProPhoto's wide space are coarse, and so are lossy files
    assert difference(photo.rgb, picture) <= (20 if kind in {"JPEG", "AVIF"} else 4)
    assert np.abs(photo.rgb.astype(int) - picture).mean() < 1.5


@pytest.mark.parametrize("profile", [SRGB, "pillow"])
def test_pictures_in_srgb_keep_their_pixels(picture, profile):
    icc = icc_profile(SRGB)
    if profile == "pillow":
        icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = decode_picture(encode(picture, icc_profile=icc))
    np.testing.assert_array_equal(photo.rgb, picture)
    assert photo.notes == []


def test_transparency_and_palettes_have_profiles_too(picture):
    icc = icc_profile(ADOBE_RGB)
    image = in_space(picture, ADOBE_RGB)
    image.putalpha(
        Image.fromarray((np.arange(128) > 40).astype(np.uint8)[None].repeat(96, 0) * 255)
    )
    photo = decode_picture(encode(image, icc_profile=icc))
    assert difference(photo.rgb[:, 41:], picture[:, 41:]) <= 3
    assert photo.alpha is not None
    assert not photo.alpha[:, :40].any()
    flat = Image.new("RGB", (64, 64), in_space(picture, ADOBE_RGB).getpixel((100, 50)))
    for options in ({}, {"transparency": 1}):
        stored = encode(flat.quantize(2), icc_profile=icc, **options)
        assert difference(decode_picture(stored).rgb, picture[50, 100]) <= 3


def test_grey_profiles(picture):
    values = picture[..., 0]
    linear = np.rint(255 * (values / 255.0) ** 2.2).astype(np.uint8)
    photo = decode_picture(encode(linear, icc_profile=grey_profile(1.0)))
    assert photo.notes == []
    assert np.abs(photo.rgb[..., 0].astype(int) - values).mean() < 3
    assert np.ptp(photo.rgb, -1).max() <= 1
    deep = encode(Image.fromarray(linear.astype(np.uint16) * 257), icc_profile=grey_profile(1.0))
    assert difference(decode_picture(deep).rgb, photo.rgb) <= 1
    # greyscale pixels under a profile of RGB: its tone curve counts
    odd = decode_picture(encode(values, "JPEG", quality=100, icc_profile=icc_profile(PROPHOTO)))
    assert odd.notes == []
    assert odd.rgb[..., 0].mean() > values.mean() + 8


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_ink_profiles(kind):
    """Half an amount of black covers 65 % of this paper: lightness 35 of 100."""
    inks = np.zeros((64, 96, 4), np.uint8)
    inks[:, 32:64, 3], inks[:, 64:, 0] = 128, 255
    image = Image.frombytes("CMYK", (96, 64), inks.tobytes())
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    photo = decode_picture(encode(image, kind, icc_profile=ink_profile(1.6), **options))
    assert photo.notes == []
    paper, grey, cyan = (photo.rgb[32, x].astype(int) for x in (16, 48, 80))
    assert paper.min() >= 252
    assert np.abs(grey - 83).max() <= 4
    assert np.abs(cyan - [0, 255, 255]).max() <= 8
    plain = decode_picture(encode(image, kind, **options)).rgb[32, 48].astype(int)
    assert np.abs(plain - 127).max() <= 4


def damaged(how: str) -> bytes:
    icc = bytearray(icc_profile(DISPLAY_P3))
    if how == "cut":
        return bytes(icc[:200])
    if how == "text":
        return b"no profile at all"
    if how == "random tags":
        icc[140:300] = np.random.default_rng(0).bytes(160)
    if how == "black":  # the primaries have no light
        for _ in range(3):
            place = icc.index(b"XYZ ", 280) + 8
            icc[place - 8 : place + 12] = b"none" + bytes(16)
    return bytes(icc)


@pytest.mark.parametrize("how", ["cut", "text", "random tags", "black"])
def test_a_broken_profile_is_ignored_with_a_note(picture, how):
    photo = decode_picture(encode(picture, icc_profile=damaged(how)))
    np.testing.assert_array_equal(photo.rgb, picture)
    assert photo.notes == [BROKEN]


@pytest.mark.parametrize("icc", [grey_profile(2.2), ink_profile()], ids=["grey", "inks"])
def test_a_profile_of_other_pixels_is_ignored_with_a_note(picture, icc):
    photo = decode_picture(encode(picture, icc_profile=icc))
    np.testing.assert_array_equal(photo.rgb, picture)
    assert photo.notes == [BROKEN]


@pytest.mark.parametrize("how", ["R03", "2"])
def test_cameras_name_adobe_rgb_in_exif(picture, how):
    exif = Image.Exif()
    if how == "R03":
        exif.get_ifd(0x8769)[0xA001] = 0xFFFF
        exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    else:
        exif.get_ifd(0x8769)[0xA001] = 2
    photo = decode_picture(encode(in_space(picture, ADOBE_RGB), exif=exif.tobytes()))
    assert difference(photo.rgb, picture) <= 3
    exif.get_ifd(0x8769)[0xA001] = 1
    exif.get_ifd(0x8769).pop(0xA005, None)
    plain = decode_picture(encode(picture, exif=exif.tobytes()))
    np.testing.assert_array_equal(plain.rgb, picture)


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG with another chunk after its header."""
    crc = struct.pack(">I", zlib.crc32(name + content))
    return png[:33] + struct.pack(">I", len(content)) + name + content + crc + png[33:]


def test_gamma_and_primaries_of_png(picture):
    space = ColourSpace(*DISPLAY_P3[:4], 1.0)
    image = in_space(picture, space)
    places = [DISPLAY_P3.white, DISPLAY_P3.red, DISPLAY_P3.green, DISPLAY_P3.blue]
    chrm = struct.pack(">8I", *(round(v * 100000) for place in places for v in place))
    png = with_chunk(encode(image), b"cHRM", chrm)
    png = with_chunk(png, b"gAMA", struct.pack(">I", 100000))
    assert np.abs(decode_picture(png).rgb.astype(int) - picture).mean() < 3
    usual = with_chunk(encode(picture), b"gAMA", struct.pack(">I", 45455))
    np.testing.assert_array_equal(decode_picture(usual).rgb, picture)


def test_lab_pictures(picture):
    lab = ImageCms.profileToProfile(
        Image.fromarray(picture),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert difference(decode_picture(encode(lab, "TIFF")).rgb, picture) <= 9  # 8 bits of a and b


def test_the_display_p3_photo_of_the_field_reports():
    if not REPORT.is_dir():
        pytest.skip("the field reports are not beside this checkout")
    data = (REPORT / "p02a_displayp3.jpg").read_bytes()
    photo = decode_picture(data)
    stored = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    face = np.s_[190:330, 210:330]
    assert photo.notes == []
    assert photo.rgb[face].mean((0, 1))[0] > stored[face].mean((0, 1))[0] + 5


def test_the_profile_of_a_space_is_what_the_space_says():
    matrix = colour_profiles._to_xyz_d50(SRGB)
    # IEC 61966-2-1 adapted to D50, as in every sRGB profile
    np.testing.assert_allclose(matrix[1], [0.2225, 0.7169, 0.0606], atol=4e-4)
    np.testing.assert_allclose(matrix.sum(1), [0.9642, 1.0, 0.8249], atol=2e-4)
