"""Detects the format of a folder and finds its file of cameras."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import is_zipfile

from dp3d_core.cameras.files import camera_file_error
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck
from dp3d_core.storage.files import is_file, is_folder
from dp3d_core.viewsets.viewset import VIEWSET_MARKER
from nerf_export.folders.capture import Capture, unusable
from nerf_export.folders.colmap import colmap_model, read_colmap
from nerf_export.folders.colmap_model import model_files
from nerf_export.folders.synthetic import read_synthetic, split_files
from nerf_export.folders.transforms import read_transforms

_READ_FORMATS = (
    "a folder that 'dp3d generate' wrote, one with transforms.json (nerfstudio, instant-ngp), with "
    "transforms_train.json (NeRF's synthetic scenes), or with sparse/ (COLMAP)"
)
"""The formats that are read, for remedies."""
_CONVERT = "Convert it to a transforms.json or to COLMAP's model first."
"""Remedy for formats without a converter of nerfstudio."""
_PROCESS = "nerfstudio's 'ns-process-data {}' makes a transforms.json of it."
"""Remedy for captures that nerfstudio converts."""
_AS_COLMAP = "Export its cameras as COLMAP's model first."
"""Remedy for projects of photogrammetry programs."""
_UNREAD_FORMATS = {
    "poses_bounds.npy": ("LLFF's poses_bounds.npy", _CONVERT),
    "meta_data.json": ("SDFStudio's meta_data.json", _CONVERT),
    "cameras.sfm": ("Meshroom's cameras.sfm", _CONVERT),
    "reconstruction.json": ("OpenSfM's reconstruction.json", _CONVERT),
    "dataset.json": ("a Nerfies dataset.json", _CONVERT),
    "keyframes": ("a raw capture of Polycam", _PROCESS.format("polycam")),
    "EXR_RGBD": ("a capture of Record3D", _PROCESS.format("record3d")),
    "rgbd": ("a capture of Record3D", _PROCESS.format("record3d")),
    "*.r3d": ("a capture of Record3D", _PROCESS.format("record3d")),
    "*.psx": ("a project of Metashape", _AS_COLMAP),
    "*.rcproj": ("a project of RealityCapture", _AS_COLMAP),
    "*.rspj": ("a project of RealityScan", _AS_COLMAP),
    "*.nvm": ("VisualSFM's model", _CONVERT),
}
"""Description and remedy of formats that are not read, by names of their files and folders."""
_ZIP = "*.[zZ][iI][pP]"
"""Pattern of ZIP archives."""
_UNPACK = "Unpack it, and give the folder that comes out."
"""Remedy for ZIP archives."""
_AMBIGUOUS_FILES = {
    _ZIP: ("a ZIP archive", _UNPACK),
    "*.xml": ("an XML file, which Metashape writes cameras to", _PROCESS.format("metashape")),
    "*.csv": ("a CSV file, which RealityCapture writes cameras to",
              _PROCESS.format("realitycapture")),
}  # fmt: skip
"""Description and remedy of files that may hold cameras or other data, by their names."""


@dataclass(frozen=True)
class CaptureFolder:
    """A folder of another tool, and the reader of its format."""

    root: Path
    """The user's folder; files outside are not read."""
    reader: Callable[[CancelCheck], Capture]
    """Reads the capture."""

    def read(self, cancel: CancelCheck) -> Capture:
        """Read cameras, and find pictures and masks.

        Raises:
            Dp3dError: ``camera.file_invalid``, ``viewset.invalid``, ``job.cancelled``.

        """
        with _refusing_unreadable(self.root):
            return self.reader(cancel)


def is_view_set(path: Path) -> bool:
    """Whether a path is a view set of ours, or one of its two JSON files."""
    folder = view_set_folder(path)
    return all(is_file(folder / name) for name in (VIEWSET_MARKER, "cameras.json"))


def view_set_folder(path: Path) -> Path:
    """The folder of a view set, given the folder or one of its two JSON files."""
    return path.parent if path.name in {VIEWSET_MARKER, "cameras.json"} else path


def find_capture_folder(path: Path) -> CaptureFolder:
    """Find the cameras of another tool's folder.

    Args:
        path: the folder, or its file of cameras.

    Raises:
        Dp3dError: ``viewset.not_found``, ``viewset.invalid`` for formats that are not read.

    """
    with _refusing_unreadable(path):
        # only existing paths are resolved: a path that is too long cannot be
        return _capture_folder_at(path.resolve() if is_file(path) or is_folder(path) else path)


