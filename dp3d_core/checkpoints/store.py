"""Weights of the diffusion engines on this machine: import, list, verify, load.

Each variant is a folder in the layout of a diffusers pipeline, with ``weights.json`` that names
its source and the hash of every file; it is written last and marks a whole import::

    DP3D_HOME/weights/diffportrait360/
      weights.json  model_index.json  unet/ reference_unet/ pose_controlnet/ vae/ ...
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp3d_core.errors import Dp3dError
from dp3d_core.files import read_json, write_json
from dp3d_core.locks import FileLock
from dp3d_core.models.config import NetworkConfig, Variant
from dp3d_core.paths import dp3d_home
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, check_cancel

if TYPE_CHECKING:
    import torch

    from dp3d_core.pipelines.multi_view import MultiViewPipeline

SCHEMA = "dp3d.weights/1"
_MARKER = "weights.json"
_CHUNK = 1 << 24
_SPARE = 1.02
"""Space that is asked for, as a part of the weights."""


@dataclass(frozen=True)
class Source:
    """Where a published file is had."""

    file: str
    repository: str | None
    """On the Hugging Face hub; None: its host offers no interface."""
    page: str
    """For people."""
    gigabytes: float
    """About; 10^9 bytes."""


SOURCES = {
    Variant.DIFFPORTRAIT3D: Source(
        "model_state-540000-001.th", None, "https://github.com/FreedomGu/DiffPortrait3D", 11.0
    ),
    Variant.DIFFPORTRAIT360: Source(
        "model_state-340000.th",
        "gym890/diffportrait360",
        "https://huggingface.co/gym890/diffportrait360",
        11.0,
    ),
    Variant.BACK_VIEW: Source(
        "back_head-230000.th",
        "gym890/diffportrait360",
        "https://huggingface.co/gym890/diffportrait360",
        9.0,
    ),
}


@dataclass(frozen=True)
class Weights:
    """Imported weights."""

    folder: Path
    config: NetworkConfig
    source_name: str
    source_sha256: str
    source_revision: str | None
    """Commit on the hub, where the file was downloaded."""
    files: dict[str, str]
    """Path in the folder -> SHA-256."""


def weights_folder() -> Path:
    """Where weights are kept."""
    return dp3d_home() / "weights"


def find_weights(variant: Variant) -> Weights | None:
    """The imported weights of a variant, None when there are none; reads no weights.

    Raises:
        Dp3dError: ``weights.damaged`` if what is there was not written by us.

    """
    folder = weights_folder() / variant
    if not (folder / _MARKER).is_file():
        folder = _old(variant)  # an import was cut off between taking these away and its own
    if not (folder / _MARKER).is_file():
        return None
    try:
        data = read_json(folder / _MARKER)
        if data["schema"] != SCHEMA:
            raise ValueError(data["schema"])
        return Weights(
            folder,
            NetworkConfig.from_dict(data["config"]),
            str(data["source"]["name"]),
            str(data["source"]["sha256"]),
            data["source"].get("revision"),
            {str(name): str(sha256) for name, sha256 in data["files"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(variant, f"{_MARKER} cannot be read") from error


def _old(variant: Variant) -> Path:
    """Where weights are put while new ones take their place."""
    return weights_folder() / f".{variant}.old"


def require_weights(variant: Variant) -> Weights:
    """The imported weights of a variant.

    Raises:
        Dp3dError: ``weights.missing`` with the commands that bring them, ``weights.damaged``.

    """
    found = find_weights(variant)
    if found is None:
        raise Dp3dError(
            "weights.missing", f"The weights {variant} are not installed.", how(variant)
        )
    return found


def how(variant: Variant) -> str:
    """What a person does to get the weights."""
    source = SOURCES[variant]
    if source.repository is not None:
        return f"Run 'dp3d models install {variant}' ({source.gigabytes:g} GB)."
    return (
        f"Fetch {source.file} by hand from the page {source.page}, whose host offers no interface, "
        f"and run 'dp3d models import {source.file}'."
    )


def import_weights(
    path: Path,
    *,
    config: NetworkConfig | None = None,
    half: bool = False,
    expected_sha256: str | None = None,
    revision: str | None = None,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Weights:
    """Convert a published checkpoint into our store.

    Args:
        path: the file, see ``official.read_checkpoint``.
        config: sizes, where they are not the published ones.
        half: store float16; half the space, and what a GPU computes with.
        expected_sha256: what the file's hash must be; None: whatever it is.
        revision: commit that the file is from, to be recorded.
        progress: stages ``hash`` and ``import``.
        cancel: polled while hashing and between networks.

    Returns:
        What is now installed; weights of the same variant that were there are replaced, but not
        before the new ones are whole.

    Raises:
        Dp3dError: ``weights.*``, ``output.not_writable``, ``job.cancelled``.

    """
    import torch
    from safetensors import SafetensorError

    from dp3d_core.checkpoints.official import load_official, read_checkpoint, require_file

    require_file(Path(path))
    try:
        sha256 = hash_with_progress(Path(path), progress, cancel)
    except OSError as error:
        raise Dp3dError(
            "weights.damaged",
            f"{Path(path).name} cannot be read ({error.strerror or error}).",
            "Check the disk it lies on and the rights of the file.",
        ) from error
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise Dp3dError(
            "weights.damaged",
            f"{Path(path).name} is not the file that its host tells of: their hashes differ.",
            f"Delete {Path(path).resolve()} and fetch it again.",
            f"{sha256}, not {expected_sha256}",
        )
    state = read_checkpoint(Path(path))
    loaded = load_official(state, config, torch.float16 if half else None)
    variant = loaded.config.variant
    root = weights_folder()
    make_folder(root)
    lock = FileLock(root / f".{variant}.lock")
    if not lock.acquire():
        raise Dp3dError(
            "output.in_use",
            f"Another command is importing {variant}.",
            "Wait until it has ended.",
        )
    try:
        target, temporary = root / variant, root / f".{variant}.new"
        old = _old(variant)
        if old.exists() and not target.exists():
            old.replace(target)
        shutil.rmtree(temporary, ignore_errors=True)
        networks = loaded.networks.named()
        needed = sum(v.nbytes for net in networks.values() for v in net.state_dict().values())
        _check_space(root, int(needed * _SPARE))
        try:
            _write(loaded, temporary, progress, cancel)
            files = {
                file.relative_to(temporary).as_posix(): hash_file(file)
                for file in sorted(temporary.rglob("*"))
                if file.is_file()
            }
            write_json(
                temporary / _MARKER,
                {
                    "schema": SCHEMA,
                    "source": {"name": Path(path).name, "sha256": sha256, "revision": revision},
                    "config": loaded.config.to_dict(),
                    "ignored": list(loaded.ignored),
                    "files": files,
                },
            )
            # at any time either the old weights or the new ones are whole
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.replace(old)
            temporary.replace(target)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise _not_writable(root, error.strerror or str(error), error.errno) from error
        except SafetensorError as error:  # what writing a network raises instead
            raise _not_writable(root, str(error)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        lock.release()
    found = find_weights(variant)
    assert found is not None
    return found


def _write(loaded: Any, folder: Path, progress: ProgressCallback, cancel: CancelCheck) -> None:
    """The pipeline's folder, network by network."""
    from dp3d_core.pipelines.multi_view import MultiViewPipeline
    from dp3d_core.pipelines.samplers import get_sampler

    config: NetworkConfig = loaded.config
    scheduler = get_sampler("official", config.half_schedule).scheduler
    networks = loaded.networks.named()
    stage = Stage("import", len(networks), progress, cancel, "Writing the networks")
    for name, net in networks.items():
        check_cancel(cancel, "The import")
        net.save_pretrained(folder / name)
        stage.advance(f"{name} written")
    scheduler.save_pretrained(folder / "scheduler")
    pipeline = MultiViewPipeline(**networks, scheduler=scheduler, window=config.window)
    pipeline.save_config(folder)


