# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the current run, follows it with a timer, and leaves it.  Main thread only.

A timer and not a modal operator: Blender postpones its autosave while a modal operator runs, and a
job takes minutes.  Without a window there are no timers, and ``wait`` polls in a loop.
"""

from __future__ import annotations

import time
import traceback
from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import run_records, settings, windows
from .link.client import Server
from .link.errors import AddonError
from .request import Request
from .run_view import RunView
from .scene import playback

INTERVAL_S = 0.2
"""Seconds between two looks at the messages of the run."""

_current: RunView | None = None
"""View of the run that was started last; None before the first and after ``leave``."""


def current(scene: bpy.types.Scene | None = None) -> RunView | None:
    """View of the current run; None where none runs, or none in the given scene."""
    if _current is None or _current.ended:
        return None
    if scene is not None and _current.scene != scene:
        return None
    return _current


def last_pictures(scene: bpy.types.Scene) -> list[str]:
    """Paths of the frames of the scene's last run in this session of Blender."""
    if _current is None or _current.scene != scene:
        return []
    return _current.pictures if _current.plan.run_id == run_records.run(scene)["run_id"] else []


def start(scene: bpy.types.Scene, server: Server, request: Request) -> RunView:
    """Start a run.

    Raises:
        AddonError: ``addon.busy`` while another one runs.

    """
    global _current  # noqa: PLW0603
    if current() is not None:
        raise AddonError(
            "addon.busy",
            "A run is going on already.",
            "Wait for it, or press Cancel in the scene it belongs to.",
        )
    _current = RunView(scene, server, request)
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=INTERVAL_S)
    return _current


def wait(view: RunView) -> None:
    """Follow a run to its end without a window.

    Raises:
        AddonError: the run's failure; ``job.cancelled`` when it was cancelled.

    """
    while view.drain():
        time.sleep(0.05)
    scene = view.scene
    if scene is None:
        return
    run = run_records.run(scene)
    if run["error_code"]:
        raise AddonError(run["error_code"], run["error_problem"], run["error_remedy"])
    if run["state"] == "cancelled":
        raise AddonError("job.cancelled", "The job was cancelled.", "Start it again.")


def leave() -> None:
    """Stop following the run, as the file is closed or the add-on ends; the job goes on."""
    global _current  # noqa: PLW0603
    if _current is not None:
        _current.abandon()
    _current = None


def _tick() -> float | None:
    view = current()
    try:
        goes_on = view is not None and view.drain()
    except Exception:
        # Blender drops a timer that raises; a view without one would be busy for ever.
        traceback.print_exc()
        leave()
        raise
    if not goes_on:
        windows.redraw()
        return None
    return INTERVAL_S


@persistent
def _before_load(*_: Any) -> None:
    leave()


@persistent
def _before_save(path: str = "", *_: Any) -> None:
    """Rewrite recorded paths for the new file, and realign playbacks with their backgrounds."""
    for scene in bpy.data.scenes:
        playback.realign(scene)
        if path:
            run_records.store_paths(scene, path)


def _result_chosen(scene: bpy.types.Scene) -> None:
    entries = run_records.results(scene)
    if current(scene) is not None:
        run_records.mirror(scene)  # the run that goes on stays the chosen one
    elif 0 <= scene.dp3d_result_index < len(entries):
        run_records.choose(scene, entries[scene.dp3d_result_index]["run_id"])


def attach() -> None:
    """Listen for file loads and saves, and for the choice of a result."""
    settings.listen("result", _result_chosen)
    bpy.app.handlers.load_pre.append(_before_load)
    bpy.app.handlers.save_pre.append(_before_save)


def detach() -> None:
    """Stop following the run and listening."""
    leave()
    settings.stop_listening("result", _result_chosen)
    for handlers, handler in (
        (bpy.app.handlers.load_pre, _before_load),
        (bpy.app.handlers.save_pre, _before_save),
    ):
        if handler in handlers:
            handlers.remove(handler)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