def _capture_folder_at(path: Path) -> CaptureFolder:
    if is_file(path):
        return _capture_folder_of_file(path)
    if not is_folder(path):
        raise _not_found_error(path)
    if (capture_folder := _capture_folder_in(path, path)) is not None:
        return capture_folder
    # the dataset in the folder of a fit is not to be fitted again
    subfolders = [] if (path / "fit.json").is_file() else _subfolders(path)
    capture_folders = [
        capture_folder
        for folder in subfolders
        if (capture_folder := _capture_folder_in(path, folder)) is not None
    ]
    if len(capture_folders) == 1:
        return capture_folders[0]
    if len(capture_folders) > 1:
        raise unusable(f"several folders in {path.name!r} hold cameras", "Give one of them.")
    raise _no_cameras_error(path)


def _not_found_error(path: Path) -> Dp3dError:
    """The error for a path without file or folder: nothing, or a pipe for example."""
    if os.path.exists(path):  # noqa: PTH110 - false for a path that no file can have
        return unusable(f"{path} is neither a file nor a folder", f"Give {_READ_FORMATS}.")
    return Dp3dError(
        "viewset.not_found", f"There is nothing at {path!s:.300}.", f"Give {_READ_FORMATS}."
    )


@contextmanager
def _refusing_unreadable(path: Path) -> Iterator[None]:
    """Turn errors of the file system into ``viewset.invalid``."""
    try:
        yield
    except OSError as error:
        raise unusable(
            f"{path} cannot be looked into ({error.strerror})", "Check its rights."
        ) from error


def _subfolders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.is_symlink())


def _capture_folder_in(root: Path, folder: Path) -> CaptureFolder | None:
    """The capture whose cameras lie in a folder itself; None: the folder has no cameras."""
    file = folder / "transforms.json"
    if file.is_file():
        return CaptureFolder(root, lambda cancel: read_transforms(root, file, cancel))
    if split_files(folder):
        return CaptureFolder(root, lambda cancel: read_synthetic(root, folder, cancel))
    if (files := colmap_model(folder)) is not None:
        return CaptureFolder(root, lambda cancel: read_colmap(root, files, cancel))
    return None


def _capture_folder_of_file(path: Path) -> CaptureFolder:
    folder = path.parent
    if path.suffix.lower() == ".json":
        return CaptureFolder(folder, lambda cancel: read_transforms(folder, path, cancel))
    files = model_files(folder)
    if files is not None and path in files:
        return CaptureFolder(folder, lambda cancel: read_colmap(folder, files, cancel))
    if is_zipfile(path):
        raise unusable(f"{path.name!r:.80} is a ZIP archive", _UNPACK)
    raise camera_file_error(
        f"{path.name!r:.80} holds no cameras that are read", f"Give {_READ_FORMATS}."
    )


def _no_cameras_error(path: Path) -> Dp3dError:
    """The error for a folder without cameras, with a remedy for what it may be instead."""
    if (error := _other_format(path, _UNREAD_FORMATS)) is not None:
        return error
    if (path / "fit.json").is_file():
        return Dp3dError(
            "viewset.not_found",
            f"{path} is a fit, not a folder of views.",
            "Give the views that it was made from, or render some: 'dp3d render'.",
        )
    if (path / VIEWSET_MARKER).is_file():
        return Dp3dError(
            "viewset.not_found",
            f"There is no view set in {path}: cameras.json is missing.",
            "Run the same 'dp3d generate' command again.",
        )
    view_sets = [folder.name for folder in _subfolders(path) if is_view_set(folder)]
    if view_sets:
        return Dp3dError(
            "viewset.not_found",
            f"{path} itself is no folder of views.",
            f"Give the view set in it: {path / view_sets[0]}.",
        )
    if names := sorted(p.name for p in path.glob("transforms*.json") if not p.is_file()):
        return unusable(f"{names[0]!r:.80} is no file", "Put the file of the cameras there itself.")
    if names := sorted(p.name for p in path.glob("*.json") if p.is_file()):
        return Dp3dError(
            "viewset.not_found",
            f"There are no views in {path}: it has no transforms.json.",
            f"If its cameras are in {names[0]!r}, give the path of that file, else "
            f"{_READ_FORMATS}.",
        )
    return _other_format(path, _AMBIGUOUS_FILES) or Dp3dError(
        "viewset.not_found", f"There are no views with cameras in {path}.", f"Give {_READ_FORMATS}."
    )


def _other_format(path: Path, formats: dict[str, tuple[str, str]]) -> Dp3dError | None:
    for name, (description, remedy) in formats.items():
        if any(path.glob(name)):
            return unusable(f"{path.name!r} holds {description}; that is not read", remedy)
    return None
