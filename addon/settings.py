# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of every scene: the panel's settings, the current run, and the list of results.

Modules above this one react to a changed setting through ``listen``.
"""

# No postponed annotations here: Blender reads property definitions from them.

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    IntVectorProperty,
    PointerProperty,
    StringProperty,
)

from . import limits, run_records

ENGINES: list[dict[str, Any]] = []
"""Engines that the server listed last; the panel reads them while drawing."""

SERVER_REPORT: list[str] = []
"""Answer of the last check of the server, at most one sentence."""

Setting = Literal["portrait", "crop", "look", "result"]
"""Settings whose changes have listeners."""
Listener = Callable[[bpy.types.Scene], None]
_listeners: dict[Setting, list[Listener]] = {setting: [] for setting in get_args(Setting)}
"""Functions that modules above this one add while the add-on is on (``listen``)."""

_PRESETS = (
    ("ORBIT", "Orbit", "Closed ring around the head"),
    ("CAPTURE", "Capture", "Three staggered rings that see crown and chin too: best for a mesh"),
    ("ARC", "Frontal Arc", "From one side of the face to the other"),
    ("ELLIPSE", "Ellipse", "Small ellipse before the face, as DiffPortrait3D shows its results"),
    ("SWEEP", "Elevation Sweep", "From below the face to above it"),
)

_OF_SETTINGS = (
    *("addon.", "portrait.", "camera.", "engine.", "output."),
    *("fit.bad_option", "mesh.bad_option", "video.bad_option"),
)
"""Prefixes of the error codes that a setting may have caused."""


def _engine_names(
    self: "HeadViewsSettings", context: bpy.types.Context, edit_text: str
) -> list[str]:
    return [e["name"] for e in ENGINES] or [limits.DEFAULT_ENGINE]


def _scene(group: bpy.types.PropertyGroup) -> bpy.types.Scene:
    """The scene that a group of settings belongs to."""
    scene = group.id_data
    assert isinstance(scene, bpy.types.Scene)
    return scene


def _changed(self: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """Clear a failure that a setting caused, once a setting changes."""
    scene = _scene(self)
    if run_records.run(scene)["error_code"].startswith(_OF_SETTINGS):
        run_records.clear_error(scene)


def listen(setting: Setting, listener: Listener) -> None:
    """Call a function after each change of a setting, with the scene that has the setting."""
    _listeners[setting].append(listener)


def stop_listening(setting: Setting, listener: Listener) -> None:
    """Undo :func:`listen`; a function that does not listen is no error."""
    if listener in _listeners[setting]:
        _listeners[setting].remove(listener)


def _tell(setting: Setting, scene: bpy.types.Scene) -> None:
    for listener in _listeners[setting]:
        listener(scene)


def _portrait_changed(self: "HeadViewsSettings", context: bpy.types.Context) -> None:
    _changed(self, context)
    _tell("portrait", _scene(self))


def _crop_changed(self: "HeadViewsSettings", context: bpy.types.Context) -> None:
    _changed(self, context)
    _tell("crop", _scene(self))


def _look_changed(self: "HeadViewsSettings", context: bpy.types.Context) -> None:
    _tell("look", _scene(self))


def _result_chosen(self: bpy.types.Scene, context: bpy.types.Context) -> None:
    _tell("result", self)


PATH_OPTIONS = {"ANIMATABLE"}
"""Options of path properties: Blender 4.5 and later must be told that they may begin with //."""
if bpy.app.version >= (4, 5, 0):
    PATH_OPTIONS.add("PATH_SUPPORTS_BLEND_RELATIVE")


