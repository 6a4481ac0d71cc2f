# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports of a scene of small coloured balls and a block, with everything that may go wrong."""

import math
import shutil
import time
from contextlib import suppress
from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor
from mathutils import Matrix, Vector

BALLS = {
    "red": ((0.16, 0.22, 0.12), (1.0, 0.0, 0.0)),
    "green": ((-0.2, -0.1, 0.2), (0.0, 1.0, 0.0)),
    "blue": ((0.02, 0.3, -0.22), (0.0, 0.0, 1.0)),
}
"""Place in head space and colour."""
RADIUS = 0.03


def balls(anchor):
    """Unlit balls that move with the anchor."""
    for name, (place, colour) in BALLS.items():
        bpy.ops.mesh.primitive_uv_sphere_add(radius=RADIUS, segments=32, ring_count=16)
        ball = bpy.context.object
        ball.name, ball.parent, ball.location, ball.color = name, anchor, place, (*colour, 1.0)
        ball.matrix_parent_inverse = Matrix.Identity(4)


def flat_workbench(scene):
    """Workbench without light: each object in its own plain colour, edges smoothed."""
    scene.render.engine = "BLENDER_WORKBENCH"
    shading = scene.display.shading
    shading.light, shading.color_type = "FLAT", "OBJECT"
    scene.display.render_aa = "8"


def camera(scene, anchor, name, place, **lens):
    """A camera that looks at the anchor from a place in head space, at the present frame."""
    bpy.context.view_layer.update()
    thing = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    scene.collection.objects.link(thing)
    for key, value in lens.items():
        setattr(thing.data, key, value)
    thing.data.clip_start, thing.data.clip_end = 0.001, 1000
    world = anchor.matrix_world
    thing.location = world @ Vector(place)
    thing.rotation_mode = "QUATERNION"
    thing.rotation_quaternion = (world.translation - thing.location).to_track_quat("-Z", "Y")
    return thing


def export(scene, folder=None, **settings):
    """Press the button; the record, or the refusal."""
    if folder is not None:
        scene.dp3d_export.folder = str(folder)
    start_over = settings.pop("start_over", False)
    for name, value in settings.items():
        setattr(scene.dp3d_export, name, value)
    with suppress(RuntimeError):
        bpy.ops.dp3d.export_orbit(start_over=start_over)
    record = scene.dp3d_export
    names = ("state", "views", "done", "warnings", "message", "exported_folder", "exported_frames")
    return {n: getattr(record, n) for n in (*names, "error_code", "error_problem", "error_remedy")}


def settings_of(scene):
    """Everything of the scene that an export could spoil."""
    values = {}
    for owner in (
        scene,
        scene.render,
        scene.render.image_settings,
        scene.view_settings,
        scene.display_settings,
        scene.dp3d,
    ):
        for prop in owner.bl_rna.properties:
            if prop.identifier == "dp3d_result_index":  # the export enters the list of results
                continue
            if prop.type in {"BOOLEAN", "INT", "FLOAT", "STRING", "ENUM"}:
                value = getattr(owner, prop.identifier)
                if hasattr(value, "__len__") and not isinstance(value, str):
                    value = sorted(value) if isinstance(value, set) else list(value)
                values[f"{owner.bl_rna.identifier}.{prop.identifier}"] = value
    values["camera"] = scene.camera and scene.camera.name
    values["markers"] = [(m.name, m.frame) for m in scene.timeline_markers]
    values["scenes"] = [s.name for s in bpy.data.scenes]
    values["objects"] = sorted(o.name for o in bpy.data.objects)
    values["cameras"] = sorted(c.name for c in bpy.data.cameras)
    values["layers"] = [(layer.name, layer.use) for layer in scene.view_layers]
    values["selected"] = [o.name for o in bpy.context.selected_objects]
    return values


def odd_settings(scene):
    """Settings an export must work around and leave alone."""
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 300, 200, 50
    render.pixel_aspect_x, render.pixel_aspect_y = 1.0, 1.25
    render.use_border, render.border_max_x = True, 0.4
    render.use_stamp = render.use_crop_to_border = True
    render.image_settings.file_format = "JPEG"
    render.filepath = "//elsewhere"
    scene.view_settings.exposure = 2.0
    scene.view_layers.new("Other")


