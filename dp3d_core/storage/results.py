"""Single files as results: which of them a command may write or replace."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations, product
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import check_output_path, open_regular

MADE_BY = "Made by dp3d"
"""Comment in our text files, PNG and GIF; such a file may be replaced."""
_HEAD_BYTES = 1 << 16
"""Bytes at the start of a text or picture that are searched for :data:`MADE_BY`."""
_GLTF_JSON_BYTES = 16 * 2**20
"""Largest JSON chunk of a GLB that is read, bytes."""
_PNG, _GLB = b"\x89PNG\r\n\x1a\n", b"glTF"
"""First bytes of PNG and GLB files."""
_PNG_MARK = b"tEXtSoftware\0" + MADE_BY.encode()
"""Text chunk of our PNG files."""
_GIF_MARK = b"!\xfe" + bytes([len(MADE_BY)]) + MADE_BY.encode()
"""Comment of our GIF files."""


def check_results(
    results: Sequence[Path], sources: Sequence[Path], side: Sequence[Path] = ()
) -> None:
    """Refuse files that a command could not or should not write, before it does any work.

    Args:
        results: files that the command writes.
        sources: files and folders that it reads.
        side: side files of the results, whose origin is checked elsewhere.

    Raises:
        Dp3dError: ``output.not_writable``; ``output.occupied`` for a source, for two results of
            one path, and for a file that dp3d did not write.

    """
    for first, second in combinations([*results, *side], 2):
        if _is_one_file(first, second):
            raise _occupied(f"Two results would be written to {first}.")
    for result, source in product([*results, *side], sources):
        if _is_one_file(result, source):
            raise _occupied(f"{result} would replace a file that the command reads.")
    for result in results:
        check_output_file(result)
        if os.path.lexists(result) and not is_made_by_dp3d(result):
            raise _occupied(f"{result} is there already, and dp3d did not write it.")


def check_output_file(path: Path) -> None:
    """Refuse a path that no file can be written to; nothing is left behind.

    Raises:
        Dp3dError: ``output.occupied`` for a folder of that name, ``output.not_writable``.

    """
    check_output_path(path)
    if path.is_dir():
        raise Dp3dError(
            "output.occupied",
            f"{path} is a folder, and the result needs a file.",
            "Choose another name for it, or a name inside that folder.",
        )
    ancestor = path.absolute().parent
    while not ancestor.exists() and ancestor != ancestor.parent:
        ancestor = ancestor.parent
    try:
        # rights alone do not tell: root may write to a read-only disk by them
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        why = f"may not be written to ({error.strerror})" if ancestor.is_dir() else "is a file"
        raise Dp3dError(
            "output.not_writable",
            f"{path.name} cannot be written: {ancestor} {why}.",
            "Check the rights of the output folder, or choose another one.",
        ) from error


def is_made_by_dp3d(path: Path) -> bool:
    """Whether a GLB, PNG, GIF or text file names dp3d as its program; False if unreadable."""
    with suppress(OSError), open_regular(path) as file:
        head = file.read(_HEAD_BYTES)
        if head.startswith(_GLB):
            file.seek(20)  # after the header and that of the JSON chunk
            length = int.from_bytes(head[12:16], "little")
            return length <= _GLTF_JSON_BYTES and _is_our_gltf(file.read(length))
        if head.startswith(_PNG):
            return _PNG_MARK in head.partition(b"IDAT")[0]
        if head.startswith(b"GIF8"):
            return _GIF_MARK in head
        return is_our_text(head.decode("utf-8", "replace").splitlines())
    return False


def is_our_text(lines: Sequence[str]) -> bool:
    """Whether the first lines of a text file contain :data:`MADE_BY`."""
    return any(MADE_BY in line for line in lines[:3])


def _is_our_gltf(data: bytes) -> bool:
    try:
        generator = json.loads(data)["asset"]["generator"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return str(generator).split(" ")[0] == "dp3d"


def _is_one_file(first: Path, second: Path) -> bool:
    with suppress(OSError):
        return first.samefile(second)
    with suppress(OSError, RuntimeError):
        return first.resolve() == second.resolve()
    return first == second


def _occupied(problem: str) -> Dp3dError:
    return Dp3dError(
        "output.occupied", problem, "Choose another name: nothing of yours is overwritten."
    )
