# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders of the scene itself as a view set: exact cameras, frames with alpha.

``OrbitExport`` is driven step by step, by a timer in a window or by a loop without one.  It never
changes a setting of the scene: it renders a copy of it, which shares all objects, is marked as
run-time data (a file saved meanwhile does not hold it) and goes away with its temporary camera
when the export ends, however that happens.

The folder is a view set of the server's: ``meta.json`` and ``cameras.json`` first, then
``frames/0000.png`` and so on, each rendered under a temporary name and renamed.
"""

from __future__ import annotations

import math
import os
import time
import traceback
from itertools import count
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from ..link.storage import write_atomic
from . import anchor as head_anchor
from . import camera_check, camera_path, export_folder, export_shots, scene_copy, scene_state
from .export_shots import Options
from .orbit_cameras import set_clipping, set_lens
from .trajectories import (
    HeadCamera,
    cameras_document,
    from_blender,
    to_blender,
    transforms_document,
)

_RETRIES = 3
"""How often a view is rendered again after something else stopped its render."""
_LOOKS = {"STANDARD": "standard", "SCENE": "scene"}


class Immediate:
    """Renders without a window: ``start`` returns when the picture is written."""

    def start(self, scene: bpy.types.Scene) -> None:
        """Render the scene's current frame to its file path; RuntimeError when Blender refuses."""
        with bpy.context.temp_override(scene=scene):
            bpy.ops.render.render(write_still=True)

    def running(self) -> bool:
        """Whether the render is still going on."""
        return False

    def busy(self) -> bool:
        """Whether a render must not start now."""
        return False

    def stop(self, scene: bpy.types.Scene) -> None:
        """Stop the render and delete its scene."""
        scene_copy.remove_scene(scene)

    def end(self) -> None:
        """Let go of everything when the export has ended."""


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
        renderer: Any = None,
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
        self.folder = options.folder
        self.done = self.rendered = 0
        """Views that are there, and those of them that were rendered this time."""
        self.picture: Path | None = None
        """The last finished frame."""
        self.disturbed = False
        """Set by an undo or redo: the scene's copy may be gone."""
        self.cameras: list[HeadCamera] = []
        self._renderer = renderer or Immediate()
        self._scene_uid, self._layer = scene.session_uid, view_layer.name
        self._anchor_uid = head_anchor.required(scene).session_uid
        self._shots = export_shots.shots(scene, view_layer, options)
        self._preset = camera_path.preset(scene)
        self._states: list[scene_state.State] = []
        """What each scene frame shows, measured with the cameras: the first frame whole, others
        by their difference from it.  One state where all views are of one frame."""
        self._edits = scene_state.Edits(scene_copy.MARK)
        self._taken: tuple[float, int] | None = None
        """Frame and signature of the last state that was as it should be."""
        self._measured = 0
        """Signature of the scene when its first state was taken."""
        self._missing: list[int] = []
        self._in_flight: int | None = None
        self._retries = 0
        self._stopping = False
        self._renders = 0
        self._began = self._finished_at = 0.0
        self._unseen: dict[str, list[int]] = {}
        self._blurred: set[str] = set()

    # -- what a person sees ------------------------------------------------------------------

    @property
    def scene(self) -> bpy.types.Scene | None:
        """The scene, found anew each time: undo invalidates references."""
        return next((s for s in bpy.data.scenes if s.session_uid == self._scene_uid), None)

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
        """Do a little; whether the export goes on."""
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
        """End now, the render in flight too; finished frames stay for the next time."""
        if not self.ended:
            self._end("cancelled")

    def render_began(self) -> None:
        """Note that Blender began a render, ours or another (any thread may call this)."""
        self._renders += 1

    def render_stopped(self) -> None:
        """Note that Blender stopped a render (any thread may call this)."""
        self._stopping = True

    def _end(self, state: str, error: AddonError | None = None) -> None:
        self.state, self.error = state, error
        self._edits.end()
        copy = self._copy()
        try:
            if copy is not None and self._in_flight is not None and self._renderer.running():
                self._renderer.stop(copy)
        finally:
            self._in_flight = None
            scene_copy.remove_leftovers()
            self._renderer.end()
            for part in self.folder.glob(f"frames/.*.{os.getpid()}.part.png"):
                part.unlink(missing_ok=True)

    # -- cameras -----------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Measure one camera; after the last one, open the folder."""
        index = len(self.cameras)
        if index < self.views:
            self.cameras.append(self._measure(index))
            if not self._states or self.options.source == "SCENE":
                state = self._state(index)
                first = self._states[0] if self._states else {}
                self._states.append(scene_state.difference(state, first))
                if not first:
                    self._measured = self._signature()
        if len(self.cameras) == self.views:
            self._open_folder()
            self.state, self._began = "rendering", time.monotonic()
            if not self._missing:
                self._end("succeeded")

    def _state(self, index: int) -> scene_state.State:
        """What the scene shows at the frame of a view, to which the copy is set."""
        copy = self._copy()
        assert copy is not None
        depsgraph = copy.view_layers[self._layer].depsgraph
        shapes = self._shots[index].frame == self._shots[0].frame
        return scene_state.take(copy, depsgraph, scene_copy.MARK, shapes=shapes)

    def _signature(self) -> int:
        """Changes when an object comes or goes, or Blender reports an edit."""
        copy = self._copy()
        objects = () if copy is None else (thing.session_uid for thing in copy.objects)
        return hash((self._edits.count, *objects))

    def _check_scene(self, index: int) -> None:
        """Refuse a scene that is not the one the export began with.

        Hashing a scene of a million vertices takes a fifth of a second: it is done again only
        where Blender has reported an edit, and after the last view.

        Raises:
            AddonError: ``addon.scene_changed``.

        """
        last = self._in_flight is None and len(self._missing) == 1
        now = self._shots[index].frame, self._signature()
        if not last and (now[1] == self._measured or now == self._taken):
            return
        expected = self._states[0]
        if self.options.source == "SCENE" and index:
            expected = expected | self._states[index]
        changed = scene_state.changes(expected, self._state(index))
        if changed:
            names = ", ".join(changed[:3]) + (" and more" if len(changed) > 3 else "")
            raise AddonError(
                "addon.scene_changed",
                f"The scene was changed during the export ({names}): view {index + 1} would not "
                "match the others.",
                "Undo the change and export again, which goes on, or press Start Over.",
            )
        self._taken = now

    def _measure(self, index: int) -> HeadCamera:
        """The camera of a view in head space, as Blender evaluates it."""
        shot = self._shots[index]
        copy = self._copy() or self._make_copy()
        if shot.camera_uid:  # so that it is evaluated where the view layer hides it
            copy.camera = self._camera(copy, index)
        depsgraph = self._at_frame(copy, shot.frame)
        anchor = scene_copy.by_uid(bpy.data.objects, self._anchor_uid)
        if anchor is None:
            raise AddonError(
                "addon.anchor_missing",
                "The head anchor was deleted during the export.",
                "Undo, or press Add Anchor, and export again.",
            )
        anchor_world = anchor.evaluated_get(depsgraph).matrix_world.copy()
        head_anchor.check(anchor_world)
        if shot.preset is not None and shot.place is None:
            world = to_blender(shot.preset.c2w, camera_path.rows(anchor_world))
            self._shots[index] = shot._replace(place=(Matrix(world), anchor_world.median_scale))
        camera = self._camera(copy, index)
        if shot.preset is not None:
            depsgraph.update()
        evaluated = camera.evaluated_get(depsgraph)
        export_shots.check_perspective(evaluated.data, camera.name)
        projection = evaluated.calc_matrix_camera(
            depsgraph,
            x=shot.width,
            y=shot.height,
            scale_x=shot.aspect[0],
            scale_y=shot.aspect[1],
        )
        if shot.preset is None and self.state == "preparing":
            self._judge(camera, evaluated, anchor_world, projection, int(shot.frame))
        return from_blender(
            camera_path.rows(evaluated.matrix_world),
            camera_path.rows(anchor_world),
            camera_path.rows(projection),
            shot.width,
            shot.height,
        )

    def _at_frame(self, copy: bpy.types.Scene, frame: float) -> bpy.types.Depsgraph:
        """The copy evaluated at a frame."""
        depsgraph = copy.view_layers[self._layer].depsgraph
        if depsgraph is None or copy.frame_current_final != frame:
            whole = math.floor(frame)
            copy.frame_set(whole, subframe=frame - whole)
            depsgraph = copy.view_layers[self._layer].depsgraph
        depsgraph.update()
        return depsgraph

    def _camera(self, copy: bpy.types.Scene, index: int) -> bpy.types.Object:
        """The camera of a view; the temporary one is put where a preset wants it."""
        shot = self._shots[index]
        if shot.preset is not None and shot.place is not None:
            cameras = (o for o in copy.objects if o.type == "CAMERA")
            camera = next(filter(scene_copy.is_ours, cameras), None)
            if camera is None:
                camera = scene_copy.temporary(copy, "camera", bpy.data.cameras.new(".dp3d export"))
            world, scale = shot.place
            camera.rotation_mode = "QUATERNION"
            camera.location, camera.rotation_quaternion, _ = world.decompose()
            set_lens(camera.data, shot.preset)
            set_clipping(camera.data, scale)
            return camera
        if not shot.camera_uid:  # of the path: known only now
            camera = copy.camera
            if camera is None or camera.type != "CAMERA":
                raise AddonError(
                    "addon.camera_missing",
                    f"The scene has no camera at frame {copy.frame_current}.",
                    "Set the scene's camera (Scene properties), or use a preset.",
                )
            self._shots[index] = shot._replace(
                camera_uid=camera.session_uid, camera_name=camera.name
            )
            return camera
        camera = scene_copy.by_uid(bpy.data.objects, shot.camera_uid)
        if camera is None:
            raise AddonError(
                "addon.camera_missing",
                f"The camera {shot.camera_name!r} was deleted during the export.",
                "Undo, or export again with the cameras that are there.",
            )
        return camera

    def _judge(
        self,
        camera: bpy.types.Object,
        evaluated: bpy.types.Object,
        anchor_world: Matrix,
        projection: Matrix,
        frame: int,
    ) -> None:
        """Note what a person should know about a camera of the scene."""
        location, rotation, _ = evaluated.matrix_world.decompose()
        scale = anchor_world.median_scale
        view = Matrix.LocRotScale(location, rotation, (scale,) * 3).inverted() @ anchor_world
        if not camera_check.sees(view, projection):
            self._unseen.setdefault(camera.name, []).append(frame)
        if evaluated.data.dof.use_dof:
            self._blurred.add(camera.name)

    # -- the copy of the scene ---------------------------------------------------------------

    def _copy(self) -> bpy.types.Scene | None:
        return next((s for s in bpy.data.scenes if scene_copy.is_ours(s)), None)

    def _make_copy(self) -> bpy.types.Scene:
        scene = self.scene
        assert scene is not None
        copy = scene.copy()
        copy[scene_copy.MARK], copy.is_runtime_data = True, True
        copy.name = f"{scene.name} (export)"
        scene_copy.configure(copy, self._layer, self.options.look, self.options.use_compositing)
        # Keeps a hidden anchor evaluated, with all it depends on.
        probe = scene_copy.temporary(copy, "probe", None)
        constraint = probe.constraints.new("COPY_TRANSFORMS")
        constraint.target = scene_copy.by_uid(bpy.data.objects, self._anchor_uid)
        return copy

    # -- the folder --------------------------------------------------------------------------

    def _open_folder(self) -> None:
        self._warn()
        meta, document = self._meta(), cameras_document(self.cameras)
        own = self._choose_folder(meta, document)
        if own and self.options.start_over:
            export_folder.clear(self.folder)
        write_atomic(self.folder / "meta.json", export_folder.document_bytes(meta))
        write_atomic(self.folder / "cameras.json", export_folder.document_bytes(document))
        if self.options.transforms:
            names = [f"frames/{index:04d}.png" for index in range(self.views)]
            document = transforms_document(self.cameras, names)
            write_atomic(self.folder / "transforms.json", export_folder.document_bytes(document))
        (self.folder / "frames").mkdir(exist_ok=True)
        for part in self.folder.glob("frames/.*.part.png"):  # of a Blender that crashed
            part.unlink(missing_ok=True)
        for index in range(self.views):
            if self._frame_path(index).exists():
                self._check_present(index)
                self.done += 1
                self.picture = self._frame_path(index)
            else:
                self._missing.append(index)

    def _choose_folder(self, meta: dict[str, Any], cameras: dict[str, Any]) -> bool:
        """Whether an earlier export is in the folder that is taken."""
        over = self.options.start_over
        if not self.options.numbered:
            return export_folder.adopt(self.folder, meta, cameras, start_over=over)
        for number in count(2):
            try:
                return export_folder.adopt(self.folder, meta, cameras, start_over=over)
            except AddonError as error:
                if error.code not in ("output.occupied", "viewset.mismatch"):
                    raise
                name = f"{self.options.folder.name}-{number}"
                self.folder = self.options.folder.with_name(name)
        raise AssertionError

    def _warn(self) -> None:
        for name, frames in self._unseen.items():
            at = f" {camera_check.frames_in_words(frames)}"
            self.warnings.append(
                f"The camera {name!r} does not see the head"
                f"{at if self.options.source == 'SCENE' else ''}."
            )
        if self._blurred:
            names = ", ".join(repr(name) for name in sorted(self._blurred))
            self.warnings.append(
                f"Depth of field is on ({names}): a fit takes its blur for the head's surface."
            )

    def _meta(self) -> dict[str, Any]:
        """Contents of ``meta.json``; an export goes on where the parameters are the same."""
        scene, copy = self.scene, self._copy()
        assert scene is not None
        assert copy is not None
        parameters: dict[str, Any] = {
            "source": self.options.source.lower(),
            "scene": scene.name,
            "blend": self._blend(),
            "scene_sha256": scene_state.digest(self._states, scene_state.settings(copy)),
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

    def _frame_path(self, index: int) -> Path:
        return self.folder / "frames" / f"{index:04d}.png"

    def _check_present(self, index: int) -> None:
        path, shot = self._frame_path(index), self._shots[index]
        if export_folder.png_size(path) != (shot.width, shot.height):
            raise AddonError(
                "viewset.invalid",
                f"{path} is no frame of this export.",
                "Delete that file and export again: only it is rendered anew.",
            )

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
        camera, planned = self._measure(index)._asdict(), self.cameras[index]._asdict()
        if not export_folder.same_camera(camera, planned):
            raise AddonError(
                "addon.scene_changed",
                f"The camera of view {index + 1} or the head anchor was changed during the export.",
                "Undo the change and export again, which goes on, or press Start Over.",
            )
        self._check_scene(index)
        copy = self._copy()
        assert copy is not None
        copy.timeline_markers.clear()  # they would change the camera
        copy.camera = self._camera(copy, index)
        render = copy.render
        render.resolution_x, render.resolution_y = shot.width, shot.height
        render.pixel_aspect_x, render.pixel_aspect_y = shot.aspect
        part = self._part_path(index)
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

    def _part_path(self, index: int) -> Path:
        return self.folder / "frames" / f".{index:04d}.{os.getpid()}.part.png"

    def _collect(self) -> None:
        index, self._in_flight = self._in_flight, None
        assert index is not None
        shot, part = self._shots[index], self._part_path(index)
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
        if self._copy() is not None:  # an edit may be in a part of the picture
            self._at_frame(self._copy(), shot.frame)
            self._check_scene(index)
        try:
            part.replace(self._frame_path(index))
        except OSError as error:
            raise AddonError(
                "output.not_writable",
                f"The frames cannot be written in {self.folder} ({error.strerror}).",
                "Check free space and rights of the output folder, or choose another one.",
            ) from error
        self._retries = 0
        self.picture = self._frame_path(index)
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