def reprojection(folder):
    """Path, selected cameras and preset of one scene; the balls are known points."""
    scene = bpy.context.scene
    anchor = make_anchor("everything")
    balls(anchor)
    flat_workbench(scene)
    odd_settings(scene)
    scene.dp3d.anchor = anchor
    scene.dp3d.use_scene_range = False
    scene.dp3d.frame_start, scene.dp3d.frame_end = 1, 7
    told = {}
    moving = camera(scene, anchor, "moving", (0.9, 0.5, 2.5), lens=110, shift_x=0.03)
    for frame, place in ((1, (0.9, 0.5, 2.5)), (10, (-1.5, -0.4, 2.2))):
        scene.frame_set(frame)
        moving.location = anchor.matrix_world @ Vector(place)
        towards = anchor.matrix_world.translation - moving.location
        moving.rotation_quaternion = towards.to_track_quat("-Z", "Y")
        moving.data.lens = 100 + frame
        moving.keyframe_insert("location", frame=frame)
        moving.keyframe_insert("rotation_quaternion", frame=frame)
        moving.data.keyframe_insert("lens", frame=frame)
    scene.frame_set(5)
    second = camera(scene, anchor, "second", (0.3, 1.4, 2.2), lens=90)
    for name, frame, thing in (("a", 1, moving), ("b", 5, second), ("c", 6, moving)):
        scene.timeline_markers.new(name, frame=frame).camera = thing
    scene.camera = moving
    scene.frame_set(4)
    anchor.hide_viewport = True  # as an artist may; its animation counts all the same
    before = settings_of(scene)
    for step in (1, 3):
        scene.dp3d.frame_step = step
        told[f"step{step}"] = export(scene, folder / f"step{step}", source="SCENE")
    scene.dp3d.frame_step = 1
    told["unchanged"] = {
        k: [v, settings_of(scene)[k]] for k, v in before.items() if settings_of(scene)[k] != v
    }

    anchor.hide_viewport = False
    scene.frame_set(4)
    chosen = [
        camera(
            scene,
            anchor,
            "cam 2",
            (0.4, 0.2, 2.7),
            lens=50,
            sensor_fit="VERTICAL",
            sensor_height=20.0,
            shift_x=-0.08,
            shift_y=0.1,
        ),
        camera(
            scene,
            anchor,
            "cam 10",
            (-2.0, 0.4, 1.9),
            lens=55,
            sensor_fit="HORIZONTAL",
            shift_y=-0.05,
        ),
        camera(scene, anchor, "cam 1", (0.2, -0.9, 2.4), lens=60, sensor_fit="AUTO"),
    ]
    bpy.ops.object.select_all(action="DESELECT")
    for thing in chosen:
        thing.select_set(True)
    anchor.hide_viewport = True
    told["selected"] = export(scene, folder / "selected", source="SELECTED")
    chosen[0].rotation_quaternion = chosen[0].rotation_quaternion @ Vector((0, 1, 0)).to_track_quat(
        "-Z", "Y"
    )
    told["blind"] = export(scene, folder / "blind", source="SELECTED")
    scene.dp3d.preset, scene.dp3d.views, scene.dp3d.size = "CAPTURE", 5, 128
    told["preset"] = export(scene, folder / "preset", source="PRESET", use_transforms=True)
    bpy.ops.dp3d.create_orbit_cameras()
    told["created"] = export(scene, folder / "created", source="SELECTED")
    return told


