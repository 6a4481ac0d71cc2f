# SPDX-License-Identifier: GPL-3.0-or-later
"""Folder of an export: checks whether it may be used, and writes documents and frames.  No bpy."""

from __future__ import annotations

import json
import os
import re
from itertools import count
from pathlib import Path
from typing import Any

from ..link.errors import AddonError
from ..link.storage import write_atomic

META_SCHEMA = "dp3d.views/1"
_FRAME = re.compile(r"\d{4,}\.png")
_CAMERA_TOLERANCE = 1e-6


class ExportFolder:
    """The view set that an export writes; each frame is rendered under another name and renamed.

    Args:
        path: of the folder.
        start_over: render all frames anew, in place of an earlier export.
        numbered: where the folder is another's, take its name with -2, -3, ... instead.

    """

    def __init__(self, path: Path, *, start_over: bool, numbered: bool) -> None:
        self.path = path
        self._start_over, self._numbered = start_over, numbered

    def open(
        self, meta: dict[str, Any], cameras: dict[str, Any], transforms: dict[str, Any] | None
    ) -> None:
        """Take the folder and write its documents; what is left of a crash is removed.

        Args:
            meta: ``meta.json``.
            cameras: ``cameras.json``.
            transforms: ``transforms.json``, if it is wanted.

        Raises:
            AddonError: ``output.occupied``, ``output.not_writable``, ``viewset.mismatch``.

        """
        if self._choose(meta, cameras) and self._start_over:
            clear(self.path)
        documents = {"meta.json": meta, "cameras.json": cameras, "transforms.json": transforms}
        for name, document in documents.items():
            if document is not None:
                write_atomic(self.path / name, document_bytes(document))
        (self.path / "frames").mkdir(exist_ok=True)
        for part in self.path.glob("frames/.*.part.png"):  # of a Blender that crashed
            part.unlink(missing_ok=True)

    def _choose(self, meta: dict[str, Any], cameras: dict[str, Any]) -> bool:
        """Whether an earlier export is in the folder that is taken."""
        wanted = self.path
        for number in count(2):
            try:
                return adopt(self.path, meta, cameras, start_over=self._start_over)
            except AddonError as error:
                if not self._numbered or error.code not in ("output.occupied", "viewset.mismatch"):
                    raise
                self.path = wanted.with_name(f"{wanted.name}-{number}")
        raise AssertionError

    def frame(self, index: int) -> Path:
        """File of a view."""
        return self.path / "frames" / f"{index:04d}.png"

    def part(self, index: int) -> Path:
        """File of a view while it is rendered."""
        return self.path / "frames" / f".{index:04d}.{os.getpid()}.part.png"

    def has_frame(self, index: int, size: tuple[int, int]) -> bool:
        """Whether a view is there.

        Raises:
            AddonError: ``viewset.invalid`` for a file that is no frame of this size.

        """
        path = self.frame(index)
        if not path.exists():
            return False
        if png_size(path) != size:
            raise AddonError(
                "viewset.invalid",
                f"{path} is no frame of this export.",
                "Delete that file and export again: only it is rendered anew.",
            )
        return True

    def keep(self, index: int) -> None:
        """Take a rendered view into the view set.

        Raises:
            AddonError: ``output.not_writable``.

        """
        try:
            self.part(index).replace(self.frame(index))
        except OSError as error:
            raise AddonError(
                "output.not_writable",
                f"The frames cannot be written in {self.path} ({error.strerror}).",
                "Check free space and rights of the output folder, or choose another one.",
            ) from error

    def remove_parts(self) -> None:
        """Delete what this Blender was rendering."""
        for part in self.path.glob(f"frames/.*.{os.getpid()}.part.png"):
            part.unlink(missing_ok=True)


