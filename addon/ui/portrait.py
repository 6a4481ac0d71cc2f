# SPDX-License-Identifier: GPL-3.0-or-later
"""The portrait in the panel: its fields, thumbnail and manual crop, and their buttons."""

# No postponed annotations here: Blender reads property definitions from them.

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import BoolProperty, EnumProperty, PointerProperty, StringProperty

from .. import portrait_file
from ..link.errors import AddonError
from ..scene import photo
from . import pictures, portrait_picture, sentences

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

_SHOWN_SCALE = 7.0
"""Height of the small picture in the panel, in heights of a button."""


class HeadViewsPortrait(bpy.types.PropertyGroup):
    """Further photos of the same person, for engines that take several."""

    further_left: StringProperty(
        name="Left",
        description="A further photo of the same person, which shows the person's left ear, from "
        "the side or from three quarters",
    )
    further_right: StringProperty(
        name="Right",
        description="A further photo of the same person, which shows the person's right ear, from "
        "the side or from three quarters",
    )
    further_back: StringProperty(
        name="Back", description="A further photo of the same person, from behind"
    )


# -- the panel -----------------------------------------------------------------------------------


def draw_portrait(layout: Any, context: bpy.types.Context) -> None:
    """Draw the portrait's fields, its small picture, and what the server found in it."""
    scene = context.scene
    s = scene.dp3d
    image = getattr(s, "portrait_image", None)
    column = layout.column(align=True)
    if image is None:
        row = column.row(align=True)
        row.prop(s, "portrait")
        if s.bl_rna.properties["portrait"].subtype != "FILE_PATH":  # that one brings a button
            row.operator("dp3d.choose_portrait", text="", icon="FILEBROWSER")
    if hasattr(s, "portrait_image") and (image is not None or len(bpy.data.images)):
        column.prop(s, "portrait_image", text="Portrait" if image else "or Image")
    if (s.portrait or image is not None) and (shown := portrait_picture.shown(scene)) is not None:
        _draw_shown(layout, context, shown)
    if portrait_file.takes_further_photos(scene):
        column = layout.column(align=True, heading="Further Photos")
        for side in portrait_file.FURTHER:
            row = column.row(align=True)
            row.prop(scene.dp3d_portrait, f"further_{side}")
            row.operator("dp3d.choose_portrait", text="", icon="FILEBROWSER").target = side.upper()


def _draw_shown(
    layout: Any, context: bpy.types.Context, shown: portrait_picture.ShownPortrait
) -> None:
    if shown.icon:
        pictures.draw_icon(layout, context, shown.icon, _SHOWN_SCALE)
    column = layout.column(align=True)
    column.scale_y = 0.8
    if shown.problem:
        column.label(text=shown.problem, icon="ERROR")
    icon = "CHECKMARK" if shown.report and shown.report.face_used else "INFO"
    for line in shown.lines:
        for part in sentences.lines(context, line):
            column.label(text=part, icon=icon)
            icon = "BLANK1"


def draw_crop(layout: Any, context: bpy.types.Context) -> None:
    """Draw the manual crop: its switch, its numbers, and the button that fills them in."""
    s = context.scene.dp3d
    layout.prop(s, "use_crop")
    if not s.use_crop:
        return
    column = layout.column(align=True)
    for index, name in enumerate(("Crop Left", "Top", "Side")):
        column.prop(s, "crop", index=index, text=name)
    layout.operator("dp3d.crop_from_report", icon="SHADING_BBOX")


# -- the buttons ---------------------------------------------------------------------------------


def _choose(context: bpy.types.Context, path: Path, target: str) -> None:
    scene = context.scene
    text = str(path)
    if bpy.data.filepath and context.preferences.filepaths.use_relative_paths:
        with suppress(ValueError):  # another drive
            text = bpy.path.relpath(text)
    if target != "PORTRAIT":
        setattr(scene.dp3d_portrait, f"further_{target.lower()}", text)
        return
    if getattr(scene.dp3d, "portrait_image", None) is not None:
        scene.dp3d.portrait_image = None
    scene.dp3d.portrait = text
    portrait_picture.refresh(scene)


def _report_error(operator: bpy.types.Operator, error: AddonError) -> "set[OperatorReturnItems]":
    operator.report({"ERROR"}, f"{error.problem} {error.remedy}")
    return {"CANCELLED"}


_GLOB = ";".join(
    f"*{suffix}" for suffix in (*portrait_file.READ_BY_SERVER, *portrait_file.SENT_AS_PNG)
)