def plain_scene():
    """A block before the head, a camera, an anchor; Workbench."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    anchor = make_anchor("plain")
    bpy.ops.mesh.primitive_cube_add(size=0.3)
    block = bpy.context.object
    block.color = (0.5, 0.25, 0.75, 1.0)
    flat_workbench(scene)
    settings = scene.dp3d
    settings.anchor, settings.preset, settings.views, settings.size = anchor, "ORBIT", 4, 48
    scene.camera = camera(scene, anchor, "own", (0, 0, 3))
    return scene, anchor, block


def resume(folder):
    """The same again, parts missing, other cameras, other scenes, other people's files."""
    from addon import ledger

    scene, _, block = plain_scene()
    told, times = {}, {}
    told["first"] = export(scene, folder / "views", source="PRESET")
    frames = folder / "views" / "frames"

    def stamps():
        return {p.name: p.stat().st_mtime_ns for p in sorted(frames.iterdir())}

    times["first"] = stamps()
    (frames / "0002.png").unlink()
    (frames / ".0002.99999.part.png").write_bytes(b"of a Blender that crashed")
    told["again"] = export(scene)
    times["again"] = stamps()
    ledger.set_run(scene, fit="f" * 64, mesh=str(folder / "head.glb"))
    told["complete"] = export(scene)
    times["complete"] = stamps()
    told["fit_kept"] = [scene.dp3d_run.fit, scene.dp3d_results[0].mesh, len(scene.dp3d_results)]
    scene.dp3d.pitch = 0.2
    told["other_cameras"] = export(scene)
    scene.dp3d.pitch = 0.0
    block.location.x += 0.1
    told["other_scene"] = export(scene)
    block.location.x -= 0.1
    x = block.data.vertices[0].co.x
    block.data.vertices[0].co.x -= 0.05
    told["other_vertices"] = export(scene)
    block.data.vertices[0].co.x = x
    block.color[0] = 0.6
    told["other_colour"] = export(scene)
    block.color[0] = 0.5
    told["other_look"] = export(scene, look="SCENE")
    scene.dp3d_export.look = "STANDARD"
    times["refused"] = stamps()
    (frames / "0001.png").write_bytes(b"no picture")
    told["broken"] = export(scene)
    told["over"] = export(scene, start_over=True)
    told["fit_dropped"] = [scene.dp3d_run.fit, scene.dp3d_results[0].mesh]
    times["over"] = stamps()
    strange = folder / "strange"
    strange.mkdir()
    (strange / "letter.txt").write_text("mine")
    told["occupied"] = export(scene, strange)
    told["occupied_over"] = export(scene, strange, start_over=True)
    told["strange"] = sorted(p.name for p in strange.iterdir())
    generated = folder / "generated"
    shutil.copytree(folder / "views", generated)
    meta = generated / "meta.json"
    meta.write_text(meta.read_text().replace('"engine": "blender"', '"engine": "preview"'))
    told["generated"] = export(scene, generated, start_over=True)
    told["times"] = times

    # no folder chosen: beside the .blend, numbered where another export is
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"))
    told["beside"] = export(scene, "")
    told["beside_again"] = export(scene, "")
    scene.dp3d.pitch = 0.2
    told["beside_other"] = export(scene, "")
    scene.dp3d.pitch = 0.0
    block.data.vertices[0].co.x -= 0.05
    told["beside_edited"] = export(scene, "")
    block.data.vertices[0].co.x = x
    told["beside_restored"] = export(scene, "")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "second.blend"))
    told["beside_second"] = export(scene, "")
    return told


