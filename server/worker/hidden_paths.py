"""Removes folders of this machine from errors, since clients must not learn them."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

_CODE = Path(__file__).resolve().parents[2]
"""Folder of dp3d's packages."""
_PACKAGES = re.compile(r"(?:[A-Za-z]:)?[\\/][^\n\"']*?[\\/](?:site|dist)-packages[\\/]")
"""Path up to the folder of an installed package."""
_ABSOLUTE = re.compile(
    r"(?<![\w/.:<-])(?:[A-Za-z]:[\\/]|\\\\|/)(?:[\w.+@~%-]+[\\/])+(?=[\w.+@~%-])"
)
"""Absolute folders before a file name; paths of URLs and slashes between words do not match."""

_QUOTED = re.compile(r"""(['"])(?:[A-Za-z]:[\\/]|/)[^'"\n]*[\\/]([^'"\\/\n]+)\1""")
"""Absolute path in quotes, which may contain spaces."""


def without_folders(error: dict[str, Any], data: Path) -> dict[str, Any]:
    """Shorten the paths in an error's texts.

    Paths in the data folder, in dp3d's code and in packages become relative to these; other paths
    become their file name.

    Args:
        error: from ``Dp3dError.to_dict``.
        data: data folder of the server.

    Returns:
        a copy with new ``problem``, ``remedy`` and ``detail``.

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
