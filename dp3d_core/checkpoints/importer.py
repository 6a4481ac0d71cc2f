"""Imports published checkpoints as weights in diffusers' layout, tensor by tensor.

The source is memory-mapped and unmapped as it is read, so a file of 11 GB takes 1 to 2 GB of
memory.  The embedding of the empty prompt, the only prompt, is written instead of the text encoder.
New weights replace old ones once they are complete.
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
"""Required free space as a factor of the size of the weights."""
_STEP = 1 << 20
"""Bytes per step of progress."""
_STEPS_PER_MESSAGE = 8
"""Steps between two progress reports, a few hundredths of a second."""
_POLL_S = 0.5
"""Seconds between two checks of work in another thread."""


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
    """Import a published checkpoint; its text encoder needs transformers.

    Args:
        path: the file, see ``official.read_checkpoint``.
        config: sizes of the networks; None: the published ones.
        half: whether to store float16, which halves the size and is what GPUs compute in.
        expected_sha256: required hash of the file; None: any.
        revision: commit that the file is from, for the record.
        progress: stages ``hash`` and ``import``.
        cancel: polled at each step.

    Returns:
        The imported weights, which replace earlier ones of that variant once they are complete.

    Raises:
        Dp3dError: ``weights.*``, ``storage.full``, ``output.not_writable``, ``output.in_use``,
            ``job.cancelled``.

    """
    path = Path(path)
    check_weights_file(path)
    sha256 = None
    if expected_sha256 is not None:
        sha256 = _checked_hash(path, expected_sha256, progress, cancel)
    message = f"Reading the list of weights in {path.name}"
    source, match = _run_in_thread(lambda: _read(path, config), "hash", message, progress, cancel)
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
        _recover_interrupted(root / variant, temporary)
        copier = _Copier(source, match, dtype)
        _check_space(root, int(copier.total * _SPARE), half)
        if sha256 is None:
            sha256 = _file_hash(path, progress, cancel)
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
            _exchange(root / variant, temporary)
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
    """The checkpoint and the names of our weights in it; imports torch and diffusers."""
    from dp3d_core.checkpoints.official import match_official
    from dp3d_core.checkpoints.streaming import Source

    source = Source(path)
    return source, match_official(source.state, config)


_T = TypeVar("_T")


def _run_in_thread(
    work: Callable[[], _T],
    stage: str,
    message: str,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> _T:
    """Result of ``work``, run in a thread while progress is reported and cancel is polled.

    For work that cannot report progress itself, such as imports of packages.
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


def _file_hash(path: Path, progress: ProgressCallback, cancel: CancelCheck) -> str:
    try:
        return hash_with_progress(path, progress, cancel)
    except OSError as error:
        raise unreadable(path, error) from error


def _checked_hash(
    path: Path, expected: str, progress: ProgressCallback, cancel: CancelCheck
) -> str:
    """Hash of a file; raises ``weights.damaged`` unless it is the expected one."""
    sha256 = _file_hash(path, progress, cancel)
    if sha256 != expected:
        raise Dp3dError(
            "weights.damaged",
            f"{path.name} is not the file that its host tells of: their hashes differ.",
            f"Delete {path.resolve()} and fetch it again.",
            f"{sha256}, not {expected}",
        )
    return sha256


def _recover_interrupted(target: Path, temporary: Path) -> None:
    """Restore the old weights and remove the partial ones of an interrupted import."""
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        old.replace(target)
    shutil.rmtree(temporary, ignore_errors=True)


def _exchange(target: Path, temporary: Path) -> None:
    """Replace weights by new ones; at any time the old or the new ones are complete."""
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
    """Writes the networks and the empty prompt of a checkpoint as a pipeline's folder.

    Args:
        source: the checkpoint.
        match: names of our weights in it.
        dtype: of the written networks; None: the stored dtype of each weight.

    """

    def __init__(self, source: Source, match: Match, dtype: torch.dtype | None) -> None:
        self._source, self._match, self._dtype = source, match, dtype
        self._networks: dict[str, Any] = dict(match.networks.named())
        self._tensors = {
            component: {
                key: (
                    dtype or source.state[match.names[component][key]].dtype,
                    tuple(expected.shape),
                )
                for key, expected in net.state_dict().items()
            }
            for component, net in self._networks.items()
        }
        self.total = sum(
            expected.numel() * self._tensors[component][key][0].itemsize
            for component, net in self._networks.items()
            for key, expected in net.state_dict().items()
        )

    def write(
        self, folder: Path, progress: ProgressCallback, cancel: CancelCheck
    ) -> dict[str, str]:
        """Write all files; returns the SHA-256 of each by its path in the folder."""
        message = "Encoding the empty prompt"
        prompt = _run_in_thread(self._empty_prompt, "import", message, progress, cancel)
        hashes: dict[str, str] = {}
        counter = _ByteProgress(self.total, progress, cancel)
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
        """The empty prompt, encoded in float32 with weights rounded to the stored dtype."""
        from dp3d_core.checkpoints.names import OF_TEXT_ENCODER
        from dp3d_core.checkpoints.official import load_text_encoder, refuse_no_numbers
        from dp3d_core.models.prompt import EmptyPrompt
        from dp3d_core.models.text_encoder import encode_empty_prompt

        encoder = load_text_encoder(self._source.state, self._match, self._dtype)
        embedding = encode_empty_prompt(encoder, self._match.config.text)
        size = sum(value.nbytes for value in encoder.parameters())
        del encoder  # else the file stays mapped
        self._source.was_read(size)
        if not bool(embedding.isfinite().all()):
            refuse_no_numbers([OF_TEXT_ENCODER])
        prompt: EmptyPrompt = EmptyPrompt.of(embedding)
        return prompt

    def _write_network(
        self, component: str, folder: Path, done: Callable[[int], None]
    ) -> tuple[str, str]:
        """Write configuration and weights; returns name and SHA-256 of the weights' file."""
        from dp3d_core.checkpoints.official import refuse_no_numbers, shaped_like
        from dp3d_core.checkpoints.streaming import SafetensorsWriter

        net, tensors = self._networks[component], self._tensors[component]
        name = _write_config(net, folder)
        expected = net.state_dict()
        not_finite = []
        with SafetensorsWriter(folder / name, tensors) as writer:
            for key in writer.names:
                official = self._match.names[component][key]
                value = shaped_like(self._source.state[official], expected[key])
                size = value.nbytes
                if not writer.write(key, value, done):
                    not_finite.append(official)
                del value  # else its file stays mapped
                self._source.was_read(size)
        refuse_no_numbers(not_finite)
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
    """Write a component's configuration as diffusers does; returns diffusers' name for weights."""
    from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

    folder.mkdir(parents=True)
    net.save_config(folder)
    return str(SAFETENSORS_WEIGHTS_NAME)


class _ByteProgress:
    """Progress of the import in bytes."""

    def __init__(self, total: int, progress: ProgressCallback, cancel: CancelCheck) -> None:
        self._total, self._done = total, 0
        self.component = ""
        self.stage = Stage("import", -(-total // _STEP), progress, cancel, "Writing the networks")

    def count(self, size: int) -> None:
        """Add written bytes, and report progress every few steps."""
        self._done += size
        steps = self._done // _STEP - self.stage.step
        if steps >= _STEPS_PER_MESSAGE:
            done = f"{self._done / 1e9:.2f} of {self._total / 1e9:.2f} GB"
            self.stage.advance(f"{self.component}: {done}", steps)