class HeadViewsSettings(bpy.types.PropertyGroup):
    """Settings of the panel, one set per scene."""

    portrait: StringProperty(
        name="Portrait",
        description="Photograph of one person",
        update=_portrait_changed,
    )
    portrait_image: PointerProperty(
        name="Image",
        description="An image of this .blend as the portrait, instead of a file",
        type=bpy.types.Image,
        update=_portrait_changed,
    )
    use_crop: BoolProperty(
        name="Manual Crop",
        description="Give the head's place in the photo by hand, instead of an estimate",
        update=_crop_changed,
    )
    crop: IntVectorProperty(
        name="Crop",
        description="Square around the head in pixels of the upright photo: left, top, side",
        size=3,
        default=(0, 0, 512),
        update=_crop_changed,
    )
    use_head_yaw: BoolProperty(
        name="Manual Turn",
        description="Give the head's turn in the photo by hand, instead of an estimate",
        update=_changed,
    )
    head_yaw: FloatProperty(
        name="Turn",
        description="Turn of the head; positive when it looks to the picture's left",
        subtype="ANGLE",
        soft_min=-math.pi / 2,
        soft_max=math.pi / 2,
        min=math.radians(limits.HEAD_YAW_DEG.low),
        max=math.radians(limits.HEAD_YAW_DEG.high),
    )
    use_head_pitch: BoolProperty(
        name="Manual Height",
        description="Give by hand from what height the photo sees the head",
        update=_changed,
    )
    head_pitch: FloatProperty(
        name="Height",
        description="Angle from which the photo sees the head; positive from above",
        subtype="ANGLE",
        soft_min=-math.pi / 4,
        soft_max=math.pi / 4,
        min=math.radians(limits.HEAD_PITCH_DEG.low),
        max=math.radians(limits.HEAD_PITCH_DEG.high),
    )
    use_head_roll: BoolProperty(
        name="Manual Lean",
        description="Give the head's lean in the photo by hand, instead of an estimate",
        update=_changed,
    )
    head_roll: FloatProperty(
        name="Lean",
        description="Lean of the head in the photo, counter-clockwise",
        subtype="ANGLE",
        soft_min=-math.pi / 4,
        soft_max=math.pi / 4,
        min=math.radians(limits.HEAD_ROLL_DEG.low),
        max=math.radians(limits.HEAD_ROLL_DEG.high),
    )
    anchor: PointerProperty(
        name="Head Anchor",
        description="Object whose frame is head space: X right, Y up, Z out of the face",
        type=bpy.types.Object,
        update=_changed,
    )
    show_ghost: BoolProperty(
        name="Show Head Outline",
        description="Draw the outline of a head at the anchor, as large as the result will be",
        default=True,
    )
    show_nearest_view: BoolProperty(
        name="Show Views at the Head",
        description=(
            "Show the generated view nearest to the direction you look from at the head, until a "
            "mesh stands there; it is no object and never rendered"
        ),
        default=True,
    )
    camera_source: EnumProperty(
        name="Cameras",
        description="Cameras of the views",
        items=(
            ("PRESET", "Preset", "Cameras around the head anchor"),
            ("SCENE", "Camera", "The scene's camera along its animation"),
            ("SELECTED", "Selected", "All selected cameras, at the current frame"),
        ),
        update=_changed,
    )
    preset: EnumProperty(
        name="Preset",
        description="Path of the cameras around the head",
        items=_PRESETS,
        default="ORBIT",
        update=_changed,
    )
    views: IntProperty(
        name="Views",
        description="Number of cameras",
        default=limits.DEFAULT_VIEWS,
        min=limits.PRESET_VIEWS.low,
        max=limits.PRESET_VIEWS.high,
    )
    size: IntProperty(
        name="Size",
        description="Width and height of a frame in pixels",
        default=limits.DEFAULT_SIDE,
        min=limits.PRESET_SIDE.low,
        max=limits.PRESET_SIDE.high,
        step=64,
    )
    pitch: FloatProperty(
        name="Pitch",
        description="Height of the cameras above the horizon",
        subtype="ANGLE",
        min=math.radians(limits.PRESET_PITCH_DEG.low),
        max=math.radians(limits.PRESET_PITCH_DEG.high),
    )
    use_scene_range: BoolProperty(
        name="Scene Frame Range",
        description="Take start and end from the scene's frame range",
        default=True,
        update=_changed,
    )
    frame_start: IntProperty(
        name="Start", description="First frame of the camera path", default=1, update=_changed
    )
    frame_end: IntProperty(
        name="End", description="Last frame of the camera path", default=32, update=_changed
    )
    frame_step: IntProperty(
        name="Step", description="Every n-th frame", default=1, min=1, update=_changed
    )
    engine: StringProperty(
        name="Engine",
        description="Engine that generates the views",
        default=limits.DEFAULT_ENGINE,
        search=_engine_names,
        search_options={"SUGGESTION"},
        update=_changed,
    )
    seed: IntProperty(
        name="Seed",
        description="Start of everything random",
        min=limits.SEED.low,
        max=limits.SEED.high,
    )
    seed_lock: BoolProperty(
        name="Keep Seed",
        description="Use this seed for every run; otherwise each run draws a new one",
        default=True,
    )
    then_mesh: BoolProperty(
        name="Then Fit and Import Mesh",
        description="Go on with the fit and the mesh when the views are done",
    )
    fit_preset: EnumProperty(
        name="Fit",
        description="Length and resolution of the radiance field's fit",
        items=(
            ("DRAFT", "Draft", "Two to four minutes on two CPU cores"),
            ("STANDARD", "Standard", "Longer and finer; for a GPU, or an hour of patience"),
            ("HIGH", "High", "Finest; needs a GPU"),
            ("TINY", "Tiny", "Half a minute, too coarse to keep: for trying things out"),
        ),
        default=limits.DEFAULT_FIT_PRESET.upper(),
    )
    faces: IntProperty(
        name="Faces",
        description="Triangles of the mesh, about",
        default=limits.DEFAULT_FACES,
        min=limits.MESH_FACES.low,
        max=limits.MESH_FACES.high,
    )
    texture_size: IntProperty(
        name="Texture",
        description="Width and height of the mesh's texture in pixels",
        default=limits.DEFAULT_TEXTURE_SIDE,
        min=limits.TEXTURE_SIDE.low,
        max=limits.TEXTURE_SIDE.high,
    )
    look: EnumProperty(
        name="Look",
        description="How the materials of a mesh or a rigged head show the photo",
        items=(
            (
                "PHOTO",
                "As Photographed",
                "The photo's own colours and light, whatever the scene's lights",
            ),
            (
                "LIT",
                "Lit by the Scene",
                "The photo as surface colour, shaded by the scene's lights",
            ),
        ),
        update=_look_changed,
    )
    playback_show: EnumProperty(
        name="Show",
        description="Where the rendered field appears",
        items=(
            ("BEHIND", "Behind Camera", "As background of the scene's own camera"),
            ("PLANE", "Image Plane", "On a plane at the head that faces the camera"),
            ("FILES", "Files Only", "In the folder alone"),
        ),
    )
    playback_step: IntProperty(
        name="Step",
        description="Render every n-th frame and hold it until the next",
        default=1,
        min=1,
    )
    playback_video: EnumProperty(
        name="Video",
        description="Also write the frames as a video file",
        items=(
            ("NONE", "None", "No video"),
            ("webm", "WebM", "VP9 in a .webm file"),
            ("mp4", "MP4", "MPEG-4 in an .mp4 file"),
        ),
    )
    output: StringProperty(
        name="Output",
        description="Folder for frames and meshes; empty: head_views beside the .blend file",
        subtype="DIR_PATH",
        options=PATH_OPTIONS,
        update=_changed,
    )


