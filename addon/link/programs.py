# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the dp3d program on this computer, and starts and ends its processes.

No bpy here: threads use this module.  Programs are started in list form, never through a shell.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import storage
from .errors import AddonError

WINDOWS = sys.platform == "win32"
MODULE = ("-P", "-m", "server.cli.main")
"""Arguments that make a Python run dp3d, with no module of the folder it works in."""
FOLDER = "blender"
"""Folder of the user's dp3d folder that is the add-on's: log of the server, work folder."""
NOTE = "program.json"
"""File of the user's dp3d folder in which dp3d notes its Python (``server/cli/program.py``)."""

_VERSION = re.compile(r"^dp3d (\S+)\s*$", re.MULTILINE)
_VERSION_TIMEOUT_S = 60.0
_ENVIRONMENTS = (".venv", "venv", "env", "")
"""Folders of a clone that may be its environment; the last is the folder itself."""
_SEARCH_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


@dataclass(frozen=True)
class Program:
    """A way to run dp3d."""

    command: tuple[str, ...]
    """Beginning of every command line."""
    origin: str
    """Where the search came across it, for people."""
    version: str = ""
    """Its answer to ``--version``."""


# -- finding ---------------------------------------------------------------------------------


def find(chosen: str, environment: Mapping[str, str]) -> Program:
    """The first program that answers with a version.

    Args:
        chosen: path of the preferences: a folder, a Python interpreter or dp3d itself; empty
            for the usual places.
        environment: variables of the programs that are tried (:func:`clean_environment`).

    Raises:
        AddonError: ``addon.program_missing`` where there is none, ``addon.program_broken``
            where there are some and none answers.

    """
    failure = ""
    tried = candidates(chosen) if chosen.strip() else usual_places(environment)
    for program in tried:
        try:
            return replace(program, version=ask_version(program, environment))
        except AddonError as error:
            failure = failure or error.problem
    if failure:
        raise AddonError(
            "addon.program_broken",
            failure,
            "Run 'make env' in dp3d's folder again, or choose another one in the preferences.",
        )
    if chosen.strip():
        raise AddonError(
            "addon.program_missing",
            f"There is no dp3d at {chosen.strip()}.",
            "Choose dp3d's folder, the Python it is installed in, or the dp3d program.",
        )
    raise AddonError(
        "addon.program_missing",
        "dp3d is not installed in any of the usual places of this computer.",
        "Choose the folder it is in, or install it.",
    )


def candidates(chosen: str, windows: bool = WINDOWS) -> Iterator[Program]:
    """Programs that a path of the preferences may mean; no program is started."""
    path = Path(chosen.strip().strip('"').strip()).expanduser()
    origin = "chosen in the preferences"
    if path.is_dir():
        yield from in_folder(path, origin, windows)
    elif path.is_file() and _is_python(path):
        yield Program((str(path), *MODULE), origin)
    elif path.is_file():
        yield Program((str(path),), origin)


def in_folder(place: Path, origin: str, windows: bool = WINDOWS) -> Iterator[Program]:
    """Programs of a folder: an environment, a clone with one inside, its folder of programs."""
    programs = [place / name / ("Scripts" if windows else "bin") for name in _ENVIRONMENTS]
    programs.append(place)
    suffix = ".exe" if windows else ""
    for scripts in programs:
        if (scripts / f"dp3d{suffix}").is_file():
            yield Program((str(scripts / f"dp3d{suffix}"),), origin)
    for scripts in programs:  # an environment that was moved: its scripts name the old place
        if (scripts / f"python{suffix}").is_file():
            yield Program((str(scripts / f"python{suffix}"), *MODULE), origin)
    yield from _noted(place, origin)


def usual_places(
    environment: Mapping[str, str], home: Path | None = None, windows: bool = WINDOWS
) -> Iterator[Program]:
    """Programs on PATH, of dp3d's own note, beside the add-on's source, in the user's folder."""
    name = "dp3d.exe" if windows else "dp3d"
    separator = ";" if windows else ":"
    for entry in environment.get("PATH", "").split(separator):
        # Neither "" nor ".": a program must not depend on the folder Blender was started in.
        if Path(entry).is_absolute() and (Path(entry) / name).is_file():
            yield Program((str(Path(entry) / name),), "on PATH")
    yield from _noted(storage.server_home(), "used last by this user")
    clone = Path(__file__).resolve().parents[2]
    if (clone / "pyproject.toml").is_file():  # the add-on runs from a clone
        yield from in_folder(clone, "in the add-on's clone", windows)
    with suppress(RuntimeError):  # no home
        home = home or Path.home()
        if (home / ".local" / "bin" / name).is_file():  # pipx, uv
            yield Program((str(home / ".local" / "bin" / name),), "in the user's programs")
        yield from in_folder(home / "dp3d", "in the user's folder dp3d", windows)


