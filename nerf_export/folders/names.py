"""Finds the file that a name in another tool's folder means.

Such names were written on other machines: with backslashes, without endings, as absolute paths,
percent-encoded, in other upper and lower case.  Names and links that lead out of the folder are
refused.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from dp3d_core.storage.files import is_folder
from nerf_export.folders.capture import Notes, unusable
from nerf_export.folders.pictures import ENDINGS, read_header

_DRIVE = re.compile(r"^[A-Za-z]:/")
"""Start of an absolute path of Windows, with slashes."""
_MAX_NAME_LENGTH = 4096
"""Most characters of a name."""
_USUAL_FOLDER = "images"
"""Folder in which pictures are searched that are named without a folder."""
_REDUCTION_FACTORS = (2, 4, 8)
"""Factors of reduced pictures, which lie in folders such as ``images_4`` beside ``images``."""


class FileNames:
    """Finds the files of one folder."""

    def __init__(self, root: Path, base: Path, notes: Notes) -> None:
        """Prepare the search in a folder.

        Args:
            root: the user's folder; files outside are not read.
            base: the folder in ``root`` that names are relative to.
            notes: gets notes on names that needed another reading.

        """
        self.root, self.base = root.resolve(), base.resolve()
        self._resolved = self.root.resolve()
        self._notes = notes
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self._example = ""
        self.guessed: set[str] = set()
        """Names that were matched by the end of their path alone."""
        self.reduced: set[Path] = set()
        """Reduced pictures that were taken because the folder of full ones is absent."""

    def find(self, name: str, *, mask: bool = False, where: str = "") -> Path | None:
        """The file of a name, or None where there is none.

        Args:
            name: from the file of cameras.
            mask: whether the name is a mask's.  Its last part alone is then not searched, since
                pictures often have an equal file name.
            where: description of the name for messages, such as "the mask_path of frame 2".

        Raises:
            Dp3dError: ``viewset.invalid`` for a name that leads out of the folder or is no file
                name.

        """
        text = self._cleaned(name, where)
        spellings = list(dict.fromkeys([text, text.replace("\\", "/")]))
        spellings += [unquote(s) for s in spellings if unquote(s) != s]
        outside = []
        for spelling in spellings:
            if _is_absolute(spelling.replace("\\", "/")):
                continue
            path = Path(os.path.normpath(self.base / spelling))
            if self.root not in path.parents:
                outside.append(path)
            elif (file := self._at(path)) is not None:
                return self._noted(name, file)
        if outside:
            raise self._leads_out(name, outside[0])
        for spelling in spellings:
            path = Path(os.path.normpath(self.base / spelling.replace("\\", "/")))
            if (file := self._reduced(path)) is not None:
                return self._noted(name, file)
        likeliest = self._tail(spellings[-1].replace("\\", "/"), mask=mask)
        if likeliest is None:
            return None
        self.guessed.add(name)
        return self._noted(name, likeliest)

    def missing(self, name: str) -> str:
        """Half a sentence about a name without a file."""
        if _is_absolute(name.replace("\\", "/")):
            return f"{name!r:.120} is a path of another machine, and this folder has no such file"
        return f"{name!r:.120} is not in the folder"

    @staticmethod
    def _cleaned(name: str, where: str) -> str:
        text = name.removeprefix("file://").strip()
        if not text or len(text) > _MAX_NAME_LENGTH or "\0" in text:
            which = f"{where} is {name!r:.60}, which" if where else f"{name!r:.60}"
            raise unusable(f"{which} is no name of a file", "Correct it in the file.")
        return text

    def _at(self, path: Path) -> Path | None:
        """The file at a path in the folder, with any ending of pictures and in any case."""
        for candidate in (path, *(path.with_name(path.name + end) for end in ENDINGS)):
            if _is_file(candidate):
                return self._inside(candidate)
        if (other := self._other_case(path)) is not None:
            return self._inside(other)
        return None

    def _other_case(self, path: Path) -> Path | None:
        """The only file whose name differs in case or in the ending of pictures."""
        folder = self.root
        *folders, last = path.relative_to(self.root).parts
        for part in folders:
            names = self._names(folder).get(_key(part), [])
            chosen = part if part in names else names[0] if len(names) == 1 else None
            if chosen is None:
                return None
            folder /= chosen
        stem = PurePosixPath(last).stem if PurePosixPath(last).suffix.lower() in ENDINGS else last
        for candidate in (last, *(stem + end for end in ENDINGS)):
            names = self._names(folder).get(_key(candidate), [])
            if len(names) == 1 and _is_file(folder / names[0]):
                return folder / names[0]
        return None

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """Names in a folder, by their case-folded form with composed accents."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            try:
                self._inside(folder)
                for name in os.listdir(folder):  # noqa: PTH208 - names alone, folders may be large
                    listing.setdefault(_key(name), []).append(name)
            except OSError:
                pass
            self._listings[folder] = listing
        return self._listings[folder]

    def _tail(self, text: str, *, mask: bool) -> Path | None:
        """The file that matches the longest end of a path of another machine or folder."""
        parts = [p for p in PurePosixPath(text).parts if p not in {"/", "..", "."}]
        if not parts:
            return None
        tails = ["/".join(parts[i:]) for i in range(max(1, len(parts) - 8), len(parts))]
        for tail in tails[:-1] if mask else [*tails, f"{_USUAL_FOLDER}/{parts[-1]}"]:
            path = Path(os.path.normpath(self.base / tail))
            if self.root not in path.parents:
                continue
            if (file := self._at(path) or self._reduced(path)) is not None:
                return file
        return None

    def _reduced(self, path: Path) -> Path | None:
        """The largest reduced picture of a path whose folder of full pictures is absent."""
        folder = path.parent
        if self.root not in folder.parents or is_folder(folder):
            return None
        for factor in _REDUCTION_FACTORS:
            scaled = folder.with_name(f"{folder.name}_{factor}") / path.name
            if is_folder(scaled.parent) and (file := self._at(scaled)) is not None:
                self.reduced.add(file)
                return file
        return None

    def _inside(self, path: Path) -> Path:
        """The path; raises ``viewset.invalid`` where a link leads out of the folder."""
        resolved = path.resolve()
        if resolved != self._resolved and self._resolved not in resolved.parents:
            raise unusable(
                f"{path.name!r:.80} is a link that leads out of the folder",
                "Copy what it points to into the folder.",
            )
        return path

    def _leads_out(self, name: str, path: Path) -> Exception:
        common = Path(os.path.commonpath([self.root, path]))
        is_near = len(self.root.relative_to(common).parts) <= 3 and len(common.parts) > 2
        return unusable(
            f"{name!r:.120} lies outside of the folder {self.root.name!r}, and nothing outside of "
            "the folder that is given is read",
            f"Give the folder {str(common)!r}, which holds both."
            if is_near
            else "Copy the pictures into the folder, and name them relative to it.",
        )

    def _noted(self, name: str, file: Path) -> Path:
        """The file; adds a note where its name needed another reading."""
        plain = os.path.normpath(self.base / name)
        if _composed(plain) == _composed(str(file)):
            return file
        if "\\" in name and os.path.normpath(self.base / name.replace("\\", "/")) == str(file):
            self._notes.add("Backslashes in names are taken for the slashes of paths.")
        elif plain + file.suffix != str(file) or file.suffix.lower() not in ENDINGS:
            shown = file.relative_to(self.root).as_posix()
            if not self._example:
                self._example = f"{name!r:.80} for {shown!r:.80}"
            self._notes.add(
                "Some names are those of no file here: the likeliest files are taken, as "
                f"{self._example}.",
                name,
            )
        return file


def picture_sizes(folder: Path) -> Callable[[Mapping[str, Any]], tuple[int, int] | None]:
    """A function from a frame to width and height of its picture; None for an absent picture."""
    names = FileNames(folder, folder, Notes())

    def size_of(frame: Mapping[str, Any]) -> tuple[int, int] | None:
        name = frame.get("file_path")
        path = names.find(name) if isinstance(name, str) else None
        return None if path is None else read_header(path, str(name)).size

    return size_of


def _key(name: str) -> str:
    """A key that names share which differ in case or in the encoding of accents (macOS)."""
    return _composed(name).casefold()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_absolute(text: str) -> bool:
    return text.startswith(("/", "~")) or bool(_DRIVE.match(text))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or not to be encoded
        return False
