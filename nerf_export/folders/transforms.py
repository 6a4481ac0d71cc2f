"""Reads ``transforms.json`` of nerfstudio, instant-ngp and BlenderNeRF."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.cameras.camera import UnusableCamera
from dp3d_core.cameras.documents import Normalisation
from dp3d_core.cameras.files import (
    camera_file_error,
    frame_label,
    read_camera_json,
    transforms_camera,
    transforms_frames,
    upright_frames,
)
from dp3d_core.cameras.lenses import lens_of_picture
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import FIT_VIEWS
from dp3d_core.progress import CancelCheck, check_cancel
from nerf_export.folders.capture import (
    HEAD_ALPHA,
    KNOWN_MASKS,
    Capture,
    Frame,
    Notes,
    listed,
    unusable,
)
from nerf_export.folders.names import FileNames
from nerf_export.folders.pictures import has_transparency, read_header

MISSING_PART = 1 / 3
"""Largest part of the pictures that may be missing; a folder that lacks more is refused."""
_SPLITS = ("train_filenames", "val_filenames", "test_filenames")
"""Keys of the splits: training, validation, test."""


@dataclass
class FrameReader:
    """Reads the frames of one or several files of a folder; frames without picture are skipped."""

    names: FileNames
    notes: Notes
    cancel: CancelCheck

    def __post_init__(self) -> None:
        self.frames: list[Frame] = []
        self.absent: list[str] = []
        self._by_picture: dict[Path, int] = {}

    def read(self, data: Any, file: str) -> dict[str, int]:
        """Read all frames of a parsed file.

        Returns:
            Index in ``frames`` by the file's name of each frame.

        Raises:
            Dp3dError: ``camera.file_invalid``, ``viewset.invalid``.

        """
        indices: dict[str, int] = {}
        entries, turned = upright_frames(transforms_frames(data, file))
        for note in turned:
            self.notes.add(note)
        if len(entries) + len(self.frames) > FIT_VIEWS.high:
            raise unusable(
                f"it has {len(entries)} frames, more than {FIT_VIEWS.high}", "Leave some out."
            )
        for i, entry in enumerate(entries):
            check_cancel(self.cancel, "The import")
            where = frame_label(i, entry, file)
            name = entry.get("file_path")
            if not isinstance(name, str):
                raise camera_file_error(
                    f"frame {i} of {file} has no file_path",
                    "Name the picture of each frame, relative to the folder.",
                )
            picture = self.names.find(name, where=f"the file_path of frame {i} of {file}")
            if picture is None or (name in self.names.guessed and picture in self._by_picture):
                self.absent.append(name)
                continue
            indices[name] = self._add(self._frame(entry, data, where, name, picture), where)
        return indices

    def _frame(
        self, entry: Mapping[str, Any], top: Mapping[str, Any], where: str, name: str, picture: Path
    ) -> Frame:
        header = read_header(picture, name)
        size = header.size
        turned = header.on_its_side and _is_upright(entry, top, size)
        parsed = transforms_camera(entry, top, where, size[::-1] if turned else size)
        if picture in self.names.reduced:
            _check_size_is_said(entry, top, where)
        for note in parsed.notes:
            self.notes.add(note, name)
        mask = entry.get("mask_path")
        if mask is not None and not isinstance(mask, str):
            raise unusable(f"{where} has a mask_path that is no name", "Name the file of its mask.")
        path = None
        label = f"the mask_path of {where}"
        if mask is not None and (path := self.names.find(mask, mask=True, where=label)) is None:
            raise unusable(
                f"the mask of {where}: {self.names.missing(mask)}",
                "Copy the masks into the folder too, or take mask_path out of all frames.",
            )
        return Frame(name, picture, path, parsed.c2w, parsed.lens, turned, header.deep)

    def _add(self, frame: Frame, where: str) -> int:
        """Index of a frame; a frame with the picture and pose of an earlier one is that one."""
        index = self._by_picture.get(frame.picture)
        if index is None:
            self._by_picture[frame.picture] = len(self.frames)
            self.frames.append(frame)
            return len(self.frames) - 1
        if not np.allclose(self.frames[index].c2w, frame.c2w, atol=1e-6):
            raise unusable(
                f"{where} has the picture of another frame, and another pose",
                "Take one of the two out, or name the right picture.",
            )
        return index

    def finish(self) -> None:
        """Check masks, and note the pictures that are missing.

        Raises:
            Dp3dError: ``viewset.invalid`` where too many are missing, or a mask is a picture.

        """
        self._check_masks()
        if not self.absent:
            return
        count = len(self.absent) + len(self.frames)
        if len(self.absent) > MISSING_PART * count:
            first = self.names.missing(self.absent[0])
            raise unusable(
                f"{len(self.absent)} of {count} pictures are missing: {first}",
                "Copy the pictures into the folder, where its file of cameras names them.",
            )
        self.notes.add(
            f"{len(self.absent)} of {count} frames are left out, because their pictures are "
            f"missing: {listed(self.absent)}."
        )

    def _check_masks(self) -> None:
        """Refuse masks that are pictures without alpha: their brightness is no outline."""
        for frame in self.frames:
            if frame.mask in self._by_picture and not has_transparency(frame.mask, frame.name):
                raise unusable(
                    f"the mask of {frame.name!r:.80} is not in the folder: its mask_path leads to "
                    f"the picture {frame.mask.name!r:.80}",
                    "Copy the masks into the folder too, or take mask_path out of all frames.",
                )


def _check_size_is_said(entry: Mapping[str, Any], top: Mapping[str, Any], where: str) -> None:
    """Refuse a focal length in pixels for reduced pictures without the size that it is for."""
    sizes = [entry.get(key, top.get(key)) for key in ("w", "h", "cx", "cy")]
    if entry.get("fl_x", top.get("fl_x")) is not None and all(side is None for side in sizes):
        raise camera_file_error(
            f"{where} has a focal length in pixels, its picture was scaled, and nothing tells the "
            "size that the lens is for",
            "Write w and h, the size of the whole pictures, beside fl_x.",
        )


def _is_upright(entry: Mapping[str, Any], top: Mapping[str, Any], size: tuple[int, int]) -> bool:
    """Whether the camera's size is that of the picture turned by its EXIF orientation."""
    sides = [entry.get(key, top.get(key)) for key in ("w", "h")]
    return sides == [size[1], size[0]] and size[0] != size[1]


