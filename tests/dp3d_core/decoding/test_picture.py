"""Files of photos: every format and mode becomes upright 8 bit pixels, or a clear refusal."""

from __future__ import annotations

import io
import re
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dp3d_core.decoding.outside import decode_outside
from dp3d_core.decoding.picture import Wanted, decode_picture
from dp3d_core.errors import Dp3dError
from tests.support.photos import encode


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(astronaut, astronaut_rgb, orientation):
    inverse = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encode(np.ascontiguousarray(inverse(astronaut_rgb)), "PNG", exif=exif)
    upright = decode_picture(stored).rgb
    np.testing.assert_array_equal(upright, astronaut_rgb)


def directory(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A TIFF directory of (tag, type, count, value), as EXIF data are kept."""
    body = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


TURN_RIGHT = (0x0112, 3, 1, b"\6\0\0\0")
FAR = struct.pack("<I", 88888)
BROKEN_EXIF = {
    "text": b"Exif\\x00\\x00II",
    "noise": np.random.default_rng(1).bytes(200),
    "only the marker": b"Exif\0\0",
    "cut after the header": b"Exif\0\0" + directory(TURN_RIGHT)[:8],
    "cut within an entry": b"Exif\0\0" + directory(TURN_RIGHT)[:15],
    "directory far away": b"Exif\0\0II*\0" + FAR,
    "orientation 0": b"Exif\0\0" + directory((0x0112, 3, 1, bytes(4))),
    "orientation 9": b"Exif\0\0" + directory((0x0112, 3, 1, b"\t\0\0\0")),
    "orientation in letters": b"Exif\0\0" + directory((0x0112, 2, 2, b"6\0\0\0")),
    "orientation far away": b"Exif\0\0" + directory((0x0112, 5, 1, FAR)),
}
ODD_EXIF = {
    "no marker": directory(TURN_RIGHT),
    "long orientation": b"Exif\0\0" + directory((0x0112, 4, 1, b"\6\0\0\0")),
    "other directories far away": b"Exif\0\0"
    + directory(TURN_RIGHT, *((tag, 4, 1, FAR) for tag in (0x8769, 0x8825, 0xA005))),
    "directory that holds itself": b"Exif\0\0"
    + directory(TURN_RIGHT, (0x8769, 4, 1, struct.pack("<I", 8))),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("how", BROKEN_EXIF)
@pytest.mark.filterwarnings("error")
def test_broken_exif_means_not_turned(astronaut_rgb, how, kind):
    photo = decode_picture(encode(astronaut_rgb, kind, exif=BROKEN_EXIF[how]))
    assert photo.rgb.shape == astronaut_rgb.shape
    assert np.abs(photo.rgb.astype(int) - astronaut_rgb).mean() < 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("how", ODD_EXIF)
def test_odd_exif_still_turns(astronaut_rgb, how, kind):
    photo = decode_picture(encode(astronaut_rgb, kind, exif=ODD_EXIF[how]))
    assert photo.rgb.shape[:2] == astronaut_rgb.shape[1::-1]


def test_exif_that_is_broken_within_an_avif(astronaut_rgb):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    stored = encode(astronaut_rgb, "AVIF", exif=exif)
    broken = re.sub(rb"II\*\0\x08\0\0\0|MM\0\*\0\0\0\x08", b"no order", stored)
    assert broken != stored
    photo = decode_picture(broken)
    assert photo.rgb.shape == astronaut_rgb.shape


def test_exif_kept_as_text_within_a_png(astronaut_rgb):
    """ImageMagick keeps it so."""
    for text, turned in (("zz not hexadecimal", False), (directory(TURN_RIGHT).hex(), True)):
        info = PngInfo()
        info.add_text("Raw profile type exif", f"\nexif\n{len(text):8}\n{text}\n", zip=True)
        shape = decode_picture(encode(astronaut_rgb, pnginfo=info)).rgb.shape[:2]
        assert shape == (astronaut_rgb.shape[1::-1] if turned else astronaut_rgb.shape[:2])


def field_report(folder: str) -> list[Path]:
    reports = Path(__file__).parents[4] / "shared/data/field_reports"
    if not reports.is_dir():
        pytest.skip("the field reports are not beside this checkout")
    return sorted((reports / folder).iterdir())


def test_the_broken_exif_of_the_field_reports():
    for path in field_report("p01_broken_exif"):
        photo = decode_picture(path.read_bytes())
        assert photo.rgb.shape[0] > photo.rgb.shape[1]
        assert photo.notes == []


def test_a_heic_named_jpg_is_read():
    pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    (path,) = field_report("p06_heic_named_jpg")
    photo = decode_picture(path.read_bytes())
    assert photo.rgb.shape == (600, 512, 3)
    assert photo.rgb[300, 300] == pytest.approx([235, 150, 103], abs=3)


@pytest.mark.parametrize("how", [*BROKEN_EXIF, *ODD_EXIF])
def test_exif_within_a_heic(astronaut_rgb, how):
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    exif = {**BROKEN_EXIF, **ODD_EXIF}[how]
    buffer = io.BytesIO()
    heif.from_pillow(Image.fromarray(astronaut_rgb)).save(buffer, exif=exif)
    shape = decode_picture(buffer.getvalue()).rgb.shape[:2]
    assert shape == (astronaut_rgb.shape[1::-1] if how in ODD_EXIF else astronaut_rgb.shape[:2])


def test_the_primary_picture_of_a_heic_is_read(astronaut_rgb):
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    file = heif.from_pillow(Image.fromarray(255 - astronaut_rgb))
    file.add_from_pillow(Image.fromarray(astronaut_rgb))
    buffer = io.BytesIO()
    file.save(buffer, primary_index=1)
    photo = decode_picture(buffer.getvalue())
    assert np.abs(photo.rgb.astype(int) - astronaut_rgb).mean() < 8
    assert photo.notes == []


def test_a_heic_without_its_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(Dp3dError) as error:
        decode_picture(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300))
    assert error.value.code == "portrait.package_missing"
    assert "HEIC" in error.value.problem
    assert "dp3d[heic]" in error.value.remedy


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\xef\xbb\xbf<svg xmlns=''/>", "an SVG drawing"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(50), "a video"),
        (b"\1\2\3\4" * 20, "not an image"),
    ],
)
def test_files_that_are_no_photos_are_named(data, words):
    with pytest.raises(Dp3dError) as error:
        decode_picture(data)
    assert error.value.code == "portrait.unreadable"
    assert words in error.value.problem


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_of_several_pictures_is_used(astronaut_rgb, kind):
    frames = [Image.fromarray(astronaut_rgb), Image.fromarray(255 - astronaut_rgb)]
    stored = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    photo = decode_picture(stored)
    assert np.abs(photo.rgb.astype(int) - astronaut_rgb).mean() < 12
    assert photo.notes == ["The file holds several pictures; the first is used."]


def test_a_palette_with_a_clear_colour_is_a_cut_out(astronaut_rgb):
    image = Image.fromarray(astronaut_rgb).quantize(16)
    clear = int(np.bincount(np.asarray(image).ravel()).argmax())
    for kind in ("PNG", "GIF"):
        photo = decode_picture(encode(image, kind, transparency=clear))
        assert photo.alpha is not None
        np.testing.assert_array_equal(photo.alpha < 128, np.asarray(image) == clear)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_a_channel(astronaut_rgb, kind):
    """Pillow writes no such colours: the file is built by OpenCV."""
    deep = astronaut_rgb[..., ::-1].astype(np.uint16) * 257
    done, data = cv2.imencode("." + kind.lower(), deep)
    assert done
    np.testing.assert_allclose(decode_picture(data.tobytes()).rgb, astronaut_rgb, atol=1)


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
def test_every_mode_decodes_to_the_same_picture(astronaut_rgb, mode):
    rgb, alpha, scale, *_ = decode_picture(in_mode(astronaut_rgb, mode))
    assert rgb.dtype == np.uint8
    assert rgb.shape == astronaut_rgb.shape
    assert alpha is None  # opaque alpha is none
    assert scale == 1
    grey = np.asarray(Image.fromarray(astronaut_rgb).convert("L"), float)
    got = np.asarray(Image.fromarray(rgb).convert("L"), float)
    # dithering to one bit keeps only the mean; a palette and CMYK lose a little
    assert abs(got.mean() - grey.mean()) < 4
    if mode != "1":
        assert np.abs(got - grey).mean() < 6


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
        decode_picture(bomb(side, side))
    assert error.value.code == "portrait.too_large"


def test_a_bomb_that_is_well_packed_is_refused():
    packed = encode(Image.new("1", (30000, 30000)))
    with pytest.raises(Dp3dError) as error:
        decode_picture(packed)
    assert error.value.code in {"portrait.too_large", "portrait.unreadable"}


WEBP_HEADS = {
    "plain": b"VP8 " + bytes(7) + b"\x9d\x01\x2a" + struct.pack("<HH", 12_000, 9_000),
    "lossless": b"VP8L" + bytes(4) + b"/" + struct.pack("<I", 11_999 | 8_999 << 14),
    "extended": b"VP8X" + bytes(8) + struct.pack("<I", 11_999)[:3] + struct.pack("<I", 8_999)[:3],
}


@pytest.mark.parametrize("kind", WEBP_HEADS)
def test_a_webp_is_refused_before_its_decoder_takes_memory(kind):
    with pytest.raises(Dp3dError, match="108 megapixels") as error:
        decode_picture(b"RIFF" + bytes(4) + b"WEBP" + WEBP_HEADS[kind] + bytes(50))
    assert error.value.code == "portrait.too_large"


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    tifffile = pytest.importorskip("tifffile", reason="comes with scikit-image")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


GREY = np.add.outer(np.arange(64), 2 * np.arange(80)).astype(np.uint8)
WHOLE = {
    "32 bits": GREY.astype(np.uint32) * 0x01010101,
    "16 bits": GREY.astype(np.uint16) * 257,
    "12 bits in 16": GREY.astype(np.uint16) * 16,
    "10 bits in 16": GREY.astype(np.uint16) * 4,
    "signed": GREY.astype(np.int16),
    "floats": (GREY / 255).astype(np.float32),
    "big endian": GREY.astype(">u2") * 257,
}


@pytest.mark.parametrize("kind", WHOLE)
def test_numbers_of_a_tiff(kind):
    rgb = decode_picture(tiff(WHOLE[kind])).rgb
    np.testing.assert_allclose(rgb, np.repeat(GREY[..., None], 3, 2), atol=1)


@pytest.mark.parametrize(("kind", "notes"), [("12 bits in 16", 1), ("16 bits", 0), ("floats", 0)])
def test_bits_that_are_assumed_are_noted(kind, notes):
    picture = decode_outside(tiff(WHOLE[kind]))
    assert [("4095 is taken for white" in note) for note in picture.notes] == [True] * notes


def test_the_white_of_a_folder_counts():
    rgb = decode_outside(tiff(WHOLE["12 bits in 16"]), Wanted(white=65535.0)).rgb
    np.testing.assert_allclose(rgb[..., 0], GREY / 16, atol=1)


def test_numbers_that_are_none_are_black():
    values = np.where(GREY > 100, np.nan, GREY / 255).astype(np.float32)
    values[0, 0] = np.inf
    rgb = decode_picture(tiff(values)).rgb
    assert rgb[0, 0, 0] == 255
    assert not rgb[GREY > 100].any()


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"bigtiff": True}, {"byteorder": ">"}])
def test_layouts_of_a_tiff(options):
    pixels = np.dstack([GREY, GREY[::-1], 255 - GREY])
    rgb = decode_picture(tiff(pixels, photometric="rgb", **options)).rgb
    np.testing.assert_array_equal(rgb, pixels)


def test_tiffs_that_are_not_read_say_why():
    planes = np.stack([GREY, GREY, GREY]).astype(np.uint16)
    colours = np.dstack([GREY / 255] * 3).astype(np.float32)
    for data, words in (
        (tiff(planes, photometric="rgb", planarconfig="separate"), "plane by plane"),
        (tiff(colours, photometric="rgb"), "floating point"),
        (tiff((GREY / 255).astype(np.float64)), "floating point"),
    ):
        with pytest.raises(Dp3dError) as error:
            decode_picture(data)
        assert error.value.code == "portrait.unreadable"
        assert words in error.value.problem
