"""Published checkpoints into the store, a piece at a time.

The source is mapped and let go again as it is read, and networks are written tensor by tensor: a
file of eleven gigabytes takes one or two of memory.  The text encoder is not written: it encodes
the empty prompt, the only one there is, and that embedding is.  New weights take the place of old
ones once they are whole.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dp3d_core.checkpoints.file_kinds import check_weights_file, unreadable
from dp3d_core.checkpoints.refusals import bytes_for_people
from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import NetworkConfig
from dp3d_core.progress import CancelCheck, Progress, ProgressCallback, Stage, check_cancel
from dp3d_core.storage.files import hash_file, write_json
from dp3d_core.storage.locks import try_lock
from dp3d_core.weights.installed import (
    MARKER,
    SCHEMA,
    Weights,
    find_weights,
    hash_with_progress,
    make_folder,
    not_writable,
    weights_folder,
)

if TYPE_CHECKING:
    import torch

    from dp3d_core.checkpoints.official import Match
    from dp3d_core.checkpoints.streaming import Source
    from dp3d_core.models.prompt import EmptyPrompt

_SPARE = 1.02
"""Space that is asked for, as a part of the weights."""
_STEP = 1 << 20
"""Bytes of a step of progress."""
_STEPS_PER_MESSAGE = 8
"""Steps between two messages, a few hundredths of a second."""
_POLL_S = 0.5
"""Seconds between two looks at what is done beside."""


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
    """Convert a published checkpoint into our store; the text encoder needs transformers.

    Args:
        path: the file, see ``official.read_checkpoint``.
        config: sizes, where they are not the published ones.
        half: store float16; half the space, and what a GPU computes with.
        expected_sha256: what the file's hash must be; None: whatever it is.
        revision: commit that the file is from, to be recorded.
        progress: stages ``hash`` and ``import``, by megabytes.
        cancel: polled at each.

    Returns:
        What is now installed; weights of the same variant that were there are replaced, but not
        before the new ones are whole.

    Raises:
        Dp3dError: ``weights.*``, ``storage.full``, ``output.not_writable``, ``output.in_use``,
            ``job.cancelled``.

    """
    path = Path(path)
    check_weights_file(path)
    sha256 = None
    if expected_sha256 is not None:
        sha256 = _expected_hash(path, expected_sha256, progress, cancel)
    message = f"Reading the list of weights in {path.name}"
    source, match = _beside(lambda: _read(path, config), "hash", message, progress, cancel)
    dtype = source.half if half else None
    variant = match.config.variant
    root = weights_folder()
    make_folder(root)
    lock = try_lock(root / f".{variant}.lock")
    if lock is None:
        raise Dp3dError(
            "output.in_use",
            f"Another command is importing {variant}.",
            "Wait until it has ended.",
        )
    try:
        temporary = root / f".{variant}.new"
        _tidy(root / variant, temporary)
        copier = _Copier(source, match, dtype)
        _check_space(root, int(copier.total * _SPARE), half)
        if sha256 is None:
            sha256 = _hash(path, progress, cancel)
        try:
            files = copier.write(temporary, progress, cancel)
            origin = {"name": path.name, "sha256": sha256, "revision": revision}
            write_json(
                temporary / MARKER,
                {
                    "schema": SCHEMA,
                    "source": origin,
                    "config": match.config.to_dict(),
                    "ignored": list(match.ignored),
                    "files": dict(sorted(files.items())),
                },
            )
            _replace(root / variant, temporary)
        except OSError as error:
            raise not_writable(root, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        lock.release()
    weights = find_weights(variant)
    assert weights is not None
    return weights


def _read(path: Path, config: NetworkConfig | None) -> tuple[Source, Match]:
    """The checkpoint and where the weights are in it; loads torch and diffusers first."""
    from dp3d_core.checkpoints.official import match_official
    from dp3d_core.checkpoints.streaming import Source

    source = Source(path)
    return source, match_official(source.state, config)


_T = TypeVar("_T")


def _beside(
    work: Callable[[], _T],
    stage: str,
    message: str,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> _T:
    """What ``work`` returns; a thread of its own does it, so that cancel is answered meanwhile.

    For work that is made of steps which cannot tell of themselves, such as imports of packages.
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    while True:
        progress(Progress(stage, 0, 1, message))
        check_cancel(cancel, "The import")
        if wait([future], _POLL_S).done:
            return future.result()


def _hash(path: Path, progress: ProgressCallback, cancel: CancelCheck) -> str:
    try:
        return hash_with_progress(path, progress, cancel)
    except OSError as error:
        raise unreadable(path, error) from error


def _expected_hash(
    path: Path, expected: str, progress: ProgressCallback, cancel: CancelCheck
) -> str:
    """The file's hash, which must be the expected one; raises ``weights.damaged``."""
    sha256 = _hash(path, progress, cancel)
    if sha256 != expected:
        raise Dp3dError(
            "weights.damaged",
            f"{path.name} is not the file that its host tells of: their hashes differ.",
            f"Delete {path.resolve()} and fetch it again.",
            f"{sha256}, not {expected}",
        )
    return sha256


def _tidy(target: Path, temporary: Path) -> None:
    """Put back what an import that was cut off took away, and remove what it left."""
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        old.replace(target)
    shutil.rmtree(temporary, ignore_errors=True)


