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

import json
import math
import os
import re
import time
import traceback
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from ..link.storage import write_atomic
from . import anchor as head_anchor
from . import camera_check, camera_path, scene_state
from .orbit_cameras import SIZE, set_clipping, set_lens
from .trajectories import (
    HeadCamera,
    cameras_document,
    from_blender,
    preset,
    to_blender,
    transforms_document,
)

META_SCHEMA = "dp3d.views/1"
MARK = "dp3d_temporary"
"""Custom property of the scene copy and the temporary objects.  Not the role of ``tags``: a scene
has a property group of that name."""
_RETRIES = 3
"""How often a view is rendered again after something else stopped its render."""
_FRAME = re.compile(r"\d{4,}\.png")
_CAMERA_TOLERANCE = 1e-6
_LOOKS = {"STANDARD": "standard", "SCENE": "scene"}


class Options(NamedTuple):
    """What to export; everything else is the scene's."""

    source: str
    """PRESET, SCENE (the scene's camera over the frame range) or SELECTED (cameras)."""
    folder: Path
    title: str
    """Name of the export for people."""
    look: str = "STANDARD"
    """STANDARD (true colours, as a fit needs them) or SCENE (the scene's view transform)."""
    use_compositing: bool = False
    """Run compositor and sequencer over the renders."""
    transforms: bool = False
    """Write nerfstudio's ``transforms.json`` too."""
    start_over: bool = False
    """Render all frames anew, in place of an earlier export in the folder."""
    numbered: bool = False
    """Where the folder is another's, take its name with -2, -3, ... instead."""


