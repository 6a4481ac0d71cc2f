# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender: how long each callback of ``bpy.app.timers`` takes.

To be imported before the add-on.  ``times`` has, by function, a list of (wall ms, ms of processor
time, whether a result was brought in, that is data-blocks came or went, a photo was read, or a
render was begun: Blender itself takes 20 to 80 ms for that).
"""

import sys
import time

import bpy

times = {}
slow = []
"""(function, ms of processor time, what the panel said) of calls over 16 ms without results."""
LIMIT_MS = 16
_timers = bpy.app.timers
_plain = {name: getattr(_timers, name) for name in ("register", "unregister", "is_registered")}
_measured = {}


def _state():
    """What an import, the reading of a photo or the start of a render changes."""
    data = bpy.data
    kinds = data.objects, data.images, data.meshes, data.cameras, data.materials, data.actions
    export = getattr(_module("ui.orbit_export"), "_current", None)
    photos = getattr(_module("ui.portrait"), "_photos", {})
    return [
        bpy.app.is_job_running("RENDER"),
        getattr(export, "_in_flight", None),
        sorted((path, changed) for path, (changed, _) in photos.items()),
        *map(len, kinds),
    ]


def _module(name):
    """A module of the add-on, whatever the add-on is called; None before it is there."""
    return next((m for n, m in list(sys.modules.items()) if n.endswith(f".{name}")), None)


def _register(function, **arguments):
    name = f"{function.__module__.rpartition('dp3d_head_views')[2]}.{function.__qualname__}"

    def measured():
        before, wall, busy = _state(), time.perf_counter(), time.thread_time()
        try:
            return function()
        finally:
            spent = (time.perf_counter() - wall) * 1e3, (time.thread_time() - busy) * 1e3
            with_results = _state() != before
            times.setdefault(name, []).append((*spent, with_results))
            if spent[1] > LIMIT_MS and not with_results:
                scene = bpy.context.window_manager.windows[0].scene
                run, export = scene.dp3d_run, scene.dp3d_export
                said = run.state, run.stage, run.message, export.state, export.message
                slow.append((name, round(spent[1], 1), *said))

    _measured[function] = measured
    return _plain["register"](measured, **arguments)


def longest():
    """By function: calls, longest wall and processor time in ms without and with results."""
    rows = {}
    for name, calls in times.items():
        usual = [call for call in calls if not call[2]]
        results = [call for call in calls if call[2]]
        rows[name] = {
            "calls": len(calls),
            "longest_ms": round(max((c[0] for c in usual), default=0), 1),
            "longest_cpu_ms": round(max((c[1] for c in usual), default=0), 1),
            "over_16_ms": sum(c[1] > LIMIT_MS for c in usual),
            "with_results_ms": round(max((c[0] for c in results), default=0), 1),
        }
    return rows


def install():
    """Measure what is registered from now on."""
    _timers.register = _register
    _timers.unregister = lambda f: _plain["unregister"](_measured.get(f, f))
    _timers.is_registered = lambda f: _plain["is_registered"](_measured.get(f, f))
