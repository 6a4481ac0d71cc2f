# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the extension's zip with Blender's own tool: ``python -m tests.addon.build FOLDER``.

The tool (``blender_ext.py``) comes with the bpy wheel and runs without Blender.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.addon.support import ADDON, REPOSITORY


def find_bpy_python() -> Path | None:
    """Interpreter with the bpy wheel: ``DP3D_BPY_PYTHON``, else ``.venv-bpy`` in the checkout."""
    places = [REPOSITORY / ".venv-bpy" / p for p in ("bin/python", "Scripts/python.exe")]
    if chosen := os.environ.get("DP3D_BPY_PYTHON"):
        places.insert(0, Path(chosen))
    return next((place for place in places if place.is_file()), None)


def find_blender_ext(bpy_python: Path) -> Path | None:
    """Blender's extension tool in that environment."""
    return next(iter(sorted(bpy_python.parent.parent.glob("**/bl_pkg/cli/blender_ext.py"))), None)


def build(bpy_python: Path, blender_ext: Path, out: Path) -> Path:
    """Build the zip into a folder and return its path.

    Raises:
        RuntimeError: with what the tool says, when the add-on is not valid.

    """
    out.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [bpy_python, blender_ext, "build", "--source-dir", ADDON, "--output-dir", out],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return max(out.glob("dp3d_head_views-*.zip"), key=lambda path: path.stat().st_mtime)


def main() -> int:
    """Command line: the folder for the zip."""
    python = find_bpy_python()
    tool = find_blender_ext(python) if python else None
    if python is None or tool is None:
        print("The Blender environment is missing; run 'make env-bpy'.", file=sys.stderr)
        return 4
    try:
        print(build(python, tool, Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
