# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the Blender extension's zip: ``python -m tests.addon.build [FOLDER]``.

Needs Python 3.11 and nothing else.  Where there is a Blender, or Blender as a Python module, its
own tool validates the zip.  ``blender --command extension build --source-dir addon --output-dir
dist`` makes a zip with the same content; this one has the same bytes every time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
ADDON = REPOSITORY / "addon"
MANIFEST = "blender_manifest.toml"

DEFAULT_EXCLUDES = ("__pycache__/", ".*", "/*.zip")
"""Blender's, for a manifest without a ``[build]`` section."""
PERMISSIONS = {"files", "network", "clipboard", "camera", "microphone"}
TEXT_LIMIT = 64
"""Characters of a tagline or of a permission's reason."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_TEXTS = ("schema_version", "id", "version", "name", "tagline", "maintainer", "type")


class BadManifestError(Exception):
    """What Blender would refuse about the manifest, one line each."""


def read_manifest(folder: Path = ADDON) -> dict[str, Any]:
    """The manifest, with what Blender's tool checks checked.

    Raises:
        BadManifestError: with every fault.

    """
    try:
        manifest = tomllib.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadManifestError(f"{MANIFEST} cannot be read: {error}") from error
    faults = list(_faults(manifest))
    if not (folder / "__init__.py").is_file():
        faults.append("__init__.py is missing")
    if faults:
        raise BadManifestError("\n".join(faults))
    return manifest


def _faults(manifest: dict[str, Any]) -> Iterator[str]:
    for name in (*_TEXTS, "blender_version_min"):
        if not isinstance(manifest.get(name), str) or not manifest[name].strip():
            yield f"{name} is missing"
    licences = manifest.get("license")
    if not isinstance(licences, list) or not licences:
        yield "license is missing"
    elif not all(str(licence).startswith("SPDX:") for licence in licences):
        yield "license names no SPDX identifier"
    if not re.fullmatch(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?", str(manifest.get("version", ""))):
        yield "version is not of the form 1.2.3"
    if not str(manifest.get("id", "")).isidentifier():
        yield "id is not an identifier"
    permissions = manifest.get("permissions", {})
    yield from (f"permission {name} is unknown" for name in permissions if name not in PERMISSIONS)
    texts = {f"permission {name}": text for name, text in permissions.items()}
    for name, text in {"tagline": manifest.get("tagline", ""), **texts}.items():
        if len(text) > TEXT_LIMIT:
            yield f"{name} is longer than {TEXT_LIMIT} characters"
        if text and not (text[-1].isalnum() or text[-1] in ")]}"):
            yield f"{name} ends in punctuation"
    build = manifest.get("build", {})
    unknown = set(build) - {"paths_exclude_pattern"}
    if unknown:
        yield f"[build] {', '.join(sorted(unknown))} is not supported here"


def packed_files(folder: Path = ADDON, patterns: tuple[str, ...] = DEFAULT_EXCLUDES) -> list[str]:
    """Paths of the files that go into the zip, relative and sorted; links are left out."""

    def walk(place: Path, prefix: str) -> Iterator[str]:
        for entry in sorted(place.iterdir()):
            if entry.is_symlink():
                continue
            name = prefix + entry.name
            if entry.is_dir():
                if not excluded(name + "/", patterns):
                    yield from walk(entry, name + "/")
            elif entry.is_file() and (name == MANIFEST or not excluded(name, patterns)):
                yield name

    return sorted(walk(folder, ""))


def excluded(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a path (a folder ends in "/") is meant by patterns in the way of .gitignore."""
    result = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        if _regex(pattern.removeprefix("!")).fullmatch(path):
            if negated:
                return False
            result = True
    return result


def _regex(pattern: str) -> re.Pattern[str]:
    folders_only = pattern.endswith("/")
    anchored = pattern.startswith("/")  # with Blender only then, unlike .gitignore
    parts = []
    for piece in re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern.strip("/")):
        known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        is_set = piece.startswith("[") and len(piece) > 2
        parts.append(
            known.get(piece) or (piece.replace("[!", "[^") if is_set else re.escape(piece))
        )
    return re.compile(
        ("" if anchored else "(?:.*/)?") + "".join(parts) + ("/" if folders_only else "/?")
    )


def build(out: Path, folder: Path = ADDON) -> Path:
    """Write the zip into a folder and return its path; the same files give the same bytes.

    Raises:
        BadManifestError: the manifest is not one that Blender takes.

    """
    manifest = read_manifest(folder)
    patterns = tuple(manifest.get("build", {}).get("paths_exclude_pattern", DEFAULT_EXCLUDES))
    path = out / f"{manifest['id']}-{manifest['version']}.zip"
    temporary = path.with_name(f".{path.name}")
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for name in packed_files(folder, patterns):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # as on Unix, wherever it is built
            entry.external_attr = 0o644 << 16
            package.writestr(entry, (folder / name).read_bytes())
    temporary.replace(path)
    return path


# -- Blender's own tool ------------------------------------------------------------------------


def find_bpy_python() -> Path | None:
    """Interpreter with the bpy wheel: ``DP3D_BPY_PYTHON``, else ``.venv-bpy`` in the checkout."""
    candidates = [REPOSITORY / ".venv-bpy" / p for p in ("bin/python", "Scripts/python.exe")]
    if chosen := os.environ.get("DP3D_BPY_PYTHON"):
        candidates.insert(0, Path(chosen))
    return next((place for place in candidates if place.is_file()), None)


def find_blender_ext(bpy_python: Path) -> Path | None:
    """Blender's extension tool in that environment; it runs without Blender."""
    return next(iter(sorted(bpy_python.parent.parent.glob("**/bl_pkg/cli/blender_ext.py"))), None)


def blender_tool() -> list[str] | None:
    """Beginning of the command line of Blender's extension tool; None where there is no Blender."""
    python = find_bpy_python()
    tool = find_blender_ext(python) if python else None
    if python and tool:
        return [str(python), str(tool)]
    blender = shutil.which("blender")
    return [blender, "--command", "extension"] if blender else None


def run_tool(tool: list[str], *arguments: str | Path) -> None:
    """Run Blender's tool.

    Raises:
        RuntimeError: with what it says, when it refuses.

    """
    completed = subprocess.run([*tool, *arguments], capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        raise RuntimeError((completed.stdout + completed.stderr).strip())


def main() -> int:
    """Command line: the folder for the zip, ``dist`` without one."""
    try:
        path = build(Path(sys.argv[1] if len(sys.argv) > 1 else "dist"))
        tool = blender_tool()
        if tool is not None:
            run_tool(tool, "validate", path)
    except (BadManifestError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(path)
    if tool is None:
        print("(There is no Blender here to validate it.)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