def scaled_frame(frame: Frame, size: tuple[int, int], where: str) -> Frame:
    """The frame with its lens scaled to the picture's size; raises ``camera.file_invalid``."""
    try:
        return replace(frame, lens=lens_of_picture(frame.lens, size))
    except UnusableCamera as error:
        raise camera_file_error(f"{where}: {error}", error.remedy) from error


def read_transforms(root: Path, file: Path, cancel: CancelCheck) -> Capture:
    """Read a folder with a ``transforms.json``.

    Args:
        root: the user's folder.
        file: the file in ``root``; its names are relative to its own folder.
        cancel: polled between frames.

    Raises:
        Dp3dError: ``camera.file_invalid``, ``viewset.invalid``, ``job.cancelled``.

    """
    notes = Notes()
    data = read_camera_json(file)
    reader = FrameReader(FileNames(root, file.parent, notes), notes, cancel)
    indices = reader.read(data, file.name)
    reader.finish()
    train, val, test = (_split_indices(data, key, indices, reader.absent) for key in _SPLITS)
    held_out = sorted({*val, *test} - set(train))
    used = sorted({*train, *held_out}) if train else list(range(len(reader.frames)))
    if (val or test) and not held_out:
        notes.add("Every frame for validation is one for training, too: others are held out.")
    if len(used) < len(reader.frames):
        notes.add(f"{len(reader.frames) - len(used)} frames are in no split, and are not read.")
    return Capture(
        "nerfstudio",
        (file,),
        tuple(reader.frames[i] for i in used),
        tuple(used.index(i) for i in held_out),
        notes,
        _applied_normalisation(data),
        data.get(KNOWN_MASKS[0]) == KNOWN_MASKS[1],
        data.get(HEAD_ALPHA[0]) == HEAD_ALPHA[1],
    )


def _applied_normalisation(data: Mapping[str, Any]) -> Normalisation | None:
    """The transform that was applied to the file's poses; kept, since camera paths need it."""
    transform, scale = data.get("applied_transform"), data.get("applied_scale", 1.0)
    if transform is None and scale == 1.0:
        return None
    changes = {"transform": np.eye(4) if transform is None else transform, "scale": scale}
    with suppress(Dp3dError):
        return Normalisation.from_dict(changes, "applied_transform")
    return None


def _split_indices(
    data: Mapping[str, Any], key: str, indices: Mapping[str, int], absent: Sequence[str]
) -> list[int]:
    """Indices of the frames that a split names; raises ``camera.file_invalid``."""
    names = data.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise camera_file_error(f"{key} is no list of file names", f"Correct {key}.")
    indices_by_name = {_normalised_name(name): index for name, index in indices.items()}
    absent_names = {_normalised_name(name) for name in absent}
    unknown = [
        name
        for name in names
        if _normalised_name(name) not in indices_by_name
        and _normalised_name(name) not in absent_names
    ]
    if unknown:
        raise camera_file_error(
            f"{key} names {unknown[0]!r:.80}, which is no frame", f"Correct {key}, or remove it."
        )
    return [
        indices_by_name[_normalised_name(name)]
        for name in names
        if _normalised_name(name) in indices_by_name
    ]


def _normalised_name(name: str) -> str:
    return os.path.normpath(name.replace("\\", "/"))