def load_pipeline(variant: Variant, dtype: torch.dtype | None = None) -> MultiViewPipeline:
    """The pipeline of imported weights, on the CPU.

    Raises:
        Dp3dError: ``weights.missing``, ``weights.damaged``.

    """
    from dp3d_core.pipelines.multi_view import MultiViewPipeline

    weights = require_weights(variant)
    missing = [name for name in weights.files if not (weights.folder / name).is_file()]
    if missing:
        raise _damaged(variant, f"{missing[0]} is missing")
    try:
        with _quiet():
            pipeline: MultiViewPipeline = MultiViewPipeline.from_pretrained(
                str(weights.folder), dtype=dtype, local_files_only=True
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _damaged(variant, "it cannot be loaded", str(error)) from error
    return pipeline


@contextmanager
def _quiet() -> Iterator[None]:
    """Diffusers and transformers without bars of their own: progress is told in our way."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    shown = [log for log in (of_diffusers, of_transformers) if log.is_progress_bar_enabled()]
    for log in shown:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in shown:
            log.enable_progress_bar()


def verify_weights(variant: Variant, *, progress: ProgressCallback, cancel: CancelCheck) -> Weights:
    """Compare every file with the hash it had when it was imported.

    Raises:
        Dp3dError: ``weights.missing``, ``weights.damaged`` with the files that differ.

    """
    weights = require_weights(variant)
    stage = Stage("verify", len(weights.files), progress, cancel, f"Hashing {variant}")
    wrong = []
    for name, sha256 in weights.files.items():
        file = weights.folder / name
        if not file.is_file() or hash_file(file) != sha256:
            wrong.append(name)
        stage.advance(name)
    if wrong:
        raise _damaged(variant, f"these files are not as imported: {', '.join(wrong)}")
    return weights


def hash_with_progress(path: Path, progress: ProgressCallback, cancel: CancelCheck) -> str:
    """SHA-256 of a large file, stage ``hash``."""
    size = path.stat().st_size
    stage = Stage("hash", max(1, -(-size // _CHUNK)), progress, cancel, f"Hashing {path.name}")
    return hash_file(path, stage.advance)


def hash_file(path: Path, chunk_done: Callable[[], None] = lambda: None) -> str:
    """SHA-256 of a file's contents."""
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
        chunk_done()
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def make_folder(folder: Path) -> None:
    """Make a folder; raises ``output.not_writable``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error.strerror or str(error), error.errno) from error


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Dp3dError(
            "output.not_writable",
            f"The weights need {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB "
            "are free.",
            "Make room, set DP3D_HOME to another disk, or store half precision with --half.",
        )


def _not_writable(folder: Path, why: str, number: int | None = None) -> Dp3dError:
    if number == errno.ENOSPC or "os error 28" in why.lower():
        why = "the disk is full"
    return Dp3dError(
        "output.not_writable",
        f"The weights cannot be written in {folder} ({why}).",
        "Check free space and rights there, or set DP3D_HOME to another disk.",
    )


def _damaged(variant: Variant, why: str, detail: str = "") -> Dp3dError:
    return Dp3dError(
        "weights.damaged",
        f"The installed weights {variant} cannot be used: {why}.",
        "Import them again with 'dp3d models import' or 'dp3d models install'.",
        detail,
    )
