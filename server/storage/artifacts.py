"""Files by content hash, and folders as trees of them.

Everything that crosses the network goes through here: nothing is found by a path that a
client chose.  A file is written under a temporary name, checked against its hash, and renamed;
a reader never sees half of one.  A *tree* is a JSON document that names the files of a folder
and their hashes.  Trees come from clients too, so their file names are not trusted.
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

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# Letters, digits and a few signs, no leading dot: no parent folder, drive, stream or hidden file.
_NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+ -]{0,119}\Z")
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?\Z", re.IGNORECASE)
_MAX_TREE_FILES = 20_000
MAX_TREE_TOTAL = 32 * 1024**3
"""Bytes of all files of a tree, each name counted."""
KEPT_FREE = 8 * 1024**2
"""Bytes of the disk that are never taken."""
MAX_TREE_BYTES = 16 * 1024 * 1024
"""Bytes of the document itself."""
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Artifact:
    """A stored file."""

    sha256: str
    size: int
    """Bytes."""

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"sha256": self.sha256, "size": self.size}


def check_sha256(text: Any) -> str:
    """``text`` if it is a SHA-256 in lower-case hex; raises ``artifact.not_found`` otherwise."""
    if not isinstance(text, str) or not _SHA256.match(text):
        raise Dp3dError(
            "artifact.not_found",
            "An artifact is named by the 64 lower-case hex digits of its SHA-256.",
            "Send the file first with PUT /v1/artifacts/{sha256} and use the same hash.",
        )
    return text


def check_tree_name(name: Any) -> str:
    """``name`` if it is a relative file name that stays inside its folder on every platform.

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


def _bad_tree(why: str) -> Dp3dError:
    return Dp3dError(
        "artifact.bad_tree",
        f"The folder cannot be used: {why}.",
        "Send a dp3d.tree/1 document whose files were all sent before.",
    )


def disk_full(problem: str = "The disk of the server has no room for this.") -> Dp3dError:
    """The error for a disk without room."""
    return Dp3dError(
        "storage.full",
        problem,
        "Free space on the disk of the server's data folder, then try again: nothing was lost, and "
        "jobs that wait go on by themselves.",
    )


