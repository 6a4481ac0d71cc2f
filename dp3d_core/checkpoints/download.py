"""Fetches published checkpoints from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from dp3d_core.checkpoints.store import SOURCES, how
from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import Variant


def fetch(variant: Variant, revision: str = "main", cache: Path | None = None) -> Path:
    """The published file of a variant, from the hub or its cache on this machine.

    A download that was cut off goes on where it ended, and its size is checked; the import records
    its hash.  Without a network a file that is in the cache already is used.

    Args:
        variant: one whose file lies on the hub.
        revision: commit, tag or branch there; a commit is the same for ever.
        cache: folder of the hub's client; None: its own.

    Raises:
        Dp3dError: ``weights.missing`` for a file that has to be fetched by hand,
            ``weights.download_failed``.

    """
    from huggingface_hub import hf_hub_download

    source = SOURCES[variant]
    if source.repository is None:
        raise Dp3dError(
            "weights.missing", f"{source.file} cannot be downloaded by a program.", how(variant)
        )
    try:
        return Path(
            hf_hub_download(source.repository, source.file, revision=revision, cache_dir=cache)
        )
    except Exception as error:  # the client, its transport and its cache fail in many ways
        raise Dp3dError(
            "weights.download_failed",
            f"{source.file} cannot be fetched from {source.repository}.",
            f"Check the network and free space, or fetch it by hand from {source.page} and run "
            f"'dp3d models import {source.file}'.",
            str(error),
        ) from error
