"""A note in the user's dp3d folder that says which Python runs dp3d, for programs that start it.

Blender does not see the shell's PATH or an environment that is switched on in a terminal; with the
note its extension finds the dp3d that was set up last.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import write_json
from dp3d_core.storage.paths import dp3d_home

SCHEMA = "dp3d.program/1"


def program_file() -> Path:
    """Where the note is kept."""
    return dp3d_home() / "program.json"


def note_program() -> None:
    """Write the note; a folder that cannot be written is no reason to fail."""
    with suppress(OSError, Dp3dError):
        dp3d_home().mkdir(parents=True, exist_ok=True)
        write_json(program_file(), {"schema": SCHEMA, "python": sys.executable})
