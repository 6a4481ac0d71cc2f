"""Errors for files that are not usable weights: the kind of file, and a remedy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NoReturn

from dp3d_core.errors import Dp3dError

PARTIAL_ENDINGS = (
    *(".part", ".partial", ".crdownload", ".download", ".opdownload", ".aria2", ".!ut", ".!qb"),
    *(".filepart", ".incomplete", ".tmp", ".temp", ".td", ".bc!", ".ytdl"),
)
"""File name extensions of unfinished downloads."""
AGAIN = "Fetch it again, and compare its size and hash with those of its authors."
"""Remedy for a damaged file."""
PUBLISHED_REMEDY = (
    "Give the published file: DiffPortrait3D's model_state-540000-001.th, or DiffPortrait360's "
    "model_state-340000.th or back_head-230000.th."
)
"""Remedy for a file that is no published checkpoint."""


def refuse_placeholder(path: Path, kind: str, remedy: str) -> NoReturn:
    """Raise ``weights.placeholder`` for a pointer or link to the file."""
    raise Dp3dError("weights.placeholder", f"{path.name} is {kind}, not the file itself.", remedy)


def refuse_archive(path: Path, kind: str, inside: str | None) -> NoReturn:
    """Raise ``weights.archive``; ``inside`` is a file of weights in it, None: unknown."""
    holds = "" if inside is None else f" that holds {inside}"
    remedy = f"Unpack it and give the file {inside or 'of weights that is in it'}."
    raise Dp3dError("weights.archive", f"{path.name} is {kind}{holds}.", remedy)


def refuse_other(path: Path, kind: str) -> NoReturn:
    """Raise ``weights.other_format`` for a file of a known format that holds no weights."""
    raise Dp3dError(
        "weights.other_format",
        f"{path.name} is {kind}, no checkpoint of torch or safetensors.",
        PUBLISHED_REMEDY,
    )


def refuse_partial(
    path: Path, size: int, why: str | None = None, *, expected: int | None = None
) -> NoReturn:
    """Raise ``weights.incomplete`` for a truncated file.

    Args:
        path: the file.
        size: of the file, bytes.
        why: half a sentence on how it is recognised; None: by its name.
        expected: smallest size of the complete file, bytes; None: unknown.

    """
    present_size = bytes_for_people(size)
    if expected is not None and expected > size:
        full_size = bytes_for_people(expected)
        problem = f"{present_size} are there of {full_size} ({math.floor(100 * size / expected)} %)"
    else:
        problem = (
            f"{present_size} are there, and {why or 'its name is that of an unfinished download'}"
        )
    raise Dp3dError(
        "weights.incomplete",
        f"{path.name} is not whole: {problem}.",
        "Let the program that fetches it go on until it has ended, or fetch the file again.",
    )


def damaged(path: Path, why: str, detail: str = "") -> Dp3dError:
    """Error for a damaged file; ``why`` is half a sentence."""
    return Dp3dError("weights.damaged", f"{path.name} cannot be read: {why}.", AGAIN, detail)


def bytes_for_people(count: int) -> str:
    """A size in GB, MB, KB (powers of 1000) or bytes, as text."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def shortened(text: str) -> str:
    """A text as one line of at most 80 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."
