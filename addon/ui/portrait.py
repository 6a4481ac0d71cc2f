# SPDX-License-Identifier: GPL-3.0-or-later
"""The portrait: how it is chosen, how the panel shows it, what the server found in it.

The small picture and its boxes are made when something changes, never while the panel is drawn:
``draw_portrait`` compares, and asks a timer for a new picture where the shown one is of other
settings.
"""

# No postponed annotations here: Blender reads property definitions from them.

import hashlib
import json
import os
import tempfile
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty, EnumProperty, PointerProperty, StringProperty

from .. import settings, windows
from ..link.errors import AddonError
from ..link.storage import RECIPE
from ..scene import files, photo
from . import pictures, sentences

READ_BY_SERVER = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".tif", ".tiff", ".tga", ".jp2"),
    *(".avif", ".heic", ".heif"),
)
"""Kinds of files that are sent as they are.  Others that Blender reads are sent as PNG."""
SENT_AS_PNG = (".exr", ".hdr", ".dpx", ".cin", ".sgi", ".rgb", ".psd")
THUMBNAIL_SIDE = 192
"""Longest side of the small picture, pixels."""
_SHOWN_SCALE = 7.0
"""Height of the small picture in the panel, in heights of a button."""
FURTHER = ("front", "side", "back")

_MAGIC = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
"""Beginnings of files that are sent as they are, for images packed into the .blend."""


class HeadViewsPortrait(bpy.types.PropertyGroup):
    """Further photos of the same person, for engines that take several."""

    further_front: StringProperty(
        name="Front", description="A further photo of the same person, from the front"
    )
    further_side: StringProperty(
        name="Side", description="A further photo of the same person, from the side"
    )
    further_back: StringProperty(
        name="Back", description="A further photo of the same person, from the back"
    )


# -- the file ------------------------------------------------------------------------------------


def resolve_portrait(scene: bpy.types.Scene) -> Path:
    """File of the chosen portrait.

    An image of the .blend counts before a path; it is written to a file where its own file does
    not hold what is shown.

    Raises:
        AddonError: ``portrait.not_found`` without a portrait or where its file is missing;
            ``addon.portrait_image`` for an image that is no single picture.

    """
    image = getattr(scene.dp3d, "portrait_image", None)
    if image is not None:
        return image_file(image)
    if not scene.dp3d.portrait:
        raise AddonError(
            "portrait.not_found", "There is no portrait.", "Choose a photograph of one person."
        )
    return _readable(_existing(scene.dp3d.portrait))


def further_photos(scene: bpy.types.Scene) -> dict[str, Path]:
    """Files of the further photos by side (``FURTHER``); none where the engine takes one photo.

    Raises:
        AddonError: ``portrait.not_found`` where a file is missing.

    """
    if not takes_further_photos(scene):
        return {}
    chosen = {side: getattr(scene.dp3d_portrait, f"further_{side}") for side in FURTHER}
    return {side: _readable(_existing(text)) for side, text in chosen.items() if text}


def takes_further_photos(scene: bpy.types.Scene) -> bool:
    """Whether the server said that the chosen engine takes more than one photo."""
    return any(
        engine["name"] == scene.dp3d.engine and int(engine.get("references") or 1) > 1
        for engine in settings.ENGINES
    )


def _existing(text: str) -> Path:
    path = Path(bpy.path.abspath(text))
    if not path.is_file():
        raise AddonError(
            "portrait.not_found",
            f"There is no file {path}.",
            "Choose a picture file that exists.",
        )
    return path


def _readable(path: Path) -> Path:
    """The file itself, or a PNG of it where only Blender reads its kind."""
    if path.suffix.lower() not in SENT_AS_PNG:
        return path
    image = bpy.data.images.load(str(path), check_existing=False)
    try:
        return _written(image, path.stem)
    finally:
        bpy.data.images.remove(image)


def image_file(image: bpy.types.Image) -> Path:
    """A file that holds what an image of the .blend shows; its own file where that does.

    Raises:
        AddonError: ``addon.portrait_image``.

    """
    if image.source in ("MOVIE", "TILED", "SEQUENCE"):
        raise AddonError(
            "addon.portrait_image",
            f"The image {image.name!r} is not a single picture.",
            "Save the picture that you want as PNG, and choose that file.",
        )
    if not image.is_dirty and image.packed_file is not None:
        data = bytes(image.packed_file.data)
        suffix = next((s for magic, s in _MAGIC.items() if data.startswith(magic)), "")
        if suffix:
            return _stored(data, image.name, suffix)
    elif not image.is_dirty and image.source == "FILE" and image.filepath:
        path = Path(bpy.path.abspath(image.filepath, library=image.library))
        if path.is_file() and path.suffix.lower() in READ_BY_SERVER:
            return path
    return _written(image, image.name)