def _noted(place: Path, origin: str) -> Iterator[Program]:
    with suppress(OSError, ValueError, TypeError, KeyError):
        python = json.loads((place / NOTE).read_text("utf-8"))["python"]
        if Path(python).is_absolute() and Path(python).is_file():
            yield Program((python, *MODULE), origin)


def _is_python(path: Path) -> bool:
    return re.fullmatch(r"pythonw?[0-9.]*(\.exe)?", path.name, re.IGNORECASE) is not None


def ask_version(program: Program, environment: Mapping[str, str]) -> str:
    """The version that a program names.

    Raises:
        AddonError: ``addon.program_broken`` when it does not start or is not dp3d.

    """
    try:
        done = subprocess.run(
            [*program.command, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
            **process_options(environment),
        )
    except subprocess.TimeoutExpired:
        reason = f"it does not answer within {_VERSION_TIMEOUT_S:.0f} s"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    else:
        if done.returncode == 0 and (version := _VERSION.search(done.stdout)):
            return version[1]
        lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
        reason = lines[-1][:200] if lines else f"exit code {done.returncode}"
    raise AddonError(
        "addon.program_broken",
        f"{program.command[0]} does not run dp3d ({reason}).",
        "Run 'make env' in dp3d's folder again.",
    )


def folder() -> Path:
    """The add-on's folder in the user's dp3d folder; it may not exist yet."""
    return storage.server_home() / FOLDER


# -- processes -------------------------------------------------------------------------------


def clean_environment(
    environment: Mapping[str, str], host: tuple[str, ...] = (), token: str = ""
) -> dict[str, str]:
    """Variables for a dp3d process: those of this process without what is Blender's own.

    Args:
        environment: usually ``os.environ``.
        host: folders of Blender and its Python; entries of library search paths in them go.
        token: becomes ``DP3D_TOKEN`` unless empty.

    """
    cleaned = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith("PYTHON") and name != "__PYVENV_LAUNCHER__"
    }
    # Snaps and AppImages put their libraries before the system's.  A distribution's Blender is
    # at home in /usr, whose libraries are everybody's.
    host = (*host, environment.get("SNAP", ""), environment.get("APPDIR", ""))
    inside = [Path(place) for place in host if place and Path(place) != Path("/usr")]
    for name in _SEARCH_PATHS:
        if name not in cleaned:
            continue
        entries = [
            entry
            for entry in cleaned[name].split(os.pathsep)
            if entry and not any(Path(entry).is_relative_to(place) for place in inside)
        ]
        cleaned[name] = os.pathsep.join(entries)
        if not entries:
            del cleaned[name]
    if token:
        cleaned["DP3D_TOKEN"] = token
    return cleaned


def process_options(environment: Mapping[str, str], windows: bool = WINDOWS) -> dict[str, Any]:
    """Arguments of ``Popen``: a group of its own, no window, a folder without modules.

    A process that starts ``python -m`` looks for modules in the folder it works in, and Blender's
    may hold anything: a folder ``server``, for instance.
    """
    options: dict[str, Any] = {"env": dict(environment)}
    with suppress(OSError, RuntimeError):
        folder().mkdir(parents=True, exist_ok=True)
        options["cwd"] = str(folder())
    if windows:
        no_window = getattr(subprocess, "CREATE_NO_WINDOW", 0x08000000)
        options["creationflags"] = no_window | getattr(
            subprocess, "CREATE_NEW_PROCESS_GROUP", 0x00000200
        )
    else:
        options["start_new_session"] = True
    return options


def ask_to_end(process: subprocess.Popen[Any]) -> None:
    """Ask a process to stop in good order; on Windows, where it cannot be asked, end it."""
    if WINDOWS:
        end(process)
        return
    with suppress(OSError):
        process.send_signal(signal.SIGTERM)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process started with :func:`process_options`, and what it started."""
    if process.poll() is not None:
        return
    if WINDOWS:
        taskkill = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "taskkill.exe"
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [str(taskkill), "/PID", str(process.pid), "/T", "/F"],
                capture_output=True,
                timeout=20,
                check=False,
                **process_options(os.environ),
            )
        with suppress(OSError):
            process.kill()
        return
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
