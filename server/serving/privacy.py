"""File permissions of the data folder, and the limit of open files."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

_DP3D_NAMES = re.compile(
    r"artifacts|logs|work|reserve|server\.lock|worker\.lock|\.?jobs\.([\w-]+\.)?sqlite([.-].*)?"
)
"""Names in a data folder that dp3d makes.

The database has a backup, damaged copies, and side files of each."""


def make_private(data: Path) -> None:
    """Remove the permissions of group and others from a data folder and dp3d's files in it.

    A folder with other files in it keeps its own permissions.  On Windows nothing is done: the
    user's folder protects its content.
    """
    if sys.platform == "win32":
        return
    contents = list(data.iterdir())
    of_dp3d = [path for path in contents if _DP3D_NAMES.fullmatch(path.name)]
    if len(of_dp3d) == len(contents):
        _make_file_private(data)
    for path in of_dp3d:
        make_tree_private(path)


def make_tree_private(path: Path) -> None:
    """Remove the permissions of group and others from a file, or a folder and its content."""
    if sys.platform == "win32":
        return
    for entry in _walk(path):
        _make_file_private(entry)


def _walk(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            yield from (Path(folder) / name for name in (*folders, *files))


def _make_file_private(path: Path) -> None:
    with contextlib.suppress(OSError):  # of another user
        mode = path.lstat().st_mode
        if mode & 0o077 and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & 0o700)


def raise_file_limit(wanted: int) -> int:
    """Raise this process's limit of open files, up to the hard limit.

    Args:
        wanted: number of files.

    Returns:
        the limit now, ``wanted`` when it is infinite or on Windows.

    """
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return wanted if soft == resource.RLIM_INFINITY else soft
