# SPDX-License-Identifier: GPL-3.0-or-later
"""A walk through the panel in a real window, with pictures of every step.

    python -m tests.addon.gui.walk OUT --photo PHOTO --zip ZIP [--display 91] -- BLENDER [ARGS...]

Starts Xvfb, a dp3d server of its own and Blender; clicks Generate and Cancel with the X pointer;
OUT gets the pictures and report.json.  Needs xvfb, xdotool, xwd.  A Blender inside a chroot needs
OUT, this checkout and the zip bind-mounted at the same paths.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.addon.support import TOKEN, ServerProcess

SIZE = (1280, 900)
MODULE = "bl_ext.user_default.dp3d_head_views"
RUN = "bpy.context.window_manager.windows[0].scene.dp3d_run"


class Window:
    """Xvfb and a Blender in it."""

    def __init__(self, out: Path, blender: list[str], display: int) -> None:
        self.out, self._children = out, []
        self.env = {
            **os.environ,
            "DISPLAY": f":{display}",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "GALLIUM_DRIVER": "llvmpipe",
            "XDG_RUNTIME_DIR": str(out),
            "HOME": str(out),
            "BLENDER_USER_RESOURCES": str(out / "user"),
        }
        (out / "user").mkdir(parents=True, exist_ok=True)
        screen = f"{SIZE[0]}x{SIZE[1]}x24"
        self._start(["Xvfb", f":{display}", "-screen", "0", screen, "-nolisten", "tcp", "-noreset"])
        time.sleep(2)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self._secret = secrets.token_hex(8)
        driver = Path(__file__).with_name("driver.py")
        self._start(
            [
                *(*blender, "--factory-startup", "-noaudio"),
                *("--window-geometry", "0", "0", *map(str, SIZE)),
                *("--python", str(driver), "--", str(port), self._secret),
            ]
        )
        self._stream = self._connect(port)

    def _start(self, command: list[str]) -> None:
        log = (self.out / f"{Path(command[0]).name}.log").open("w")
        child = subprocess.Popen(command, env=self.env, stdout=log, stderr=subprocess.STDOUT)
        self._children.append(child)

    def _connect(self, port: int) -> Any:
        for _ in range(1200):
            try:
                connection = socket.create_connection(("127.0.0.1", port), 1)
            except OSError:
                time.sleep(0.1)
                continue
            connection.settimeout(300)
            return connection.makefile("rwb")
        raise TimeoutError("Blender does not answer; see the logs in the output folder")

    def close(self) -> None:
        for child in reversed(self._children):
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()

    def do(self, code: str) -> Any:
        """Run code in Blender; what it left in ``result``."""
        line = json.dumps({"secret": self._secret, "code": code}).encode() + b"\n"
        self._stream.write(line)
        self._stream.flush()
        answer = json.loads(self._stream.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def value(self, expression: str) -> Any:
        return self.do(f"result = {expression}")

    def until(self, expression: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression}; the panel says {self.panel()}")
            time.sleep(0.1)

    def panel(self) -> dict[str, Any]:
        names = "state", "stage", "step", "of", "message", "error_code", "error_problem"
        return {name: self.value(f"{RUN}.{name}") for name in names}

    def picture(self, name: str | None = None) -> np.ndarray:
        """What the screen shows (and, with a name, a PNG of it)."""
        raw = subprocess.run(
            ["xwd", "-root", "-silent"], env=self.env, capture_output=True, check=True
        ).stdout
        header = np.frombuffer(raw[:100], ">u4")
        size, width, height, stride, colours = header[[0, 4, 5, 12, 19]]
        body = np.frombuffer(raw, np.uint8, height * stride, size + 12 * colours)
        rgb = body.reshape(height, stride // 4, 4)[:, :width, 2::-1]
        if name:
            Image.fromarray(np.ascontiguousarray(rgb)).save(self.out / f"{name}.png")
        return rgb.astype(int)

    def pointer(self, *arguments: object) -> None:
        subprocess.run(["xdotool", *map(str, arguments)], env=self.env, check=True)
        time.sleep(0.15)
        self.value("1")  # Blender has handled the event once it answers

    def find_action(self) -> tuple[int, int]:
        """Centre of the Generate/Cancel button, found by drawing it in the alert colour."""
        self.pointer("mousemove", 300, 500)
        pictures = []
        for on in (False, True, False):
            self.do(f"mark_action({on})")
            pictures.append(self.picture())
        plain, marked, again = pictures
        changed = (np.abs(plain - marked).max(2) > 12) & (np.abs(plain - again).max(2) <= 12)
        rows, columns = np.nonzero(changed)
        if len(rows) < 50:
            raise LookupError("the button is not on the screen")
        return int(np.median(columns)), int(np.median(rows))

    def click(self, at: tuple[int, int]) -> None:
        # Blender ignores a press on a button it has not seen the pointer over.
        self.pointer("mousemove", at[0] - 4, at[1])
        self.pointer("mousemove", *at)
        self.click_again()

    def click_again(self) -> None:
        """Press where the pointer is."""
        self.pointer("mousedown", 1)
        self.pointer("mouseup", 1)


def walk(window: Window, server: ServerProcess, photo: Path, package: Path) -> dict[str, Any]:
    """The steps; returns what was found."""
    w, seen = window, {}
    seen["version"] = w.value("bpy.app.version_string")
    w.do(
        "call('extensions.package_install_files', "
        f"filepath={str(package)!r}, repo='user_default', enable_on_install=True)"
    )
    addon = f"bpy.context.preferences.addons[{MODULE!r}].preferences"
    w.do(f"{addon}.server_url, {addon}.token = {server.url!r}, {TOKEN!r}")
    w.do("open_tab('Head Views')")
    w.picture("1_panel")
    scene = "bpy.context.window_manager.windows[0].scene"
    # Always looked up anew: undo frees what a kept reference points to.
    s = f"{scene}.dp3d"
    w.do(f"{s}.portrait, {s}.output = {str(photo)!r}, {str(w.out / 'results')!r}")
    w.do(f"{s}.views, {s}.size = 24, 256")
    w.do("call('object.select_all', action='SELECT'); call('object.delete')")
    w.do("call('dp3d.add_anchor'); call('dp3d.check_server')")
    w.until("bool(sys.modules[MODULE + '.settings'].SERVER_REPORT)")
    w.do("redraw(2)")
    w.picture("2_ready")

    # Generate with the pointer; then undo while it runs
    w.click(w.find_action())
    w.until(f"{RUN}.step > 2")
    w.do("redraw()")
    w.picture("3_running")
    w.do("step_and_undo()")
    seen["undo_while_running"] = w.panel()["state"]
    w.until(f"{RUN}.state != 'running'", 120)
    w.do("call('view3d.view_all'); redraw(2)")
    w.picture("4_done")
    seen["after_generate"] = w.panel()
    views = f"sum(o.get('dp3d_role') == 'view' for o in {scene}.objects)"
    seen["cameras"] = w.value(views)
    w.do("step_and_undo()")
    seen["cameras_after_undo"] = w.value(views)
    w.do("call('dp3d.use_view_size'); redraw(2)")
    w.do(f"{scene}.frame_set(7); redraw(2)")
    w.picture("5_looking_through_view_7")

    # In edit mode a result waits
    w.do("call('mesh.primitive_cube_add'); call('object.mode_set', mode='EDIT')")
    w.click(w.find_action())
    w.until(f"'edit mode' in {RUN}.message", 120)
    w.do("redraw()")
    w.picture("6_waiting_for_object_mode")
    seen["cameras_while_in_edit_mode"] = w.value(views)
    w.do("call('object.mode_set', mode='OBJECT')")
    w.until(f"{RUN}.state == 'succeeded'")
    seen["cameras_after_second_run"] = w.value(views)

    # Generate and Cancel in one place, the pointer never moving
    w.do(f"{s}.views, {s}.size = 200, 512")
    w.click(w.find_action())
    w.until(f"{RUN}.step > 0")
    w.picture("7_cancel_under_the_pointer")
    w.click_again()
    w.until(f"{RUN}.state == 'cancelled'", 30)
    w.do("redraw()")
    w.picture("8_cancelled")
    w.do(f"{s}.views, {s}.size = 6, 128")
    # Blender takes no press on a button that appeared under a still pointer; a pixel is enough.
    w.pointer("mousemove_relative", 1, 0)
    w.click_again()
    w.until(f"{RUN}.state == 'running'", 10)
    w.until(f"{RUN}.state == 'succeeded'", 60)
    seen["generate_again"] = w.panel()

    # The file is closed and opened again while a job runs
    blend = str(w.out / "running.blend")
    w.do(f"{s}.views, {s}.size = 120, 384")
    w.click(w.find_action())
    w.until(f"{RUN}.step > 0")
    w.do(f"bpy.ops.wm.save_as_mainfile(filepath={blend!r})")
    w.do("bpy.ops.wm.read_homefile()")
    w.do(f"bpy.ops.wm.open_mainfile(filepath={blend!r})")
    w.do("open_tab('Head Views'); redraw(2)")
    w.picture("8b_opened_again")
    w.do("call('dp3d.resume')")
    w.until(f"{RUN}.step > 2")
    w.do("call('dp3d.cancel')")
    w.until(f"{RUN}.state == 'cancelled'", 30)
    seen["after_reopening"] = w.panel()
    w.do("call('object.select_all', action='SELECT'); call('object.delete')")
    w.do("call('dp3d.add_anchor')")

    # A mesh, when the server can fit
    if os.environ.get("DP3D_NERF_PYTHON"):
        w.do(f"{s}.views, {s}.size, {s}.preset = 16, 96, 'CAPTURE'")
        w.do(f"{s}.then_mesh, {s}.fit_preset = True, 'TINY'")
        w.do(f"{s}.faces, {s}.texture_size = 5000, 256")
        w.click(w.find_action())
        w.until(f"{RUN}.stage == 'fit'", 60)
        w.picture("9_fitting")
        w.until(f"{RUN}.state not in ('running', '')", 400)
        seen["after_mesh"] = w.panel()
        w.do(f"{scene}.camera = None; v = viewport()[1].spaces.active")
        w.do("v.shading.type, v.shading.color_type = 'SOLID', 'TEXTURE'")
        w.do("v.region_3d.view_perspective = 'PERSP'")
        w.do("call('view3d.view_axis', type='FRONT'); call('view3d.view_selected'); redraw(2)")
        w.picture("10_mesh")
        seen["meshes"] = w.value(f"sum(o.get('dp3d_role') == 'mesh' for o in {scene}.objects)")

    server.stop()
    w.click(w.find_action())
    w.until(f"bool({RUN}.error_code)", 30)
    w.do("redraw(2)")
    w.picture("11_no_server")
    seen["no_server"] = w.panel()
    w.do("show_preferences()")
    w.picture("12_preferences")
    return seen


def check_logs(out: Path) -> list[str]:
    """Lines of Blender's output that a draw function or a timer of ours should never cause."""
    words = ("Traceback", "Error:")
    return [
        line
        for log in sorted(out.glob("*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if any(word in line for word in words)
    ]


def main() -> int:
    """Command line."""
    split = sys.argv.index("--")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--zip", type=Path, required=True)
    parser.add_argument("--display", type=int, default=91)
    given = parser.parse_args(sys.argv[1:split])
    out = given.out.resolve()
    server = ServerProcess(out / "server")
    if os.environ.get("DP3D_NERF_PYTHON"):
        server.extra_env["DP3D_NERF_PYTHON"] = os.environ["DP3D_NERF_PYTHON"]
    server.start()
    window = None
    try:
        window = Window(out, sys.argv[split + 1 :], given.display)
        try:
            seen = walk(window, server, given.photo.resolve(), given.zip.resolve())
        except Exception:
            window.picture("0_where_it_failed")
            raise
        seen["complaints"] = check_logs(out)
        (out / "report.json").write_text(json.dumps(seen, indent=1))
        print(json.dumps(seen, indent=1))
    finally:
        if window is not None:
            window.close()
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
