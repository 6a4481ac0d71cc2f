"""Random damage of file contents, seeded."""

from __future__ import annotations

import random

_NUMBERS = (b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f", b"\0\0\xff\xff")
"""Extreme 32-bit numbers, for sizes and offsets in headers."""


def damaged(whole: bytes, source: random.Random) -> bytes:
    """A copy of ``whole`` with flipped bits, a missing end, a wrong header or moved parts."""
    data = bytearray(whole)
    place = source.randrange(len(data))
    kind = source.randrange(6)
    if kind == 0:
        for _ in range(source.choice([1, 1, 2, 8, 40])):
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        for _ in range(source.choice([1, 3, 10])):
            data[source.randrange(min(len(data), 200))] = source.choice([0, 127, 128, 255])
    elif kind == 3:
        count = min(source.randrange(1, 60), len(data) - place)
        data[place : place + count] = source.randbytes(count)
    elif kind == 4:
        data[place : place + 4] = source.choice(_NUMBERS)
    else:
        start = source.randrange(len(data))
        data[place:place] = data[start : start + source.randrange(1, 300)]
    return bytes(data)
