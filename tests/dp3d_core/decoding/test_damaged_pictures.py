"""Damaged files of every format give a picture or a refusal, in little memory."""

from __future__ import annotations

import io
import random
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from dp3d_core.decoding.colour_profiles import ADOBE_RGB, icc_profile
from dp3d_core.decoding.outside import decode_outside, end_idle_decoders, idle_decoders
from dp3d_core.errors import Dp3dError
from tests.support.damage import damaged
from tests.support.photos import encode

Y, X = np.mgrid[:64, :80]
PIXELS = np.dstack([X * 3, Y * 3, X * Y % 256]).astype(np.uint8)
PICTURE = Image.fromarray(PIXELS)
TURNED = Image.Exif()
TURNED[0x0112] = 6
ICC = icc_profile(ADOBE_RGB)


def several(kind: str) -> bytes:
    """Two pictures in a file; copies, as Pillow leaves notes for its encoders on pictures."""
    options: dict[str, Any] = {"save_all": True, "append_images": [PICTURE.rotate(90)]}
    return encode(PICTURE.copy(), kind, **options)


def heic() -> bytes:
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    buffer = io.BytesIO()
    heif.from_pillow(PICTURE).save(buffer)
    return buffer.getvalue()


def photoshop(depth: int = 8, merged: bool = True) -> bytes:
    version = b"8BIM" + struct.pack(">HHI", 1057, 0, 6) + struct.pack(">IB", 1, merged) + b"\0"
    header = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 64, 80, depth, 3)
    planes = b"".join(PIXELS[..., c].tobytes() for c in range(3))
    return header + struct.pack(">II", 0, len(version)) + version + bytes(4) + b"\0\0" + planes


FILES = {
    "jpeg": lambda: encode(PICTURE, "JPEG", exif=TURNED, icc_profile=ICC),
    "progressive jpeg": lambda: encode(PICTURE, "JPEG", progressive=True),
    "inks": lambda: encode(PICTURE.convert("CMYK"), "JPEG"),
    "mpo": lambda: several("MPO"),
    "png": lambda: encode(PICTURE, exif=TURNED, icc_profile=ICC),
    "deep png": lambda: encode(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)),
    "palette": lambda: encode(PICTURE.quantize(16), transparency=3),
    "webp": lambda: encode(PICTURE, "WEBP", exif=TURNED),
    "lossless webp": lambda: encode(PICTURE.convert("RGBA"), "WEBP", lossless=True),
    "animated webp": lambda: several("WEBP"),
    "tiff": lambda: several("TIFF"),
    "tiff lzw": lambda: encode(PICTURE, "TIFF", compression="tiff_lzw"),
    "tiff jpeg": lambda: encode(PICTURE, "TIFF", compression="jpeg"),
    "tiff fax": lambda: encode(PICTURE.convert("1"), "TIFF", compression="group4"),
    "tiff lab": lambda: encode(
        ImageCms.applyTransform(
            PICTURE,
            ImageCms.buildTransform(
                ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
            ),
        ),
        "TIFF",
    ),
    "tiff floats": lambda: encode(PICTURE.convert("F"), "TIFF"),
    "bmp": lambda: encode(PICTURE, "BMP"),
    "bmp palette": lambda: encode(PICTURE.quantize(16), "BMP"),
    "gif": lambda: several("GIF"),
    "avif": lambda: encode(PICTURE, "AVIF", exif=TURNED),
    "heic": heic,
    "psd": photoshop,
    "jpeg 2000": lambda: encode(PICTURE, "JPEG2000"),
    "ppm": lambda: encode(PICTURE, "PPM"),
    "ppm in letters": lambda: b"P3 80 64 255 " + b" ".join(b"%d" % v for v in PIXELS.ravel()),
    "tga": lambda: encode(PICTURE, "TGA", compression="tga_rle"),
}
CODES = {"portrait.unreadable", "portrait.too_large", "portrait.too_slow"}


@pytest.mark.parametrize("kind", FILES)
def test_every_format_is_read(kind):
    picture = decode_outside(FILES[kind]())
    turned = kind in {"jpeg", "png", "webp", "avif"}
    assert picture.rgb.shape == ((80, 64, 3) if turned else (64, 80, 3))
    if kind not in {"deep png", "tiff fax", "tiff floats", "palette", "bmp palette"}:
        rgb = np.rot90(picture.rgb) if turned else picture.rgb
        assert np.abs(rgb.astype(int) - PIXELS).mean() < 25


def outcomes(kind: str, count: int) -> Counter[str]:
    whole, source = FILES[kind](), random.Random(kind)
    counts: Counter[str] = Counter()
    for _ in range(count):
        try:
            decode_outside(damaged(whole, source), deadline_s=10.0)
            counts["picture"] += 1
        except Dp3dError as error:
            counts[error.code if is_readable(error.problem) else error.problem] += 1
    return counts


def is_readable(sentence: str) -> bool:
    return "<" not in sentence and "b'" not in sentence


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files(kind):
    counts = outcomes(kind, 8)
    assert set(counts) <= CODES | {"picture"}
    assert counts["portrait.too_slow"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_many_damaged_files(kind):
    end_idle_decoders()
    counts = outcomes(kind, 190)  # fewer than a process is replaced after
    print(kind, dict(counts))
    assert set(counts) <= CODES | {"picture"}
    assert counts["portrait.too_slow"] == 0
    if sys.platform == "linux":
        for decoder in idle_decoders():
            status = Path(f"/proc/{decoder.process_id}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            assert int(peak.split()[1]) < 1e6  # kB


def test_photoshop_documents_that_are_not_read_say_why():
    for data, words in (
        (photoshop(depth=16), "16 bits a channel"),
        (photoshop(merged=False), "without its whole picture"),
    ):
        with pytest.raises(Dp3dError) as error:
            decode_outside(data)
        assert error.value.code == "portrait.unreadable"
        assert words in error.value.problem