class _OfResult:
    """Properties that a run and its result share."""

    run_id: StringProperty(description="Hexadecimal name of the run")
    title: StringProperty(description="Name of the run's collection")
    folder: StringProperty(
        subtype="DIR_PATH", options=PATH_OPTIONS, description="Folder of frames and mesh"
    )
    frames: StringProperty(description="Scene frame of each view, comma separated")
    engine: StringProperty(description="Engine that made the views")
    seed: IntProperty(description="Seed of the views")
    warnings: StringProperty(description="One per line")
    views: StringProperty(description="SHA-256 of the view set")
    portrait_report: StringProperty(description="Place of the head in the photo, JSON")
    fit: StringProperty(description="SHA-256 of the fit")
    fit_preset: StringProperty(description="Preset of the fit")
    scores: StringProperty(description="Scores of the fit, JSON")
    mesh: StringProperty(description="Path of the mesh file")
    stats: StringProperty(description="Statistics of the mesh, JSON")
    rig: StringProperty(description="Path of the rigged head's file")
    playback: StringProperty(
        subtype="DIR_PATH", options=PATH_OPTIONS, description="Folder of the played back frames"
    )
    video: StringProperty(
        subtype="FILE_PATH", options=PATH_OPTIONS, description="Video of the played back frames"
    )


class HeadViewsRun(_OfResult, bpy.types.PropertyGroup):
    """The current run, or else the chosen result, which the buttons work on.

    A copy of the record in ``run_records``, renewed after each undo.
    """

    pending: StringProperty(description="Steps not done yet, comma separated")
    job_id: StringProperty(description="Job on the server")
    job_kind: StringProperty(description="Kind of that job")
    target: StringProperty(
        subtype="DIR_PATH", options=PATH_OPTIONS, description="Folder that a playback is filling"
    )
    state: StringProperty(description="empty, running, succeeded, failed or cancelled")
    kind: StringProperty(description="Step of the run: views, fit, mesh, render, save_fit or head")
    number: IntProperty(description="Number of that step, from 1")
    count: IntProperty(description="Number of steps of the run", default=1)
    stage: StringProperty(description="Stage of the job")
    step: IntProperty(description="Steps done of the stage")
    of: IntProperty(default=1, description="Steps of the stage")
    eta_s: FloatProperty(default=-1.0, description="Seconds left of the stage; -1: unknown")
    elapsed_s: IntProperty(description="Seconds since the stage last moved")
    message: StringProperty(description="Sentence for a person")
    error_code: StringProperty(description="Code of the last failure")
    error_problem: StringProperty(description="What is wrong")
    error_remedy: StringProperty(description="What to do")

    @property
    def fraction(self) -> float:
        """Part of the present stage that is done."""
        return min(1.0, max(0.0, self.step / max(1, self.of)))


class HeadViewsResult(_OfResult, bpy.types.PropertyGroup):
    """One result of the scene: a run on the server, or an export."""

    created: StringProperty(description="Date and time of the run")
    source: StringProperty(description="generated or exported")


CLASSES = (HeadViewsSettings, HeadViewsRun, HeadViewsResult)


def attach() -> None:
    """Give every scene its settings."""
    bpy.types.Scene.dp3d = PointerProperty(type=HeadViewsSettings)
    bpy.types.Scene.dp3d_run = PointerProperty(type=HeadViewsRun)
    bpy.types.Scene.dp3d_results = CollectionProperty(type=HeadViewsResult)
    bpy.types.Scene.dp3d_result_index = IntProperty(
        name="Result", description="The result that the buttons work on", update=_result_chosen
    )


def detach() -> None:
    """Take them away again."""
    for name in ("dp3d_result_index", "dp3d_results", "dp3d_run", "dp3d"):
        delattr(bpy.types.Scene, name)
