# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports renders of the scene as a view set: exact cameras, frames with alpha.

``OrbitExport`` is driven step by step, by a timer in a window or by a loop without one.  It never
changes a setting of the scene: it renders a copy of it (``scene_copy``), which is removed with its
temporary camera at the end of the export, also after a failure.

The folder (``export_folder``) is a view set of the server's: ``meta.json`` and ``cameras.json``
first, then ``frames/0000.png`` and so on.
"""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path
from typing import Any

import bpy

from ..link.errors import AddonError
from . import anchor as head_anchor
from . import camera_path, export_folder, export_shots, scene_copy
from .change_guard import ChangeGuard
from .export_folder import ExportFolder
from .export_shots import Options
from .renderers import Immediate, Renderer
from .scene_copy import SceneCopy
from .shot_cameras import ShotCameras
from .trajectories import HeadCamera, cameras_document, transforms_document

_RETRIES = 3
"""How often a view is rendered again after something else stopped its render."""
_LOOKS = {"STANDARD": "standard", "SCENE": "scene"}


class OrbitExport:
    """One export, step by step.

    >>> export = OrbitExport(scene, view_layer, options)
    >>> while export.step():
    ...     pass

    ``step`` raises nothing: ``state`` and ``error`` say how the export ended.
    """

    def __init__(
        self,
        scene: bpy.types.Scene,
        view_layer: bpy.types.ViewLayer,
        options: Options,
        renderer: Renderer | None = None,
    ) -> None:
        """Look at what is asked and make the scene's copy.

        Raises:
            AddonError: ``addon.anchor_missing``, ``camera.anchor_not_uniform``,
                ``camera.not_perspective``, ``addon.bad_range``, ``addon.bad_size``,
                ``addon.no_camera_selected``.

        """
        self.options = options
        self.state = "preparing"
        """preparing, rendering, succeeded, cancelled or failed."""
        self.error: AddonError | None = None
        self.warnings: list[str] = []
        self.done = self.rendered = 0
        """Views that are there, and those of them that were rendered this time."""
        self.picture: Path | None = None
        """The last finished frame."""
        self.disturbed = False
        """Set by an undo or redo: the scene's copy may be gone."""
        self.cameras: list[HeadCamera] = []
        self._renderer = renderer or Immediate()
        self._copy = SceneCopy(
            scene,
            view_layer.name,
            head_anchor.required(scene),
            options.look,
            options.use_compositing,
        )
        self._shots = export_shots.shots(scene, view_layer, options)
        self._preset = camera_path.preset(scene)
        self._shot_cameras = ShotCameras(self._copy, self._shots)
        self._guard = ChangeGuard(self._copy, self._shots, by_frame=options.source == "SCENE")
        self._folder = ExportFolder(
            options.folder, start_over=options.start_over, numbered=options.numbered
        )
        self._missing: list[int] = []
        self._in_flight: int | None = None
        self._retries = 0
        self._stopping = False
        self._renders = 0
        self._began = self._finished_at = 0.0

    # -- what a person sees ------------------------------------------------------------------

    @property
    def scene(self) -> bpy.types.Scene | None:
        """The scene, looked up by id each time, since undo invalidates references."""
        return self._copy.original

    @property
    def folder(self) -> Path:
        """Where the view set is written."""
        return self._folder.path

    @property
    def views(self) -> int:
        """How many views the export has."""
        return len(self._shots)

    @property
    def frames(self) -> list[int]:
        """Scene frame of each view of a camera path; empty when all views are of one moment."""
        if self.options.source != "SCENE":
            return []
        return [int(shot.frame) for shot in self._shots]

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.state in ("succeeded", "cancelled", "failed")

    @property
    def eta_s(self) -> float:
        """Seconds left; -1 while unknown."""
        if not self.rendered or self.state != "rendering":
            return -1.0
        each = (self._finished_at - self._began) / self.rendered
        running = time.monotonic() - self._finished_at
        return max(0.0, each * len(self._missing) - min(running, each))

    # -- running -----------------------------------------------------------------------------

    def step(self) -> bool:
        """Do the next step; False once the export has ended."""
        if self.ended:
            return False
        try:
            if self.scene is None:
                self.cancel()
            elif self.state == "preparing":
                self._prepare()
            else:
                self._render()
        except AddonError as error:
            self._end("failed", error)
        except Exception as error:
            traceback.print_exc()
            self._end("failed", _unexpected(error))
        except BaseException:  # Ctrl-C without a window
            self._end("cancelled")
            raise
        return not self.ended

    def cancel(self) -> None:
        """Stop the export and its running render; finished frames are kept for the next export."""
        if not self.ended:
            self._end("cancelled")

    def render_began(self) -> None:
        """Record that Blender began a render, of this export or another (from any thread)."""
        self._renders += 1

    def render_stopped(self) -> None:
        """Record that Blender stopped a render (from any thread)."""
        self._stopping = True

    def _end(self, state: str, error: AddonError | None = None) -> None:
        self.state, self.error = state, error
        self._guard.end()
        copy = self._copy.find()
        try:
            if copy is not None and self._in_flight is not None and self._renderer.running():
                self._renderer.stop(copy)
        finally:
            self._in_flight = None
            scene_copy.remove_leftovers()
            self._renderer.end()
            self._folder.remove_parts()

    # -- before the first render -------------------------------------------------------------

    def _prepare(self) -> None:
        """Measure one camera; after the last one, open the folder."""
        index = len(self.cameras)
        if index < self.views:
            self.cameras.append(self._shot_cameras.measure(index, judge=True))
            self._guard.take(index)
        if len(self.cameras) == self.views:
            self._open_folder()
            self.state, self._began = "rendering", time.monotonic()
            if not self._missing:
                self._end("succeeded")

    def _open_folder(self) -> None:
        """Take the folder, and see which views are there already."""
        self.warnings = self._shot_cameras.warnings(with_frames=self.options.source == "SCENE")
        transforms = None
        if self.options.transforms:
            names = [f"frames/{index:04d}.png" for index in range(self.views)]
            transforms = transforms_document(self.cameras, names)
        self._folder.open(self._meta(), cameras_document(self.cameras), transforms)
        for index, shot in enumerate(self._shots):
            if self._folder.has_frame(index, (shot.width, shot.height)):
                self.done += 1
                self.picture = self._folder.frame(index)
            else:
                self._missing.append(index)

    def _meta(self) -> dict[str, Any]:
        """Contents of ``meta.json``; an export goes on where the parameters are the same."""
        scene, copy = self.scene, self._copy.required()
        assert scene is not None
        parameters: dict[str, Any] = {
            "source": self.options.source.lower(),
            "scene": scene.name,
            "blend": self._blend(),
            "scene_sha256": self._guard.digest(),
            "scene_frames": [_number(shot.frame) for shot in self._shots],
            "render_engine": copy.render.engine,
            "samples": scene_copy.samples(copy),
            "look": _LOOKS[self.options.look],
            "view_transform": copy.view_settings.view_transform,
            "compositing": self.options.use_compositing,
        }
        if self.options.source == "PRESET":
            parameters["preset"] = self._preset
        else:
            parameters["cameras"] = [shot.camera_name for shot in self._shots]
        return {
            "schema": export_folder.META_SCHEMA,
            "engine": "blender",
            "seed": 0,
            "parameters": parameters,
            "background": [255, 255, 255],
            "portrait_sha256": None,
            "weights_sha256": None,
            "versions": {"blender": bpy.app.version_string},
            "run": {},
            "warnings": self.warnings,
        }

    def _blend(self) -> str:
        """Path of the .blend from the export's folder, so that both may be moved together."""
        if not bpy.data.filepath:
            return ""
        try:
            return Path(os.path.relpath(bpy.data.filepath, self.folder)).as_posix()
        except ValueError:  # on another drive
            return Path(bpy.data.filepath).as_posix()

    # -- rendering ---------------------------------------------------------------------------

    @property
    def in_flight(self) -> bool:
        """Whether a render of this export is going on."""
        return self._in_flight is not None

    def _render(self) -> None:
        if self._in_flight is None and not self._renderer.busy():
            self._start(self._missing[0])
        if self._in_flight is not None and not self._renderer.running():
            self._collect()

    def _start(self, index: int) -> None:
        shot = self._shots[index]
        camera = self._shot_cameras.measure(index)
        if not export_folder.same_camera(camera._asdict(), self.cameras[index]._asdict()):
            raise AddonError(
                "addon.scene_changed",
                f"The camera of view {index + 1} or the head anchor was changed during the export.",
                "Undo the change and export again, which goes on, or press Start Over.",
            )
        self._check_scene(index)
        copy = self._copy.required()
        copy.timeline_markers.clear()  # they would change the camera
        copy.camera = self._shot_cameras.camera(index)
        render = copy.render
        render.resolution_x, render.resolution_y = shot.width, shot.height
        render.pixel_aspect_x, render.pixel_aspect_y = shot.aspect
        part = self._folder.part(index)
        part.unlink(missing_ok=True)
        render.filepath = _render_path(part)
        self._stopping = self.disturbed = False
        self._renders = 0
        self._in_flight = index
        try:
            self._renderer.start(copy)
        except RuntimeError as error:
            raise AddonError(
                "addon.render_failed",
                f"View {index + 1} of {self.views} cannot be rendered ({str(error).strip()}).",
                "Try it with Render Image (F12), mend what Blender complains of, and export again.",
            ) from error

    def _check_scene(self, index: int) -> None:
        """Refuse a scene that was edited; the last view is checked without a reported edit, too."""
        self._guard.check(index, thoroughly=len(self._missing) == 1)

    def _collect(self) -> None:
        index, self._in_flight = self._in_flight, None
        assert index is not None
        shot, part = self._shots[index], self._folder.part(index)
        size = export_folder.png_size(part)
        # A render that undo or another render stops writes a picture with the samples it has.
        if size is None or self._stopping or self._interrupted:
            part.unlink(missing_ok=True)
            self._was_stopped(index)
            return
        if size != (shot.width, shot.height):
            raise AddonError(
                "addon.render_failed",
                f"Blender rendered view {index + 1} with {size[0]} x {size[1]} pixels instead of "
                f"{shot.width} x {shot.height}.",
                "Switch off what changes the size of pictures in the compositor, and export again.",
            )
        if self._copy.find() is not None:  # an edit may be in a part of the picture
            self._copy.at_frame(shot.frame)
            self._check_scene(index)
        self._folder.keep(index)
        self._retries = 0
        self.picture = self._folder.frame(index)
        self._missing.pop(0)
        self.done += 1
        self.rendered += 1
        self._finished_at = time.monotonic()
        if not self._missing:
            self._end("succeeded")

    @property
    def _interrupted(self) -> bool:
        """Whether an undo or another render stopped the one of this export."""
        return self.disturbed or self._renders > 1

    def _was_stopped(self, index: int) -> None:
        """A render ended without a picture: again, or the end."""
        if self._interrupted and self._retries < _RETRIES:
            self._retries += 1
        elif self._stopping:
            raise AddonError(
                "addon.render_failed",
                f"The render of view {index + 1} of {self.views} was stopped: by Esc, or for an "
                "error that Blender has shown.",
                "Export again to go on with it; if it stops again, try Render Image (F12).",
            )
        else:
            raise AddonError(
                "addon.render_failed",
                f"Blender rendered view {index + 1} of {self.views} but wrote no picture.",
                f"Check free space and rights of {self.folder}, and whether Render Image (F12) "
                "works.",
            )


def _render_path(path: Path) -> str:
    """A path as Blender's render settings take it literally: 4.5 began to expand {braces}."""
    text = str(path)
    if bpy.app.version >= (4, 5, 0):
        text = text.replace("{", "{{").replace("}", "}}")
    return text


def _number(frame: float) -> int | float:
    return int(frame) if frame == int(frame) else frame


def _unexpected(error: Exception) -> AddonError:
    return AddonError(
        "addon.render_failed",
        f"The export stopped on an unexpected error ({type(error).__name__}: {error}).",
        "Look into Blender's console, and export again: finished frames are kept.",
    )