class DP3D_OT_choose_portrait(bpy.types.Operator):
    """Choose a photograph of one person in the file browser; only pictures are listed"""

    bl_idname = "dp3d.choose_portrait"
    bl_label = "Choose Portrait"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", description="Picture file", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default=_GLOB, description="Kinds of files", options={"HIDDEN"})
    filter_image: BoolProperty(default=True, description="List pictures", options={"HIDDEN"})
    filter_folder: BoolProperty(default=True, description="List folders", options={"HIDDEN"})
    display_type: EnumProperty(
        name="Display",
        description="How the file browser lists files",
        items=(
            ("DEFAULT", "Default", "As the file browser was left", 0),
            ("LIST_VERTICAL", "Vertical List", "A list", 1),
            ("LIST_HORIZONTAL", "Horizontal List", "A list in columns", 2),
            ("THUMBNAIL", "Thumbnails", "Small pictures", 3),
        ),
        default="THUMBNAIL",
        options={"HIDDEN"},
    )
    target: EnumProperty(
        name="For",
        description="Which photo is chosen",
        items=(
            ("PORTRAIT", "Portrait", "The portrait"),
            ("LEFT", "Left", "The further photo of the person's left side"),
            ("RIGHT", "Right", "The further photo of the person's right side"),
            ("BACK", "Back", "The further photo from behind"),
        ),
        options={"HIDDEN", "SKIP_SAVE"},
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Open the file browser where the present photo is, else where the portrait is."""
        scene = context.scene
        further = getattr(scene.dp3d_portrait, f"further_{self.target.lower()}", "")
        present = further or scene.dp3d.portrait
        if present and not self.filepath:
            self.filepath = bpy.path.abspath(present)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Take the file."""
        try:
            _choose(context, portrait_file.existing(self.filepath), self.target)
        except AddonError as error:
            return _report_error(self, error)
        return {"FINISHED"}


class DP3D_OT_drop_portrait(bpy.types.Operator):
    """Use a picture file as the portrait"""

    bl_idname = "dp3d.drop_portrait"
    bl_label = "Use as Portrait"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH", description="Picture file", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Take the file."""
        try:
            _choose(context, portrait_file.existing(self.filepath), "PORTRAIT")
        except AddonError as error:
            return _report_error(self, error)
        return {"FINISHED"}


class DP3D_OT_portrait_from_image(bpy.types.Operator):
    """Use an image of this .blend as the portrait."""

    bl_idname = "dp3d.portrait_from_image"
    bl_label = "Use as Portrait"
    bl_description = (
        "Use an image of this .blend as the portrait: a loaded, packed, painted or rendered one. "
        "It is sent as it is shown"
    )
    bl_options = {"REGISTER", "UNDO"}

    image: StringProperty(
        name="Image",
        description="Name of the image; empty: the one in the image editor",
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Take the image; a render is written to a file at once, since the next one replaces it."""
        scene = context.scene
        image = bpy.data.images.get(self.image)
        if not self.image:
            image = getattr(context.space_data, "image", None)
        try:
            if image is None:
                raise AddonError(
                    "addon.portrait_image",
                    f"There is no image {self.image!r}." if self.image else "There is no image.",
                    "Open an image in the image editor.",
                )
            path = portrait_file.image_file(image)
            lasting = image.type not in ("RENDER_RESULT", "COMPOSITING")
            if lasting and hasattr(scene.dp3d, "portrait_image"):
                scene.dp3d.portrait_image = image
                portrait_picture.refresh(scene)
            else:
                _choose(context, path, "PORTRAIT")
        except AddonError as error:
            return _report_error(self, error)
        self.report({"INFO"}, f"The portrait is {image.name}")
        return {"FINISHED"}


class DP3D_OT_crop_from_report(bpy.types.Operator):
    """Fill the manual crop with the crop that the server decided on, to go on from there"""

    bl_idname = "dp3d.crop_from_report"
    bl_label = "Start from Found Crop"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Fill in the numbers."""
        scene = context.scene
        report = portrait_picture.report_of(scene)
        if report is None:
            error = AddonError(
                "addon.no_portrait_report",
                "No crop was found for this portrait yet.",
                "Generate views once, or type the numbers: the box shows in the picture.",
            )
            return _report_error(self, error)
        scene.dp3d.crop = photo.crop_numbers(report)
        scene.dp3d.use_crop = True
        portrait_picture.refresh(scene, same_portrait=True)
        return {"FINISHED"}


class DP3D_FH_portrait(bpy.types.FileHandler):
    """An image dropped on a 3D view whose sidebar shows our tab becomes the portrait."""

    bl_idname = "DP3D_FH_portrait"
    bl_label = "Use as Portrait"
    bl_import_operator = "dp3d.drop_portrait"
    bl_file_extensions = ";".join((*portrait_file.READ_BY_SERVER, *portrait_file.SENT_AS_PNG))

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Only where our tab is open: elsewhere a dropped image stays a reference image."""
        return shows_our_tab(context.area)


def shows_our_tab(area: bpy.types.Area | None) -> bool:
    """Whether an area is a 3D view with its sidebar open at *Head Views*."""
    space = None if area is None else area.spaces.active
    if area is None or not isinstance(space, bpy.types.SpaceView3D) or not space.show_region_ui:
        return False
    return any(
        region.type == "UI"
        and region.width > 1
        and getattr(region, "active_panel_category", "") == "Head Views"
        for region in area.regions
    )


def _image_menu(self: Any, context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.operator("dp3d.portrait_from_image", icon="USER")


CLASSES = (
    HeadViewsPortrait,
    DP3D_OT_choose_portrait,
    DP3D_OT_drop_portrait,
    DP3D_OT_portrait_from_image,
    DP3D_OT_crop_from_report,
    DP3D_FH_portrait,
)


def attach() -> None:
    """Give every scene its further photos; extend the image editor's menu."""
    bpy.types.Scene.dp3d_portrait = PointerProperty(type=HeadViewsPortrait)
    bpy.types.IMAGE_MT_image.append(_image_menu)


def detach() -> None:
    """Take it all away again."""
    bpy.types.IMAGE_MT_image.remove(_image_menu)
    del bpy.types.Scene.dp3d_portrait
