"""Errors without the folders of this machine: where a file lies is no business of a client's."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

_CODE = Path(__file__).resolve().parents[2]
_PACKAGES = re.compile(r"(?:[A-Za-z]:)?[\\/][^\n\"']*?[\\/](?:site|dist)-packages[\\/]")
_ABSOLUTE = re.compile(
    r"(?<![\w/.:<-])(?:[A-Za-z]:[\\/]|\\\\|/)(?:[\w.+@~%-]+[\\/])+(?=[\w.+@~%-])"
)
"""Folders before a file's name, not what follows a host or stands between two words."""

_QUOTED = re.compile(r"""(['"])(?:[A-Za-z]:[\\/]|/)[^'"\n]*[\\/]([^'"\\/\n]+)\1""")


def without_folders(error: dict[str, Any], data: Path) -> dict[str, Any]:
    """An error's members, with paths that say which file is meant but not where it lies.

    Files in the server's data folder, in our code and in packages are named from there, others by
    their name alone.

    Args:
        error: of ``Dp3dError.to_dict``.
        data: the server's data folder.

    """
    texts = ("problem", "remedy", "detail")
    return error | {name: _shortened(str(error[name]), data) for name in texts if name in error}


def _shortened(text: str, data: Path) -> str:
    text = _PACKAGES.sub("", text)
    folders = (data.absolute(), data.resolve(), _CODE, tempfile.gettempdir(), sys.prefix)
    for folder in sorted({str(folder) for folder in folders}, key=len, reverse=True):
        if len(folder) > 1:
            text = re.sub(rf"(?<![\w/.-]){re.escape(folder)}[\\/]", "", text)
            text = re.sub(rf"(?<![\w/.-]){re.escape(folder)}(?![\w-])", Path(folder).name, text)
    return _ABSOLUTE.sub("", _QUOTED.sub(r"\1\2\1", text))
