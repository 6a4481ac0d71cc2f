"""``dp3d doctor``: checks the installation, and names the command for each missing part."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from dp3d_core.errors import Dp3dError, ExitCode
from dp3d_core.limits import Range
from dp3d_core.packages import EXTRAS, distribution
from dp3d_core.storage.paths import dp3d_home
from server.cli.arguments import check_numbers, number
from server.cli.console import Common, Console, Outcome
from server.settings import DEFAULT_HOST, DEFAULT_PORT, GIBIBYTE, PORT

Status = Literal["ok", "warn", "fail"]
"""Result of a check."""
_MARKS: dict[Status, str] = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
"""Mark of each status at the start of a line."""

_CHECKED_EXTRAS = ("core", "nerf", "server")
"""Extras whose packages are checked; the engines name what they lack of the others."""
_REQUIRED_EXTRA = "core"
"""Extra without which the doctor fails."""
_PORT = Range(1, PORT.high)
"""Range of ``--port``; 0 names no port that could be checked."""


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    name: str
    status: Status
    """``fail`` only for parts that the preview engine needs."""
    text: str
    """What was found."""
    remedy: str = ""
    """What to do; empty when nothing is missing."""
    command: tuple[str, ...] | None = None
    """Arguments of the dp3d command that installs or repairs the part."""
    terminal: str = ""
    """Command line for a terminal that does so; made from ``command`` if that is given."""

    def __post_init__(self) -> None:
        if self.command and not self.terminal:
            object.__setattr__(
                self, "terminal", _command_line("-m", "server.cli.main", *self.command)
            )


def _command_line(*arguments: str) -> str:
    """A command line for this Python, quoted for a POSIX shell, or for PowerShell on Windows."""
    words = [sys.executable, *arguments]
    if sys.platform != "win32":
        return shlex.join(words)
    # "&" runs a quoted program in PowerShell.
    return "& " + " ".join(word if word.isalnum() else f'"{word}"' for word in words)


@dataclass
class Doctor(Common):
    """Check what works on this machine, what is missing, and what to do about it."""

    port: Annotated[int, number("Port that 'dp3d serve' would use", _PORT)] = DEFAULT_PORT

    def run(self, console: Console) -> Outcome:
        """Run all checks; the exit code is 4 when a required part is missing."""
        check_numbers("server.bad_option", self)
        findings = []
        checks: list[Callable[[], Iterator[Finding]]] = [
            check_python,
            check_packages,
            check_models,
            check_home,
            check_nerf,  # before the engines: every mesh needs it
            check_engines,
            check_weights,
            lambda: check_port(self.port),
        ]
        for check in checks:
            try:
                findings += list(check())
            except Exception as error:  # a failing check must not hide the others
                name = getattr(check, "__name__", "check").removeprefix("check_")
                text = f"the check itself failed: {error!r}"
                findings.append(Finding(name, "warn", text, "Please report this."))
        failed = any(f.status == "fail" for f in findings)
        lines = []
        for finding in findings:
            lines.append(f"{_MARKS[finding.status]}  {finding.name}: {finding.text}")
            if finding.remedy:
                lines.append(f"      -> {finding.remedy}")
        return Outcome(
            {"healthy": not failed, "findings": [asdict(f) for f in findings]},
            lines,
            ExitCode.MISSING_COMPONENT if failed else ExitCode.OK,
        )


def check_python() -> Iterator[Finding]:
    """Check the version of Python."""
    version = ".".join(str(n) for n in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Finding("python", "ok", f"{version} ({sys.executable})")
    else:
        yield Finding("python", "fail", version, "Use Python 3.11, 3.12 or 3.13.")


def check_packages() -> Iterator[Finding]:
    """Check the packages of each extra."""
    for extra in _CHECKED_EXTRAS:
        installed, missing = [], []
        for name in sorted(map(distribution, EXTRAS[extra])):
            try:
                installed.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                missing.append(name)
        if missing:
            yield Finding(
                f"packages ({extra})",
                "fail" if extra == _REQUIRED_EXTRA else "warn",
                f"missing: {', '.join(missing)}",
                f"Run: {Path(sys.executable).name} -m pip install 'dp3d[{extra}]'",
                terminal=_command_line("-m", "pip", "install", f"dp3d[{extra}]"),
            )
        else:
            yield Finding(f"packages ({extra})", "ok", ", ".join(installed))


def check_models() -> Iterator[Finding]:
    """Check the files that a portrait requires: face models and head data."""
    from dp3d_core.portraits.required_files import missing
    from dp3d_core.storage.paths import models_folder

    files_missing = missing()
    if not files_missing:
        yield Finding("models", "ok", f"face models and head in {models_folder()}")
        return
    titles = " and ".join(files.title for files in files_missing)
    download_mb = sum(files.download_mb for files in files_missing)
    yield Finding(
        "models",
        "warn",
        f"not installed: {titles}; the first portrait fetches {download_mb} MB",
        "Run 'dp3d setup models' to fetch them now; it also takes files fetched by hand.",
        ("setup", "models"),
    )


def check_engines() -> Iterator[Finding]:
    """Check each engine; an unavailable engine names what it needs."""
    from dp3d_core.engines.registry import list_engines
    from dp3d_core.limits import DEFAULT_ENGINE

    for info in list_engines():
        if info.available:
            yield Finding(f"engine {info.name}", "ok", "available")
        else:
            status: Status = "fail" if info.name == DEFAULT_ENGINE else "warn"
            yield Finding(f"engine {info.name}", status, "not available", info.problem or "")


def check_weights() -> Iterator[Finding]:
    """Check the published weights of the diffusion engines; the preview engine needs none."""
    from dp3d_core.weights.installed import SOURCES, find_weights, how

    for variant, source in SOURCES.items():
        name = f"weights {variant}"
        try:
            weights = find_weights(variant)
        except Dp3dError as error:  # damaged
            yield Finding(name, "warn", error.problem, error.remedy)
            continue
        if weights is not None:
            yield Finding(name, "ok", f"in {weights.folder}")
            continue
        # A host without a download interface: the user downloads the file.
        command = ("models", "install", str(variant)) if source.repository is not None else None
        by_hand = (
            ""
            if command
            else _command_line("-m", "server.cli.main", "models", "import", source.file)
        )
        text = "not installed (optional: only the diffusion engines use weights)"
        yield Finding(name, "warn", text, how(variant), command, by_hand)


def check_home() -> Iterator[Finding]:
    """Check that the dp3d folder is writable and its disk has space."""
    home = dp3d_home()
    # The doctor makes no folders: check the nearest parent that exists.
    existing = next(path for path in (home, *home.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(b"dp3d")
    except OSError as error:
        yield Finding(
            "home",
            "fail",
            f"{home} cannot be written ({error.strerror})",
            "Set DP3D_HOME to a folder that can.",
        )
        return
    yield Finding("home", "ok", str(home))
    free = shutil.disk_usage(existing).free / GIBIBYTE
    if free >= 5:
        yield Finding("disk space", "ok", f"{free:.0f} GiB free")
    else:
        yield Finding(
            "disk space",
            "warn" if free >= 1 else "fail",
            f"{free:.1f} GiB free",
            "The NeRF environment takes 2 GiB and its installation 3; free some space, or set "
            "DP3D_HOME to another disk.",
        )


def check_nerf() -> Iterator[Finding]:
    """Check the NeRF environment: its Python, nerfstudio and torch."""
    from nerf_export.process.environment import nerf_python, repair_hint

    try:
        python = nerf_python()
    except Dp3dError as error:
        yield Finding("NeRF environment", "warn", error.problem, error.remedy, _setup_nerf())
        return
    script = (
        "import importlib.metadata as m; "
        "print('nerfstudio', m.version('nerfstudio'), 'torch', m.version('torch'))"
    )
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding(
            "NeRF environment",
            "warn",
            f"{python} does not answer ({type(error).__name__})",
            repair_hint()[:1].upper() + repair_hint()[1:] + ".",
            _setup_nerf("--force"),
        )
        return
    yield Finding("NeRF environment", "ok", f"{answer.stdout.strip()} ({python})")


def _setup_nerf(*flags: str) -> tuple[str, ...] | None:
    """The command that builds dp3d's NeRF environment; None while a variable names another."""
    return None if os.environ.get("DP3D_NERF_PYTHON") else ("setup", "nerf", *flags)


def check_port(port: int) -> Iterator[Finding]:
    """Check the server's port: free, used by a dp3d server, or used by another program."""
    from server.client import Client

    with socket.socket() as probe:
        probe.settimeout(2)
        taken = probe.connect_ex((DEFAULT_HOST, port)) == 0
    if not taken:
        yield Finding("port", "ok", f"{port} is free")
        return
    try:
        with Client(f"http://{DEFAULT_HOST}:{port}", "none", timeout_s=5) as client:
            health = client.health()
        yield Finding("port", "ok", f"a dp3d server {health['version']} runs on {port}")
    except Dp3dError as error:
        yield Finding(
            "port",
            "warn",
            f"{port}: {error.problem}",
            "Stop what runs there, or use 'dp3d serve --port' with another number.",
        )
