"""Content-addressed storage: files by SHA-256, and folders as trees of files.

All files that cross the network go through this store, and no path comes from a client.  A file
is written under a temporary name, checked against its hash, and renamed, so that readers never
see a partial file.  A *tree* is a JSON document with the names, hashes and sizes of a folder's
files.  Clients send trees, too, so their file names are checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import hash_file, refusal_code
from server.storage.bounded_json import parse_bounded

TREE_SCHEMA = "dp3d.tree/1"
"""Schema of a tree document."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
"""Form of a hash."""
_NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+ -]{0,119}\Z")
"""Form of a folder or file name in a tree: excludes parent folders, drives, streams, hidden files.
"""
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?\Z", re.IGNORECASE)
"""Names of devices on Windows, which a tree must not have."""
_MAX_TREE_FILES = 20_000
"""Largest number of files in a tree."""
MAX_TREE_TOTAL = 32 * 1024**3
"""Largest total size of a tree's files, bytes; a file with two names counts twice."""
MIN_FREE_BYTES = 8 * 1024**2
"""Free bytes that are always left on the disk."""
MAX_TREE_BYTES = 16 * 1024 * 1024
"""Largest size of a tree document, bytes."""
_CHUNK = 1024 * 1024
"""Bytes that are copied at once."""


@dataclass(frozen=True)
class Artifact:
    """A stored file."""

    sha256: str
    size: int
    """Bytes."""

    def to_dict(self) -> dict[str, Any]:
        """Members of the artifact in the API."""
        return {"sha256": self.sha256, "size": self.size}


def check_sha256(text: Any) -> str:
    """Return ``text`` if it is a SHA-256 in lower-case hex; else raise ``artifact.not_found``."""
    if not isinstance(text, str) or not _SHA256.match(text):
        raise Dp3dError(
            "artifact.not_found",
            "An artifact is named by the 64 lower-case hex digits of its SHA-256.",
            "Send the file first with PUT /v1/artifacts/{sha256} and use the same hash.",
        )
    return text


def check_tree_name(name: Any) -> str:
    """Return ``name`` if it is a relative path that stays inside its folder on every platform.

    Raises:
        Dp3dError: ``artifact.bad_tree``.

    """
    parts = name.split("/") if isinstance(name, str) else []
    if (
        not parts
        or len(name) > 240
        or len(parts) > 8
        or not all(_NAME_PART.match(part) for part in parts)
        or any(_WINDOWS_DEVICES.match(part) or part[-1] in ". " for part in parts)
    ):
        raise _bad_tree(f"the file name {str(name)[:80]!r} is not allowed")
    return str(name)


def _bad_tree(reason: str) -> Dp3dError:
    return Dp3dError(
        "artifact.bad_tree",
        f"The folder cannot be used: {reason}.",
        "Send a dp3d.tree/1 document whose files were all sent before.",
    )


def disk_full(problem: str = "The disk of the server has no room for this.") -> Dp3dError:
    """The error ``storage.full``."""
    return Dp3dError(
        "storage.full",
        problem,
        "Free space on the disk of the server's data folder, then try again: nothing was lost, and "
        "jobs that wait go on by themselves.",
    )


def check_disk_space(folder: Path, size: int) -> None:
    """Check that the disk has space for a file and ``MIN_FREE_BYTES`` more.

    Args:
        folder: on the disk to be written to.
        size: bytes to be written.

    Raises:
        Dp3dError: ``storage.full``.

    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # unknown: the write itself will show
        return
    if size + MIN_FREE_BYTES > free:
        raise disk_full()


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn ``OSError`` into ``storage.full`` or ``output.not_writable``."""
    try:
        yield
    except OSError as error:
        if refusal_code(error) == "storage.full":
            raise disk_full() from error
        raise Dp3dError(
            "output.not_writable",
            f"A file cannot be stored ({error.strerror}).",
            "Check free space and rights of the data folder of the server.",
        ) from error


