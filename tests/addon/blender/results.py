# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of runs: the list, undo, choosing, running again, deleting; engines and options."""

import socket
import threading
from pathlib import Path

import bpy
from common import enable_addon, main

_connect = socket.socket.connect
CONNECTIONS = []
"""Host, port and thread of every connection this process opens."""


def connect(self, address):
    CONNECTIONS.append([*address[:2], threading.current_thread() is threading.main_thread()])
    return _connect(self, address)


socket.socket.connect = connect


def generate(request, scene, **changes):
    settings = scene.dp3d
    settings.portrait, settings.output = request["portrait"], request["folder"]
    # One set of parameters: a finished job of these is answered at once.
    settings.preset, settings.views, settings.size, settings.seed = "ARC", 4, 64, 5
    for name, value in changes.items():
        setattr(settings, name, value)
    return bpy.ops.dp3d.generate()


def cameras(scene, run_id):
    return sorted(
        o.name for o in scene.objects if o.get("dp3d_run") == run_id and o["dp3d_role"] == "view"
    )


def listed(scene):
    return [[r.title, r.seed, r.views, r.source] for r in scene.dp3d_results]


def undo_and_redo(request):
    """What a run brought is known after undo and redo, although its objects may be gone."""
    bpy.ops.ed.undo_push(message="start")
    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    bpy.ops.ed.undo_push(message="anchor")
    generate(request, scene)
    bpy.ops.ed.undo_push(message="generated")
    bpy.data.objects.new("mine", None)
    bpy.ops.ed.undo_push(message="mine")
    before = [scene.dp3d_run.views, scene.dp3d_run.state, len(scene.dp3d_results)]
    seen = []
    for step in (bpy.ops.ed.undo, bpy.ops.ed.undo, bpy.ops.ed.redo, bpy.ops.ed.undo):
        step()
        scene = bpy.context.scene
        run = scene.dp3d_run
        seen.append([run.views, run.state, len(scene.dp3d_results)] == before)
        seen.append(scene.dp3d_results[scene.dp3d_result_index].run_id == run.run_id)
        seen.append(run.job_id == "")
    bpy.ops.dp3d.load_result(what="VIEWS")
    return {"same": seen, "again": len(cameras(scene, scene.dp3d_run.run_id)), "before": before}


def runs(request):
    """Two runs, one again with its seed, one with a new one; choose, load, delete."""
    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    generate(request, scene)
    first = scene.dp3d_run.run_id
    bpy.ops.dp3d.rerun()
    second = scene.dp3d_run.run_id
    bpy.ops.dp3d.rerun(new_seed=True)
    third = scene.dp3d_run.run_id
    names = [cameras(scene, r) for r in (first, second, third)]
    visible = []
    for _ in range(2):
        bpy.ops.dp3d.show_cameras()
        of_third = [o for o in scene.objects if o.get("dp3d_run") == third]
        visible.append(sum(not o.hide_get() for o in of_third))
    collections = sorted(c.name for c in scene.collection.children_recursive)
    everything = listed(scene)
    scene.dp3d_result_index = 0
    chosen = scene.dp3d_run.run_id == first
    bpy.ops.dp3d.delete_result()
    after = [r.run_id for r in scene.dp3d_results]
    bpy.ops.wm.save_as_mainfile(filepath=request["blend"])
    bpy.ops.wm.open_mainfile(filepath=request["blend"])
    scene = bpy.context.scene
    return {
        "names": names,
        "visible": visible,
        "collections": collections,
        "listed": everything,
        "chosen": chosen,
        "deleted": [first not in after, len(cameras(scene, first)), len(cameras(scene, second))],
        "reopened": [r.run_id for r in scene.dp3d_results] == after,
        "run": scene.dp3d_run.run_id in after,
    }


def chosen(request):
    """The highlighted result is the chosen one after undo; a deleted one comes back with undo."""
    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    generate(request, scene)
    bpy.ops.dp3d.rerun()
    bpy.ops.ed.undo_push(message="two")
    first, second = (r.run_id for r in scene.dp3d_results)
    scene.dp3d_result_index = 0
    bpy.ops.ed.undo_push(message="chosen")
    bpy.ops.ed.undo()
    scene = bpy.context.scene
    at = scene.dp3d_results[scene.dp3d_result_index].run_id
    agree = at == scene.dp3d_run.run_id == first
    bpy.ops.ed.undo_push(message="before deleting")
    bpy.ops.dp3d.delete_result(run_id=second)
    bpy.ops.ed.undo_push(message="deleted")
    gone = [len(scene.dp3d_results), len(cameras(scene, second))]
    bpy.ops.ed.undo()
    scene = bpy.context.scene
    back = [len(scene.dp3d_results), len(cameras(scene, second))]
    return {"agree": agree, "gone": gone, "back": back}


def unexpected(request):
    """A defect while a result is placed is told, and does not block the next run."""
    from addon import run_watcher
    from addon.scene import views

    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    load = views.load
    views.load = None
    try:
        generate(request, scene)
        code = ""
    except RuntimeError:
        code = scene.dp3d_run.error_code
    finally:
        views.load = load
    free = run_watcher.current() is None
    listed_then = len(scene.dp3d_results)
    generate(request, scene)
    return [code, free, listed_then, scene.dp3d_run.state]


