"""Where dp3d keeps what belongs to a user: environments, the token, jobs, logs.

Standard library only: every room may use it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def dp3d_home() -> Path:
    r"""The user's dp3d folder, absolute; it is not created here.

    ``DP3D_HOME`` decides when it is set.  Otherwise the platform's place for a user's data:
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
    # The XDG specification: a relative path there is to be ignored.
    if base and Path(base).is_absolute():
        return Path(base) / "dp3d"
    return Path.home() / ".local" / "share" / "dp3d"


def models_folder() -> Path:
    """Where face models and the head's data are kept; it is not created here.

    ``DP3D_MODELS`` decides when it is set: one folder for several users or homes.
    """
    chosen = os.environ.get("DP3D_MODELS")
    return Path(chosen).expanduser().absolute() if chosen else dp3d_home() / "models"


def heads_folder() -> Path:
    """Where fitted heads are kept for photos that come again; it is not created here."""
    return dp3d_home() / "heads"
