"""The errors for files that are no weights: one sentence on what it is, one on the way out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NoReturn

from dp3d_core.errors import Dp3dError

PARTIAL_ENDINGS = (
    *(".part", ".partial", ".crdownload", ".download", ".opdownload", ".aria2", ".!ut", ".!qb"),
    *(".filepart", ".incomplete", ".tmp", ".temp", ".td", ".bc!", ".ytdl"),
)
"""Endings that programs give to what they have not fetched completely."""
AGAIN = "Fetch it again, and compare its size and hash with those of its authors."
PUBLISHED_REMEDY = (
    "Give the published file: DiffPortrait3D's model_state-540000-001.th, or DiffPortrait360's "
    "model_state-340000.th or back_head-230000.th."
)
"""The remedy for a file of another kind."""


def refuse_placeholder(path: Path, kind: str, remedy: str) -> NoReturn:
    """A pointer or link to the file (``weights.placeholder``)."""
    raise Dp3dError("weights.placeholder", f"{path.name} is {kind}, not the file itself.", remedy)


def refuse_archive(path: Path, kind: str, inside: str | None) -> NoReturn:
    """An archive, and a file of weights in it where it is known (``weights.archive``)."""
    holds = "" if inside is None else f" that holds {inside}"
    remedy = f"Unpack it and give the file {inside or 'of weights that is in it'}."
    raise Dp3dError("weights.archive", f"{path.name} is {kind}{holds}.", remedy)


def refuse_other(path: Path, kind: str) -> NoReturn:
    """A file of a known format that is none of weights (``weights.other_format``)."""
    raise Dp3dError(
        "weights.other_format",
        f"{path.name} is {kind}, no checkpoint of torch or safetensors.",
        PUBLISHED_REMEDY,
    )


def refuse_partial(
    path: Path, size: int, why: str | None = None, *, expected: int | None = None
) -> NoReturn:
    """A file that is cut off (``weights.incomplete``).

    Args:
        path: the file.
        size: bytes that are there.
        why: what shows it.
        expected: bytes that the weights have at least.

    """
    there = bytes_for_people(size)
    if expected is not None and expected > size:
        whole = bytes_for_people(expected)
        problem = f"{there} are there of {whole} ({math.floor(100 * size / expected)} %)"
    else:
        problem = f"{there} are there, and {why or 'its name is that of an unfinished download'}"
    raise Dp3dError(
        "weights.incomplete",
        f"{path.name} is not whole: {problem}.",
        "Let the program that fetches it go on until it has ended, or fetch the file again.",
    )


def damaged(path: Path, why: str, detail: str = "") -> Dp3dError:
    """A garbled file (``weights.damaged``)."""
    return Dp3dError("weights.damaged", f"{path.name} cannot be read: {why}.", AGAIN, detail)


def bytes_for_people(count: int) -> str:
    """A number of bytes for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def shortened(text: str) -> str:
    """A line for a message."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."
