# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender: how long each callback of ``bpy.app.timers`` takes.

To be imported before the add-on.  ``times`` has, by function, a list of (wall ms, ms of processor
time, whether a result was brought in, that is data-blocks came or went, or a photo was read).  The
call by which Blender begins a render is left out: it takes 20 to 130 ms.
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
    """What an import or the reading of a photo changes."""
    data = bpy.data
    kinds = data.objects, data.images, data.meshes, data.cameras, data.materials, data.actions
    photos = getattr(_module("ui.portrait_picture"), "_photos", {})
    return [
        sorted((path, changed) for path, (changed, _) in photos.items()),
        *map(len, kinds),
    ]


_begun = [0.0, 0.0]
"""Wall and processor time of the calls that began renders, s."""


def _watch_renders():
    """Measure the calls that begin renders, once the add-on is there."""
    renderer = getattr(_module("scene.renderers"), "InWindow", None)
    if renderer is None or hasattr(renderer.start, "plain"):
        return
    plain = renderer.start

    def start(self, scene):
        wall, busy = time.perf_counter(), time.thread_time()
        try:
            return plain(self, scene)
        finally:
            _begun[0] += time.perf_counter() - wall
            _begun[1] += time.thread_time() - busy

    start.plain = plain
    renderer.start = start


def _module(name):
    """A module of the add-on, whatever the add-on is called; None before it is there."""
    return next((m for n, m in list(sys.modules.items()) if n.endswith(f".{name}")), None)


def _register(function, **arguments):
    name = f"{function.__module__.rpartition('dp3d_head_views')[2]}.{function.__qualname__}"

    def measured():
        _watch_renders()
        before, begun = _state(), list(_begun)
        wall, busy = time.perf_counter(), time.thread_time()
        try:
            return function()
        finally:
            ends = time.perf_counter() - wall, time.thread_time() - busy
            spent = [(e - b + a) * 1e3 for e, a, b in zip(ends, begun, _begun, strict=True)]
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
