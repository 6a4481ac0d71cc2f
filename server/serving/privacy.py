"""Rights of the data folder, and the number of files that the server may have open."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

_OURS = re.compile(
    r"artifacts|logs|work|reserve|server\.lock|worker\.lock|\.?jobs\.([\w-]+\.)?sqlite([.-].*)?"
)
"""What a data folder holds; the database has a backup, damaged ones that were set aside, and side
files of each."""


def make_private(data: Path) -> None:
    """Take away what others may do in a data folder that an earlier server made.

    A folder that holds other things than ours keeps its own rights, ours in it do not.  Windows
    has no such rights: there the folder of the user protects what is in it.
    """
    if sys.platform == "win32":
        return
    contents = list(data.iterdir())
    ours = [path for path in contents if _OURS.fullmatch(path.name)]
    if len(ours) == len(contents):
        _close(data)
    for path in ours:
        close_all(path)


def close_all(path: Path) -> None:
    """Take away what others may do with a file, or with a folder and all that is in it."""
    if sys.platform == "win32":
        return
    for each in _below(path):
        _close(each)


def _below(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            yield from (Path(folder) / name for name in (*folders, *files))


def _close(path: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else's: not ours to change
        mode = path.lstat().st_mode
        if mode & 0o077 and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & 0o700)


def raise_file_limit(wanted: int) -> int:
    """Let this process open more files, as far as it may; returns how many it may then."""
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            soft = more
    return wanted if soft == resource.RLIM_INFINITY else soft
