"""Files of photos: every kind and mode becomes upright 8 bit pixels, or a clear sentence."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.portraits.photo_file import decode_photo
from tests.support.photos import encode


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
        decode_photo(bomb(side, side))
    assert error.value.code == "portrait.too_large"


def test_a_bomb_that_is_well_packed_is_refused():
    packed = encode(Image.new("1", (30000, 30000)))
    with pytest.raises(Dp3dError) as error:
        decode_photo(packed)
    assert error.value.code in {"portrait.too_large", "portrait.unreadable"}
