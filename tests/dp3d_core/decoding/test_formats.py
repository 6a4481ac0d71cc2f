"""Files that are not photos are named by their content, and no other decoder is started."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from dp3d_core.decoding.formats import READABLE, recognise
from dp3d_core.decoding.outside import decode_outside
from dp3d_core.errors import Dp3dError
from tests.conftest import shared_path
from tests.support.photos import encode


def directory(*entries: tuple[int, int, int, int], order: str = "<") -> bytes:
    """A TIFF of one directory: (tag, type, count, value)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    body = b"".join(
        struct.pack(order + ("HHIH2x" if entry[1] == 3 else "HHII"), *entry) for entry in entries
    )
    return head + struct.pack(order + "H", len(entries)) + body + bytes(200)


THUMBNAIL = ((254, 4, 1, 1), (256, 4, 1, 160), (257, 4, 1, 120), (330, 4, 1, 400))
OTHERS = {
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript file"),
    "postscript loop": (b"%!\n{} loop", "a text"),
    "eps with a preview": (b"\xc5\xd0\xd3\xc6" + bytes(90), "a PostScript file"),
    "postscript of a printer": (b"\x04%!PS-Adobe-3.0\n", "a PostScript file"),
    "pdf": (b"%PDF-1.7\n", "a PDF document"),
    "xml": (b"<?xml version='1.0'?><note/>", "an XML document"),
    "xml alone": (b"<?xml version='1.0'?>", "an XML document"),
    "svg": (
        b"<?xml version='1.0'?>\n<!-- of a\nprogram --><!DOCTYPE svg PUBLIC ''><svg/>",
        "an SVG",
    ),
    "commented page": (b"<!-- saved --><!DOCTYPE html><html>", "a web page"),
    "plain svg": (b"\xef\xbb\xbf<svg xmlns=''/>", "an SVG drawing"),
    "page": (b"\n<!DOCTYPE html><title>404</title>", "a web page"),
    "json": (b'{"error": 404}', "a JSON document"),
    "text": (b"the photo is attached\n", "a text"),
    "data url": (b"data:image/png;base64,iVBORw0", "a picture written as text"),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(90), "a Microsoft Office document"),
    "docx": (b"PK\x03\x04" + bytes(90), "a ZIP archive"),
    "cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(90), "a camera's raw file"),
    "nef": (directory(*THUMBNAIL, order=">"), "a camera's raw file"),
    "dng": (directory((254, 4, 1, 0), (50706, 1, 4, 0x0401)), "a camera's raw file"),
    "pef": (directory((259, 3, 1, 65535)), "a camera's raw file"),
    "cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(90), "a camera's raw file"),
    "raf": (b"FUJIFILMCCD-RAW 0201" + bytes(90), "a camera's raw file"),
    "orf": (b"IIRO\x08\0\0\0" + bytes(90), "a camera's raw file"),
    "rw2": (b"IIU\0\x08\0\0\0" + bytes(90), "a camera's raw file"),
    "mov": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(50), "a video"),
    "mp4": (b"\0\0\0\x18ftypisom\0\0\0\1isommp42" + bytes(50), "a video"),
    "avi": (b"RIFF\x24\0\0\0AVI LIST", "a video"),
    "webm": (b"\x1a\x45\xdf\xa3" + bytes(50), "a video"),
    "mp3": (b"ID3\3\0" + bytes(50), "a sound file"),
    "psb": (b"8BPS\0\2" + bytes(50), "Photoshop"),
    "xcf": (b"gimp xcf v011\0" + bytes(50), "GIMP"),
    "ico": (b"\0\0\1\0\1\0\x10\x10" + bytes(50), "an icon"),
    "exr": (b"\x76\x2f\x31\x01\2\0\0\0" + bytes(50), "OpenEXR"),
    "hdr": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "Radiance"),
    "jpeg xl": (b"\xff\x0a" + bytes(50), "JPEG XL"),
    "blend": (b"BLENDER-v402" + bytes(50), "a Blender file"),
    "side file": (b"\0\5\x16\7\0\2\0\0Mac OS X", "a side file of macOS"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "empty": (b"", "empty"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "noise": (np.random.default_rng(0).bytes(900), "not an image"),
    "numbers": (b"\1\2\3\4" * 20, "not an image"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_that_are_no_photos_are_named(name):
    data, words = OTHERS[name]
    with pytest.raises(Dp3dError) as error:
        decode_outside(data)
    assert error.value.code == "portrait.unreadable"
    assert words in error.value.problem
    assert error.value.remedy


def test_a_raw_photo_asks_for_a_jpeg():
    with pytest.raises(Dp3dError, match="Export the photo as JPEG"):
        recognise(directory(*THUMBNAIL))


def test_the_endless_postscript_file():
    with pytest.raises(Dp3dError, match="a PostScript file"):
        decode_outside(shared_path("data/server_attacks/eps_loop.eps").read_bytes())


OURS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PSD", "JPEG2000", "PPM", "TGA")


@pytest.mark.parametrize("kind", sorted(set(OURS) - {"PSD"}))
def test_pictures_are_recognised_by_their_bytes(kind):
    assert kind in READABLE
    assert recognise(encode(Image.new("RGB", (64, 64)), kind)) == kind


def test_other_decoders_of_pillow_are_never_asked():
    """Also not for a file that another plug-in would take."""
    for kind in ("PCX", "SGI", "ICNS", "IM", "SPIDER", "EPS", "PDF", "DDS", "ICO"):
        mode = "F" if kind == "SPIDER" else "RGB"
        with pytest.raises(Dp3dError) as error:
            decode_outside(encode(Image.new(mode, (64, 64)), kind))
        assert error.value.code == "portrait.unreadable"


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_photo_in_a_tiff_is_no_raw_file(order):
    plain = directory((254, 4, 1, 0), (256, 4, 1, 64), (330, 4, 1, 400), order=order)
    assert recognise(plain) == "TIFF"
    assert recognise(plain[:20]) == "TIFF"  # damaged; its decoder says so
