# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's tests on every Blender it promises: ``python -m tests.addon.versions``.

Each version is the bpy wheel in an environment of its own, made when it is first needed (1 GB, a
minute) from a pinned requirements file.  A table says how each did.  A version whose Python is not
here is not run; with ``STRICT=1`` in the environment that is a failure, too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MARKS = "bpy and (not slow or every_blender)"
FAILED, MISSING = 1, 4
"""Exit codes: tests failed; with STRICT=1, a version could not be run."""


@dataclass(frozen=True)
class Version:
    """A Blender and where its environment comes from."""

    name: str
    python: tuple[int, int]
    """Version of Python that its wheel is for."""
    requirements: str
    environment: str
    """Folder in the checkout."""

    @property
    def interpreter(self) -> Path:
        """Python of the environment."""
        place = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
        return REPOSITORY / self.environment / place


VERSIONS = (
    Version("4.2", (3, 11), "bpy-requirements-4.2.txt", ".venv-bpy-4.2"),
    Version("4.5", (3, 11), "bpy-requirements.txt", ".venv-bpy"),  # of `make env-bpy`
    Version("5.0", (3, 11), "bpy-requirements-5.0.txt", ".venv-bpy-5.0"),
    Version("5.2", (3, 13), "bpy-requirements-5.2.txt", ".venv-bpy-5.2"),
)


@dataclass
class Row:
    """How a version did."""

    version: str
    outcome: str
    """passed, failed or not run."""
    detail: str = ""
    failures: list[str] = field(default_factory=list)


def find_python(version: tuple[int, int]) -> str | None:
    """An interpreter of that version: ``PYTHON313`` and the like, this one, or one on PATH."""
    digits = "".join(map(str, version))
    dotted = ".".join(map(str, version))
    chosen = os.environ.get(f"PYTHON{digits}")
    tried = [chosen] if chosen else [sys.executable, f"python{dotted}", f"python{dotted}.exe"]
    for name in tried:
        path = shutil.which(name)
        if path and _is_version(path, version):
            return path
    return None


def _is_version(path: str, version: tuple[int, int]) -> bool:
    """Whether it runs and is that version: a version manager's stand-in may do neither."""
    ask = f"import sys; sys.exit(sys.version_info[:2] != {version})"
    try:
        completed = subprocess.run([path, "-c", ask], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return completed.returncode == 0


def ready(version: Version) -> str:
    """Make the environment if need be; why there is none, or an empty string."""
    requirements = REPOSITORY / "tests" / "addon" / version.requirements
    stamp = REPOSITORY / version.environment / ".installed"
    if stamp.is_file() and stamp.stat().st_mtime >= requirements.stat().st_mtime:
        return ""
    python = find_python(version.python)
    if python is None:
        dotted = ".".join(map(str, version.python))
        return f"no Python {dotted} here; set PYTHON{dotted.replace('.', '')}"
    print(f"== Blender {version.name} as a Python module in {version.environment} (a minute) ==")
    for command in (
        [python, "-m", "venv", str(stamp.parent)],
        [str(version.interpreter), "-m", "pip", "install", "-qq", "-r", str(requirements)],
    ):
        if subprocess.run(command, check=False).returncode != 0:
            return "its environment could not be built"
    stamp.touch()
    return ""


def run(version: Version, arguments: list[str]) -> Row:
    """Run the tests on one version."""
    why_not = ready(version)
    if why_not:
        return Row(version.name, "not run", why_not)
    print(f"== Blender {version.name} ==", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", MARKS, f"--junitxml={report}"]
        command += ["--numprocesses", os.environ.get("JOBS", "2"), "--dist", "loadfile"]
        completed = subprocess.run(
            [*command, *(arguments or ["tests/addon"])],
            cwd=REPOSITORY,
            env=os.environ | {"DP3D_BPY_PYTHON": str(version.interpreter), "OMP_NUM_THREADS": "1"},
            check=False,
        )
        return read_report(version.name, report, completed.returncode)


def read_report(name: str, report: Path, code: int) -> Row:
    """How a version did, from pytest's report and exit code."""
    try:
        cases = list(ET.parse(report).getroot().iter("testcase"))
    except (OSError, ET.ParseError):
        return Row(name, "failed", f"pytest left no report (exit code {code})")
    bad = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = [c for c in cases if c.find("skipped") is not None]
    seconds = sum(float(case.get("time", 0)) for case in cases)
    good = len(cases) - len(bad) - len(skipped)
    detail = f"{good} passed, {len(bad)} failed, {len(skipped)} skipped, {seconds:.0f} s of tests"
    outcome = "passed" if code == 0 and good else "failed"
    return Row(name, outcome, detail, [f"{c.get('classname')}::{c.get('name')}" for c in bad])


def table(rows: list[Row]) -> str:
    """The rows for people."""
    lines = [f"{'Blender':9}{'outcome':10}tests"]
    for row in rows:
        lines.append(f"{row.version:9}{row.outcome:10}{row.detail}")
        lines += [f"{'':19}{name}" for name in row.failures]
    return "\n".join(lines)


def exit_code(rows: list[Row], strict: bool) -> int:
    """0 when all that ran passed; what was not run counts only when it is ``strict``."""
    outcomes = {row.outcome for row in rows}
    if "failed" in outcomes:
        return FAILED
    return MISSING if strict and "not run" in outcomes else 0


def main() -> int:
    """Command line: versions (all without), then arguments of pytest after ``--``."""
    parser = argparse.ArgumentParser(prog="python -m tests.addon.versions")
    names = [version.name for version in VERSIONS]
    parser.add_argument("versions", nargs="*", default=names, metavar="VERSION", help="4.2 ...")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    chosen = parser.parse_args(words[:split]).versions
    if unknown := set(chosen) - set(names):
        parser.error(f"no such version: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    rows = [run(version, words[split + 1 :]) for version in VERSIONS if version.name in chosen]
    print(table(rows))
    return exit_code(rows, os.environ.get("STRICT") == "1")


if __name__ == "__main__":
    sys.exit(main())