class Shot(NamedTuple):
    """One view as Blender is to render it."""

    frame: float
    """Scene frame, with its subframe."""
    width: int
    height: int
    aspect: tuple[float, float]
    """Pixel aspect (x, y)."""
    camera_uid: int = 0
    """The scene's own camera to render through; 0: the temporary one."""
    camera_name: str = ""
    preset: HeadCamera | None = None
    """Of a preset: the camera in head space."""
    place: tuple[Matrix, float] | None = None
    """Of a preset: where the temporary camera stands, and the anchor's scale."""


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
        remove_scene(scene)

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
        self._shots = _shots(scene, view_layer, options)
        self._preset = camera_path.preset(scene)
        self._states: list[scene_state.State] = []
        """What each scene frame shows, measured with the cameras: the first frame whole, others
        by their difference from it.  One state where all views are of one frame."""
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
        copy = self._copy()
        try:
            if copy is not None and self._in_flight is not None and self._renderer.running():
                self._renderer.stop(copy)
        finally:
            self._in_flight = None
            remove_leftovers()
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
        return scene_state.take(copy, depsgraph, MARK, shapes=shapes)

    def _check_scene(self, index: int) -> None:
        """Refuse a scene that is not the one the export began with.

        Raises:
            AddonError: ``addon.scene_changed``.

        """
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

    def _measure(self, index: int) -> HeadCamera:
        """The camera of a view in head space, as Blender evaluates it."""
        shot = self._shots[index]
        copy = self._copy() or self._make_copy()
        if shot.camera_uid:  # so that it is evaluated where the view layer hides it
            copy.camera = self._camera(copy, index)
        depsgraph = self._at_frame(copy, shot.frame)
        anchor = _by_uid(bpy.data.objects, self._anchor_uid)
        if anchor is None:
            raise AddonError(
                "addon.anchor_missing",
                "The head anchor was deleted during the export.",
                "Undo, or press Add Head Anchor, and export again.",
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
        check_perspective(evaluated.data, camera.name)
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
            camera = next((o for o in copy.objects if o.type == "CAMERA" and _is_ours(o)), None)
            if camera is None:
                camera = _temporary(copy, "camera", bpy.data.cameras.new(".dp3d export"))
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
        camera = _by_uid(bpy.data.objects, shot.camera_uid)
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
        return next((s for s in bpy.data.scenes if _is_ours(s)), None)

    def _make_copy(self) -> bpy.types.Scene:
        scene = self.scene
        assert scene is not None
        copy = scene.copy()
        copy[MARK], copy.is_runtime_data = True, True
        copy.name = f"{scene.name} (export)"
        _configure(copy, self._layer, self.options)
        # Keeps a hidden anchor evaluated, with all it depends on.
        probe = _temporary(copy, "probe", None)
        constraint = probe.constraints.new("COPY_TRANSFORMS")
        constraint.target = _by_uid(bpy.data.objects, self._anchor_uid)
        return copy

    # -- the folder --------------------------------------------------------------------------

    def _open_folder(self) -> None:
        self._warn()
        meta, document = self._meta(), cameras_document(self.cameras)
        own = self._choose_folder(meta, document)
        if own and self.options.start_over:
            _clear(self.folder)
        write_atomic(self.folder / "meta.json", _json(meta))
        write_atomic(self.folder / "cameras.json", _json(document))
        if self.options.transforms:
            names = [f"frames/{index:04d}.png" for index in range(self.views)]
            document = transforms_document(self.cameras, names)
            write_atomic(self.folder / "transforms.json", _json(document))
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
            return adopt_folder(self.folder, meta, cameras, start_over=over)
        for number in count(2):
            try:
                return adopt_folder(self.folder, meta, cameras, start_over=over)
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
            "samples": _samples(copy),
            "look": _LOOKS[self.options.look],
            "view_transform": copy.view_settings.view_transform,
            "compositing": self.options.use_compositing,
        }
        if self.options.source == "PRESET":
            parameters["preset"] = self._preset
        else:
            parameters["cameras"] = [shot.camera_name for shot in self._shots]
        return {
            "schema": META_SCHEMA,
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
        if png_size(path) != (shot.width, shot.height):
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
        if not _same_camera(self._measure(index)._asdict(), self.cameras[index]._asdict()):
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
        size = png_size(part)
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


# -- which cameras -----------------------------------------------------------------------------


def _shots(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, options: Options) -> list[Shot]:
    """What to render, in order, checked as far as it can be without evaluating the scene."""
    now = scene.frame_current_final
    width, height = camera_path.render_size(scene)
    aspect = (scene.render.pixel_aspect_x, scene.render.pixel_aspect_y)
    if options.source == "PRESET":
        settings = scene.dp3d
        cameras = preset(
            settings.preset.lower(),
            settings.views,
            settings.size,
            round(math.degrees(settings.pitch), 6),
        )
        return [Shot(now, c.width, c.height, (1.0, 1.0), preset=c) for c in cameras]
    if options.source == "SCENE":
        shots = [Shot(float(n), width, height, aspect) for n in camera_path.frame_numbers(scene)]
    else:
        shots = []
        for camera in _selected(view_layer):
            check_perspective(camera.data, camera.name)
            size = list(camera.get(SIZE, ()))
            own = len(size) == 2
            shots.append(
                Shot(
                    now,
                    *(size if own else (width, height)),
                    (1.0, 1.0) if own else aspect,
                    camera.session_uid,
                    camera.name,
                )
            )
    for shot in shots:
        low, high = camera_check.MIN_SIDE, camera_check.MAX_SIDE
        if not (low <= shot.width <= high and low <= shot.height <= high):
            raise AddonError(
                "addon.bad_size",
                f"The frames would have {shot.width} x {shot.height} pixels; {low} to {high} are "
                "possible on a side.",
                "Change the resolution or its percentage (Output properties, Format).",
            )
    return shots


def _selected(view_layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """Selected cameras by name; refused when there are none or too many."""
    cameras = camera_check.selected_cameras(view_layer)
    if not cameras:
        raise AddonError(
            "addon.no_camera_selected",
            "No camera is selected.",
            "Select the cameras to export, or press Create Orbit Cameras.",
        )
    if len(cameras) > camera_path.MAX_VIEWS:
        raise AddonError(
            "addon.bad_range",
            f"{len(cameras)} cameras are selected; 1 to {camera_path.MAX_VIEWS} are possible.",
            "Select fewer cameras.",
        )
    return cameras


def check_perspective(data: bpy.types.Camera, name: str) -> None:
    """Refuse orthographic and panoramic cameras.

    Raises:
        AddonError: ``camera.not_perspective``.

    """
    if data.type != "PERSP":
        raise AddonError(
            "camera.not_perspective",
            f"The camera {name!r} is not a perspective camera.",
            "Set its lens type to Perspective.",
        )


# -- the scene's copy --------------------------------------------------------------------------


def _configure(copy: bpy.types.Scene, layer: str, options: Options) -> None:
    """Settings of the copy; those of the scene stay as they are."""
    render, image = copy.render, copy.render.image_settings
    if hasattr(image, "media_type"):  # Blender 5
        image.media_type = "IMAGE"
    image.file_format, image.color_mode, image.color_depth = "PNG", "RGBA", "8"
    image.color_management = "FOLLOW_SCENE"
    render.film_transparent = True
    render.resolution_percentage = 100
    render.use_file_extension = render.use_overwrite = True
    for name in (
        "use_border",
        "use_crop_to_border",
        "use_stamp",
        "use_multiview",
        "use_motion_blur",
        "use_placeholder",
        "use_lock_interface",
        "use_single_layer",
    ):
        setattr(render, name, False)
    render.use_compositing = render.use_sequencer = options.use_compositing
    if not options.use_compositing:
        for view_layer in copy.view_layers:
            view_layer.use = view_layer.name == layer
    if options.look == "STANDARD":
        view = copy.view_settings
        copy.display_settings.display_device = "sRGB"
        view.view_transform, view.look = "Standard", "None"
        view.exposure, view.gamma = 0.0, 1.0
        for name in ("use_curve_mapping", "use_white_balance", "use_hdr_view"):
            if hasattr(view, name):
                setattr(view, name, False)
        render.dither_intensity = 0.0


def _is_ours(thing: Any) -> bool:
    return bool(thing.get(MARK))


def _temporary(copy: bpy.types.Scene, name: str, data: Any) -> bpy.types.Object:
    """An object of the copy alone, which no file keeps."""
    thing = bpy.data.objects.new(f".dp3d export {name}", data)
    for new in filter(None, (thing, data)):
        new[MARK], new.is_runtime_data = True, True
    copy.collection.objects.link(thing)
    return thing


def _by_uid(collection: Any, uid: int) -> Any:
    return next((thing for thing in collection if thing.session_uid == uid), None)


def remove_scene(scene: bpy.types.Scene) -> None:
    """Delete a copy in which nothing renders."""
    windows = bpy.context.window_manager.windows if bpy.context.window_manager else []
    others = [s for s in bpy.data.scenes if s != scene]
    for window in windows:
        if window.scene == scene:
            window.scene = others[0]
    if windows:
        with bpy.context.temp_override(window=windows[0]):
            bpy.data.scenes.remove(scene)
    else:
        bpy.data.scenes.remove(scene)


def leftovers() -> Iterator[Any]:
    """Copies and temporary objects of exports, also those an undo brought back."""
    for collection in (bpy.data.scenes, bpy.data.objects, bpy.data.cameras):
        yield from (thing for thing in list(collection) if _is_ours(thing))


def remove_leftovers() -> None:
    """Delete what exports left behind; call it only while nothing of theirs renders."""
    for thing in list(leftovers()):
        if isinstance(thing, bpy.types.Scene):
            remove_scene(thing)
        elif isinstance(thing, bpy.types.Object):
            bpy.data.objects.remove(thing)
        else:
            bpy.data.cameras.remove(thing)


def _samples(scene: bpy.types.Scene) -> int | str | None:
    engine = scene.render.engine
    if engine == "CYCLES":
        return int(scene.cycles.samples)
    if engine.startswith("BLENDER_EEVEE"):
        return int(scene.eevee.taa_render_samples)
    if engine == "BLENDER_WORKBENCH":
        return str(scene.display.render_aa)
    return None


# -- files -------------------------------------------------------------------------------------


def adopt_folder(
    folder: Path, meta: dict[str, Any], cameras: dict[str, Any], *, start_over: bool = False
) -> bool:
    """Refuse a folder with files of somebody else, or of another export.

    Args:
        folder: where the export goes.
        meta: its ``meta.json``.
        cameras: its ``cameras.json``.
        start_over: take any earlier export of this extension, to be replaced.

    Returns:
        Whether an earlier export is there.

    Raises:
        AddonError: ``output.occupied``, ``output.not_writable``, ``viewset.mismatch``.

    """
    if folder.exists() and not folder.is_dir():
        raise AddonError(
            "output.occupied",
            f"{folder} is a file, and the frames need a folder.",
            "Choose a folder that is empty or does not exist yet.",
        )
    try:
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise AddonError(
            "output.not_writable",
            f"The folder {folder} cannot be looked into ({error.strerror}).",
            "Check its rights, or choose another one.",
        ) from error
    foreign = sorted(n for n in names if not n.startswith("."))
    if not foreign:
        return False
    present = _read(folder / "meta.json")
    if not isinstance(present, dict) or present.get("schema") != META_SCHEMA:
        raise AddonError(
            "output.occupied",
            f"{folder} already holds files that are not from an export ({foreign[0]}).",
            "Choose a folder that is empty or does not exist yet.",
        )
    ours = present.get("engine") == "blender"
    begun = any(_FRAME.fullmatch(p.name) for p in folder.glob("frames/*"))
    if ours and (start_over or not begun):
        return True
    same = _same_meta(present, json.loads(_json(meta)))
    if not (ours and same and _same_cameras(_read(folder / "cameras.json"), cameras)):
        raise AddonError(
            "viewset.mismatch",
            f"{folder} holds views of another scene, other cameras or other settings.",
            "Press Start Over to replace them, or choose another folder."
            if ours
            else "Choose another folder.",
        )
    return True


def _same_meta(present: dict[str, Any], meta: dict[str, Any]) -> bool:
    """Whether an export goes on: all but versions, run and warnings is the same.

    The export of a file that was not saved has no path of one; it goes on after the first save.
    """
    old, new = (
        {k: v for k, v in document.items() if k not in {"versions", "run", "warnings"}}
        for document in (present, meta)
    )
    parameters = old.get("parameters")
    if isinstance(parameters, dict) and parameters.get("blend") == "":
        old["parameters"] = parameters | {"blend": new["parameters"]["blend"]}
    return old == new


def _same_cameras(present: Any, cameras: dict[str, Any]) -> bool:
    try:
        if present is None:
            return True  # stopped before they were written
        old, new = present["cameras"], cameras["cameras"]
        return len(old) == len(new) and all(map(_same_camera, old, new))
    except (KeyError, TypeError, ValueError):
        return False


def _same_camera(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return (
        (a["width"], a["height"]) == (b["width"], b["height"])
        and _close(a["c2w"], b["c2w"], _CAMERA_TOLERANCE)
        and _close(a["K"], b["K"], _CAMERA_TOLERANCE * max(a["width"], a["height"]))
    )


def _close(a: Any, b: Any, tolerance: float) -> bool:
    return all(
        abs(x - y) <= tolerance
        for row, other in zip(a, b, strict=True)
        for x, y in zip(row, other, strict=True)
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _clear(folder: Path) -> None:
    """Delete the frames of an earlier export, and nothing else."""
    for path in folder.glob("frames/*"):
        if _FRAME.fullmatch(path.name):
            path.unlink()
    for name in ("cameras.json", "transforms.json"):
        (folder / name).unlink(missing_ok=True)


def png_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a whole 8 bit RGBA PNG; None for anything else."""
    try:
        with path.open("rb") as stream:
            head = stream.read(33)
            stream.seek(-12, os.SEEK_END)
            tail = stream.read()
    except OSError:
        return None
    whole = tail[4:8] == b"IEND" and head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR"
    if not whole or head[24:26] != b"\x08\x06":
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


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
