# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports that fail, are cancelled, or meet edits, undo, another file and the add-on's end."""

from pathlib import Path

import bpy
from common import enable_addon, main
from export_scene import odd_settings, plain_scene, settings_of


def failing(at, error):
    """A renderer that fails at a given view in a given way."""
    from addon.scene.renderers import Immediate

    class Failing(Immediate):
        count = 0

        def start(self, scene):
            self.count += 1
            if self.count == at:
                raise error
            super().start(scene)

    return Failing()


def work(request):
    """Settings after exceptions, cancels, interrupts, undo, loading and disabling half-way."""
    from addon import exporting
    from addon.scene.orbit_export import OrbitExport

    enable_addon()
    folder, report = Path(request["folder"]), {}

    def begin(name, renderer=None):
        scene, _, _ = plain_scene()
        odd_settings(scene)
        before = settings_of(scene)
        scene.dp3d_export.folder = str(folder / name)
        options = exporting.options_of(scene)
        export = OrbitExport(scene, bpy.context.view_layer, options, renderer)
        return scene, before, export

    def record(name, scene, before, export):
        after = settings_of(scene)
        report[name] = {
            "state": export.state,
            "code": export.error and export.error.code,
            "changed": {k: [v, after[k]] for k, v in before.items() if after[k] != v},
            "frames": sorted(p.name for p in (folder / name).glob("frames/*")),
        }

    for name, error in (
        ("refused", RuntimeError("no memory")),
        ("bug", ZeroDivisionError("a bug")),
        ("interrupt", KeyboardInterrupt()),
    ):
        scene, before, export = begin(name, failing(3, error))
        try:
            while export.step():
                pass
        except KeyboardInterrupt:
            pass
        record(name, scene, before, export)

    scene, before, export = begin("cancelled")
    while export.step() and export.done < 2:
        pass
    export.cancel()
    record("cancelled", scene, before, export)
    report["cancelled"]["goes_on"] = export.step()

    # saved half-way: the file on disk has the scene alone, as it was
    scene, before, export = begin("saved")
    while export.step() and export.done < 2:
        pass
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "saved.blend"), copy=True)
    with bpy.data.libraries.load(str(folder / "saved.blend")) as (source, _):
        report["on_disk"] = [list(source.scenes), sorted(source.objects), sorted(source.cameras)]
    while export.step():
        pass
    record("saved", scene, before, export)

    # a camera that moves half-way would not be the one in cameras.json
    scene, before, export = begin("moved")
    while export.step() and export.done < 2:
        pass
    scene.dp3d.anchor.location.x += 0.5
    while export.step():
        pass
    record("moved", scene, before, export)
    report["moved"]["changed"] = {}

    # an edit half-way would be in the rest of the frames alone; undone, the export goes on
    scene, before, export = begin("edited")
    while export.step() and export.done < 2:
        pass
    block = bpy.data.objects["Cube"]
    block.data.vertices[0].co.x -= 0.05
    while export.step():
        pass
    record("edited", scene, before, export)
    report["edited"]["problem"] = export.error.problem
    block.data.vertices[0].co.x = -0.15
    again = OrbitExport(scene, bpy.context.view_layer, export.options)
    while again.step():
        pass
    report["edit_undone"] = [again.state, again.rendered]

    # along a camera path the scene moves by itself, and a person may go to other frames meanwhile
    for name in ("played", "keyed"):
        scene, before, export = begin(name)
        block = bpy.data.objects["Cube"]
        for frame in (1, 4):
            block.color[0] = block.location.x = 0.02 * frame
            block.keyframe_insert("location", frame=frame)
            block.keyframe_insert("color", frame=frame)
        scene.frame_start, scene.frame_end = 1, 4
        scene.dp3d.use_scene_range = True
        scene.dp3d_export.source = "SCENE"
        export = OrbitExport(scene, bpy.context.view_layer, exporting.options_of(scene))
        while export.step() and export.done < 2:
            pass
        scene.frame_set(4)
        bpy.ops.object.mode_set(mode="EDIT")
        bpy.ops.object.mode_set(mode="OBJECT")
        if name == "keyed":
            block.location.y = 0.1
            block.keyframe_insert("location", frame=4)
        while export.step():
            pass
        record(name, scene, before, export)
        report[name]["changed"] = {}

    # undo half-way takes the scene's copy away: it is made again
    scene, before, export = begin("undone")
    bpy.ops.ed.undo_push(message="before")
    exporting._current = export
    while export.step() and export.done < 1:
        pass
    bpy.ops.ed.undo_push(message="half-way")
    bpy.ops.ed.undo()
    report["undo_noticed"] = export.disturbed
    while export.step():
        pass
    exporting._current = None
    record("undone", bpy.context.scene, before, export)
    bpy.ops.ed.redo()  # to half-way, when the copy was there
    report["after_redo"] = [s.name for s in bpy.data.scenes]

    # another file is opened half-way
    scene, before, export = begin("loaded")
    exporting._current = export
    while export.step() and export.done < 1:
        pass
    bpy.ops.wm.open_mainfile(filepath=str(folder / "saved.blend"))
    report["loaded"] = [
        export.state,
        [s.name for s in bpy.data.scenes],
        exporting.current() is None,
    ]

    # the add-on is switched off half-way
    import addon

    scene, before, export = begin("disabled")
    exporting._current = export
    while export.step() and export.done < 1:
        pass
    addon.unregister()
    report["disabled"] = [export.state, [s.name for s in bpy.data.scenes]]
    return report


main(work)
