"""``dp3d doctor``: what works here, what is missing, and the command that changes it."""

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
from typing import Literal

from dp3d_core.errors import Dp3dError, ExitCode
from dp3d_core.storage.paths import dp3d_home
from server.cli.console import Common, Console, Outcome

Status = Literal["ok", "warn", "fail"]
_MARKS: dict[Status, str] = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}

# Distribution names of each extra, as in pyproject.toml; a test holds the two together.
PACKAGES: dict[str, tuple[str, ...]] = {
    "core": (
        "embreex",
        "opencv-python-headless",
        "scikit-image",
        "scipy",
        "threadpoolctl",
        "trimesh",
        "xatlas",
    ),
    "nerf": (
        "embreex",
        "fast-simplification",
        "opencv-python-headless",
        "scikit-image",
        "scipy",
        "trimesh",
        "xatlas",
    ),
    "server": (
        "fastapi",
        "h11",
        "httpx",
        "pydantic",
        "sqlalchemy",
        "sqlmodel",
        "starlette",
        "uvicorn",
    ),
}
_NEEDED = "core"
_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the doctor."""

    name: str
    status: Status
    """``fail`` only for what the main job cannot do without."""
    text: str
    remedy: str = ""
    command: tuple[str, ...] | None = None
    """Arguments of the dp3d command that mends it."""
    terminal: str = ""
    """A line for a terminal that mends it; made of ``command`` where there is one."""

    def __post_init__(self) -> None:
        if self.command and not self.terminal:
            object.__setattr__(self, "terminal", _line("-m", "server.cli.main", *self.command))


def _line(*arguments: str) -> str:
    """A command line for this Python, quoted for the platform's usual shell."""
    words = [sys.executable, *arguments]
    if sys.platform != "win32":
        return shlex.join(words)
    # "&" runs a quoted program in PowerShell, the terminal of today's Windows.
    return "& " + " ".join(word if word.isalnum() else f'"{word}"' for word in words)


@dataclass
class Doctor(Common):
    """What works on this machine, what is missing, and what to do about it."""

    port: int = 8765
    """Port that 'dp3d serve' would use."""

    def run(self, console: Console) -> Outcome:
        """Look at everything; the exit code is 4 when something needed is missing."""
        if not 1 <= self.port <= 65535:
            raise Dp3dError(
                "server.bad_request", f"{self.port} is not a TCP port.", "Use 1 to 65535."
            )
        findings = []
        checks: list[Callable[[], Iterator[Finding]]] = [
            check_python,
            check_packages,
            check_models,
            check_home,
            check_nerf,  # every mesh needs it: before what only some engines need
            check_engines,
            check_weights,
            lambda: check_port(self.port),
        ]
        for check in checks:
            try:
                findings += list(check())
            except Exception as error:  # one broken part must not hide the others
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
    """The interpreter's version."""
    version = ".".join(str(n) for n in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Finding("python", "ok", f"{version} ({sys.executable})")
    else:
        yield Finding("python", "fail", version, "Use Python 3.11, 3.12 or 3.13.")


def check_packages() -> Iterator[Finding]:
    """The packages of each extra."""
    for extra, names in PACKAGES.items():
        found, missing = [], []
        for name in names:
            try:
                found.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                missing.append(name)
        if missing:
            yield Finding(
                f"packages ({extra})",
                "fail" if extra == _NEEDED else "warn",
                f"missing: {', '.join(missing)}",
                f"Run: {Path(sys.executable).name} -m pip install 'dp3d[{extra}]'",
                terminal=_line("-m", "pip", "install", f"dp3d[{extra}]"),
            )
        else:
            yield Finding(f"packages ({extra})", "ok", ", ".join(found))


def check_models() -> Iterator[Finding]:
    """Whether the files that reading a portrait requires are installed."""
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
    """Every engine; one that cannot run says itself what it needs."""
    from dp3d_core.engines.registry import list_engines
    from dp3d_core.limits import DEFAULT_ENGINE

    for info in list_engines():
        if info.available:
            yield Finding(f"engine {info.name}", "ok", "available")
        else:
            status: Status = "fail" if info.name == DEFAULT_ENGINE else "warn"
            yield Finding(f"engine {info.name}", status, "not available", info.problem or "")


def check_weights() -> Iterator[Finding]:
    """The published weights of the diffusion engines; the engine preview needs none."""
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
        # A host without an interface leaves the fetching to a person.
        command = ("models", "install", str(variant)) if source.repository is not None else None
        by_hand = "" if command else _line("-m", "server.cli.main", "models", "import", source.file)
        text = "not installed (optional: only the diffusion engines use weights)"
        yield Finding(name, "warn", text, how(variant), command, by_hand)


def check_home() -> Iterator[Finding]:
    """The user's folder: can it be written, and is there room?"""
    home = dp3d_home()
    # A diagnosis leaves no folders behind: look at the nearest one that is there.
    there = next(path for path in (home, *home.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
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
    free = shutil.disk_usage(there).free / _GIB
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
    """The NeRF environment."""
    from nerf_export.process.environment import nerf_python, repair_hint

    try:
        python = nerf_python()
    except Dp3dError as error:
        yield Finding("NeRF environment", "warn", error.problem, error.remedy, _setup_nerf())
        return
    ask = (
        "import importlib.metadata as m; "
        "print('nerfstudio', m.version('nerfstudio'), 'torch', m.version('torch'))"
    )
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", ask], capture_output=True, text=True, timeout=60, check=True
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
    """The command that builds our environment; none helps while a variable names another one."""
    return None if os.environ.get("DP3D_NERF_PYTHON") else ("setup", "nerf", *flags)


def check_port(port: int) -> Iterator[Finding]:
    """The server's port: free, ours, or somebody else's."""
    from server.client import Client
    from server.settings import DEFAULT_HOST

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
