# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the walk, each a function of the walk; they build on one another."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.addon.gui.window import RUN, SIZE, TRIES, Window
from tests.addon.support import TOKEN, ServerProcess

SETTINGS = "scene().dp3d"


class Walk:
    """What the steps share."""

    def __init__(
        self,
        window: Window,
        server: ServerProcess,
        photo: Path,
        package: Path,
        report: dict[str, Any],
    ) -> None:
        self.w, self.server, self.report = window, server, report
        self.photo, self.package = photo, package
        self.presses_before_anchor = 0
        self.fits = bool(os.environ.get("DP3D_NERF_PYTHON"))

    def say(self, name: str) -> None:
        """A picture, and what the panel says in it."""
        self.w.do("redraw_panels()")
        self.w.picture(name)
        self.report.setdefault("said", {})[name] = self.w.value("texts()")

    def undo_and_redo(self, name: str) -> None:
        """Ctrl+Z and Ctrl+Shift+Z: results and state outlive both, and objects come back."""
        before, state = self.w.value("results()"), self.w.panel()
        self.w.undo()
        undone = self.w.value("results()")
        check(undone["results"] == before["results"], f"undo after {name} changed the results")
        panel = self.w.panel()
        if state["state"] != "running":
            same = panel["state"], panel["error_code"]
            check(same == (state["state"], state["error_code"]), f"undo after {name}: {panel}")
        check(not self.w.value(f"{RUN}.job_id") or state["state"] == "running", "a job that is not")
        self.w.redo()
        redone = self.w.value("results()")
        check(redone == before, f"redo after {name}: {before} became {redone}")

    def press_cancel(self) -> None:
        """Press Cancel; a click that the X server lost is pressed again, and counted."""
        for _ in range(TRIES):
            self.w.press("dp3d.cancel")
            if self.w.value(f"{RUN}.message == 'Cancelling' or {RUN}.state != 'running'"):
                return
            self.report["clicks_lost"] = self.report.get("clicks_lost", 0) + 1
        raise AssertionError("Cancel cannot be pressed")

    def finish(self, seconds: float, state: str = "succeeded") -> None:
        """Wait for the end of the run."""
        self.w.until(f"{RUN}.state not in ('running', '')", seconds)
        panel = self.w.panel()
        check(panel["state"] == state, f"the run should have {state}: {panel}")


def check(condition: Any, problem: str) -> None:
    """A plain sentence where an assert would say little."""
    if not condition:
        raise AssertionError(problem)


