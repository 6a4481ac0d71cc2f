"""PNG files of view sets and fits: read in the requested mode, or refused with a reason."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest

from dp3d_core.decoding.png import has_alpha, png_size, read_png
from dp3d_core.viewsets.viewset import encode_png
from tests.support.damage import damaged

RGBA = np.random.default_rng(0).integers(0, 256, (6, 9, 4), np.uint8)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "0000.png"
    path.write_bytes(encode_png(RGBA))
    return path


def test_modes_and_sizes(path):
    np.testing.assert_array_equal(read_png(path, "RGBA", (9, 6)), RGBA)
    assert png_size(path) == (9, 6)
    assert has_alpha(path)
    with pytest.raises(ValueError, match="is 9 x 6 pixels, its camera 8 x 6"):
        read_png(path, "RGBA", (8, 6))


def test_sixteen_bits_are_depth_or_eight_bits(path):
    deep = np.linspace(0, 65535, 54).reshape(6, 9).astype(np.uint16)
    path.write_bytes(encode_png(deep))
    np.testing.assert_array_equal(read_png(path, "I;16"), deep)
    np.testing.assert_array_equal(read_png(path, "L"), deep >> 8)
    assert read_png(path, "RGB").shape == (6, 9, 3)
    assert not has_alpha(path)


def with_size(data: bytes, width: int, height: int) -> bytes:
    head = data[:16] + struct.pack(">II", width, height) + data[24:29]
    return head + struct.pack(">I", zlib.crc32(head[12:29])) + data[33:]


def test_a_frame_that_says_it_is_huge(path):
    path.write_bytes(with_size(path.read_bytes(), 12_000, 12_000))
    for read in (lambda: read_png(path, "RGB"), lambda: png_size(path)):
        with pytest.raises(ValueError, match="144 megapixels"):
            read()


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(50), b"%!PS\n", bytes(100)])
def test_other_files(path, data):
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read"):
        read_png(path, "RGB")
    with pytest.raises(ValueError, match="not a PNG"):
        png_size(path)
    assert not has_alpha(path)
    path.unlink()
    with pytest.raises(ValueError, match="cannot be"):
        png_size(path)


def test_damaged_files(path):
    whole, source = path.read_bytes(), random.Random(0)
    for _ in range(300):
        path.write_bytes(damaged(whole, source))
        has_alpha(path)
        try:
            assert read_png(path, "RGBA").shape[2] == 4
        except ValueError as error:
            assert "<" not in str(error)  # noqa: PT017
