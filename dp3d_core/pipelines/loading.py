"""Loads the pipeline of imported weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.utils import logging

from dp3d_core.models.config import Variant
from dp3d_core.models.prompt import EmptyPrompt
from dp3d_core.pipelines.multi_view import MultiViewPipeline
from dp3d_core.weights.installed import Weights, require_weights, weights_damaged
from dp3d_core.weights.requirements import older_import_refusal


def load_pipeline(
    variant: Variant, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> MultiViewPipeline:
    """The pipeline of imported weights, on the CPU.

    Args:
        variant: which weights.
        dtype: of the networks; None: the stored one.
        device: device that the text encoder of an earlier import runs on, before networks are
            loaded; None: the CPU.

    Raises:
        Dp3dError: ``weights.missing``, ``weights.damaged``, ``engine.packages_missing``.

    """
    weights = require_weights(variant)
    missing = [name for name in weights.files if not (weights.folder / name).is_file()]
    if missing:
        raise weights_damaged(variant, f"{missing[0]} is missing")
    if (refusal := older_import_refusal(weights)) is not None:
        raise refusal
    try:
        if not weights.holds_text_encoder:
            return _load(weights, dtype)
        prompt = _encode_prompt(weights, dtype, device)
        with _warnings_off():  # about the text encoder, which is no component of the pipeline
            return _load(weights, dtype, empty_prompt=prompt)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise weights_damaged(variant, "it cannot be loaded", str(error)) from error


def _load(weights: Weights, dtype: torch.dtype | None, **components: Any) -> MultiViewPipeline:
    with _progress_bars_off():
        pipeline: MultiViewPipeline = MultiViewPipeline.from_pretrained(
            str(weights.folder), dtype=dtype, local_files_only=True, **components
        )
    return pipeline


def _encode_prompt(
    weights: Weights, dtype: torch.dtype | None, device: torch.device | None
) -> EmptyPrompt:
    """The empty prompt, encoded by an earlier import's text encoder, in the networks' dtype."""
    from dp3d_core.models.text_encoder import encode_empty_prompt, stored_text_encoder

    with _progress_bars_off():
        encoder = stored_text_encoder(weights.folder / "text_encoder", dtype)
    encoder = encoder.to(device or "cpu")
    prompt: EmptyPrompt = EmptyPrompt.of(encode_empty_prompt(encoder, weights.config.text))
    return prompt


@contextmanager
def _progress_bars_off() -> Iterator[None]:
    """Switch off the progress bars of diffusers and transformers."""
    logs: list[Any] = [logging]
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        logs.append(transformers_logging)
    enabled = [log for log in logs if log.is_progress_bar_enabled()]
    for log in enabled:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in enabled:
            log.enable_progress_bar()


@contextmanager
def _warnings_off() -> Iterator[None]:
    """Switch off diffusers' warnings."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
