# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of results: where they are, and their copy beside a .blend or packing into it.

Results of an unsaved file are in the extension's own folder.  When the file is saved,
``bring_along`` copies them to ``//head_views/`` and makes the paths of images relative to the file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import bpy

from ..link.errors import AddonError
from . import tags

_ADDON = __package__.rpartition(".")[0]

BESIDE = "head_views"
"""Folder beside the .blend that holds results; not ``dp3d``, which a clone of dp3d is called."""


def own(name: str) -> Path:
    """A folder of the extension's own, for results of files that are not saved."""
    try:
        return Path(bpy.utils.extension_path_user(_ADDON, path=name, create=True))
    except ValueError:  # registered by a script, not installed as an extension
        return Path(tempfile.gettempdir()) / f"dp3d-{name}"


def chosen(text: str, what: str) -> Path:
    """A folder that the user chose, as an absolute path.

    Args:
        text: as chosen; ``//`` begins at the .blend.
        what: the folder in words, for the message.

    Raises:
        AddonError: ``output.not_writable`` for a relative folder before the file is saved.

    """
    if text.startswith("//") and not bpy.data.filepath:
        raise AddonError(
            "output.not_writable",
            f"{what} is relative to a .blend file that is not saved yet.",
            "Save the .blend file, or choose an absolute folder.",
        )
    return Path(bpy.path.abspath(text))


def stored(path: Path | str, blend: str = "") -> str:
    """A path as stored in a .blend: relative to the file for paths below its folder.

    Args:
        path: absolute, or empty.
        blend: path of the .blend; empty: the one that is open.

    """
    blend = blend or bpy.data.filepath
    if not blend or not str(path):
        return str(path)
    home, path = Path(blend).parent, Path(path)
    return f"//{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


class Packed(NamedTuple):
    """Outcome of ``pack``."""

    packed: int
    """Images that lie in the .blend now."""
    sequences: list[str]
    """Names of image sequences, which Blender cannot pack: their folders must go along."""
    missing: list[str]
    """Names of images whose file is not there."""


def away(records: Iterable[Any], blend: Path, temporary: Sequence[Path] = ()) -> list[str]:
    """Ids of runs whose folder exists and does not lie beside or below the .blend file.

    Args:
        records: runs.
        blend: path of the .blend file.
        temporary: folders that never count as beside it, wherever the file is saved: those of
            an extension may lie below a file in the home folder.

    """
    return [
        run_id
        for run_id, folder in _folders(records)
        if folder.is_dir() and not _lies_beside(folder, blend, temporary)
    ]


def _lies_beside(folder: Path, blend: Path, temporary: Sequence[Path]) -> bool:
    folder = folder.resolve()
    if any(folder.is_relative_to(place.resolve()) for place in temporary):
        return False
    return folder.is_relative_to(blend.parent.resolve())


def bring_along(
    scene: bpy.types.Scene,
    records: Iterable[Any],
    blend: Path | str,
    move: bool = False,
    temporary: Sequence[Path] = (),
) -> dict[str, Path]:
    """Copy the folders of runs beside a .blend file and point all images there.

    A folder that lies beside the file already only gets relative paths.  Copies are complete or
    not there: a run is copied under another name first.

    Args:
        scene: which has the runs (images of other scenes with the same files follow too).
        records: runs, as mappings or properties with ``run_id`` and ``folder``.
        blend: path of the saved .blend file.
        move: remove the folder that was copied, once all images point to the copy.
        temporary: folders that never count as beside it, as for ``away``.

    Returns:
        The new folder of each run.  Whoever keeps paths of files in it (mesh, playback, video)
        changes them by ``moved``.

    Raises:
        AddonError: ``output.not_writable``.

    """
    blend = _absolute(str(blend))
    home = blend.parent / BESIDE
    folders: dict[str, Path] = {}
    copied: list[Path] = []
    for run_id, folder in _folders(records):
        if not folder.is_dir():
            continue
        target = folder
        if not _lies_beside(folder, blend, temporary):
            target = _free(home / folder.name, folder)
            _copy(folder, target)
            copied.append(folder)
        _point(folder, target, blend)
        folders[run_id] = target
    for folder in copied if move else ():
        shutil.rmtree(folder, ignore_errors=True)
    return folders


def moved(path: str, old: Path | str, new: Path) -> str:
    """A path inside a run's old folder, as one inside its new folder; others unchanged."""
    if not path:
        return path
    absolute, before = _absolute(path), _absolute(str(old))
    if not absolute.is_relative_to(before):
        return path
    return str(new / absolute.relative_to(before))


def pack(scene: bpy.types.Scene, run_id: str) -> Packed:
    """Pack the images of a run into the .blend file.

    Sequences (the player's frames, the playback) cannot be packed: ``bring_along`` copies them.
    """
    packed, sequences, missing = 0, [], []
    for image in bpy.data.images:
        if not tags.is_ours(image, run_id):
            continue
        if image.source == "SEQUENCE":
            sequences.append(image.name)
        elif image.packed_file is not None:
            packed += 1
        elif _absolute(image.filepath).is_file():
            image.pack()
            packed += 1
        else:
            missing.append(image.name)
    return Packed(packed, sequences, missing)


def _folders(records: Iterable[Any]) -> Iterator[tuple[str, Path]]:
    for record in records:
        run_id, folder = (
            (record["run_id"], record["folder"])
            if isinstance(record, dict)
            else (record.run_id, record.folder)
        )
        if folder:  # abspath of an empty text would be the .blend's own folder
            yield run_id, _absolute(folder)


def _absolute(path: str) -> Path:
    """A path of Blender's without // and .., links kept as they are."""
    return Path(os.path.normpath(bpy.path.abspath(path)))


def _free(target: Path, folder: Path) -> Path:
    """The target, or one with a number where the target holds another view set than the folder."""
    number, wanted = 2, target
    while target.exists() and _meta(target) != _meta(folder):
        target, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return target


def _meta(folder: Path) -> bytes:
    """Contents of a view set's ``meta.json``; empty for the folder of a run, which has an id."""
    try:
        return (folder / "meta.json").read_bytes()
    except OSError:
        return b""


def _copy(folder: Path, target: Path) -> None:
    """Copy a folder; files that are there already with the same size and time are kept."""
    part = target.with_name(f".{target.name}.part")
    try:
        if target.is_dir():
            shutil.copytree(folder, target, dirs_exist_ok=True, copy_function=_copy_if_changed)
            return
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, part)
        part.replace(target)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = getattr(error, "strerror", None) or "some files cannot be copied"
        raise AddonError(
            "output.not_writable",
            f"The frames cannot be copied to {target} ({reason}).",
            "Check free space and rights beside the .blend file, or save it elsewhere.",
        ) from error


def _copy_if_changed(source: str, target: str) -> str:
    if Path(target).exists() and _size_and_time(source) == _size_and_time(target):
        return target
    return str(shutil.copy2(source, target))


def _size_and_time(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_size, int(status.st_mtime)


def _point(old: Path, new: Path, blend: Path) -> None:
    for image in bpy.data.images:
        if image.library is not None or not image.filepath:
            continue
        path = _absolute(image.filepath)
        if path.is_relative_to(old):
            wanted = bpy.path.relpath(str(new / path.relative_to(old)), start=str(blend.parent))
            if image.filepath != wanted:
                image.filepath = wanted
