# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: atomic writes, hashes, names that came over the network, the server's token file.

No bpy here: the worker thread uses this module.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .errors import AddonError

_SAFE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")

RECIPE = "run.json"
"""File of a run's folder that says how to repeat it."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then rename it: a reader never sees half of it."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise AddonError(
            "output.not_writable",
            f"{path.name} cannot be written in {path.parent} ({error.strerror}).",
            "Check free space and rights of the output folder, or choose another one.",
        ) from error


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def has_content(path: Path, sha256: str) -> bool:
    """Whether the file is there with exactly this content."""
    try:
        return sha256_file(path) == sha256
    except OSError:
        return False


def keep_only(folder: Path, names: Iterable[str]) -> None:
    """Remove files of a result's folder that belong to an earlier content."""
    wanted = {folder.joinpath(*PurePosixPath(name).parts) for name in names}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink(missing_ok=True)


def inside(folder: Path, name: str) -> Path:
    """Path of a file named by the server inside our folder.

    Raises:
        AddonError: ``server.not_ours`` for a name that is absolute, climbs out of the folder or
            holds unusual characters; our server never sends one.

    """
    parts = PurePosixPath(name).parts
    if not parts or len(parts) > 4 or not all(_SAFE_PART.fullmatch(part) for part in parts):
        raise AddonError(
            "server.not_ours",
            f"The server sent a file name that is not usable ({name[:80]!r}).",
            "Check the server address in the add-on's preferences.",
        )
    return folder.joinpath(*parts)


def server_home() -> Path:
    """Folder a server on this computer keeps its files in (``DP3D_HOME`` or the user's data)."""
    if home := os.environ.get("DP3D_HOME"):
        return Path(home).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "dp3d"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "dp3d"
    data = os.environ.get("XDG_DATA_HOME")
    if data and Path(data).is_absolute():
        return Path(data) / "dp3d"
    return Path.home() / ".local" / "share" / "dp3d"


def token_file() -> Path:
    """Where a server on this computer keeps its token."""
    return server_home() / "token"


def read_token_file() -> str:
    """The local server's token, or an empty string if there is none to read."""
    try:
        return token_file().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