def looks(_):
    """Which edits change what a scene shows."""
    from addon.scene import scene_state

    bpy.ops.wm.read_factory_settings(use_empty=False)
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=1000, y_subdivisions=1000)
    scene, block, grid = bpy.context.scene, bpy.data.objects["Cube"], bpy.context.object
    lamp, material = bpy.data.objects["Light"].data, bpy.data.materials["Material"]
    surface = material.node_tree.nodes["Principled BSDF"]
    ramp = material.node_tree.nodes.new("ShaderNodeValToRGB").color_ramp
    image = bpy.data.images.new("image", 8, 8)
    material.node_tree.nodes.new("ShaderNodeTexImage").image = image
    wave = grid.modifiers.new("wave", "WAVE")
    hook = bpy.data.objects.new("hook", None)
    scene.collection.objects.link(hook)
    block.modifiers.new("hook", "HOOK").object = hook
    block.shape_key_add(name="basis")
    key = block.shape_key_add(name="key")
    bpy.context.view_layer.objects.active = block
    background = scene.world.node_tree.nodes["Background"]

    def take():
        return scene_state.take(
            scene, bpy.context.evaluated_depsgraph_get(), "unmarked", shapes=True
        )

    def color(value):
        surface.inputs[0].default_value = value

    edits = {
        "vertex": lambda: setattr(block.data.vertices[0].co, "x", 3),
        "material": lambda: color((1, 0, 0, 1)),
        "ramp": lambda: setattr(ramp.elements[0], "position", 0.3),
        "painted": lambda: image.pixels.__setitem__(0, 1.0),
        "energy": lambda: setattr(lamp, "energy", 5),
        "world": lambda: setattr(background.inputs[1], "default_value", 5),
        "modifier": lambda: setattr(wave, "height", 0.7),
        "hook": lambda: setattr(hook, "location", (0, 0, 1)),
        "shape key": lambda: setattr(key, "value", 0.7),
        "smooth": block.data.shade_smooth,
        "node moved": lambda: setattr(surface, "location", (9, 9)),
        "edit mode": lambda: bpy.ops.object.mode_set(mode="EDIT"),
        "object mode": lambda: bpy.ops.object.mode_set(mode="OBJECT"),
        "selected": lambda: bpy.ops.object.select_all(action="SELECT"),
        "camera": lambda: setattr(bpy.data.objects["Camera"], "location", (0, 0, 9)),
    }
    changed, before = {}, take()
    for name, edit in edits.items():
        edit()
        after = take()
        changed[name] = scene_state.changes(before, after)
        before = after
    began = time.monotonic()
    take()
    return {"changed": changed, "seconds": time.monotonic() - began}


def refusals(folder):
    """What is named before anything is rendered."""
    scene, anchor, _ = plain_scene()
    told = {}
    bpy.ops.object.select_all(action="DESELECT")
    told["none_selected"] = export(scene, folder / "x", source="SELECTED")
    scene.camera.data.type = "ORTHO"
    told["ortho_path"] = export(scene, source="SCENE")
    scene.camera.select_set(True)
    told["ortho_selected"] = export(scene, source="SELECTED")
    scene.camera.data.type = "PANO"
    told["pano"] = export(scene, source="SELECTED")
    scene.camera = None
    told["no_camera"] = export(scene, source="SCENE")
    anchor.scale.x = 0.8
    bpy.context.view_layer.update()
    told["uneven"] = export(scene, source="PRESET")
    anchor.scale.x = anchor.scale.y
    told["relative"] = export(scene, "//frames")
    scene.dp3d.anchor = None
    told["no_anchor"] = export(scene, folder / "x")
    told["left"] = sorted(p.name for p in folder.iterdir())
    told["scenes"] = [s.name for s in bpy.data.scenes]
    return told


def failing(at, error):
    """A renderer that fails at a given view in a given way."""
    from addon.scene.orbit_export import Immediate

    class Failing(Immediate):
        count = 0

        def start(self, scene):
            self.count += 1
            if self.count == at:
                raise error
            super().start(scene)

    return Failing()


