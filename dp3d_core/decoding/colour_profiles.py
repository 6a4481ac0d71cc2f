"""Conversion of pictures to sRGB: ICC profiles, and colour spaces named in other metadata.

Profiles are applied by Little CMS (``PIL.ImageCms``), perceptual intent with black point
compensation, as browsers and viewers do.
"""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dp3d_core.arrays import Array

BROKEN = "The photo's colour profile is broken and was ignored; its colours may be a little off."
"""Note on a profile that cannot be applied."""


class ColourSpace(NamedTuple):
    """Primaries and tone curve of RGB values."""

    red: tuple[float, float]
    """Chromaticity of the primary, CIE xy."""
    green: tuple[float, float]
    """Chromaticity of the primary, CIE xy."""
    blue: tuple[float, float]
    """Chromaticity of the primary, CIE xy."""
    white: tuple[float, float]
    """Chromaticity of the white point, CIE xy."""
    gamma: float | None
    """Exponent from values to linear light; None: the curve of sRGB."""


_D65 = (0.3127, 0.3290)
SRGB = ColourSpace((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65, None)
DISPLAY_P3 = ColourSpace((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), _D65, None)
ADOBE_RGB = ColourSpace((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), _D65, 563 / 256)

_CLOSE = 3
"""Largest difference to sRGB, of 255, at which a profile counts as sRGB."""
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Pillow's mode for the colour space of a profile."""
_EXIF, _INTEROPERABILITY = 0x8769, 0xA005
"""EXIF tags of the directories Exif and Interoperability."""
_COLOUR_SPACE, _INDEX = 0xA001, 0x0001
"""EXIF tags ColorSpace and InteroperabilityIndex."""
_DISPLAY_P3_PRIMARIES = 12
"""Primaries of Display P3, code point of ITU-T H.273 in HEIC files."""
_SDR_CURVES = {1, 2, 6, 13, 14, 15}
"""Transfer curves of standard dynamic range, code points of ITU-T H.273."""


def to_srgb(image: Image.Image, exif: Image.Exif | None) -> tuple[Image.Image, list[str]]:
    """Convert the colours of an 8 bit image to sRGB.

    Args:
        image: RGB, RGBA, L, LA, CMYK or LAB, with the ``info`` of its file.
        exif: of the file; None: broken.

    Returns:
        RGB or RGBA image, and notes for the user.  A broken profile is ignored with a note.

    """
    alpha = image.getchannel("A") if image.mode in {"RGBA", "LA"} else None
    if alpha is not None:
        opaque = image.convert("RGB" if image.mode == "RGBA" else "L")
        opaque.info = image.info
        image = opaque
    icc, notes = image.info.get("icc_profile"), []
    converted = None
    if icc:
        converted = _with_profile_applied(image, icc)
        if converted is None:
            notes.append(BROKEN)
    elif image.mode in {"RGB", "L"}:
        space = _named_space(image, exif)
        converted = _with_profile_applied(image, icc_profile(space)) if space else None
    if converted is None:
        converted = _to_rgb(image)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, notes


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB image, converted without a profile."""
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        return _transformed(image, ImageCms.ImageCmsProfile(lab))
    return image.convert("RGB")


def _with_profile_applied(image: Image.Image, icc: bytes) -> Image.Image | None:
    """An image converted by a profile; None if the profile is broken or for another mode."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = _MODES[profile.profile.xcolor_space.strip()]
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if image.mode != mode:
            return None
        probe = _probe(mode)
        converted = np.asarray(_transformed(probe, profile), np.int16)
        if not _is_plausible(converted):
            return None
        if mode == "RGB" and np.abs(converted - np.asarray(probe, np.int16)).max() <= _CLOSE:
            return image  # the profile is sRGB: keep the exact pixels
        return _transformed(image, profile)
    except (ImageCms.PyCMSError, OSError, ValueError, KeyError, TypeError):
        return None


def _transformed(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    transform = ImageCms.buildTransform(
        profile,
        srgb,
        image.mode,
        "RGB",
        ImageCms.Intent.PERCEPTUAL,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:  # only for conversion in place
        raise ValueError(image.mode)
    return converted


def _probe(mode: str) -> Image.Image:
    """A row of colours: white, black, then a grid of colours."""
    steps = np.linspace(0, 255, 5).astype(np.uint8)
    if mode == "L":
        values = np.concatenate([[255, 0], steps])
        return Image.fromarray(values.astype(np.uint8)[None])
    if mode == "LAB":
        # bytes of L, a, b; a and b are signed
        rows = [(255, 0, 0), (0, 0, 0), *((int(step), 0, 0) for step in steps)]
        return Image.frombytes("LAB", (len(rows), 1), bytes(np.array(rows, np.uint8)))
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    rgb = np.concatenate([[[255, 255, 255], [0, 0, 0]], grid]).astype(np.uint8)
    if mode == "RGB":
        return Image.fromarray(rgb[None])
    inks = np.concatenate([255 - rgb, np.zeros((len(rgb), 1), np.uint8)], 1)
    inks[1] = 255
    return Image.frombytes("CMYK", (len(inks), 1), inks.tobytes())


def _is_plausible(converted: NDArray[np.int16]) -> bool:
    """Whether white is light, black dark and grey grey after conversion by a profile."""
    white, black, rest = (
        converted.reshape(-1, 3)[0],
        converted.reshape(-1, 3)[1],
        converted.reshape(-1, 3)[2:],
    )
    grey = rest[len(rest) // 2]
    return bool(white.min() > 150 and black.max() < 100 and np.ptp(grey) < 80)


def _named_space(image: Image.Image, exif: Image.Exif | None) -> ColourSpace | None:
    """Colour space named without a profile; None for sRGB and unknown spaces."""
    info = image.info
    nclx = info.get("nclx_profile")
    if isinstance(nclx, dict):
        wide = nclx.get("color_primaries") == _DISPLAY_P3_PRIMARIES
        return DISPLAY_P3 if wide and nclx.get("transfer_characteristics") in _SDR_CURVES else None
    if _is_adobe_rgb(exif):
        return ADOBE_RGB
    if image.format == "PNG" or "gamma" in info:
        return _png_space(info)
    return None


def _is_adobe_rgb(exif: Image.Exif | None) -> bool:
    """Whether EXIF names Adobe RGB: index "R03" of the DCF standard, or ColorSpace 2."""
    if exif is None:
        return False
    try:
        camera = exif.get_ifd(_EXIF)
        index = exif.get_ifd(_INTEROPERABILITY).get(_INDEX)
        if index is None:
            index = camera.get(_INTEROPERABILITY, {}).get(_INDEX)
        return str(index).strip("\0 ") == "R03" or camera.get(_COLOUR_SPACE) == 2
    except Exception:  # a broken directory may raise anything
        return False


def _png_space(info: dict[str | tuple[int, int], object]) -> ColourSpace | None:
    """Colour space of a PNG's gAMA and cHRM chunks; None for sRGB or without gAMA."""
    gamma, chromaticities = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info or not isinstance(gamma, float) or not 0.1 < gamma < 2:
        return None
    pairs = [SRGB.white, SRGB.red, SRGB.green, SRGB.blue]
    if (
        isinstance(chromaticities, tuple)
        and len(chromaticities) == 8
        and min(chromaticities[1::2]) > 0
    ):
        pairs = list(zip(chromaticities[::2], chromaticities[1::2], strict=True))
    white, red, green, blue = pairs
    # writers state 1/2.2 for the curve of sRGB
    exponent = None if abs(1 / gamma - 2.2) < 0.02 else 1 / gamma
    return ColourSpace(red, green, blue, white, exponent)


def icc_profile(space: ColourSpace) -> bytes:
    """An ICC profile, version 2.1, of a colour space (ICC.1:2001-04: matrix and tone curves)."""
    primaries = _to_xyz_d50(space)
    curve = _curve(space.gamma)
    tags = [
        (b"desc", _description(b"dp3d")),
        (b"cprt", b"text" + bytes(4) + b"none\0"),
        (b"wtpt", _xyz(np.array([0.9642, 1.0, 0.8249]))),
        *((name, _xyz(primaries[:, i])) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))),
        *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += struct.pack(">4sII", name, offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4s",
        offset + len(body), b"\0\0\0\0", 0x02100000, b"mntr", b"RGB ", b"XYZ ", bytes(12),
        b"acsp", bytes(4),
    )  # fmt: skip
    # flags, device, attributes and intent are 0; then the illuminant D50
    header += bytes(24) + _fixed(np.array([0.9642, 1.0, 0.8249])) + bytes(48)
    return header + table + body


def _to_xyz_d50(space: ColourSpace) -> Array:
    """(3, 3) matrix from linear RGB to XYZ, adapted to D50 (Bradford)."""

    def xyz(chromaticity: tuple[float, float]) -> Array:
        x, y = chromaticity
        return np.array([x / y, 1.0, (1 - x - y) / y])

    primaries = np.stack([xyz(space.red), xyz(space.green), xyz(space.blue)], 1)
    white = xyz(space.white)
    primaries = primaries * np.linalg.solve(primaries, white)
    cones = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    scale = (cones @ [0.9642, 1.0, 0.8249]) / (cones @ white)
    return np.asarray(np.linalg.inv(cones) @ (scale[:, None] * (cones @ primaries)))


def _fixed(values: Array) -> bytes:
    return bytes(np.rint(values * 65536).astype(">i4"))


def _xyz(values: Array) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    v = np.linspace(0, 1, 1024)
    light = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    table = np.rint(light * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(table)) + bytes(table)


def _description(text: bytes) -> bytes:
    ascii_part = struct.pack(">I", len(text) + 1) + text + b"\0"
    return b"desc" + bytes(4) + ascii_part + bytes(4 + 4 + 2 + 1 + 67)
