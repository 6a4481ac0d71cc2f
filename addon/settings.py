# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scene remembers: the settings of the panel, and the run it watches."""

# No postponed annotations here: Blender reads property definitions from them.

import math

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    IntVectorProperty,
    PointerProperty,
    StringProperty,
)

from .scene.camera_path import MAX_VIEWS

ENGINES: list[dict] = []
"""Engines the server last spoke of; the panel must not ask for them while drawing."""

SERVER_REPORT: list[str] = []
"""What the last check of the server found, at most one sentence."""

_PRESETS = (
    ("ORBIT", "Orbit", "Closed ring around the head"),
    ("CAPTURE", "Capture", "Three staggered rings that see crown and chin too: best for a mesh"),
    ("ARC", "Frontal Arc", "From one side of the face to the other"),
    ("ELLIPSE", "Ellipse", "Small ellipse before the face, as DiffPortrait3D shows its results"),
    ("SWEEP", "Elevation Sweep", "From below the face to above it"),
)


def _engine_names(self, context, edit_text):
    return [e["name"] for e in ENGINES] or ["preview"]


class HeadViewsSettings(bpy.types.PropertyGroup):
    """Settings of the panel, one set per scene."""

    portrait: StringProperty(
        name="Portrait", description="Photograph of one person", subtype="FILE_PATH"
    )
    use_crop: BoolProperty(
        name="Manual Crop", description="Say where the head is instead of finding it"
    )
    crop: IntVectorProperty(
        name="Crop",
        description="Square around the head in pixels of the upright photo: left, top, side",
        size=3,
        default=(0, 0, 512),
    )
    use_head_yaw: BoolProperty(
        name="Manual Turn", description="Say how far the head is turned instead of estimating it"
    )
    head_yaw: FloatProperty(
        name="Turn",
        description="How far the head is turned; positive when it looks to the picture's left",
        subtype="ANGLE",
        soft_min=-math.pi / 2,
        soft_max=math.pi / 2,
        min=-math.pi,
        max=math.pi,
    )
    use_head_pitch: BoolProperty(
        name="Manual Height", description="Say from what height the head is seen"
    )
    head_pitch: FloatProperty(
        name="Height",
        description="How far the head is seen from above; negative from below",
        subtype="ANGLE",
        soft_min=-math.pi / 4,
        soft_max=math.pi / 4,
        min=-math.radians(80),
        max=math.radians(80),
    )
    use_head_roll: BoolProperty(name="Manual Lean", description="Say how far the head leans")
    head_roll: FloatProperty(
        name="Lean",
        description="How far the head leans in the picture, counter-clockwise",
        subtype="ANGLE",
        soft_min=-math.pi / 4,
        soft_max=math.pi / 4,
        min=-math.pi,
        max=math.pi,
    )
    anchor: PointerProperty(
        name="Head Anchor",
        description="Object whose frame is head space: X right, Y up, Z out of the face",
        type=bpy.types.Object,
    )
    camera_source: EnumProperty(
        name="Cameras",
        items=(
            ("PRESET", "Preset", "Cameras around the head anchor"),
            ("SCENE", "Scene Camera", "The scene's camera along its animation"),
        ),
    )
    preset: EnumProperty(name="Preset", items=_PRESETS, default="ORBIT")
    views: IntProperty(name="Views", default=32, min=1, max=MAX_VIEWS)
    size: IntProperty(
        name="Size", description="Pixels of a side", default=512, min=16, max=2048, step=64
    )
    pitch: FloatProperty(
        name="Pitch",
        description="Height of the cameras above the horizon",
        subtype="ANGLE",
        min=-math.pi / 3,
        max=math.pi / 3,
    )
    use_scene_range: BoolProperty(
        name="Scene Frame Range", description="Use start and end of the scene", default=True
    )
    frame_start: IntProperty(name="Start", default=1)
    frame_end: IntProperty(name="End", default=32)
    frame_step: IntProperty(name="Step", description="Every n-th frame", default=1, min=1)
    engine: StringProperty(
        name="Engine",
        description="What makes the views",
        default="preview",
        search=_engine_names,
        search_options={"SUGGESTION"},
    )
    seed: IntProperty(name="Seed", min=0)
    then_mesh: BoolProperty(
        name="Then Fit and Import Mesh",
        description="Go on with the fit and the mesh when the views are done",
    )
    fit_preset: EnumProperty(
        name="Fit",
        items=(
            ("DRAFT", "Draft", "Minutes without a GPU"),
            ("STANDARD", "Standard", "Longer and finer"),
            ("TINY", "Tiny", "Seconds, to try the way through"),
        ),
    )
    faces: IntProperty(name="Faces", default=30000, min=500, max=500_000)
    texture_size: IntProperty(name="Texture", default=1024, min=64, max=4096)
    output: StringProperty(
        name="Output",
        description="Folder for frames and meshes; empty: dp3d beside the .blend file",
        subtype="DIR_PATH",
    )


class HeadViewsRun(bpy.types.PropertyGroup):
    """The last run, so that it is found again when the .blend is opened later.

    While a run is watched, the session holds the truth and writes it here again and again: an
    undo may set any of this back.
    """

    run_id: StringProperty()
    title: StringProperty()
    folder: StringProperty(subtype="DIR_PATH")
    frames: StringProperty(description="Scene frame of each view, comma separated")
    pending: StringProperty(description="Kinds of jobs not done yet, comma separated")
    job_id: StringProperty()
    job_kind: StringProperty()
    state: StringProperty(description="empty, running, succeeded, failed or cancelled")
    stage: StringProperty()
    step: IntProperty()
    of: IntProperty(default=1)
    eta_s: FloatProperty(default=-1.0)
    message: StringProperty()
    warnings: StringProperty(description="One per line")
    error_code: StringProperty()
    error_problem: StringProperty()
    error_remedy: StringProperty()
    views: StringProperty(description="SHA-256 of the view set")
    fit: StringProperty(description="SHA-256 of the fit")
    mesh: StringProperty(description="Path of the mesh file")

    @property
    def fraction(self) -> float:
        """Part of the present stage that is done."""
        return min(1.0, max(0.0, self.step / max(1, self.of)))


CLASSES = (HeadViewsSettings, HeadViewsRun)


def attach() -> None:
    """Give every scene its settings."""
    bpy.types.Scene.dp3d = PointerProperty(type=HeadViewsSettings)
    bpy.types.Scene.dp3d_run = PointerProperty(type=HeadViewsRun)


def detach() -> None:
    """Take them away again."""
    del bpy.types.Scene.dp3d_run
    del bpy.types.Scene.dp3d