def _replace(target: Path, temporary: Path) -> None:
    """Exchange weights; at any time either the old or the new ones are whole."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    temporary.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def _check_space(folder: Path, needed: int, half: bool) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        or_half = "" if half else ", or store half precision with --half"
        raise Dp3dError(
            "storage.full",
            f"The weights need {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB "
            "are free.",
            f"Make room, set DP3D_HOME to another disk{or_half}.",
        )


class _Copier:
    """Writes the networks of a checkpoint and its empty prompt as a pipeline's folder.

    Args:
        source: the checkpoint.
        match: where the weights are in it.
        dtype: of the networks that are written; None: as each is stored.

    """

    def __init__(self, source: Source, match: Match, dtype: torch.dtype | None) -> None:
        self._source, self._match, self._dtype = source, match, dtype
        self._networks: dict[str, Any] = dict(match.networks.named())
        self._tensors = {
            component: {
                key: (
                    dtype or source.state[match.names[component][key]].dtype,
                    tuple(wanted.shape),
                )
                for key, wanted in net.state_dict().items()
            }
            for component, net in self._networks.items()
        }
        self.total = sum(
            wanted.numel() * self._tensors[component][key][0].itemsize
            for component, net in self._networks.items()
            for key, wanted in net.state_dict().items()
        )

    def write(
        self, folder: Path, progress: ProgressCallback, cancel: CancelCheck
    ) -> dict[str, str]:
        """Write everything; returns the SHA-256 of each file by its path in the folder."""
        message = "Encoding the empty prompt"
        prompt = _beside(self._empty_prompt, "import", message, progress, cancel)
        hashes: dict[str, str] = {}
        counter = _Bytes(self.total, progress, cancel)
        for component in self._networks:
            counter.component = component
            name, sha256 = self._write_network(component, folder / component, counter.count)
            hashes[f"{component}/{name}"] = sha256
        counter.stage.end(f"{bytes_for_people(self.total)} written")
        _write_prompt(prompt, folder / "empty_prompt")
        self._write_pipeline(folder, prompt)
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder).as_posix()
            if file.is_file() and name not in hashes:
                hashes[name] = hash_file(file)
        return hashes

    def _empty_prompt(self) -> EmptyPrompt:
        """The empty prompt, encoded in float32 by the text encoder as it would be stored."""
        from dp3d_core.checkpoints.names import OF_TEXT_ENCODER
        from dp3d_core.checkpoints.official import load_text_encoder, refuse_no_numbers
        from dp3d_core.models.prompt import EmptyPrompt
        from dp3d_core.models.text_encoder import encode_empty_prompt

        encoder = load_text_encoder(self._source.state, self._match, self._dtype)
        embedding = encode_empty_prompt(encoder, self._match.config.text)
        size = sum(value.nbytes for value in encoder.parameters())
        del encoder  # or the file would stay mapped
        self._source.was_read(size)
        if not bool(embedding.isfinite().all()):
            refuse_no_numbers([OF_TEXT_ENCODER])
        prompt: EmptyPrompt = EmptyPrompt.of(embedding)
        return prompt

    def _write_network(
        self, component: str, folder: Path, done: Callable[[int], None]
    ) -> tuple[str, str]:
        """Write configuration and weights; returns the weights' file name and its SHA-256."""
        from dp3d_core.checkpoints.official import refuse_no_numbers, shaped_like
        from dp3d_core.checkpoints.streaming import SafetensorsWriter

        net, tensors = self._networks[component], self._tensors[component]
        name = _write_config(net, folder)
        wanted = net.state_dict()
        broken = []
        with SafetensorsWriter(folder / name, tensors) as writer:
            for key in writer.names:
                official = self._match.names[component][key]
                value = shaped_like(self._source.state[official], wanted[key])
                size = value.nbytes
                if not writer.write(key, value, done):
                    broken.append(official)
                del value  # or its file would stay mapped
                self._source.was_read(size)
        refuse_no_numbers(broken)
        return name, writer.sha256()

    def _write_pipeline(self, folder: Path, prompt: EmptyPrompt) -> None:
        from dp3d_core.pipelines.multi_view import MultiViewPipeline
        from dp3d_core.pipelines.samplers import get_sampler

        config = self._match.config
        scheduler = get_sampler("official", config.half_schedule).scheduler
        scheduler.save_pretrained(folder / "scheduler")
        pipeline = MultiViewPipeline(
            **self._networks, empty_prompt=prompt, scheduler=scheduler, window=config.window
        )
        pipeline.save_config(folder)


def _write_prompt(prompt: EmptyPrompt, folder: Path) -> None:
    from dp3d_core.checkpoints.streaming import SafetensorsWriter

    tensors = prompt.state_dict()
    shapes = {key: (value.dtype, tuple(value.shape)) for key, value in tensors.items()}
    with SafetensorsWriter(folder / _write_config(prompt, folder), shapes) as writer:
        for key in writer.names:
            writer.write(key, tensors[key], lambda _: None)


def _write_config(net: Any, folder: Path) -> str:
    """Write a component's configuration as diffusers does; returns its name for weights."""
    from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

    folder.mkdir(parents=True)
    net.save_config(folder)
    return str(SAFETENSORS_WEIGHTS_NAME)


class _Bytes:
    """Progress of the import by bytes."""

    def __init__(self, total: int, progress: ProgressCallback, cancel: CancelCheck) -> None:
        self._total, self._done = total, 0
        self.component = ""
        self.stage = Stage("import", -(-total // _STEP), progress, cancel, "Writing the networks")

    def count(self, size: int) -> None:
        """Note bytes that were written."""
        self._done += size
        steps = self._done // _STEP - self.stage.step
        if steps >= _STEPS_PER_MESSAGE:
            done = f"{self._done / 1e9:.2f} of {self._total / 1e9:.2f} GB"
            self.stage.advance(f"{self.component}: {done}", steps)
