"""Fetches published checkpoints from the Hugging Face hub.

The hub's client starts a download anew in every process, so a file of eleven gigabytes that was cut
off at ten would be lost: here a part is kept and gone on with.  The client's requests, retries and
credentials are used as they are.
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
_NEWEST = "main"


@dataclass(frozen=True)
class Fetched:
    """A file from the hub."""

    path: Path
    commit: str | None
    """Of the repository that the file is from; None: not known."""
    sha256: str | None
    """What the hub says its hash is; None: it did not."""


def downloads_folder() -> Path:
    """Where downloads are kept."""
    return dp3d_home() / "downloads"


def fetch(
    variant: Variant,
    revision: str | None = None,
    *,
    endpoint: str | None = None,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Fetched:
    """The published file of a variant, from the hub or a cache on this machine.

    A download that was cut off goes on where it ended.  Without a network, a file that is here
    already is used: one that an earlier call fetched, or one in the cache of the hub's own client.
    The import compares the file's hash with the hub's.

    Args:
        variant: one whose file lies on the hub.
        revision: commit, tag or branch there; a commit is the same for ever.  None: the newest,
            and without a network whichever is here.
        endpoint: address of a mirror of the hub; None: as the client is set.
        progress: stage ``download``.
        cancel: polled while downloading; what has come is kept.

    Raises:
        Dp3dError: ``weights.missing`` for a file that has to be fetched by hand,
            ``weights.download_failed``, ``output.not_writable``, ``output.in_use``,
            ``job.cancelled``.

    """
    source = SOURCES[variant]
    if source.repository is None:
        raise Dp3dError(
            "weights.missing", f"{source.file} cannot be downloaded by a program.", how(variant)
        )
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    ours = downloads_folder() / source.file
    if revision is not None and _COMMIT.fullmatch(revision):  # the same for ever
        for found in (_in_clients_cache(source, revision), _present(ours, revision)):
            if found is not None:
                return found
    try:
        url = hf_hub_url(
            source.repository, source.file, revision=revision or _NEWEST, endpoint=endpoint
        )
        told = get_hf_file_metadata(url, endpoint=endpoint)
    except Exception as error:  # the client and its transport fail in many ways
        for found in (_present(ours, revision), _in_clients_cache(source, revision or _NEWEST)):
            if found is not None:
                return found
        raise _failed(source, error) from error
    sha256 = told.etag if told.etag and _IS_SHA256.fullmatch(told.etag) else None
    for present in (_present(ours), _in_clients_cache(source, told.commit_hash or _NEWEST)):
        if present is not None and sha256 is not None and present.sha256 == sha256:
            return present
    make_folder(ours.parent)
    lock = try_lock(ours.with_name(f".{ours.name}.lock"))
    if lock is None:
        raise Dp3dError(
            "output.in_use",
            f"Another command is downloading {source.file}.",
            "Wait until it has ended.",
        )
    try:
        part = ours.with_name(f"{ours.name}.{(sha256 or told.commit_hash or 'x')[:12]}.part")
        _download(source, url, told.location, part, told.size, progress, cancel)
        if sha256 is not None and hash_with_progress(part, progress, cancel) != sha256:
            part.unlink()
            raise Dp3dError(
                "weights.damaged",
                f"{source.file} came with other contents than the hub tells of.",
                "Run the same command again: it starts the download anew.",
            )
        for old in ours.parent.glob(f"{ours.name}.*.part"):
            if old != part:  # of a file that the hub has replaced
                old.unlink(missing_ok=True)
        found = Fetched(ours, told.commit_hash, sha256)
        note = {**asdict(found), "path": ours.name, "revision": revision or _NEWEST}
        try:
            write_json(_note(ours), note)
            part.replace(ours)
        except OSError as error:
            raise _not_writable(ours.parent, error) from error
    finally:
        lock.release()
    return found


def _note(file: Path) -> Path:
    """Beside a finished download: where it is from."""
    return file.with_name(f"{file.name}.json")


def _present(file: Path, revision: str | None = None) -> Fetched | None:
    """A file that was downloaded before, of that revision if one is named."""
    if not file.is_file():
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = read_json(_note(file))
        if revision in {None, note["revision"], note["commit"]}:
            return Fetched(file, note["commit"], note["sha256"])
    return None


def _in_clients_cache(source: Source, revision: str) -> Fetched | None:
    from huggingface_hub import try_to_load_from_cache

    assert source.repository is not None
    found = try_to_load_from_cache(source.repository, source.file, revision=revision)
    if not isinstance(found, str):
        return None
    # snapshots/COMMIT/FILE, where the system has links one to blobs/SHA-256
    path = Path(found)
    commit, sha256 = path.parent.name, path.resolve().name
    return Fetched(
        path,
        commit if _COMMIT.fullmatch(commit) else None,
        sha256 if _IS_SHA256.fullmatch(sha256) else None,
    )


class _Counted:
    """A file that tells how much is written to it."""

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
    if urlsplit(url).netloc != urlsplit(asked).netloc:  # a content network: no business of theirs
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
                cast(BinaryIO, _Counted(file, written)),
                resume_size=done,
                headers=headers,
                expected_size=size,
                displayed_filename=source.file,
                tqdm_class=_silent(),
            )
    except Dp3dError:
        raise
    except OSError as error:
        if error.errno is None:
            raise _failed(source, error) from error
        raise _not_writable(part.parent, error) from error
    except Exception as error:
        raise _failed(source, error) from error


def _not_writable(folder: Path, error: OSError) -> Dp3dError:
    return Dp3dError(
        refusal_code(error),
        f"The download cannot be written in {folder} ({error.strerror or error}).",
        "Check free space and rights there, or set DP3D_HOME to another disk.",
    )


def _silent() -> Any:
    """The client's progress bar without its bar: progress is told in our own way."""
    from functools import partial

    from huggingface_hub.utils.tqdm import tqdm

    return partial(tqdm, disable=True)


def _failed(source: Source, error: Exception) -> Dp3dError:
    return Dp3dError(
        "weights.download_failed",
        f"{source.file} cannot be fetched from {source.repository}.",
        "Check the network and run the same command again: it goes on where it ended. Or fetch it "
        f"by hand from {source.page} and run 'dp3d models import {source.file}'.",
        str(error),
    )
