# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports of a scene of small coloured balls, a block or a head; what is refused."""

import math
import shutil
from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor
from export_scene import camera, export, flat_workbench, odd_settings, plain_scene, settings_of
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
    report = {}
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
        report[f"step{step}"] = export(scene, folder / f"step{step}", source="SCENE")
    scene.dp3d.frame_step = 1
    report["unchanged"] = {
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
    report["selected"] = export(scene, folder / "selected", source="SELECTED")
    chosen[0].rotation_quaternion = chosen[0].rotation_quaternion @ Vector((0, 1, 0)).to_track_quat(
        "-Z", "Y"
    )
    report["blind"] = export(scene, folder / "blind", source="SELECTED")
    scene.dp3d.preset, scene.dp3d.views, scene.dp3d.size = "CAPTURE", 5, 128
    report["preset"] = export(scene, folder / "preset", source="PRESET", use_transforms=True)
    bpy.ops.dp3d.create_orbit_cameras()
    report["created"] = export(scene, folder / "created", source="SELECTED")
    return report


def resume(folder):
    """The same again, parts missing, other cameras, other scenes, other people's files."""
    from addon import run_records

    scene, _, block = plain_scene()
    report, times = {}, {}
    report["first"] = export(scene, folder / "views", source="PRESET")
    frames = folder / "views" / "frames"

    def stamps():
        return {p.name: p.stat().st_mtime_ns for p in sorted(frames.iterdir())}

    times["first"] = stamps()
    (frames / "0002.png").unlink()
    (frames / ".0002.99999.part.png").write_bytes(b"of a Blender that crashed")
    report["again"] = export(scene)
    times["again"] = stamps()
    run_records.set_run(scene, fit="f" * 64, mesh=str(folder / "head.glb"))
    report["complete"] = export(scene)
    times["complete"] = stamps()
    report["fit_kept"] = [scene.dp3d_run.fit, scene.dp3d_results[0].mesh, len(scene.dp3d_results)]
    scene.dp3d.pitch = 0.2
    report["other_cameras"] = export(scene)
    scene.dp3d.pitch = 0.0
    block.location.x += 0.1
    report["other_scene"] = export(scene)
    block.location.x -= 0.1
    x = block.data.vertices[0].co.x
    block.data.vertices[0].co.x -= 0.05
    report["other_vertices"] = export(scene)
    block.data.vertices[0].co.x = x
    block.color[0] = 0.6
    report["other_colour"] = export(scene)
    block.color[0] = 0.5
    report["other_look"] = export(scene, look="SCENE")
    scene.dp3d_export.look = "STANDARD"
    times["refused"] = stamps()
    (frames / "0001.png").write_bytes(b"no picture")
    report["broken"] = export(scene)
    report["over"] = export(scene, start_over=True)
    report["fit_dropped"] = [scene.dp3d_run.fit, scene.dp3d_results[0].mesh]
    times["over"] = stamps()
    strange = folder / "strange"
    strange.mkdir()
    (strange / "letter.txt").write_text("mine")
    report["occupied"] = export(scene, strange)
    report["occupied_over"] = export(scene, strange, start_over=True)
    report["strange"] = sorted(p.name for p in strange.iterdir())
    generated = folder / "generated"
    shutil.copytree(folder / "views", generated)
    meta = generated / "meta.json"
    meta.write_text(meta.read_text().replace('"engine": "blender"', '"engine": "preview"'))
    report["generated"] = export(scene, generated, start_over=True)
    report["times"] = times

    # no folder chosen: beside the .blend, numbered where another export is
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"))
    report["beside"] = export(scene, "")
    report["beside_again"] = export(scene, "")
    scene.dp3d.pitch = 0.2
    report["beside_other"] = export(scene, "")
    scene.dp3d.pitch = 0.0
    block.data.vertices[0].co.x -= 0.05
    report["beside_edited"] = export(scene, "")
    block.data.vertices[0].co.x = x
    report["beside_restored"] = export(scene, "")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "second.blend"))
    report["beside_second"] = export(scene, "")
    return report


def refusals(folder):
    """What is named before anything is rendered."""
    scene, anchor, _ = plain_scene()
    report = {}
    bpy.ops.object.select_all(action="DESELECT")
    report["none_selected"] = export(scene, folder / "x", source="SELECTED")
    scene.camera.data.type = "ORTHO"
    report["ortho_path"] = export(scene, source="SCENE")
    scene.camera.select_set(True)
    report["ortho_selected"] = export(scene, source="SELECTED")
    scene.camera.data.type = "PANO"
    report["pano"] = export(scene, source="SELECTED")
    scene.camera = None
    report["no_camera"] = export(scene, source="SCENE")
    anchor.scale.x = 0.8
    bpy.context.view_layer.update()
    report["uneven"] = export(scene, source="PRESET")
    anchor.scale.x = anchor.scale.y
    report["relative"] = export(scene, "//frames")
    scene.dp3d.anchor = None
    report["no_anchor"] = export(scene, folder / "x")
    report["left"] = sorted(p.name for p in folder.iterdir())
    report["scenes"] = [s.name for s in bpy.data.scenes]
    return report


def first_save(folder):
    """An export of a file without a name, which is saved where another scene's export lies."""
    scene, _, _ = plain_scene()
    report = {"unsaved": export(scene, "", source="PRESET")}
    foreign = folder / "head_views" / "scene-orbit"
    foreign.mkdir(parents=True)
    (foreign / "meta.json").write_text("{}")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"))
    brought = (scene.dp3d_results[0].folder, scene.dp3d_export.exported_folder)
    report["saved"] = list(map(bpy.path.abspath, brought))
    report["foreign"] = sorted(p.name for p in foreign.iterdir())
    report["again"] = export(scene, "")
    bpy.ops.wm.open_mainfile(filepath=str(folder / "scene.blend"))
    report["opened"] = [bpy.path.abspath(e.folder) for e in bpy.context.scene.dp3d_results]
    return report


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
