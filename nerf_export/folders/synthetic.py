"""NeRF's synthetic scenes: ``transforms_train.json``, ``_val`` and ``_test`` beside each other."""

from __future__ import annotations

from pathlib import Path

from dp3d_core.cameras.files import read_camera_json
from dp3d_core.progress import CancelCheck
from nerf_export.folders.capture import HEAD_ALPHA, Capture, Notes
from nerf_export.folders.names import FileNames
from nerf_export.folders.transforms import FrameReader

SPLITS = ("train", "val", "test")
"""Names of the splits, as in the files' names."""


def split_files(folder: Path) -> list[Path]:
    """The existing files of a folder's splits, the one for training first."""
    files = [folder / f"transforms_{split}.json" for split in SPLITS]
    return [file for file in files if file.is_file()]


def read_synthetic(root: Path, folder: Path, cancel: CancelCheck) -> Capture:
    """Read the splits of a folder; all frames that are not for training are held out.

    Args:
        root: the user's folder.
        folder: the folder with the files of the splits.
        cancel: polled between frames.

    Raises:
        Dp3dError: ``camera.file_invalid``, ``viewset.invalid``, ``job.cancelled``.

    """
    notes, files = Notes(), split_files(folder)
    reader = FrameReader(FileNames(root, folder, notes), notes, cancel)
    train: set[int] = set()
    alpha_is_head = True
    for file in files:
        data = read_camera_json(file)
        if isinstance(data, dict) and data.get("frames") == [] and len(files) > 1:
            continue  # a split may be empty
        alpha_is_head &= isinstance(data, dict) and data.get(HEAD_ALPHA[0]) == HEAD_ALPHA[1]
        missing = len(reader.absent)
        indices = set(reader.read(data, file.name).values())
        if not indices and file != files[0]:
            # scenes are often fetched without their pictures for tests
            del reader.absent[missing:]
            notes.add(f"{file.name} is not read: none of its pictures is there.")
        if file.name == "transforms_train.json" or len(files) == 1:
            train = indices
    reader.finish()
    held_out = [i for i in range(len(reader.frames)) if train and i not in train]
    return Capture(
        "NeRF's synthetic format",
        tuple(files),
        tuple(reader.frames),
        tuple(held_out),
        notes,
        alpha_is_head=alpha_is_head,
    )
