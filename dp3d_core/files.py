"""Files and folders that we write: whole or not at all, and never over anybody else's.

Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dp3d_core.errors import Dp3dError
from dp3d_core.locks import FileLock

_LOCK = ".dp3d.lock"
_NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Errors of the system that only writing leads to."""
_LEFT_BY_THE_SYSTEM = {"thumbs.db", "desktop.ini"}


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is either absent, the old one, or the whole new one.

    Raises:
        Dp3dError: ``output.not_writable``.

    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".tmp", dir=path.parent
        )
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; give it the rights any new file would have.
        Path(temporary).chmod(new_file_mode())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise Dp3dError(
            "output.not_writable",
            f"{path.name} cannot be written in {path.parent} ({error.strerror}).",
            "Check free space and rights of the output folder, or choose another one.",
        ) from error


def not_writable(error: BaseException) -> Dp3dError | None:
    """The error for what the system refused to write; None where that is not what happened."""
    if not isinstance(error, OSError) or error.errno not in _NOT_WRITABLE:
        return None
    where = f"{error.filename} cannot be written" if error.filename else "A file cannot be written"
    return Dp3dError(
        "output.not_writable",
        f"{where} ({error.strerror}).",
        "Check free space and rights of the output folder and of the system's temporary one.",
    )


def new_file_mode() -> int:
    """Rights that any new file of this process gets (files made as temporary ones are private)."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically (UTF-8, indented, keys in the order given)."""
    write_atomic(path, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """What a JSON file holds; raises ``OSError``, or ``ValueError`` when it is not JSON."""
    try:
        return json.loads(Path(path).read_text("utf-8-sig"))  # Windows editors add a BOM
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_folder(folder: Path, markers: tuple[str, ...]) -> None:
    """Refuse an output folder that holds files of somebody else.

    Good are a folder that does not exist yet, an empty one, and one that we made, which has
    one of the ``markers``.  Hidden files and what file managers leave do not count.

    Args:
        folder: where we are about to write.
        markers: names of files of which we always write one first.

    Raises:
        Dp3dError: ``output.occupied``, ``output.not_writable``.

    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise Dp3dError(
            "output.occupied",
            f"{folder} is a file, and the results need a folder.",
            "Name a folder that is empty or does not exist yet.",
        )
    if any((folder / marker).is_file() for marker in markers):
        return
    try:
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise Dp3dError(
            "output.not_writable",
            f"The folder {folder} cannot be looked into ({error.strerror}).",
            "Check its rights, or choose another one.",
        ) from error
    foreign = [n for n in names if not n.startswith(".") and n.lower() not in _LEFT_BY_THE_SYSTEM]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise Dp3dError(
            "output.occupied",
            f"{folder} already holds files that are not from this command ({foreign[0]}{more}).",
            "Name a folder that is empty or does not exist yet: nothing of yours is overwritten.",
        )


@contextmanager
def output_folder(
    folder: Path, markers: tuple[str, ...], sources: tuple[Path, ...] = ()
) -> Iterator[Path]:
    """Hold an output folder for one command; see :func:`check_folder` for which are refused.

    Args:
        folder: where results go; made when absent, and removed again when nothing was written.
        markers: see :func:`check_folder`.
        sources: files that are read and must not lie among the results.

    Raises:
        Dp3dError: ``output.occupied``, ``output.in_use`` when another command is at it,
            ``output.not_writable``.

    """
    folder = Path(folder)
    check_folder(folder, markers)
    for source in sources:
        if folder.resolve() in source.resolve().parents:
            raise Dp3dError(
                "output.occupied",
                f"{source.name} lies in the output folder {folder}.",
                "Name another folder, so that no result can take its place.",
            )
    lock = FileLock(folder / _LOCK)
    try:
        held = lock.acquire()
    except OSError as error:
        raise Dp3dError(
            "output.not_writable",
            f"Nothing can be written in {folder} ({error.strerror}).",
            "Check free space and rights of the output folder, or choose another one.",
        ) from error
    if not held:
        raise Dp3dError(
            "output.in_use",
            f"Another dp3d command is writing to {folder}.",
            "Wait for it to end, or name another folder.",
        )
    try:
        yield folder
    finally:
        lock.release()
        # The lock file stays with the results (removing it could free a lock just taken), but
        # a command that came to nothing leaves nothing.
        if folder.is_dir() and [path.name for path in folder.iterdir()] == [_LOCK]:
            with suppress(OSError):
                (folder / _LOCK).unlink()
                folder.rmdir()