def _written(image: bpy.types.Image, name: str) -> Path:
    """An image as a PNG in our folder; the image itself stays as it is.

    Raises:
        AddonError: ``addon.portrait_image``.

    """
    handle, text = tempfile.mkstemp(".png", "dp3d-")
    os.close(handle)
    try:
        if image.type in ("RENDER_RESULT", "COMPOSITING"):
            _save_as_rendered(image, text)
        else:
            _save_copy(image, text)
        data = Path(text).read_bytes()
        if not data:
            raise RuntimeError("it has no pixels")
    except RuntimeError as error:
        reason = str(error).strip().removeprefix("Error: ").rstrip(".")
        raise AddonError(
            "addon.portrait_image",
            f"The image {image.name!r} cannot be written ({reason}).",
            "Save it as PNG in the image editor, and choose that file.",
        ) from error
    finally:
        Path(text).unlink(missing_ok=True)
    return _stored(data, name, ".png")


def _save_copy(image: bpy.types.Image, text: str) -> None:
    """Save an image as PNG without a trace on the image."""
    if "save_copy" in image.bl_rna.functions["save"].parameters:
        kind = image.file_format
        try:
            image.file_format = "PNG"
            image.save(filepath=text, save_copy=True)
        finally:
            image.file_format = kind
        return
    # Blender before 4.4 takes the saved image for the file's own from then on: save a double.
    width, height = image.size
    if not width or not height:
        raise RuntimeError("it has no pixels")
    double = bpy.data.images.new("", width, height, alpha=True, float_buffer=image.is_float)
    try:
        double.colorspace_settings.name = image.colorspace_settings.name
        double.alpha_mode = image.alpha_mode
        pixels = array("f", bytes(16 * width * height))
        image.pixels.foreach_get(pixels)
        double.pixels.foreach_set(pixels)
        double.filepath_raw, double.file_format = text, "PNG"
        double.save()
    finally:
        bpy.data.images.remove(double)


def _save_as_rendered(image: bpy.types.Image, text: str) -> None:
    """Save a render with the scene's view transform, as the image editor shows it."""
    scene = bpy.context.scene
    output = scene.render.image_settings
    names = ("file_format", "color_mode", "color_depth", "compression")
    if hasattr(output, "media_type"):  # Blender 5
        names = ("media_type", *names)
    before = {name: getattr(output, name) for name in names}
    try:
        if "media_type" in before:
            output.media_type = "IMAGE"
        output.file_format, output.color_mode, output.color_depth = "PNG", "RGBA", "8"
        image.save_render(text, scene=scene)
    finally:
        for name, value in before.items():
            with suppress(TypeError):  # a depth that the former format alone knows comes later
                setattr(output, name, value)


def _stored(data: bytes, name: str, suffix: str) -> Path:
    """A file of our own with these bytes; the same bytes always have the same path.

    Raises:
        AddonError: ``output.not_writable``.

    """
    folder = files.own("portraits")
    stem = "".join(c if c.isalnum() else "-" for c in Path(name).stem)[:40].strip("-") or "portrait"
    path = folder / f"{stem}-{hashlib.sha256(data).hexdigest()[:12]}{suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.stat().st_size != len(data):
            path.write_bytes(data)
    except OSError as error:
        raise AddonError(
            "output.not_writable",
            f"The portrait cannot be written to {folder} ({error.strerror}).",
            "Make room on the disk, or save the image yourself and choose its file.",
        ) from error
    return path


# -- its small picture ---------------------------------------------------------------------------


class _Shown(NamedTuple):
    """What the panel shows of a scene's portrait."""

    settings: tuple[Any, ...]
    """What it was made of; other settings need another picture."""
    icon: int
    problem: str
    """Why there is no picture, a sentence; empty where there is one."""
    lines: list[str]
    """What the server found."""
    report: photo.Report | None
    path: Path | None = None
    """File of the portrait; it is not written again while only the crop changes."""
    picture: photo.Picture | None = None
    boxes: tuple[photo.Box, ...] = ()
    """What the icon was drawn from: most changes of the settings are none of these."""


_shown: dict[int, _Shown] = {}
"""Session id of a scene -> what its panel shows."""
_photos: dict[str, tuple[int, photo.Picture | None]] = {}
"""Path of a photo -> change time and small picture; the last few."""
_waiting: set[int] = set()
"""Session ids of scenes whose picture is to be made anew."""
_KEPT_PHOTOS = 4


def _settings_of(scene: bpy.types.Scene) -> tuple[Any, ...]:
    """Everything that a scene's picture depends on."""
    s, run = scene.dp3d, scene.dp3d_run
    image = getattr(s, "portrait_image", None)
    return (
        s.portrait,
        (image.session_uid, image.is_dirty) if image is not None else None,
        tuple(s.crop) if s.use_crop else None,
        getattr(run, "portrait_report", ""),
        run.folder,
    )