def restored(folder):
    """Settings after exceptions, cancels, interrupts, undo, loading and disabling half-way."""
    from addon.scene import orbit_export as core
    from addon.ui import orbit_export as ui

    told = {}

    def begin(name, renderer=None):
        scene, _, _ = plain_scene()
        odd_settings(scene)
        before = settings_of(scene)
        scene.dp3d_export.folder = str(folder / name)
        options = ui.options_of(scene)
        export = core.OrbitExport(scene, bpy.context.view_layer, options, renderer)
        return scene, before, export

    def report(name, scene, before, export):
        after = settings_of(scene)
        told[name] = {
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
        report(name, scene, before, export)

    scene, before, export = begin("cancelled")
    while export.step() and export.done < 2:
        pass
    export.cancel()
    report("cancelled", scene, before, export)
    told["cancelled"]["goes_on"] = export.step()

    # saved half-way: the file on disk has the scene alone, as it was
    scene, before, export = begin("saved")
    while export.step() and export.done < 2:
        pass
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "saved.blend"), copy=True)
    with bpy.data.libraries.load(str(folder / "saved.blend")) as (source, _):
        told["on_disk"] = [list(source.scenes), sorted(source.objects), sorted(source.cameras)]
    while export.step():
        pass
    report("saved", scene, before, export)

    # a camera that moves half-way would not be the one in cameras.json
    scene, before, export = begin("moved")
    while export.step() and export.done < 2:
        pass
    scene.dp3d.anchor.location.x += 0.5
    while export.step():
        pass
    report("moved", scene, before, export)
    told["moved"]["changed"] = {}

    # an edit half-way would be in the rest of the frames alone; undone, the export goes on
    scene, before, export = begin("edited")
    while export.step() and export.done < 2:
        pass
    block = bpy.data.objects["Cube"]
    block.data.vertices[0].co.x -= 0.05
    while export.step():
        pass
    report("edited", scene, before, export)
    told["edited"]["problem"] = export.error.problem
    block.data.vertices[0].co.x = -0.15
    again = core.OrbitExport(scene, bpy.context.view_layer, export.options)
    while again.step():
        pass
    told["edit_undone"] = [again.state, again.rendered]

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
        export = core.OrbitExport(scene, bpy.context.view_layer, ui.options_of(scene))
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
        report(name, scene, before, export)
        told[name]["changed"] = {}

    # undo half-way takes the scene's copy away: it is made again
    scene, before, export = begin("undone")
    bpy.ops.ed.undo_push(message="before")
    ui._current = export
    while export.step() and export.done < 1:
        pass
    bpy.ops.ed.undo_push(message="half-way")
    bpy.ops.ed.undo()
    told["undo_noticed"] = export.disturbed
    while export.step():
        pass
    ui._current = None
    report("undone", bpy.context.scene, before, export)
    bpy.ops.ed.redo()  # to half-way, when the copy was there
    told["after_redo"] = [s.name for s in bpy.data.scenes]

    # another file is opened half-way
    scene, before, export = begin("loaded")
    ui._current = export
    while export.step() and export.done < 1:
        pass
    bpy.ops.wm.open_mainfile(filepath=str(folder / "saved.blend"))
    told["loaded"] = [export.state, [s.name for s in bpy.data.scenes], ui.current() is None]

    # the add-on is switched off half-way
    import addon

    scene, before, export = begin("disabled")
    ui._current = export
    while export.step() and export.done < 1:
        pass
    addon.unregister()
    told["disabled"] = [export.state, [s.name for s in bpy.data.scenes]]
    return told


