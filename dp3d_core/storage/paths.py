"""The user's folders: environments, token, jobs and logs; models; fitted heads.

Standard library only, so that every room may import it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def dp3d_home() -> Path:
    r"""The user's dp3d folder, absolute; it is not created.

    ``DP3D_HOME`` if it is set, else the platform's folder for user data:
    ``%LOCALAPPDATA%\dp3d`` on Windows, ``~/Library/Application Support/dp3d`` on macOS and
    ``$XDG_DATA_HOME/dp3d`` (``~/.local/share/dp3d``) elsewhere.
    """
    chosen = os.environ.get("DP3D_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "dp3d"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "dp3d"
    base = os.environ.get("XDG_DATA_HOME")
    # The XDG specification says to ignore a relative path.
    if base and Path(base).is_absolute():
        return Path(base) / "dp3d"
    return Path.home() / ".local" / "share" / "dp3d"


def models_folder() -> Path:
    """Folder of the face models and the head's data; it is not created.

    ``DP3D_MODELS`` if it is set, which lets several users share one folder.
    """
    chosen = os.environ.get("DP3D_MODELS")
    return Path(chosen).expanduser().absolute() if chosen else dp3d_home() / "models"


def heads_folder() -> Path:
    """Folder of the kept heads, see :mod:`dp3d_core.preview.kept_heads`; it is not created."""
    return dp3d_home() / "heads"
