"""Downloads published checkpoints from the Hugging Face hub, and resumes interrupted downloads.

The hub's client starts a download again in every process, which would lose up to 11 GB.  Here a
part is kept and resumed, with the client's requests, retries and credentials.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import Variant
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.storage.files import read_json, refusal_code, write_json
from dp3d_core.storage.locks import try_lock
from dp3d_core.storage.paths import dp3d_home
from dp3d_core.weights.installed import SOURCES, Source, hash_with_progress, how, make_folder

_IS_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHUNK = 1 << 24
"""Bytes per step of progress."""
_NEWEST = "main"
"""Branch of the newest published file."""


@dataclass(frozen=True)
class Fetched:
    """A downloaded file."""

    path: Path
    commit: str | None
    """Commit of the repository that the file is from; None: unknown."""
    sha256: str | None
    """Hash that the hub states; None: unknown."""


def downloads_folder() -> Path:
    """Folder of the downloads."""
    return dp3d_home() / "downloads"


def fetch(
    variant: Variant,
    revision: str | None = None,
    *,
    endpoint: str | None = None,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Fetched:
    """The published file of a variant, from the hub or from a cache on this machine.

    An interrupted download is resumed.  Without a network, a local file is used: one of an earlier
    call, or one in the cache of the hub's client.  The import compares the file's hash with the
    hub's.

    Args:
        variant: variant whose file is on the hub.
        revision: commit, tag or branch on the hub; files of a commit never change.  None: the
            newest, and without a network any local file.
        endpoint: address of a mirror of the hub; None: the client's setting.
        progress: stage ``download``.
        cancel: polled while downloading; the part is kept.

    Raises:
        Dp3dError: ``weights.missing`` for a file that must be downloaded by hand,
            ``weights.download_failed``, ``weights.damaged``, ``output.not_writable``,
            ``output.in_use``, ``storage.full``, ``job.cancelled``.

    """
    source = SOURCES[variant]
    if source.repository is None:
        raise Dp3dError(
            "weights.missing", f"{source.file} cannot be downloaded by a program.", how(variant)
        )
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    target = downloads_folder() / source.file
    if revision is not None and _COMMIT.fullmatch(revision):  # files of a commit never change
        for local in (_in_clients_cache(source, revision), _earlier_download(target, revision)):
            if local is not None:
                return local
    try:
        url = hf_hub_url(
            source.repository, source.file, revision=revision or _NEWEST, endpoint=endpoint
        )
        remote = get_hf_file_metadata(url, endpoint=endpoint)
    except Exception as error:  # the client and its transport fail in many ways
        for local in (
            _earlier_download(target, revision),
            _in_clients_cache(source, revision or _NEWEST),
        ):
            if local is not None:
                return local
        raise _download_error(source, error) from error
    sha256 = remote.etag if remote.etag and _IS_SHA256.fullmatch(remote.etag) else None
    for local in (
        _earlier_download(target),
        _in_clients_cache(source, remote.commit_hash or _NEWEST),
    ):
        if local is not None and sha256 is not None and local.sha256 == sha256:
            return local
    make_folder(target.parent)
    lock = try_lock(target.with_name(f".{target.name}.lock"))
    if lock is None:
        raise Dp3dError(
            "output.in_use",
            f"Another command is downloading {source.file}.",
            "Wait until it has ended.",
        )
    try:
        part = target.with_name(f"{target.name}.{(sha256 or remote.commit_hash or 'x')[:12]}.part")
        _download(source, url, remote.location, part, remote.size, progress, cancel)
        if sha256 is not None and hash_with_progress(part, progress, cancel) != sha256:
            part.unlink()
            raise Dp3dError(
                "weights.damaged",
                f"{source.file} came with other contents than the hub tells of.",
                "Run the same command again: it starts the download anew.",
            )
        for old in target.parent.glob(f"{target.name}.*.part"):
            if old != part:  # a part of a file that the hub has replaced
                old.unlink(missing_ok=True)
        fetched = Fetched(target, remote.commit_hash, sha256)
        record = {**asdict(fetched), "path": target.name, "revision": revision or _NEWEST}
        try:
            write_json(_record_path(target), record)
            part.replace(target)
        except OSError as error:
            raise _not_writable(target.parent, error) from error
    finally:
        lock.release()
    return fetched


def _record_path(file: Path) -> Path:
    """JSON file beside a finished download with its commit, revision and hash."""
    return file.with_name(f"{file.name}.json")


def _earlier_download(file: Path, revision: str | None = None) -> Fetched | None:
    """The file of an earlier download, of that revision if one is given, or None."""
    if not file.is_file():
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = read_json(_record_path(file))
        if revision in {None, record["revision"], record["commit"]}:
            return Fetched(file, record["commit"], record["sha256"])
    return None


def _in_clients_cache(source: Source, revision: str) -> Fetched | None:
    from huggingface_hub import try_to_load_from_cache

    assert source.repository is not None
    cached = try_to_load_from_cache(source.repository, source.file, revision=revision)
    if not isinstance(cached, str):
        return None
    # snapshots/COMMIT/FILE, a link to blobs/SHA-256 where the system has links
    path = Path(cached)
    commit, sha256 = path.parent.name, path.resolve().name
    return Fetched(
        path,
        commit if _COMMIT.fullmatch(commit) else None,
        sha256 if _IS_SHA256.fullmatch(sha256) else None,
    )


class _CountingFile:
    """A file that reports the bytes written to it."""

    def __init__(self, file: BinaryIO, written: Callable[[int], None]) -> None:
        self._file, self._written = file, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        count = self._file.write(data)
        self._written(count)
        return count


def _download(
    source: Source,
    asked: str,
    url: str,
    part: Path,
    size: int | None,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers()
    if (
        urlsplit(url).netloc != urlsplit(asked).netloc
    ):  # a content network must not get the credentials
        headers.pop("authorization", None)
    done = part.stat().st_size if part.is_file() else 0
    if size is not None and done > size:
        part.unlink()
        done = 0
    free = shutil.disk_usage(part.parent).free
    if size is not None and free < size - done:
        raise Dp3dError(
            "storage.full",
            f"{source.file} needs {(size - done) / 1e9:.1f} GB in {part.parent}, where "
            f"{free / 1e9:.1f} GB are free.",
            "Make room, or set DP3D_HOME to another disk.",
        )
    chunks = max(1, -(-(size or 1) // _CHUNK))
    stage = Stage(
        "download", chunks, progress, cancel, f"Downloading {source.file}", start=done // _CHUNK
    )
    waiting = done % _CHUNK

    def written(count: int) -> None:
        nonlocal waiting
        waiting += count
        if steps := waiting // _CHUNK:
            waiting -= steps * _CHUNK
            stage.advance(steps=steps)

    try:
        with part.open("ab") as file:
            http_get(
                url,
                cast(BinaryIO, _CountingFile(file, written)),
                resume_size=done,
                headers=headers,
                expected_size=size,
                displayed_filename=source.file,
                tqdm_class=_bar_without_output(),
            )
    except Dp3dError:
        raise
    except OSError as error:
        if error.errno is None:
            raise _download_error(source, error) from error
        raise _not_writable(part.parent, error) from error
    except Exception as error:
        raise _download_error(source, error) from error


def _not_writable(folder: Path, error: OSError) -> Dp3dError:
    return Dp3dError(
        refusal_code(error),
        f"The download cannot be written in {folder} ({error.strerror or error}).",
        "Check free space and rights there, or set DP3D_HOME to another disk.",
    )


def _bar_without_output() -> Any:
    """The client's progress bar class with its output disabled."""
    from functools import partial

    from huggingface_hub.utils.tqdm import tqdm

    return partial(tqdm, disable=True)


def _download_error(source: Source, error: Exception) -> Dp3dError:
    return Dp3dError(
        "weights.download_failed",
        f"{source.file} cannot be fetched from {source.repository}.",
        "Check the network and run the same command again: it goes on where it ended. Or fetch it "
        f"by hand from {source.page} and run 'dp3d models import {source.file}'.",
        str(error),
    )