def refresh(scene: bpy.types.Scene, *, same_portrait: bool = False) -> None:
    """Make the portrait's small picture anew; the photo itself is read only if it changed.

    Args:
        scene: which has the portrait.
        same_portrait: an image that was written to a file before is not written again.

    """
    _waiting.discard(scene.session_uid)
    chosen = _settings_of(scene)
    if not chosen[0] and chosen[1] is None:
        _forget(scene.session_uid)
        return
    try:
        shown = _shown.get(scene.session_uid)
        kept = shown.path if shown and same_portrait and shown.settings[:2] == chosen[:2] else None
        path = kept if kept and kept.is_file() else resolve_portrait(scene)
        picture = _small(path)
    except AddonError as error:
        _shown[scene.session_uid] = _Shown(chosen, 0, error.problem, [], None)
    else:
        report = _report(scene, path, picture)
        lines = photo.in_words(report) if report else []
        icon, boxes = 0, []
        problem = "" if picture else "Blender cannot show this kind of file."
        if picture is not None:
            boxes = photo.report_boxes(report) if report else []
            if chosen[2] is not None:
                boxes.append(photo.Box(*chosen[2], photo.MANUAL_COLOUR))
            if shown and shown.picture is picture and shown.boxes == tuple(boxes):
                icon = shown.icon
            else:
                icon = _drawn(scene, picture, boxes)
        _shown[scene.session_uid] = _Shown(
            chosen, icon, problem, lines, report, path, picture, tuple(boxes)
        )
    windows.redraw_sidebars()


def _drawn(scene: bpy.types.Scene, picture: photo.Picture, boxes: list[photo.Box]) -> int:
    """Icon of the small picture with its boxes."""
    drawn = photo.with_boxes(picture, boxes)
    return pictures.drawn(
        f"portrait {scene.session_uid}",
        drawn.width,
        drawn.height,
        photo.rows_swapped(drawn.pixels, drawn.width),
    )


def portrait_changed(scene: bpy.types.Scene) -> None:
    """Another portrait was chosen: show it."""
    refresh(scene)


def crop_changed(scene: bpy.types.Scene) -> None:
    """A number of the manual crop changed: show its box."""
    refresh(scene, same_portrait=True)


def report_of(scene: bpy.types.Scene) -> photo.Report | None:
    """The server's report on the portrait that is chosen now, if it has spoken of it."""
    shown = _shown.get(scene.session_uid)
    if shown is None or shown.settings != _settings_of(scene):
        refresh(scene, same_portrait=True)
        shown = _shown.get(scene.session_uid)
    return shown.report if shown else None


def _report(
    scene: bpy.types.Scene, path: Path, picture: photo.Picture | None
) -> photo.Report | None:
    """The run's report where it is about this photo, not about one chosen before."""
    report = photo.read_report(getattr(scene.dp3d_run, "portrait_report", ""))
    if report is None:
        return None
    if picture and not photo.is_of(report, picture.photo_width, picture.photo_height):
        return None
    recipe = Path(bpy.path.abspath(scene.dp3d_run.folder)) / RECIPE
    try:
        used = json.loads(recipe.read_text("utf-8"))["portrait"]
    except (OSError, ValueError, KeyError, TypeError):
        return report
    return report if Path(used) == path else None


def _small(path: Path) -> photo.Picture | None:
    """Small upright picture of a photo; None where Blender cannot read it."""
    changed = path.stat().st_mtime_ns
    known = _photos.pop(str(path), None)
    if known is None or known[0] != changed:
        known = (changed, _read(path))
    _photos[str(path)] = known
    while len(_photos) > _KEPT_PHOTOS:
        del _photos[next(iter(_photos))]
    return known[1]


def _read(path: Path) -> photo.Picture | None:
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        return None
    try:
        width, height = image.size
        if not width or not height:
            return None
        scale = min(1.0, THUMBNAIL_SIDE / max(width, height))
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        if small != (width, height):
            image.scale(*small)
        pixels = array("f", bytes(16 * small[0] * small[1]))
        image.pixels.foreach_get(pixels)
        if image.is_float:
            pixels = array("f", map(_display, pixels))
    finally:
        bpy.data.images.remove(image)
    turn = photo.orientation_of(path)
    upright = photo.upright(photo.rows_swapped(pixels, small[0]), *small, turn)
    if turn > 4:
        width, height = height, width
    return upright._replace(photo_width=width, photo_height=height)


def _display(value: float) -> float:
    """Linear light to sRGB."""
    if value <= 0.0031308:
        return 12.92 * max(0.0, value)
    return float(min(1.0, 1.055 * value ** (1 / 2.4) - 0.055))