def ask_for_space(folder: Path, size: int) -> None:
    """Refuse what would fill the disk.

    Args:
        folder: on the disk that is written to.
        size: bytes that are about to be written.

    Raises:
        Dp3dError: ``storage.full``.

    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # a disk that does not say is asked by writing
        return
    if size + KEPT_FREE > free:
        raise disk_full()


@contextmanager
def _disk_errors() -> Iterator[None]:
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
    """A file being received: :meth:`write` its chunks, then :meth:`commit` or :meth:`abort`."""

    def __init__(self, store: ArtifactStore, sha256: str, limit: int | None) -> None:
        self._store, self._sha256, self._limit = store, sha256, limit
        self._digest, self._size = hashlib.sha256(), 0
        with _disk_errors():
            handle, self._temporary = tempfile.mkstemp(suffix=".tmp", dir=store.incoming)
        self._file: IO[bytes] = os.fdopen(handle, "wb")

    def write(self, chunk: bytes) -> None:
        """Take a chunk; raises ``artifact.too_large`` beyond the limit."""
        self._size += len(chunk)
        if self._limit is not None and self._size > self._limit:
            raise too_large(self._limit)
        self._digest.update(chunk)
        with _disk_errors():
            self._file.write(chunk)

    def commit(self) -> Artifact:
        """Check the hash and put the file in its place.

        Raises:
            Dp3dError: ``artifact.hash_mismatch``, ``storage.full``, ``output.not_writable``.

        """
        found = self._digest.hexdigest()
        if found != self._sha256:
            raise Dp3dError(
                "artifact.hash_mismatch",
                f"The {self._size} bytes received have the SHA-256 {found}.",
                "Compute the hash of exactly the bytes that are sent, and send them again.",
            )
        with _disk_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            target = self._store.path(self._sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not _touch(target):
                Path(self._temporary).replace(target)
        return Artifact(found, self._size)

    def abort(self) -> None:
        """Forget what was received; harmless after :meth:`commit`."""
        with suppress(OSError):  # closing flushes, and a full disk refuses that again
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
    """The content-addressed files under one folder; safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the file of that hash is or would be."""
        check_sha256(sha256)
        return self.root / sha256[:2] / sha256

    def find(self, sha256: str) -> Path:
        """The stored file; raises ``artifact.not_found``."""
        path = self.path(sha256)
        if not path.is_file():
            raise _not_found(sha256)
        return path

    def use(self, sha256: str) -> Path:
        """The stored file, noted as used now, so that no collection takes it for forgotten.

        Raises:
            Dp3dError: ``artifact.not_found``.

        """
        path = self.find(sha256)
        if not _touch(path):
            path = self.find(sha256)
        return path

    def open(self, sha256: str) -> IO[bytes]:
        """The stored file, opened for reading and noted as used now; whole also when removed.

        Raises:
            Dp3dError: ``artifact.not_found``.

        """
        try:
            return self.use(sha256).open("rb")
        except FileNotFoundError:  # removed between the two
            raise _not_found(sha256) from None

    def use_tree(self, sha256: str) -> dict[str, Artifact]:
        """:meth:`read_tree`, the tree and its files noted as used now."""
        files = self.read_tree(sha256)
        self.use(sha256)
        for artifact in {artifact.sha256 for artifact in files.values()}:
            self.use(artifact)
        return files

    def receive(self, sha256: str, limit: int | None = None) -> Upload:
        """Start to receive a file of at most ``limit`` bytes."""
        return Upload(self, check_sha256(sha256), limit)

    def clean_incoming(self) -> None:
        """Remove what interrupted uploads left behind (only while nothing is being received)."""
        for leftover in self.incoming.iterdir():
            with suppress(OSError):  # a folder of somebody else's, say
                leftover.unlink(missing_ok=True)

    def add_bytes(self, data: bytes) -> Artifact:
        """Store bytes."""
        artifact = Artifact(hashlib.sha256(data).hexdigest(), len(data))
        if not _touch(self.path(artifact.sha256)):
            ask_for_space(self.root, artifact.size)
            self._receive_all(artifact.sha256, iter([data]))
        return artifact

    def add_file(self, path: Path) -> Artifact:
        """Store a copy of a file.

        A copy, not a hard link: a program that later appends to its own file must not be able
        to change what a hash stands for.
        """
        artifact = Artifact(hash_file(path), path.stat().st_size)
        if not _touch(self.path(artifact.sha256)):
            ask_for_space(self.root, artifact.size)
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
        """Store every file of a folder, and the tree that names them.

        Hidden files and unfinished ones (``.name.xyz.tmp``) are left out; links are refused.
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
        """Files of a stored tree, by name, all of them present.

        Raises:
            Dp3dError: ``artifact.not_found`` for the tree or one of its files,
                ``artifact.bad_tree`` when it is not one or names a file outside its folder.

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
        """Copy a tree into a folder, file by file; goes on where an earlier call stopped.

        Files of equal content are one copy with several names, where the file system has hard
        links: a tree takes no more of the disk than the artifacts it is made of.  The copies
        are the folder's own, the stored files never change with them.

        Raises:
            Dp3dError: as :meth:`read_tree`, and ``storage.full`` before anything is written.

        """
        files = self.read_tree(sha256)
        missing = {
            name: artifact
            for name, artifact in files.items()
            # Whole files only ever arrive by a rename, and a folder is of one tree.
            if not _has_size(folder / PurePosixPath(name), artifact.size)
        }
        distinct = {artifact.sha256: artifact.size for artifact in missing.values()}
        ask_for_space(self.root, sum(distinct.values()))
        copies: dict[str, Path] = {}
        for name, artifact in missing.items():
            target = folder / PurePosixPath(name)
            with _disk_errors():
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{target.name}.tmp")
                temporary.unlink(missing_ok=True)
                if not _link(copies.get(artifact.sha256), temporary):
                    if artifact.sha256 in copies:
                        ask_for_space(self.root, artifact.size)
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


def _touch(path: Path) -> bool:
    """Note that a file is used; False when it is not there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # a file system without times: what is there is there
        return path.is_file()
    return True


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _link(source: Path | None, target: Path) -> bool:
    """Give a file another name; False where that cannot be done."""
    if source is None:
        return False
    try:
        target.hardlink_to(source)
    except (OSError, NotImplementedError):  # a file system without links, or too many of them
        return False
    return True


def parse_tree(document: bytes) -> dict[str, Artifact]:
    """Files of a tree document, by name; raises ``artifact.bad_tree``.

    What it is made of is counted before it is read: a document of 16 MiB that is all brackets
    would hold up everything else in the process.
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
    _check_no_clash(files)
    if sum(artifact.size for artifact in files.values()) > MAX_TREE_TOTAL:
        raise _bad_tree(f"its files have more than {MAX_TREE_TOTAL >> 30} GiB together")
    return files


def _check_no_clash(files: dict[str, Artifact]) -> None:
    # "a" and "a/b", or "A" and "a" where the file system does not tell them apart.
    lowered = {name.lower() for name in files}
    if len(lowered) != len(files):
        raise _bad_tree("two names differ only in capitals")
    for name in lowered:
        for parent in PurePosixPath(name).parents:
            if parent.as_posix() in lowered:
                raise _bad_tree(f"{parent} is both a file and a folder")