def adopt(
    folder: Path, meta: dict[str, Any], cameras: dict[str, Any], *, start_over: bool = False
) -> bool:
    """Refuse a folder with foreign files, or with another export.

    Args:
        folder: where the export goes.
        meta: its ``meta.json``.
        cameras: its ``cameras.json``.
        start_over: take any earlier export of this extension, to be replaced.

    Returns:
        Whether an earlier export is there.

    Raises:
        AddonError: ``output.occupied``, ``output.not_writable``, ``viewset.mismatch``.

    """
    if folder.exists() and not folder.is_dir():
        raise AddonError(
            "output.occupied",
            f"{folder} is a file, and the frames need a folder.",
            "Choose a folder that is empty or does not exist yet.",
        )
    try:
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise AddonError(
            "output.not_writable",
            f"The folder {folder} cannot be looked into ({error.strerror}).",
            "Check its rights, or choose another one.",
        ) from error
    foreign = sorted(n for n in names if not n.startswith("."))
    if not foreign:
        return False
    present = _read(folder / "meta.json")
    if not isinstance(present, dict) or present.get("schema") != META_SCHEMA:
        raise AddonError(
            "output.occupied",
            f"{folder} already holds files that are not from an export ({foreign[0]}).",
            "Choose a folder that is empty or does not exist yet.",
        )
    ours = present.get("engine") == "blender"
    begun = any(_FRAME.fullmatch(p.name) for p in folder.glob("frames/*"))
    if ours and (start_over or not begun):
        return True
    same = _same_meta(present, json.loads(document_bytes(meta)))
    if not (ours and same and _same_cameras(_read(folder / "cameras.json"), cameras)):
        raise AddonError(
            "viewset.mismatch",
            f"{folder} holds views of another scene, other cameras or other settings.",
            "Press Start Over to replace them, or choose another folder."
            if ours
            else "Choose another folder.",
        )
    return True


def _same_meta(present: dict[str, Any], meta: dict[str, Any]) -> bool:
    """Whether an export goes on: all fields but versions, run and warnings are equal.

    The export of a file that was not saved has no path of one; it goes on after the first save.
    """
    old, new = (
        {k: v for k, v in document.items() if k not in {"versions", "run", "warnings"}}
        for document in (present, meta)
    )
    parameters = old.get("parameters")
    if isinstance(parameters, dict) and parameters.get("blend") == "":
        old["parameters"] = parameters | {"blend": new["parameters"]["blend"]}
    return old == new


def _same_cameras(present: Any, cameras: dict[str, Any]) -> bool:
    try:
        if present is None:
            return True  # stopped before they were written
        old, new = present["cameras"], cameras["cameras"]
        return len(old) == len(new) and all(map(same_camera, old, new))
    except (KeyError, TypeError, ValueError):
        return False


def same_camera(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two cameras of ``cameras.json`` are one within rounding."""
    return (
        (a["width"], a["height"]) == (b["width"], b["height"])
        and _close(a["c2w"], b["c2w"], _CAMERA_TOLERANCE)
        and _close(a["K"], b["K"], _CAMERA_TOLERANCE * max(a["width"], a["height"]))
    )


def _close(a: Any, b: Any, tolerance: float) -> bool:
    return all(
        abs(x - y) <= tolerance
        for row, other in zip(a, b, strict=True)
        for x, y in zip(row, other, strict=True)
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def document_bytes(document: dict[str, Any]) -> bytes:
    """A JSON document as its file holds it."""
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def clear(folder: Path) -> None:
    """Delete the frames of an earlier export, and nothing else."""
    for path in folder.glob("frames/*"):
        if _FRAME.fullmatch(path.name):
            path.unlink()
    for name in ("cameras.json", "transforms.json"):
        (folder / name).unlink(missing_ok=True)


def png_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a whole 8 bit RGBA PNG; None for anything else."""
    try:
        with path.open("rb") as stream:
            head = stream.read(33)
            stream.seek(-12, os.SEEK_END)
            tail = stream.read()
    except OSError:
        return None
    whole = tail[4:8] == b"IEND" and head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR"
    if not whole or head[24:26] != b"\x08\x06":
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
