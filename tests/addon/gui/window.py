# SPDX-License-Identifier: GPL-3.0-or-later
"""Xvfb with a Blender in it: look, point, type, and find any widget of ours on the screen."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (1280, 900)
PATIENCE = float(os.environ.get("DP3D_GUI_PATIENCE", "4"))
"""Factor of every waiting time: those in the steps are for a machine that does nothing else."""
RUN = "scene().dp3d_run"
TRIES = 3
"""Times a key is pressed: without a window manager the X server sometimes loses one."""
FIRST_ROW = 35
"""Pixels from the top of a file browser's list to the middle of its first row."""
ROW = 20
_GAP = 8
"""Rows of pixels that do not change between two widgets."""


class Window:
    """Xvfb, Blender, and what a user can do in it.

    ``blender`` may begin with ``chroot FOLDER``: the output folder and this checkout must then be
    mounted there at the same paths.
    """

    def __init__(self, out: Path, blender: list[str], display: int) -> None:
        self.out, self._children, self._pictures = out, [], 0
        self.last_click: list[int] = []
        self.presses = 0
        """Clicks, double clicks and drags so far."""
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
        """End Blender and Xvfb."""
        for child in reversed(self._children):
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(10)

    # -- talk to Blender ---------------------------------------------------------------------

    def do(self, code: str) -> Any:
        """Run code in Blender; what it left in ``result``."""
        line = json.dumps({"secret": self._secret, "code": code}).encode() + b"\n"
        self._stream.write(line)
        self._stream.flush()
        answer = self._stream.readline()
        if not answer:
            raise RuntimeError("Blender went away; see the logs in the output folder")
        answer = json.loads(answer)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def value(self, expression: str) -> Any:
        """Value of an expression in Blender."""
        return self.do(f"result = {expression}")

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true; on a busy machine PATIENCE times as long."""
        end = time.monotonic() + seconds * PATIENCE
        while not self.value(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression}; the panel says {self.panel()}")
            time.sleep(0.1)

    def panel(self) -> dict[str, Any]:
        """State of the run."""
        names = "state", "stage", "step", "of", "message", "error_code", "error_problem"
        return {name: self.value(f"{RUN}.{name}") for name in names}

    # -- look --------------------------------------------------------------------------------

    def picture(self, name: str | None = None) -> np.ndarray:
        """What the screen shows (and, with a name, a PNG of it, numbered)."""
        raw = subprocess.run(
            ["xwd", "-root", "-silent"], env=self.env, capture_output=True, check=True
        ).stdout
        header = np.frombuffer(raw[:100], ">u4")
        size, width, height, stride, colours = header[[0, 4, 5, 12, 19]]
        body = np.frombuffer(raw, np.uint8, height * stride, size + 12 * colours)
        rgb = body.reshape(height, stride // 4, 4)[:, :width, 2::-1]
        if name:
            self._pictures += 1
            path = self.out / f"{self._pictures:02d}_{name}.png"
            Image.fromarray(np.ascontiguousarray(rgb)).save(path)
        return rgb.astype(int)

    def find(self, kind: str, name: str, text: str | None = None) -> tuple[int, int]:
        """Centre of a widget of ours; the sidebar is scrolled until it is on the screen.

        Args:
            kind: method of UILayout that draws it: operator, prop, menu, label ...
            name: operator or property (the text, for a label).
            text: text of the widget, where several have that name.

        """
        place = self._look_for(kind, name, text)
        if place is None and self.value("any(a.type == 'VIEW_3D' for a in window().screen.areas)"):
            self.scroll_up(40)
            for _ in range(12):
                place = self._look_for(kind, name, text)
                if place is not None:
                    break
                self._scroll(5, 8)
        if place is None:
            raise LookupError(f"{kind} {name} is not on the screen")
        return place

    def scroll_up(self, clicks: int) -> None:
        """Turn the wheel over the sidebar; 40 clicks lead to its top."""
        self._scroll(4, clicks)

    def _scroll(self, button: int, clicks: int) -> None:
        left, top, width, height = self.value("rectangle('UI')")
        self.pointer("mousemove", left + width // 2, top + height // 2)
        self.pointer("click", "--repeat", clicks, "--delay", 5, button)

    def _look_for(self, *widget: str | None) -> tuple[int, int] | None:
        self.pointer("mousemove", 300, 640)
        pictures = []
        for target in ((), widget, ()):
            self.do(f"marks.install(MODULE); marks.mark(*{target!r}); redraw_panels()")
            pictures.append(self.picture())
        plain, marked, again = pictures
        # What differs between the two plain pictures moves by itself: a progress bar.
        changed = (np.abs(plain - marked).max(2) > 12) & (np.abs(plain - again).max(2) <= 12)
        rows, columns = np.nonzero(changed)
        if len(rows) < 20:
            return None
        # A button may be drawn in several places: the topmost one is meant.
        gaps = np.nonzero(np.diff(np.unique(rows)) > _GAP)[0]
        if len(gaps):
            top = rows <= np.unique(rows)[gaps[0]]
            rows, columns = rows[top], columns[top]
        at = int(np.median(columns)), int(np.median(rows))
        header = SIZE[1] - 24
        return at if at[1] < header else None

    def open_panel(self, panel: str) -> None:
        """Click the header of a sub-panel that begins closed."""
        self.do(f"marks.prepare_header(MODULE, {panel!r}); redraw(2)")
        self.click(self.find("header", panel))

    # -- touch -------------------------------------------------------------------------------

    def pointer(self, *arguments: object) -> None:
        """One event of pointer or keyboard, handled by Blender when this returns."""
        subprocess.run(["xdotool", *map(str, arguments)], env=self.env, check=True)
        for _ in range(2):
            time.sleep(0.05)
            self.value("1")

    def hover(self, at: tuple[int, int]) -> None:
        """Move onto a widget: Blender takes no press on one it has not seen the pointer over."""
        self.pointer("mousemove", at[0] - 4, at[1])
        self.pointer("mousemove", *at)

    def click(self, at: tuple[int, int]) -> None:
        """Click there."""
        self.last_click = list(at)
        self.hover(at)
        self.click_again()

    def click_again(self) -> None:
        """Press where the pointer is."""
        self.presses += 1
        self.pointer("mousedown", 1)
        self.pointer("mouseup", 1)

    def press(self, operator: str, text: str | None = None) -> None:
        """Click the button of an operator."""
        self.click(self.find("operator", operator, text))

    def double_click(self, at: tuple[int, int]) -> None:
        """Two clicks as fast as a hurried hand."""
        self.presses += 1
        self.hover(at)
        self.pointer("click", "--repeat", 2, "--delay", 90, 1)

    def keys(self, *keys: str) -> None:
        """Press keys, with the pointer over the 3D view."""
        left, top, _, height = self.value("rectangle('WINDOW')")
        self.pointer("mousemove", left + 200, top + height // 2)
        self._focus()
        for key in keys:
            self.pointer("key", key)

    def confirm(self) -> None:
        """Enter, wherever the pointer is."""
        self._focus()
        self.pointer("key", "Return")

    def undo(self) -> None:
        """Ctrl+Z."""
        self._counted("ctrl+z", "undo")

    def redo(self) -> None:
        """Ctrl+Shift+Z."""
        self._counted("ctrl+shift+z", "redo")

    def _counted(self, key: str, what: str) -> None:
        before = self.value(f"counts[{what!r}]")
        for _ in range(TRIES):
            self.keys(key)
            if self.value(f"counts[{what!r}]") > before:
                return
        raise AssertionError(f"Blender does not {what}")

    def _focus(self) -> None:
        # Without a window manager nobody gives the keyboard to the window.
        self.pointer("search", "--class", "[Bb]lender", "windowfocus")

    def type_into(self, prop: str, text: str) -> None:
        """Type a value into the field of a property."""
        for _ in range(TRIES):
            self.double_click(self.find("prop", prop))
            self._focus()
            self.pointer("key", "ctrl+a")
            self.pointer("type", "--delay", 20, text)
            self.pointer("key", "Return")
            self.do("redraw_panels()")
            if self.value(f"marks.shown.get({prop!r})") == text:
                return
            self.pointer("key", "Escape")
        raise AssertionError(f"{prop} does not become {text}")

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Drag: short motions first, or Blender sees none."""
        self.presses += 1
        self.hover(start)
        self.pointer("mousedown", 1)
        for step in range(1, 7):
            self.pointer("mousemove", start[0] - 4 * step, start[1] + step)
        for step in range(1, 9):
            part = step / 8
            at = (round(a + (b - a) * part) for a, b in zip(start, end, strict=True))
            self.pointer("mousemove", *at)
        self.pointer("mousemove", end[0] + 1, end[1])
        self.pointer("mouseup", 1)

    def file_row(self, folder: Path, name: str) -> tuple[int, int]:
        """Where a file browser beside the 3D view lists a file (it is opened for that)."""
        self.do(f"show_files({str(folder) + os.sep!r})")
        time.sleep(0.7)
        self.do("redraw(2)")
        left, top, _, _ = self.value("rectangle('WINDOW', 'FILE_BROWSER')")
        names = sorted((p.name for p in folder.iterdir()), key=_natural)
        return left + 60, top + FIRST_ROW + ROW * names.index(name)


def _natural(name: str) -> list[Any]:
    return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name.lower())]