class Upload:
    """A file being received: :meth:`write` its chunks, then :meth:`commit` or :meth:`abort`.

    Args:
        store: that the file is for.
        sha256: the hash that the client declared.
        limit: largest size in bytes; None for no limit.

    """

    def __init__(self, store: ArtifactStore, sha256: str, limit: int | None) -> None:
        self._store, self._sha256, self._limit = store, sha256, limit
        self._digest, self._size = hashlib.sha256(), 0
        with _disk_errors():
            handle, self._temporary = tempfile.mkstemp(suffix=".tmp", dir=store.incoming)
        self._file: IO[bytes] = os.fdopen(handle, "wb")

    def write(self, chunk: bytes) -> None:
        """Add a chunk; raises ``artifact.too_large`` beyond the limit."""
        self._size += len(chunk)
        if self._limit is not None and self._size > self._limit:
            raise too_large(self._limit)
        self._digest.update(chunk)
        with _disk_errors():
            self._file.write(chunk)

    def commit(self) -> Artifact:
        """Check the hash and move the file into the store.

        Raises:
            Dp3dError: ``artifact.hash_mismatch``, ``storage.full``, ``output.not_writable``.

        """
        sha256 = self._digest.hexdigest()
        if sha256 != self._sha256:
            raise Dp3dError(
                "artifact.hash_mismatch",
                f"The {self._size} bytes received have the SHA-256 {sha256}.",
                "Compute the hash of exactly the bytes that are sent, and send them again.",
            )
        with _disk_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            target = self._store.path(self._sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not _mark_used(target):
                Path(self._temporary).replace(target)
        return Artifact(sha256, self._size)

    def abort(self) -> None:
        """Delete the received bytes; does nothing after :meth:`commit`."""
        with suppress(OSError):  # closing flushes, which fails on a full disk
            self._file.close()
        with suppress(OSError):
            Path(self._temporary).unlink(missing_ok=True)


def too_large(limit: int) -> Dp3dError:
    """The error for an upload beyond ``limit`` bytes."""
    return Dp3dError(
        "artifact.too_large",
        f"The file is larger than the {limit / 2**20:.0f} MiB this server takes.",
        "Send a smaller picture: 4096 pixels along the longer side are plenty.",
    )


class ArtifactStore:
    """Artifacts in one folder; safe for several processes at once.

    Attributes:
        root: folder of the artifacts.
        incoming: folder of unfinished uploads, inside ``root``.

    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Path of an artifact, stored or not; raises ``artifact.not_found`` for an invalid hash."""
        check_sha256(sha256)
        return self.root / sha256[:2] / sha256

    def find(self, sha256: str) -> Path:
        """Path of a stored artifact; raises ``artifact.not_found``."""
        path = self.path(sha256)
        if not path.is_file():
            raise _not_found(sha256)
        return path

    def use(self, sha256: str) -> Path:
        """Path of a stored artifact, marked as used now, so that garbage collection spares it.

        Raises:
            Dp3dError: ``artifact.not_found``.

        """
        path = self.find(sha256)
        if not _mark_used(path):
            path = self.find(sha256)
        return path

    def open(self, sha256: str) -> IO[bytes]:
        """Open a stored artifact and mark it as used now.

        The handle reads the whole file even if the artifact is removed meanwhile.

        Raises:
            Dp3dError: ``artifact.not_found``.

        """
        try:
            return self.use(sha256).open("rb")
        except FileNotFoundError:  # removed after use()
            raise _not_found(sha256) from None

    def use_tree(self, sha256: str) -> dict[str, Artifact]:
        """:meth:`read_tree`, the tree and its files noted as used now."""
        files = self.read_tree(sha256)
        self.use(sha256)
        for artifact in {artifact.sha256 for artifact in files.values()}:
            self.use(artifact)
        return files

    def receive(self, sha256: str, limit: int | None = None) -> Upload:
        """Start an upload of at most ``limit`` bytes."""
        return Upload(self, check_sha256(sha256), limit)

    def clean_incoming(self) -> None:
        """Remove files of interrupted uploads; call it only while no upload runs."""
        for leftover in self.incoming.iterdir():
            with suppress(OSError):  # for example a folder of another program
                leftover.unlink(missing_ok=True)

    def add_bytes(self, data: bytes) -> Artifact:
        """Store bytes."""
        artifact = Artifact(hashlib.sha256(data).hexdigest(), len(data))
        if not _mark_used(self.path(artifact.sha256)):
            check_disk_space(self.root, artifact.size)
            self._receive_all(artifact.sha256, iter([data]))
        return artifact

    def add_file(self, path: Path) -> Artifact:
        """Store a copy of a file.

        A copy and not a hard link: a later write to the source must not change the artifact.
        """
        artifact = Artifact(hash_file(path), path.stat().st_size)
        if not _mark_used(self.path(artifact.sha256)):
            check_disk_space(self.root, artifact.size)
            with path.open("rb") as file:
                self._receive_all(artifact.sha256, iter(lambda: file.read(_CHUNK), b""))
        return artifact

    def _receive_all(self, sha256: str, chunks: Iterator[bytes]) -> None:
        upload = self.receive(sha256)
        try:
            for chunk in chunks:
                upload.write(chunk)
            upload.commit()
        finally:
            upload.abort()

    def add_tree(self, folder: Path) -> Artifact:
        """Store every file of a folder, and their tree; returns the tree.

        Hidden and unfinished files (``.name.xyz.tmp``) are left out.

        Raises:
            Dp3dError: ``artifact.bad_tree`` for a link or a file name that a tree does not allow,
                ``storage.full``, ``output.not_writable``.

        """
        files: dict[str, dict[str, Any]] = {}
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if any(part.startswith(".") for part in relative.parts) or path.is_dir():
                continue
            if path.is_symlink() or not path.is_file():
                raise _bad_tree(f"{relative} is not a plain file")
            files[check_tree_name(relative.as_posix())] = self.add_file(path).to_dict()
        document = {"schema": TREE_SCHEMA, "files": files}
        return self.add_bytes(json.dumps(document, separators=(",", ":")).encode())

    def read_tree(self, sha256: str) -> dict[str, Artifact]:
        """Files of a stored tree, by name; all of them are stored.

        Raises:
            Dp3dError: ``artifact.not_found`` for the tree or one of its files,
                ``artifact.bad_tree`` for an invalid document.

        """
        path = self.find(sha256)
        if path.stat().st_size > MAX_TREE_BYTES:
            raise _bad_tree("the document is too large")
        files = parse_tree(path.read_bytes())
        for name, artifact in files.items():
            if self.find(artifact.sha256).stat().st_size != artifact.size:
                raise _bad_tree(f"the size of {name} is wrong")
        return files

    def materialise(self, sha256: str, folder: Path) -> Path:
        """Copy a tree into a folder; resumes an interrupted call.

        Files of equal content are hard links to one copy where the file system allows it, so that
        the folder needs no more space than the artifacts.  Changes of the copies do not reach the
        store.

        Raises:
            Dp3dError: as :meth:`read_tree`, and ``storage.full`` before anything is written.

        """
        files = self.read_tree(sha256)
        missing = {
            name: artifact
            for name, artifact in files.items()
            # Files appear by a rename, complete, and a folder belongs to one tree.
            if not _has_size(folder / PurePosixPath(name), artifact.size)
        }
        distinct = {artifact.sha256: artifact.size for artifact in missing.values()}
        check_disk_space(self.root, sum(distinct.values()))
        copies: dict[str, Path] = {}
        for name, artifact in missing.items():
            target = folder / PurePosixPath(name)
            with _disk_errors():
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{target.name}.tmp")
                temporary.unlink(missing_ok=True)
                if not _link(copies.get(artifact.sha256), temporary):
                    if artifact.sha256 in copies:
                        check_disk_space(self.root, artifact.size)
                    shutil.copyfile(self.find(artifact.sha256), temporary)
                temporary.replace(target)
            copies[artifact.sha256] = target
        return folder


def _not_found(sha256: str) -> Dp3dError:
    return Dp3dError(
        "artifact.not_found",
        f"There is no artifact {sha256[:12]}... on this server.",
        "Send the file with PUT /v1/artifacts/{sha256} before using it.",
    )


def _mark_used(path: Path) -> bool:
    """Set a file's time to now; False when it does not exist."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # a file system without file times
        return path.is_file()
    return True


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _link(source: Path | None, target: Path) -> bool:
    """Make a hard link; False where that is not possible."""
    if source is None:
        return False
    try:
        target.hardlink_to(source)
    except (OSError, NotImplementedError):  # a file system without links, or too many of them
        return False
    return True


def parse_tree(document: bytes) -> dict[str, Artifact]:
    """Files of a tree document, by name; raises ``artifact.bad_tree``.

    Brackets and values are counted before the document is parsed: parsing 16 MiB of brackets would
    block the process.
    """
    try:
        data = parse_bounded(document)
        if data["schema"] != TREE_SCHEMA:
            raise ValueError(f"schema {data['schema']!r}")
        entries = data["files"]
        if len(entries) > _MAX_TREE_FILES:
            raise ValueError(f"{len(entries)} files")
        files: dict[str, Artifact] = {}
        for name, entry in entries.items():
            size = entry["size"]
            if not _SHA256.match(entry["sha256"]) or type(size) is not int or size < 0:
                raise ValueError(f"entry {entry!r}")
            files[check_tree_name(name)] = Artifact(entry["sha256"], size)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _bad_tree(f"it is not a {TREE_SCHEMA} document ({str(error)[:120]})") from error
    _check_name_clashes(files)
    if sum(artifact.size for artifact in files.values()) > MAX_TREE_TOTAL:
        raise _bad_tree(f"its files have more than {MAX_TREE_TOTAL >> 30} GiB together")
    return files


def _check_name_clashes(files: dict[str, Artifact]) -> None:
    # "a" and "a/b"; and "A" and "a", which are one file on case-insensitive file systems.
    lowered = {name.lower() for name in files}
    if len(lowered) != len(files):
        raise _bad_tree("two names differ only in capitals")
    for name in lowered:
        for parent in PurePosixPath(name).parents:
            if parent.as_posix() in lowered:
                raise _bad_tree(f"{parent} is both a file and a folder")
