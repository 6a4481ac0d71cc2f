"""Writes ``program.json`` in the dp3d folder: which Python runs dp3d.

Blender sees neither the shell's PATH nor an activated environment.  With this file its extension
finds the dp3d that was set up last.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import write_json
from dp3d_core.storage.paths import dp3d_home

SCHEMA = "dp3d.program/1"
"""Schema of the file."""


def program_file() -> Path:
    """Path of the file."""
    return dp3d_home() / "program.json"


def note_program() -> None:
    """Write the file; a failure is ignored."""
    with suppress(OSError, Dp3dError):
        dp3d_home().mkdir(parents=True, exist_ok=True)
        write_json(program_file(), {"schema": SCHEMA, "python": sys.executable})