def _forget(session_uid: int) -> None:
    if _shown.pop(session_uid, None) is not None:
        pictures.forget_drawn(f"portrait {session_uid}")


def _refresh_soon(scene: bpy.types.Scene) -> None:
    _waiting.add(scene.session_uid)
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.01)


def _tick() -> None:
    for scene in bpy.data.scenes:
        if scene.session_uid in _waiting:
            refresh(scene, same_portrait=True)
    _waiting.clear()


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
    shown = _shown.get(scene.session_uid)
    if s.portrait or image is not None:
        if shown is None or shown.settings != _settings_of(scene):
            _refresh_soon(scene)
        if shown is not None:
            _draw_shown(layout, context, shown)
    if takes_further_photos(scene):
        column = layout.column(align=True, heading="Further Photos")
        for side in FURTHER:
            row = column.row(align=True)
            row.prop(scene.dp3d_portrait, f"further_{side}")
            row.operator("dp3d.choose_portrait", text="", icon="FILEBROWSER").target = side.upper()


def _draw_shown(layout: Any, context: bpy.types.Context, shown: _Shown) -> None:
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
    refresh(scene)


def _report_error(operator: bpy.types.Operator, error: AddonError) -> set[str]:
    operator.report({"ERROR"}, f"{error.problem} {error.remedy}")
    return {"CANCELLED"}


_GLOB = ";".join(f"*{suffix}" for suffix in (*READ_BY_SERVER, *SENT_AS_PNG))


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
            ("FRONT", "Front", "The further photo from the front"),
            ("SIDE", "Side", "The further photo from the side"),
            ("BACK", "Back", "The further photo from the back"),
        ),
        options={"HIDDEN", "SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Open the file browser where the present portrait is."""
        present = context.scene.dp3d.portrait
        if present and not self.filepath:
            self.filepath = bpy.path.abspath(present)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Take the file."""
        try:
            _choose(context, _existing(self.filepath), self.target)
        except AddonError as error:
            return _report_error(self, error)
        return {"FINISHED"}


class DP3D_OT_drop_portrait(bpy.types.Operator):
    """Use a picture file as the portrait"""

    bl_idname = "dp3d.drop_portrait"
    bl_label = "Use as Portrait"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH", description="Picture file", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Take the file."""
        try:
            _choose(context, _existing(self.filepath), "PORTRAIT")
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

    def execute(self, context: bpy.types.Context) -> set[str]:
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
            path = image_file(image)
            lasting = image.type not in ("RENDER_RESULT", "COMPOSITING")
            if lasting and hasattr(scene.dp3d, "portrait_image"):
                scene.dp3d.portrait_image = image
                refresh(scene)
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

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Fill in the numbers."""
        scene = context.scene
        report = report_of(scene)
        if report is None:
            error = AddonError(
                "addon.no_portrait_report",
                "No crop was found for this portrait yet.",
                "Generate views once, or type the numbers: the box shows in the picture.",
            )
            return _report_error(self, error)
        scene.dp3d.crop = photo.crop_numbers(report)
        scene.dp3d.use_crop = True
        refresh(scene, same_portrait=True)
        return {"FINISHED"}


class DP3D_FH_portrait(bpy.types.FileHandler):
    """An image dropped on a 3D view whose sidebar shows our tab becomes the portrait."""

    bl_idname = "DP3D_FH_portrait"
    bl_label = "Use as Portrait"
    bl_import_operator = "dp3d.drop_portrait"
    bl_file_extensions = ";".join((*READ_BY_SERVER, *SENT_AS_PNG))

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Only where our tab is open: elsewhere a dropped image stays a reference image."""
        return shows_our_tab(context.area)


def shows_our_tab(area: bpy.types.Area | None) -> bool:
    """Whether an area is a 3D view with its sidebar open at *Head Views*."""
    if area is None or area.type != "VIEW_3D" or not area.spaces.active.show_region_ui:
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


@persistent
def _after_load(*_: Any) -> None:
    _shown.clear()
    _photos.clear()
    _waiting.clear()
    pictures.clear()


def attach() -> None:
    """Give every scene its further photos; extend the image editor's menu."""
    bpy.types.Scene.dp3d_portrait = PointerProperty(type=HeadViewsPortrait)
    bpy.types.IMAGE_MT_image.append(_image_menu)
    bpy.app.handlers.load_post.append(_after_load)


def detach() -> None:
    """Take it all away again."""
    if _after_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_after_load)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    bpy.types.IMAGE_MT_image.remove(_image_menu)
    _shown.clear()
    _photos.clear()
    _waiting.clear()
    del bpy.types.Scene.dp3d_portrait
