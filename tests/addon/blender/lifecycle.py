# SPDX-License-Identifier: GPL-3.0-or-later
"""What users do while a job runs: rename, delete, undo, save, close and open the file again."""

import time

import bpy
from common import enable_addon, main


def begin(request, views=6):
    """A run as the Generate button starts it, drained by hand instead of by a timer."""
    from addon import preferences, run_watcher
    from addon import request as requests

    scene = bpy.context.scene
    if scene.dp3d.anchor is None:
        bpy.ops.dp3d.add_anchor()
    scene.dp3d.portrait, scene.dp3d.output = request["portrait"], request["folder"]
    scene.dp3d.views, scene.dp3d.size = views, 128
    return run_watcher.start(scene, preferences.server(), requests.new_views(bpy.context))


def drain(running, until=lambda: False):
    end = time.monotonic() + 100
    while running.drain():
        if until():
            return
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def fresh():
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    return bpy.context.scene


def cameras(scene):
    return sum(o.get("dp3d_role") == "view" for o in scene.objects)


def busy_and_renames(request):
    running = begin(request)
    scene = bpy.context.scene
    drain(running, lambda: scene.dp3d_run.stage == "views")
    try:
        bpy.ops.dp3d.generate()
    except RuntimeError as error:
        busy = "addon.busy" in str(error)
    bpy.ops.dp3d.forget()
    scene.name, scene.dp3d.anchor.name = "Another Name", "Somebody"
    drain(running)
    return [busy, scene.dp3d_run.state, cameras(scene)]


def undo(request):
    bpy.ops.ed.undo_push(message="before")
    running = begin(request)
    scene = bpy.context.scene
    drain(running, lambda: scene.dp3d_run.stage == "views")
    bpy.data.objects.new("mine", None)
    bpy.ops.ed.undo_push(message="user step")
    bpy.ops.ed.undo()
    gone = "mine" not in bpy.data.objects
    bpy.ops.dp3d.add_anchor()
    drain(running)
    scene = bpy.context.scene
    return [gone, scene.dp3d_run.state, cameras(scene)]


def anchor_deleted(request):
    running = begin(request)
    scene = bpy.context.scene
    drain(running, lambda: scene.dp3d_run.stage == "views")
    bpy.data.objects.remove(scene.dp3d.anchor)
    drain(running)
    first = [scene.dp3d_run.error_code, cameras(scene)]
    bpy.ops.dp3d.add_anchor()
    bpy.ops.dp3d.load_result(what="VIEWS")
    return [*first, scene.dp3d_run.error_code, cameras(scene)]


def scene_deleted(request):
    bpy.data.scenes.new("other")
    running = begin(request)
    scene = bpy.context.scene
    drain(running, lambda: scene.dp3d_run.stage == "views")
    bpy.data.scenes.remove(scene)
    drain(running)
    from addon import run_watcher

    return [running.ended, run_watcher.current() is None]


def cancelled(request):
    """The views of the run before stay the ones that Fit and Load Views use."""
    drain(begin(request, views=3))
    scene = bpy.context.scene
    before = [scene.dp3d_run.run_id, scene.dp3d_run.views, scene.dp3d_run.folder]
    running = begin(request, views=200)
    drain(running, lambda: scene.dp3d_run.step > 0)
    bpy.ops.dp3d.cancel()
    drain(running)
    run = scene.dp3d_run
    state = [run.state, run.error_code, run.message, run.job_id]
    return [*state, before == [run.run_id, run.views, run.folder]]


def server_away(request):
    """It does not answer for longer than a run waits; the job can be watched again."""
    from addon.link import run as runs

    runs.PATIENCE_S, patience = 0.0, runs.PATIENCE_S
    preferences = bpy.context.preferences.addons["addon"].preferences
    running = begin(request, views=40)
    scene = bpy.context.scene
    drain(running, lambda: scene.dp3d_run.step > 0)
    # from now on this run's requests go where nobody answers
    nobody = type(running._run._client.server)("http://127.0.0.1:9", "", "none", False)
    running._run._client.server = nobody
    drain(running)
    first = [scene.dp3d_run.state, scene.dp3d_run.error_code, bool(scene.dp3d_run.job_id)]
    runs.PATIENCE_S = patience
    assert preferences.server_url == request["url"]
    bpy.ops.dp3d.resume()
    return [*first, scene.dp3d_run.state, scene.dp3d_run.error_code, cameras(scene)]


def reopened(request):
    """Saved while running, another file opened, then this one again."""
    from addon import run_watcher

    running = begin(request, views=40)
    scene = bpy.context.scene
    drain(running, lambda: scene.dp3d_run.step > 0)
    bpy.ops.wm.save_as_mainfile(filepath=request["blend"])
    fresh()
    left = run_watcher.current() is None
    bpy.ops.wm.open_mainfile(filepath=request["blend"])
    scene = bpy.context.scene
    remembered = [scene.dp3d_run.state, bool(scene.dp3d_run.job_id)]
    bpy.ops.dp3d.resume()
    return [left, *remembered, scene.dp3d_run.state, cameras(scene)]


def disabled(request):
    """Switched off while a job runs."""
    import addon

    running = begin(request, views=40)
    scene = bpy.context.scene
    drain(running, lambda: scene.dp3d_run.step > 0)
    addon.unregister()
    addon.register()
    return [running.ended, bpy.context.scene.dp3d_run.state]


def work(request):
    enable_addon(request["url"], request["token"])
    report = {}
    for step in (
        server_away,
        busy_and_renames,
        undo,
        anchor_deleted,
        scene_deleted,
        cancelled,
        reopened,
        disabled,
    ):
        fresh()
        report[step.__name__] = step(request)
    return report


main(work)