def reopened_while_sending(request):
    """A file saved before its run had a job is no dead file."""
    from addon import run_records

    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    generate(request, scene)
    bpy.ops.dp3d.rerun()
    first = scene.dp3d_results[0].run_id
    run_records.set_run(scene, state="running", job_id="", pending="views")
    bpy.ops.wm.save_as_mainfile(filepath=request["sending"])
    bpy.ops.wm.open_mainfile(filepath=request["sending"])
    scene = bpy.context.scene
    state = scene.dp3d_run.state
    scene.dp3d_result_index = 0
    return [state, scene.dp3d_run.run_id == first]


def resumed_playback(request):
    """A playback that is taken up again has its own frames, not those of the views."""
    from addon import request as requests
    from addon import run_records
    from addon.scene import playback

    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    generate(request, scene)
    target = Path(request["folder"]) / "playback-1"
    playback.write_frames(target, [3, 6, 9], cameras=["A", "A", "B"])
    run_records.set_run(
        scene,
        state="running",
        pending="render",
        job_id="0" * 32,
        job_kind="render",
        target=str(target),
    )
    taken_up = requests.resumed(scene)
    return [taken_up.frames, str(taken_up.plan.playback) == str(target), list(taken_up.plan.kinds)]


def saved(request):
    """Frames of a file that was never saved come along, also where it is saved above them."""
    from addon.scene import files

    files.own = lambda name: Path(request["saved"]).parent / "config" / name
    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    generate(request, scene, output="")
    before = scene.dp3d_run.folder
    bpy.ops.wm.save_as_mainfile(filepath=request["saved"])
    after = bpy.path.abspath(scene.dp3d_run.folder)
    Path(request["saved"]).parent.rename(request["renamed"])
    bpy.ops.wm.open_mainfile(filepath=str(Path(request["renamed"]) / "head.blend"))
    scene = bpy.context.scene
    images = [i.filepath for i in bpy.data.images if i.get("dp3d_run") == scene.dp3d_run.run_id]
    reopened = scene.dp3d_run.folder
    bpy.ops.dp3d.load_result(what="VIEWS")
    return {"before": before, "after": after, "images": images, "kept": reopened}


def seeds(request):
    """An unlocked seed is drawn anew; a locked one stays."""
    from addon import request as requests

    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    scene.dp3d.portrait, scene.dp3d.seed = request["portrait"], 7
    locked = requests.new_views(bpy.context).seed
    scene.dp3d.seed_lock = False
    return [locked, requests.new_views(bpy.context).seed, scene.dp3d.seed]


def engines(request):
    """Options are properties with the server's ranges; an engine that cannot run is refused."""
    from addon import engine_options, settings

    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    bpy.ops.dp3d.check_server()
    undescribed = []
    for engine in settings.ENGINES:
        scene.dp3d.engine = engine["name"]
        group = engine_options.group_of(scene)
        for option in engine["options"]:
            rna = group.bl_rna.properties.get(option["name"])
            if rna is None or not rna.description:
                undescribed.append([engine["name"], option["name"]])
    scene.dp3d.engine = "preview"
    scene.dp3d_options_preview.repeat_photo = False
    scene.dp3d_options_preview.hair = "long"
    scene.dp3d_options_preview.background = "#00ff00"
    values = engine_options.values(scene)
    generate(request, scene)
    folder = scene.dp3d_run.folder
    settings.ENGINES.append({"name": "absent", "available": False, "problem": "Install it first."})
    scene.dp3d.engine = "absent"
    try:
        bpy.ops.dp3d.generate()
        refusal = ""
    except RuntimeError:
        refusal = scene.dp3d_run.error_code
    scene.dp3d.engine = "preview"
    return {
        "undescribed": undescribed,
        "values": values,
        "folder": folder,
        "refusal": refusal,
        "cleared": scene.dp3d_run.error_code,
    }


def tooltips(request):
    """Properties and operators without a description."""
    import addon

    bare = []
    for module in addon._MODULES:
        for cls in getattr(module, "CLASSES", ()):
            rna = cls.bl_rna
            if issubclass(cls, bpy.types.Operator):
                space, _, name = cls.bl_idname.partition(".")
                rna = getattr(getattr(bpy.ops, space), name).get_rna_type()
                if not rna.description:
                    bare.append(cls.bl_idname)
            if not issubclass(cls, (bpy.types.Operator, bpy.types.PropertyGroup)):
                continue
            for prop in rna.properties:
                own = any(prop.identifier in vars(c).get("__annotations__", {}) for c in cls.mro())
                if own and not prop.description and not prop.is_hidden:
                    bare.append(f"{cls.__name__}.{prop.identifier}")
    return bare


def work(request):
    enable_addon(request["url"], request["token"])
    answers = {}
    for step in (
        undo_and_redo,
        runs,
        chosen,
        unexpected,
        reopened_while_sending,
        resumed_playback,
        saved,
        seeds,
        engines,
        tooltips,
    ):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        answers[step.__name__] = step(request)
    answers["connections"] = CONNECTIONS
    return answers


main(work)
