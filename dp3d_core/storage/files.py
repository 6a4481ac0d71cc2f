"""Reading and writing files: atomic writes, limited reads, hashes, and output folders.

An output folder is refused where it holds files that dp3d did not write.  Standard library only;
``filelock`` for locks on output folders.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.locks import try_lock

_LOCK = ".dp3d.lock"
"""Lock file of an output folder."""
_NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Error numbers that only writing causes."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
"""Error numbers of a full disk or quota."""
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}
"""Files that Windows leaves in folders, in lower case."""
_BAD_PATH = {errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.EINVAL}
"""Error numbers for a path that no file can have."""
_OWN_JSON_BYTES = 64 * 2**20
"""Largest size of a JSON file written by dp3d."""
HASH_CHUNK = 2**24
"""Bytes that are hashed in one piece."""


def is_file(path: Path) -> bool:
    """Whether a path leads to a regular file; False for an impossible path."""
    return _leads_to(Path.is_file, path)


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; False for an impossible path."""
    return _leads_to(Path.is_dir, path)


def _leads_to(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(Path(path))
    except ValueError:
        return False
    except OSError as error:
        if error.errno in _BAD_PATH:
            return False
        raise


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; pipes and devices could block or never end.

    Raises:
        OSError: also for a path that is not a regular file.

    """
    return open(path, "rb", opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    # non-blocking: opening a pipe without a writer would block
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device"}
        kind = kinds.get(stat.S_IFMT(mode), "a special file")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", path)
    return handle


def read_limited(path: Path, most_bytes: int) -> bytes:
    """Contents of a regular file of limited size.

    Raises:
        OSError: see :func:`open_regular`.
        ValueError: the file has more than ``most_bytes``.

    """
    with open_regular(path) as file:
        is_larger = os.fstat(file.fileno()).st_size > most_bytes
        data = b"" if is_larger else file.read(most_bytes + 1)  # it may grow while it is read
    if is_larger or len(data) > most_bytes:
        raise ValueError(f"{Path(path).name} has more than {most_bytes / 1e6:.0f} MB")
    return data


def hash_file(path: Path, chunk_done: Callable[[], object] = lambda: None) -> str:
    """SHA-256 of a file's contents, hexadecimal.

    Args:
        path: the file.
        chunk_done: called after every :data:`HASH_CHUNK` bytes and at the end.

    Raises:
        OSError: the file cannot be read.

    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
            chunk_done()
    return digest.hexdigest()


def check_output_path(path: Path) -> None:
    """Refuse a path that no file can have; raises ``output.not_writable``."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        if number not in {None, *_BAD_PATH}:
            return  # problems of parent folders are reported on writing
        why = getattr(error, "strerror", None) or str(error)
        raise Dp3dError(
            "output.not_writable",
            f"{Path(path).name:.60} cannot be written ({why}).",
            "Choose a shorter and simpler name.",
        ) from error


def write_atomic(path: Path, data: bytes, *, is_private: bool = False) -> None:
    """Write a file atomically: the path has the old contents or all of the new ones.

    Args:
        path: the file; its folder is made when absent.
        data: contents.
        is_private: whether only the user may read the file.

    Raises:
        Dp3dError: ``output.not_writable``, ``storage.full``.

    """
    write_together({Path(path): data}, is_private=is_private)


def write_together(files: Mapping[Path, bytes], *, is_private: bool = False) -> None:
    """Write several files, each atomically, in the order given.

    All are on the disk under temporary names before the first is renamed, so a full disk leaves the
    old files unchanged.

    Args:
        files: contents by path.
        is_private: whether only the user may read the files.

    Raises:
        Dp3dError: ``output.not_writable``, ``storage.full``.

    """
    temporary: dict[Path, Path] = {}
    path = Path()
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # a short prefix: the longest file names leave no room for more
            handle, name = tempfile.mkstemp(
                prefix=f".{path.name[:32]}.", suffix=".tmp", dir=path.parent
            )
            temporary[path] = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not is_private:  # mkstemp makes private files
                Path(name).chmod(new_file_mode())
        for path in files:
            temporary[path].replace(path)
            del temporary[path]
    except OSError as error:
        raise Dp3dError(
            refusal_code(error),
            f"{path.name} cannot be written in {path.parent} ({error.strerror}).",
            "Check free space and rights of the output folder, or choose another one.",
        ) from error
    finally:
        for temporary_file in temporary.values():
            temporary_file.unlink(missing_ok=True)


def refusal_code(error: OSError) -> str:
    """``storage.full`` for a disk or quota that is used up, else ``output.not_writable``."""
    return "storage.full" if error.errno in _FULL else "output.not_writable"


def not_writable(error: BaseException) -> Dp3dError | None:
    """Error for a failed write; None for exceptions with another cause."""
    if not isinstance(error, OSError) or error.errno not in _NOT_WRITABLE:
        return None
    where = f"{error.filename} cannot be written" if error.filename else "A file cannot be written"
    return Dp3dError(
        refusal_code(error),
        f"{where} ({error.strerror}).",
        "Check free space and rights of the output folder and of the system's temporary one.",
    )


def new_file_mode() -> int:
    """Permission bits of a new file of this process under its umask."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically (UTF-8, indented, keys in the order given)."""
    write_atomic(path, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Parsed contents of a JSON file; raises ``OSError``, or ``ValueError`` if it is not JSON."""
    try:
        # Windows editors add a BOM
        return json.loads(read_limited(path, _OWN_JSON_BYTES).decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_folder(folder: Path, markers: tuple[str, ...]) -> None:
    """Refuse an output folder that holds files that dp3d did not write.

    Accepted are a folder that does not exist, an empty one, and one with one of the ``markers``.
    Hidden files and files of file managers do not count.

    Args:
        folder: output folder.
        markers: file names, one of which dp3d writes first into such a folder.

    Raises:
        Dp3dError: ``output.occupied``, ``output.not_writable``.

    """
    folder = Path(folder)
    check_output_path(folder)
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
    foreign = [
        name for name in names if not name.startswith(".") and name.lower() not in _SYSTEM_FILES
    ]
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise Dp3dError(
            "output.occupied",
            f"{folder} already holds files that are not from this command ({foreign[0]}{others}).",
            "Name a folder that is empty or does not exist yet: nothing of yours is overwritten.",
        )


@contextmanager
def output_folder(
    folder: Path, markers: tuple[str, ...], sources: tuple[Path, ...] = ()
) -> Iterator[Path]:
    """Lock an output folder for one command, after :func:`check_folder`.

    Args:
        folder: output folder; made when absent, and removed if nothing is written.
        markers: see :func:`check_folder`.
        sources: input files, which must not lie in the folder.

    Raises:
        Dp3dError: ``output.occupied``, ``output.in_use`` if another command holds the lock,
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
    try:
        lock = try_lock(folder / _LOCK)
    except OSError as error:
        raise Dp3dError(
            "output.not_writable",
            f"Nothing can be written in {folder} ({error.strerror}).",
            "Check free space and rights of the output folder, or choose another one.",
        ) from error
    if lock is None:
        raise Dp3dError(
            "output.in_use",
            f"Another dp3d command is writing to {folder}.",
            "Wait for it to end, or name another folder.",
        )
    try:
        yield folder
    finally:
        lock.release()
        # The lock file stays with the results, as removing it could release a lock just taken.
        # A folder without results is removed.
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {_LOCK}:
            with suppress(OSError):
                (folder / _LOCK).unlink(missing_ok=True)  # filelock removes it on Windows
                folder.rmdir()