def cameras(folder):
    """Create Orbit Cameras: names, replacement, undo."""
    scene, anchor, _ = plain_scene()
    anchor.scale = (0.2,) * 3
    scene.dp3d.views, scene.dp3d.preset = 3, "ARC"
    bpy.ops.ed.undo_push(message="before")
    told = {}

    def names():
        return sorted(o.name for o in bpy.data.objects if o.type == "CAMERA")

    bpy.ops.dp3d.create_orbit_cameras()
    bpy.ops.ed.undo_push(message="made")
    told["first"] = names()
    told["selected"] = sorted(o.name for o in bpy.context.selected_objects)
    told["active"] = bpy.context.view_layer.objects.active.name
    told["collection"] = [c.name for c in bpy.data.objects["Arc 001"].users_collection]
    scene.camera = bpy.data.objects["Arc 001"]
    kept = bpy.data.objects["Arc 002"]
    kept.parent = None
    copy = bpy.data.objects["Arc 000"].copy()
    copy.data, copy.name = copy.data.copy(), "My Close-up"
    copy.keyframe_insert("location", frame=1)
    bpy.context.collection.objects.link(copy)
    scene.dp3d.views = 2
    bpy.ops.dp3d.create_orbit_cameras()
    told["second"] = names()
    told["scene_camera"] = scene.camera.name
    bpy.ops.dp3d.create_orbit_cameras()
    told["third"] = names()
    told["data"] = sorted(c.name for c in bpy.data.cameras)
    bpy.ops.ed.undo_push(message="more")
    bpy.ops.ed.undo()
    told["undone"] = names()

    # each of these is an edit: none of the edited cameras is deleted
    scene = bpy.context.scene  # undo made another
    for index, edit in enumerate(
        (
            lambda c: setattr(c, "location", (0, 0, 3)),
            lambda c: setattr(c.data, "lens", 20),
            lambda c: setattr(c, "name", "Mine"),
            lambda c: c.keyframe_insert("location", frame=1),
            lambda c: c.data.keyframe_insert("lens", frame=1),
            lambda c: c.constraints.new("LIMIT_LOCATION"),
            lambda c: setattr(bpy.data.objects["Cube"], "parent", c),
            lambda c: setattr(scene.timeline_markers.new("m", frame=2), "camera", c),
        )
    ):
        bpy.ops.dp3d.create_orbit_cameras()
        camera = bpy.context.view_layer.objects.active
        edit(camera)
        camera["edit"] = index
    bpy.ops.dp3d.create_orbit_cameras()
    told["edited"] = sorted(o["edit"] for o in scene.objects if "edit" in o)
    told["made_at_last"] = len(bpy.context.selected_objects)
    told["all"] = len(names())
    return told


def first_save(folder):
    """An export of a file without a name, which is saved where another scene's export lies."""
    scene, _, _ = plain_scene()
    told = {"unsaved": export(scene, "", source="PRESET")}
    foreign = folder / "head_views" / "scene-orbit"
    foreign.mkdir(parents=True)
    (foreign / "meta.json").write_text("{}")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"))
    brought = (scene.dp3d_results[0].folder, scene.dp3d_export.exported_folder)
    told["saved"] = list(map(bpy.path.abspath, brought))
    told["foreign"] = sorted(p.name for p in foreign.iterdir())
    told["again"] = export(scene, "")
    bpy.ops.wm.open_mainfile(filepath=str(folder / "scene.blend"))
    told["opened"] = [bpy.path.abspath(e.folder) for e in bpy.context.scene.dp3d_results]
    return told


def head(folder):
    """A coloured head of a kind, from a ring of cameras, the anchor turned and scaled."""
    scene = bpy.context.scene
    anchor = make_anchor("turned")
    anchor.scale = (2.5,) * 3
    bpy.ops.mesh.primitive_uv_sphere_add(radius=1.0, segments=96, ring_count=64)
    thing = bpy.context.object
    mesh = thing.data
    colours = mesh.color_attributes.new("colour", "FLOAT_COLOR", "POINT")
    for vertex in mesh.vertices:
        x, y, z = vertex.co
        nose = 0.06 * math.exp(-((x / 0.2) ** 2 + ((y + 0.05) / 0.25) ** 2)) * (z > 0)
        vertex.co = Vector((0.2 * x, 0.26 * y, 0.22 * z + nose))
        wave = [
            0.5 + 0.4 * math.sin(a * 9 * x + b * 8 * y + 7 * z)
            for a, b in ((1, 0.3), (0.4, 1), (-0.7, 0.8))
        ]
        colours.data[vertex.index].color = (*wave, 1.0)
    thing.parent, thing.matrix_parent_inverse = anchor, Matrix.Identity(4)
    thing.location = thing.rotation_euler = (0, 0, 0)
    flat_workbench(scene)
    scene.display.shading.color_type = "VERTEX"
    settings = scene.dp3d
    settings.anchor, settings.preset, settings.views, settings.size = anchor, "CAPTURE", 24, 128
    mesh.calc_loop_triangles()
    return {
        "export": export(scene, folder / "views", source="PRESET"),
        "vertices": [list(v.co) for v in mesh.vertices],
        "faces": [list(t.vertices) for t in mesh.loop_triangles],
    }


def work(request):
    enable_addon()
    return globals()[request["case"]](Path(request["folder"]))


main(work)
