# SPDX-License-Identifier: GPL-3.0-or-later
"""A walk through the extension in a real window, from the zip to the playback, by mouse.

    python -m tests.addon.gui.walk OUT --photo PHOTO --zip ZIP [--display 91] -- BLENDER [ARGS...]

Starts Xvfb, a dp3d server of its own and Blender.  OUT gets a picture of every step and
report.json.  Needs xvfb, xdotool, xwd.  With DP3D_NERF_PYTHON the walk fits, makes a mesh and
plays back as well.  A Blender inside a chroot needs OUT, this checkout and the zip bind-mounted
at the same paths.  ``soak`` repeats the walk.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.addon.gui.steps import STEPS, Walk
from tests.addon.gui.window import Window
from tests.addon.support import ServerProcess

_WORDS = "Traceback", "Error:"


def complaints(out: Path) -> list[str]:
    """Lines of the logs that a draw function or a timer of ours must never cause."""
    return [
        f"{log.name}: {line}"
        for log in sorted([*out.glob("*.log"), *out.glob("server/*.log")])
        for line in log.read_text(errors="replace").splitlines()
        if any(word in line for word in _WORDS)
    ]


def run(options: argparse.Namespace, out: Path, blender: list[str]) -> dict[str, Any]:
    """One walk; its report, with ``failed_at`` where a step failed."""
    out.mkdir(parents=True, exist_ok=True)
    server = ServerProcess(out / "server")
    if os.environ.get("DP3D_NERF_PYTHON"):
        server.extra_env["DP3D_NERF_PYTHON"] = os.environ["DP3D_NERF_PYTHON"]
    report: dict[str, Any] = {"steps": {}}
    window = None
    began = time.monotonic()
    try:
        server.start()
        window = Window(out, blender, options.display)
        walk = Walk(window, server, options.photo, options.zip, report)
        for step in STEPS:
            if not options.only or step.__name__ in options.only:
                _take(walk, step, report)
        report["timers"] = window.value("clocks.longest()")
        report["slow_timers"] = window.value("clocks.slow")
    except Exception:
        report["failed"] = traceback.format_exc()
        if window is not None:
            _look_at_failure(window, report)
    finally:
        if window is not None:
            window.close()
        server.stop()
    report["seconds"] = round(time.monotonic() - began)
    report["complaints"] = complaints(out)
    report["passed"] = not (
        report.get("failed") or report["complaints"] or report.get("slow_timers")
    )
    (out / "report.json").write_text(json.dumps(report, indent=1))
    return report


def _take(walk: Walk, step: Any, report: dict[str, Any]) -> None:
    name = step.__name__
    report["failed_at"] = name
    began = time.monotonic()
    step(walk)
    report["steps"][name] = round(time.monotonic() - began, 1)
    del report["failed_at"]


def _look_at_failure(window: Window, report: dict[str, Any]) -> None:
    try:
        window.picture(f"FAILED_{report.get('failed_at', 'after_the_steps')}")
        report["panel_said"] = window.value("texts()")
        report["run"] = window.panel()
        report["last_click"] = window.last_click
        report["timers"] = window.value("clocks.longest()")
    except Exception as error:
        report["afterwards"] = str(error)


def parser_of_walks(description: str | None) -> argparse.ArgumentParser:
    """The options that every walk has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--zip", type=Path, required=True)
    parser.add_argument("--display", type=int, default=91)
    return parser


def split_arguments(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The options before ``--``, with absolute paths, and the command of Blender behind it."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:split])
    for name in ("out", "photo", "zip"):
        setattr(options, name, getattr(options, name).resolve())
    return options, sys.argv[split + 1 :] or ["blender"]


def arguments(description: str | None) -> tuple[argparse.Namespace, list[str]]:
    """Command line of walk and soak: the options, and the command of Blender."""
    parser = parser_of_walks(description)
    parser.add_argument("--runs", type=int, default=10, help="soak: number of walks")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="leave out others")
    return split_arguments(parser)


def main() -> int:
    """Command line."""
    options, blender = arguments(__doc__)
    report = run(options, options.out, blender)
    print(json.dumps(report, indent=1))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