def install(walk: Walk) -> None:
    """The zip, dropped on the 3D view from a file browser; OK in the dialog."""
    w = walk.w
    walk.report["version"] = w.value("bpy.app.version_string")
    row = w.file_row(walk.package.parent, walk.package.name)
    left, top, width, height = w.value("rectangle('WINDOW')")
    w.drag(row, (left + width // 2, top + height // 2))
    time.sleep(0.5)
    w.picture("zip_dropped")
    w.confirm()
    w.until("MODULE in bpy.context.preferences.addons", 20)
    w.do("hide_files(); marks.install(MODULE); open_tab('Head Views')")


def set_server(walk: Walk) -> None:
    """Address and token typed into the preferences; Check Server pressed there."""
    w = walk.w
    w.do("show_preferences(); marks.install(MODULE); redraw(2)")
    w.type_into("server_url", walk.server.url)
    w.type_into("token", TOKEN)
    entry = "bpy.context.preferences.addons[MODULE].preferences"
    check(w.value(f"{entry}.server_url") == walk.server.url, "the address was not taken")
    w.press("dp3d.check_server")
    w.until("bool(sys.modules[MODULE + '.settings'].SERVER_REPORT)", 30)
    walk.say("preferences")
    w.do("hide_preferences(); open_tab('Head Views')")
    walk.say("panel")


def choose_portrait(walk: Walk) -> None:
    """The photo, dropped on the 3D view from a file browser."""
    w = walk.w
    row = w.file_row(walk.photo.parent, walk.photo.name)
    left, top, width, height = w.value("rectangle('WINDOW')")
    w.drag(row, (left + width // 3, top + height // 2))
    time.sleep(0.6)
    w.picture("portrait_dropped")
    w.pointer("mousemove_relative", 2, 0)
    w.click_again()
    w.until(f"{SETTINGS}.portrait != ''", 10)
    check(w.value(f"bpy.path.abspath({SETTINGS}.portrait)") == str(walk.photo), "another photo")
    w.do("hide_files()")
    time.sleep(0.7)
    walk.say("portrait")
    walk.undo_and_redo("the portrait")


def add_anchor(walk: Walk) -> None:
    """The anchor, by its button; it is selected, and undo takes it away."""
    w = walk.w
    walk.presses_before_anchor = w.presses
    w.press("dp3d.add_anchor", "Add Anchor")
    w.until(f"{SETTINGS}.anchor is not None", 10)
    check(w.value(f"{SETTINGS}.anchor.select_get()"), "the new anchor is not selected")
    height = w.value(f"{SETTINGS}.anchor.location.z")
    check(1.4 < height < 1.8, f"the anchor is at {height} m, not at the height of a head")
    w.do("redraw(2)")
    walk.say("anchor")
    walk.undo_and_redo("the anchor")
    check(w.value(f"{SETTINGS}.anchor is not None"), "redo does not bring the anchor back")


def import_rigged_head(walk: Walk) -> None:
    """The photo's head blinks: the button, and the slider Blink Left pushed to its end."""
    w = walk.w
    w.do(f"{SETTINGS}.output = {str(w.out / 'results')!r}")
    # The server keeps a fitted head: with the seed of the later steps these would be too fast.
    w.do(f"{SETTINGS}.seed = 1")
    w.press("dp3d.import_rigged_head")
    w.until(f"{RUN}.stage != ''", 60)
    walk.say("making_the_head")
    walk.finish(150)
    check(w.value("results()")["objects"].get("rig", 0) > 8, "the head's parts are not there")
    skin = "next(o for o in scene().objects if o.get('dp3d_part') == 'skin')"
    rig = f"{skin}.parent"
    check(w.value(f"{rig}.type") == "ARMATURE", "the head has no armature")
    check(w.value(f"{rig}.parent == {SETTINGS}.anchor"), "the armature is not under the anchor")
    view = "area('VIEW_3D').spaces.active.region_3d"
    w.do(
        f"before = {view}.view_matrix.copy(), {view}.view_distance, {view}.view_perspective\n"
        f"call('object.select_all', action='DESELECT'); {skin}.select_set(True)\n"
        "call('view3d.view_axis', type='FRONT'); call('view3d.view_selected')\n"
        f"call('view3d.zoom', delta=3); {skin}.select_set(False); redraw(3)"
    )
    walk.say("head_at_rest")
    left, top, width, height = w.value("rectangle('WINDOW')")
    before = w.picture()[top : top + height, left : left + width]
    key = f"{skin}.data.shape_keys.key_blocks['eyeBlinkLeft']"
    slider = w.find("prop", "value", "Blink Left")
    w.drag(slider, (SIZE[0] - 4, slider[1]))
    w.until(f"{key}.value > 0", 10)
    clicks = w.presses - walk.presses_before_anchor
    walk.report["clicks_from_anchor_to_blink"] = clicks
    check(clicks == 3, f"{clicks} clicks from the anchor to the blink")
    check(w.value(f"{key}.value") == 1, f"the slider stops at {w.value(f'{key}.value')}")
    walk.say("head_blinks")
    after = w.picture()[top : top + height, left : left + width]
    check((np.abs(after - before).max(2) > 16).sum() > 100, "the eyelid does not move")
    walk.undo_and_redo("the blink")
    w.do(
        f"call('dp3d.delete_result', run_id={RUN}.run_id); {SETTINGS}.seed = 0\n"
        f"{view}.view_perspective, {view}.view_distance = before[2], before[1]\n"
        f"{view}.view_matrix = before[0]; redraw(2)"
    )
    check("rig" not in w.value("results()")["objects"], "parts of a deleted head stay")
    walk.say("head_deleted")


def generate(walk: Walk) -> None:
    """Twenty-four views by a double click, which must not cancel them; undo while they come."""
    w = walk.w
    w.do(f"{SETTINGS}.output = {str(w.out / 'results')!r}")
    w.type_into("views", "24")
    w.type_into("size", "256")
    check(
        w.value(f"({SETTINGS}.views, {SETTINGS}.size)") == [24, 256], "the numbers were not taken"
    )
    w.double_click(w.find("operator", "dp3d.generate"))
    w.until(f"{RUN}.step > 2", 60)
    check(w.panel()["state"] == "running", "the double click cancelled the run")
    walk.say("running")
    check(w.value("in_status_bar()"), "the status bar does not show the run")
    walk.undo_and_redo("a step while a run goes on")
    check(w.panel()["state"] in ("running", "succeeded"), "undo ended the run")
    walk.finish(120)
    time.sleep(0.7)
    w.do("redraw(2)")
    walk.say("done")
    _check_colours(walk)
    roles = w.value("results()")["objects"]
    check(roles.get("view") == 24 and roles.get("player") == 1, f"not all cameras came: {roles}")
    walk.undo_and_redo("the views")


def _check_colours(walk: Walk) -> None:
    """Seen from a view's camera, the picture at the head has the colours of its file."""
    w = walk.w
    view = "area('VIEW_3D').spaces.active.region_3d"
    before = w.value(f"[list(row) for row in {view}.view_matrix]")
    w.do(
        "import mathutils as m;"
        "c = next(o for o in scene().objects if o.get('dp3d_role') == 'view' and not o['dp3d_view'])\n"
        f"{view}.view_matrix = m.Matrix.LocRotScale(*c.matrix_world.decompose()[:2], None).inverted()"
        "\nredraw(2)"
    )
    screen = w.picture("colours")
    frame = next((w.out / "results").glob("*/rgba/0000.png"))
    file = np.asarray(Image.open(frame).convert("RGBA")).astype(int)
    left, top, width, height = w.value("rectangle('WINDOW')")
    lens = w.value("area('VIEW_3D').spaces.active.lens")
    fx = json.loads((frame.parents[1] / "cameras.json").read_text())["cameras"][0]["K"][0][0]
    larger = max(width, height) * lens / 72 / fx  # pixels of the screen per pixel of the frame
    differences = []
    for x, y in ((-24, 12), (24, 12), (0, 20), (-20, -16), (20, -16)):
        row, column = file.shape[0] // 2 + y, file.shape[1] // 2 + x
        file_colour = np.median(file[row - 4 : row + 5, column - 4 : column + 5, :3], axis=(0, 1))
        row, column = round(top + height / 2 + y * larger), round(left + width / 2 + x * larger)
        reach = round(4 * larger)
        part = screen[row - reach : row + reach + 1, column - reach : column + reach + 1]
        differences.append(float(np.abs(np.median(part, axis=(0, 1)) - file_colour).max()))
    walk.report["colours_off"] = differences
    # Dark parts are 8 of 255 lighter than the file on 4.3; encoding twice makes skin 59 lighter.
    check(
        float(np.median(differences)) <= 10,
        f"the view at the head differs from its file by {differences}",
    )
    w.do(f"import mathutils as m; {view}.view_matrix = m.Matrix({before!r})")


def look_through(walk: Walk) -> None:
    """Look Through Views and back: camera and render size are as they were."""
    w = walk.w
    had = "(getattr(scene().camera, 'name', ''), scene().render.resolution_x)"
    before = w.value(had)
    w.press("dp3d.use_view_size")
    w.do("scene().frame_set(7); redraw(2)")
    walk.say("looking_through_view_7")
    walk.undo_and_redo("looking")
    w.press("dp3d.restore_view")
    check(w.value(had) == before, f"{before} became {w.value(had)}")
    walk.say("stopped_looking")


def wait_for_object_mode(walk: Walk) -> None:
    """In edit mode a result waits."""
    w = walk.w
    w.do("call('mesh.primitive_cube_add'); call('object.mode_set', mode='EDIT'); redraw()")
    w.type_into("views", "6")
    w.type_into("size", "128")
    w.press("dp3d.generate")
    w.until(f"'edit mode' in {RUN}.message", 120)
    walk.say("waiting_for_object_mode")
    check(w.value("results()")["objects"]["view"] == 24, "cameras came in edit mode")
    w.do("call('object.mode_set', mode='OBJECT')")
    walk.finish(30)
    check(len(w.value("results()")["results"]) == 2, "the second run is no result of its own")
    walk.undo_and_redo("the second run")


def cancel(walk: Walk) -> None:
    """Cancel under the pointer that started the run; then start again there."""
    w = walk.w
    w.type_into("views", "200")
    w.type_into("size", "512")
    w.press("dp3d.generate")
    w.until(f"{RUN}.step > 0", 60)
    walk.say("cancel_under_the_pointer")
    walk.press_cancel()
    walk.finish(30, "cancelled")
    walk.say("cancelled")
    check(len(w.value("results()")["results"]) == 2, "a cancelled run is listed as a result")
    walk.undo_and_redo("a cancelled run")


def kill_server(walk: Walk) -> None:
    """The server dies in a run; once it is back, the run is followed to its end."""
    w = walk.w
    w.type_into("views", "60")
    w.type_into("size", "256")
    w.press("dp3d.generate")
    w.until(f"{RUN}.step > 0", 60)
    walk.server.kill()
    w.until(f"'does not answer' in {RUN}.message", 30)
    walk.say("server_killed")
    walk.server.start()
    w.until(f"{RUN}.state == 'running' and 'does not' not in {RUN}.message", 60)
    walk.say("server_back")
    walk.press_cancel()
    walk.finish(60, "cancelled")


def reopen(walk: Walk) -> None:
    """The file is closed and opened again while a run goes on."""
    w = walk.w
    blend = str(w.out / "running.blend")
    w.type_into("views", "200")
    w.type_into("size", "512")
    w.press("dp3d.generate")
    w.until(f"{RUN}.step > 0", 60)
    before = w.value("results()")["results"]
    w.do(f"bpy.ops.wm.save_as_mainfile(filepath={blend!r}); bpy.ops.wm.read_homefile()")
    w.do(f"bpy.ops.wm.open_mainfile(filepath={blend!r})")
    w.do("open_tab('Head Views')")
    check(w.value("results()['results']") == before, "the file forgot results")
    walk.say("opened_again")
    w.press("dp3d.resume")
    w.until(f"{RUN}.step > 2", 60)
    walk.press_cancel()
    walk.finish(30, "cancelled")
    walk.say("cancelled_after_reopening")


def fit_and_mesh(walk: Walk) -> None:
    """Few views of a capture, fitted and made a mesh by two buttons; undo keeps the fit."""
    if not walk.fits:
        return
    w = walk.w
    w.do(f"{SETTINGS}.preset, {SETTINGS}.fit_preset = 'CAPTURE', 'TINY'; redraw()")
    w.type_into("views", "16")
    w.type_into("size", "96")
    w.press("dp3d.generate")
    walk.finish(90)
    w.press("dp3d.fit")
    w.until(f"{RUN}.stage != ''", 60)
    walk.say("fitting")
    walk.finish(400)
    check(w.value(f"bool({RUN}.fit)"), "there is no fit")
    walk.say("fitted")
    w.do("scene().dp3d.faces, scene().dp3d.texture_size = 5000, 256")
    w.press("dp3d.import_mesh")
    walk.finish(200)
    w.do("redraw(3)")
    walk.say("mesh")
    check(w.value("results()")["objects"].get("mesh") == 1, "there is no mesh")
    walk.undo_and_redo("the mesh")
    check(w.value(f"bool({RUN}.fit)"), "undo took the fit away")


def animate_camera(
    window: Window, last_frame: int, across: float, before: float, resolution: tuple[int, int]
) -> None:
    """Move the artist's camera past the face, ``across`` and ``before`` metres from the head."""
    window.do(
        "c = next((o for o in scene().objects if o.type == 'CAMERA' and not o.get('dp3d_role')));"
        "a = scene().dp3d.anchor.matrix_world; import mathutils as m;"
        "scene().camera = c; c.animation_data_clear(); scene().frame_start = 1;"
        f"scene().frame_end = {last_frame}; head = a.translation\n"
        f"for frame, x in ((1, {-across}), ({last_frame}, {across})):\n"
        f"    c.location = head + m.Vector((x, {-before}, 0.1))\n"
        "    c.rotation_euler = (head - c.location).to_track_quat('-Z', 'Y').to_euler()\n"
        "    c.keyframe_insert('location', frame=frame)\n"
        "    c.keyframe_insert('rotation_euler', frame=frame)\n"
        f"scene().render.resolution_x, scene().render.resolution_y = {resolution}"
    )


def play_back(walk: Walk) -> None:
    """The field along the scene's camera, at step 2, seen through the artist's own camera."""
    if not walk.fits:
        return
    w = walk.w
    animate_camera(w, last_frame=6, across=0.4, before=1.2, resolution=(160, 160))
    w.type_into("playback_step", "2")
    w.press("dp3d.playback")
    w.until(f"{RUN}.stage != ''", 60)
    walk.say("playing_back")
    walk.finish(200)
    frames = len(list(Path(w.value(f"bpy.path.abspath({RUN}.playback)")).rglob("*.png")))
    check(frames >= 3, f"{frames} frames of playback")
    w.do("area('VIEW_3D').spaces.active.region_3d.view_perspective = 'CAMERA'")
    for frame in (1, 4, 6):
        w.do(f"scene().frame_set({frame}); redraw(2)")
        walk.say(f"playback_frame_{frame}")
    walk.undo_and_redo("the playback")


def export(walk: Walk) -> None:
    """The scene itself, rendered from the preset: a view set with masks that Fit takes."""
    w = walk.w
    engine = "BLENDER_WORKBENCH"
    w.do(f"scene().render.engine = {engine!r}; scene().render.use_simplify = True; redraw()")
    before = w.value("(scene().render.resolution_x, scene().render.film_transparent)")
    w.open_panel("DP3D_PT_export")
    w.do(f"{SETTINGS}.preset = 'ORBIT'; redraw()")
    w.type_into("views", "4")
    w.type_into("size", "128")
    w.press("dp3d.export_orbit", "")
    w.until("scene().dp3d_export.state == 'running'", 20)
    w.until("scene().dp3d_export.done > 0", 90)
    walk.say("exporting")
    w.until("scene().dp3d_export.state != 'running'", 120)
    walk.say("exported")
    check(w.value("scene().dp3d_export.state") == "succeeded", w.value("texts()"))
    folder = Path(w.value("bpy.path.abspath(scene().dp3d_export.exported_folder)"))
    check(len(list((folder / "frames").glob("*.png"))) == 4, f"frames are missing in {folder}")
    check(len(json.loads((folder / "cameras.json").read_text())["cameras"]) == 4, "no cameras")
    after = w.value("(scene().render.resolution_x, scene().render.film_transparent)")
    check(after == before, f"render settings {before} became {after}")
    walk.undo_and_redo("the export")


def without_server(walk: Walk) -> None:
    """No server: a sentence in the panel, and one in the preferences."""
    w = walk.w
    walk.server.stop()
    w.press("dp3d.generate")
    w.until(f"bool({RUN}.error_code)", 30)
    walk.say("no_server")
    w.do("show_preferences()")
    walk.say("preferences_without_server")
    w.do("hide_preferences()")


STEPS = (
    install,
    set_server,
    choose_portrait,
    add_anchor,
    import_rigged_head,
    generate,
    look_through,
    wait_for_object_mode,
    cancel,
    kill_server,
    reopen,
    fit_and_mesh,
    play_back,
    export,
    without_server,
)
