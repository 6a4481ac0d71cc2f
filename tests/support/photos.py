"""Pictures encoded as image files, and ICC profiles for them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """Bytes of an image file of a format of Pillow."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures(folder: Path, count: int, size: int = 64, colour: int = 90) -> Path:
    """Write numbered square pictures, each of one plain colour, into a new folder."""
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", (size, size), (colour, 10 * i, 40)).save(folder / f"{i:03d}.png")
    return folder


def grey_profile(gamma: float) -> bytes:
    """An ICC profile for grey values with a gamma curve."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    return _profile(b"GRAY", b"mntr", b"XYZ ", [(b"kTRC", curve)])


def ink_profile(gain: float = 1.0) -> bytes:
    """An ICC profile for CMYK with ideal inks, each absorbing one primary, mixed in Lab.

    Amounts of ink are raised to ``1 / gain``, which models dot gain on paper.
    """
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4, indexing="ij"), -1).reshape(-1, 4)
    light = (1 - corners[:, :3]) * (1 - corners[:, 3:])
    to_xyz = np.array(
        [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]]
    )
    xyz = light @ to_xyz.T / [0.9642, 1.0, 0.8249]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
    table = np.clip(np.rint(lab * [2.55, 1, 1] + [0, 128, 128]), 0, 255).astype(np.uint8)
    steps = np.arange(256) / 255
    inks = np.rint(255 * steps ** (1 / gain)).astype(np.uint8).tobytes()
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    lut += np.rint(np.eye(3) * 65536).astype(">i4").tobytes()
    lut += inks * 4 + table.tobytes() + bytes(range(256)) * 3
    return _profile(b"CMYK", b"prtr", b"Lab ", [(b"A2B0", lut)])


def _profile(space: bytes, kind: bytes, pcs: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    white = np.rint(np.array([0.9642, 1.0, 0.8249]) * 65536).astype(">i4").tobytes()
    tags = [(b"wtpt", b"XYZ " + bytes(4) + white), *tags]
    offset, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += struct.pack(">4sII", name, offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4xI4s4s4s12x4s", offset + len(body), 0x02100000, kind, space, pcs, b"acsp"
    )
    return head + bytes(28) + white + bytes(48) + table + body
