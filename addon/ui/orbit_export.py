# SPDX-License-Identifier: GPL-3.0-or-later
"""Export Orbit Renders: settings, buttons, panel, and the timer that drives the export.

The export itself is ``scene.orbit_export``.  In a window each view is a render job of Blender's,
begun from a timer, so that the window never waits; without a window the button returns when
everything is rendered.
"""

# No postponed annotations here: Blender reads property definitions from them.

import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty, EnumProperty, IntProperty, PointerProperty, StringProperty

from .. import ledger, session, windows
from ..link.errors import AddonError
from ..scene import files, orbit_cameras
from ..scene.export_shots import Options
from ..scene.orbit_export import Immediate, OrbitExport
from ..scene.scene_copy import remove_leftovers
from ..settings import PATH_OPTIONS
from . import panel, pictures, sentences
from .cancel_button import CancelButton

INTERVAL_S = 0.05
_BUDGET_S = 0.008
"""Longest time of one tick, as far as it can be divided."""
_PATIENCE_S = 3.0
"""How long a new render waits for the end of a drag."""
SAFE_UNSHOWN = (5, 0, 0)
"""Version of Blender from which a scene that no window shows may be rendered."""

_RECORD = (
    *("state", "message", "warnings", "folder_used", "title"),
    *("views", "done", "exported_folder", "exported_frames", "exported_title"),
    *("error_code", "error_problem", "error_remedy"),
)
_records: dict[int, dict[str, Any]] = {}
"""Record of each scene by its session_uid: undo sets the scene's own copy back."""
_current: OrbitExport | None = None
_cancel_button = CancelButton()


class OrbitExportSettings(bpy.types.PropertyGroup):
    """Settings of the export, and the record of the last one."""

    source: EnumProperty(
        name="Cameras",
        description="Cameras the scene is rendered from",
        items=(
            ("PRESET", "Preset", "Preset, number, size and pitch as chosen for the head views"),
            ("SCENE", "Camera", "The scene's camera along the frame range, with its step"),
            ("SELECTED", "Selected", "All selected cameras, at the current frame"),
        ),
    )
    folder: StringProperty(
        name="Folder",
        description=(
            "Folder of the view set; the same export into the same folder renders only what is "
            "missing. Empty: a folder in head_views beside the .blend file, numbered where "
            "another scene's export is; exports of an unsaved file come along at its first save"
        ),
        subtype="DIR_PATH",
        options=PATH_OPTIONS,
    )
    look: EnumProperty(
        name="Colors",
        description="View transform of the frames",
        items=(
            ("STANDARD", "True", "Standard: the colors a fit and a dataset need"),
            ("SCENE", "As in the Scene", "The scene's own view transform, look and exposure"),
        ),
    )
    use_compositing: BoolProperty(
        name="Compositing",
        description="Run the scene's compositor and sequencer over the frames",
    )
    use_transforms: BoolProperty(
        name="nerfstudio File",
        description="Also write transforms.json, for ns-train and other tools",
    )
    # -- the record
    state: StringProperty(description="empty, running, succeeded, cancelled or failed")
    message: StringProperty(description="Sentence for a person")
    warnings: StringProperty(description="One per line")
    folder_used: StringProperty(
        description="Folder of the last export", subtype="DIR_PATH", options=PATH_OPTIONS
    )
    title: StringProperty(description="Name of the last export")
    views: IntProperty(description="Views of the last export")
    done: IntProperty(description="Finished views of the last export")
    exported_folder: StringProperty(
        description="Folder of the last complete export", subtype="DIR_PATH", options=PATH_OPTIONS
    )
    exported_frames: StringProperty(description="Its scene frames, comma separated")
    exported_title: StringProperty(description="Its name")
    error_code: StringProperty(description="Code of the last failure")
    error_problem: StringProperty(description="What is wrong")
    error_remedy: StringProperty(description="What to do")


def exported_views(scene: bpy.types.Scene) -> Path | None:
    """Folder of the scene's last complete export, if it is still there."""
    folder = scene.dp3d_export.exported_folder
    path = Path(bpy.path.abspath(folder)) if folder else None
    return path if path is not None and (path / "cameras.json").is_file() else None


def current(scene: bpy.types.Scene | None = None) -> OrbitExport | None:
    """The export that runs now (in that scene, when one is given)."""
    if _current is None or _current.ended:
        return None
    return _current if scene is None or _current.scene == scene else None


# -- rendering in a window ---------------------------------------------------------------------


class InWindow:
    """Renders as jobs of Blender's, which a window goes on beside.

    Before 5.0 Blender frees the GPU context of a render whose scene no window shows, also while
    it is used, and crashes.  There a second window shows the copy and the picture that grows,
    as Blender's own renders do by default; closing it stops the render.
    """

    def __init__(self) -> None:
        self._waiting_since = 0.0
        self._window = 0
        """Pointer of the second window."""

    def start(self, scene: bpy.types.Scene) -> None:
        """Begin a render job of a scene that no window shows; RuntimeError when Blender refuses."""
        self._waiting_since = 0.0
        preferences = bpy.context.preferences
        display, dirty = preferences.view.render_display_type, preferences.is_dirty
        preferences.view.render_display_type = "NONE"  # or a window for the render opens
        try:
            with self._context(scene):
                answer = bpy.ops.render.render("INVOKE_DEFAULT", write_still=True)
        finally:
            preferences.view.render_display_type = display
            preferences.is_dirty = dirty
        if "RUNNING_MODAL" not in answer:
            raise RuntimeError("Blender did not begin the render")

    def _context(self, scene: bpy.types.Scene) -> AbstractContextManager[Any]:
        if bpy.app.version >= SAFE_UNSHOWN:
            return _shown_nowhere(scene)
        window = self._second()
        if window is None:
            windows = bpy.context.window_manager.windows
            with bpy.context.temp_override(window=_window()):
                bpy.ops.wm.window_new_main()
            window = windows[-1]
            self._window = window.as_pointer()
            area = max(window.screen.areas, key=lambda a: a.width * a.height)
            area.ui_type = "IMAGE_EDITOR"
            area.spaces.active.image = bpy.data.images.get("Render Result")
        if window.scene != scene:
            window.scene = scene
        return bpy.context.temp_override(window=window)

    def _second(self) -> bpy.types.Window | None:
        windows = bpy.context.window_manager.windows
        return next((w for w in windows if w.as_pointer() == self._window), None)

    def end(self) -> None:
        """Close the second window."""
        window = self._second()
        if window is not None and len(bpy.context.window_manager.windows) > 1:
            with bpy.context.temp_override(window=window):
                bpy.ops.wm.window_close()
        self._window = 0

    def running(self) -> bool:
        """Whether any render is going on."""
        return bool(bpy.app.is_job_running("RENDER"))

    def busy(self) -> bool:
        """Whether a render must not start now: another goes on, or for a while, a drag."""
        if self.running():
            return True
        if not any(_dragging(window) for window in bpy.context.window_manager.windows):
            return False
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        return now - self._waiting_since < _PATIENCE_S

    def stop(self, scene: bpy.types.Scene) -> None:
        """Stop the scene's render job, which deleting the scene does first."""
        with _shown_nowhere(scene):
            if bpy.context.scene == scene:
                bpy.ops.scene.delete()


@contextmanager
def _shown_nowhere(scene: bpy.types.Scene) -> Iterator[None]:
    """Context of a window and a scene that it does not show.

    In one override the window's own scene would win.
    """
    with (
        bpy.context.temp_override(window=_window()),
        bpy.context.temp_override(scene=scene),
    ):
        yield


def _window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def _dragging(window: bpy.types.Window) -> bool:
    operators = getattr(window, "modal_operators", ())
    return any(not o.bl_idname.startswith(("RENDER_", "SCREEN_")) for o in operators)


# -- the one export ----------------------------------------------------------------------------


def start(context: bpy.types.Context, *, start_over: bool = False) -> OrbitExport:
    """Begin an export with the scene's settings.

    Raises:
        AddonError: ``addon.busy``, ``output.not_writable``, and those of ``OrbitExport``.

    """
    global _current, _cancel_button  # noqa: PLW0603
    if current() is not None:
        raise AddonError(
            "addon.busy",
            "An export is going on already.",
            "Wait for it, or press Cancel in the scene it belongs to.",
        )
    scene = context.scene
    remove_leftovers()
    renderer = Immediate() if bpy.app.background else InWindow()
    options = options_of(scene, start_over=start_over)
    _current = OrbitExport(scene, context.view_layer, options, renderer)
    _cancel_button = CancelButton()
    _put(scene, error_code="", error_problem="", error_remedy="", warnings="", done=0)
    _mirror(_current)
    return _current


def options_of(scene: bpy.types.Scene, *, start_over: bool = False) -> Options:
    """What the settings of a scene ask for.

    Raises:
        AddonError: ``output.not_writable`` for a relative folder before the file is saved.

    """
    settings = scene.dp3d_export
    name = {
        "PRESET": scene.dp3d.bl_rna.properties["preset"].enum_items[scene.dp3d.preset].name,
        "SCENE": "Camera Path",
        "SELECTED": "Selected Cameras",
    }[settings.source]
    title = f"{scene.name} {name}"
    folder, numbered = _folder(settings.folder, title)
    if start_over and settings.folder_used and numbered:
        folder, numbered = Path(bpy.path.abspath(settings.folder_used)), False
    return Options(
        source=settings.source,
        folder=folder,
        title=title,
        look=settings.look,
        use_compositing=settings.use_compositing,
        transforms=settings.use_transforms,
        start_over=start_over,
        numbered=numbered,
    )


def _folder(chosen: str, title: str) -> tuple[Path, bool]:
    """Folder of an export, and whether it may be numbered where it is taken."""
    if chosen:
        return files.chosen(chosen, "The export's folder"), False
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "export"
    if bpy.data.filepath:
        return Path(bpy.path.abspath("//")) / files.BESIDE / name, True
    return files.own("exports") / name, True


def moved(scene: bpy.types.Scene, old: str, new: Path) -> None:
    """Note that the folder of an export is elsewhere now."""
    values = {
        name: files.moved(_read(scene, name), old, new)
        for name in ("folder_used", "exported_folder")
        if _read(scene, name)
    }
    if values and current(scene) is None:
        _put(scene, **values)


def _advance(export: OrbitExport) -> bool:
    """Drive an export for one tick; whether it goes on."""
    began = time.monotonic()
    going = export.step()
    while going and not export.in_flight and time.monotonic() - began < _BUDGET_S:
        going = export.step()
    _mirror(export)
    if not going:
        _finish(export)
    return going


def _finish(export: OrbitExport) -> None:
    global _current  # noqa: PLW0603
    _current = None
    scene = export.scene
    if scene is None:
        return
    if export.state == "succeeded":
        _put(
            scene,
            exported_folder=str(export.folder),
            exported_frames=",".join(map(str, export.frames)),
            exported_title=export.options.title,
        )
        session.adopt_export(
            scene,
            export.folder,
            export.frames,
            export.options.title,
            scene.render.engine,
            export.rendered,
        )
        if not bpy.app.background:
            with bpy.context.temp_override(window=_window()):
                bpy.ops.ed.undo_push(message="Export Orbit Renders")
    windows.redraw()


def cancel() -> None:
    """Stop the export, the render in flight too; finished frames stay."""
    if _current is not None and not _current.ended:
        export = _current
        export.cancel()
        _mirror(export)
        _finish(export)


def _tick() -> float | None:
    if _current is None:
        return None
    return INTERVAL_S if _advance(_current) else None


# -- the record --------------------------------------------------------------------------------


def _mirror(export: OrbitExport) -> None:
    """Write how an export is doing to its scene."""
    scene = export.scene
    if scene is None:
        return
    state = "running" if export.state in ("preparing", "rendering") else export.state
    values: dict[str, Any] = {
        "state": state,
        "message": _message(export),
        "warnings": "\n".join(export.warnings),
        "folder_used": str(export.folder),
        "title": export.options.title,
        "views": export.views,
        "done": export.done,
    }
    if export.error is not None:
        values |= {
            "error_code": export.error.code,
            "error_problem": export.error.problem,
            "error_remedy": export.error.remedy,
        }
    _put(scene, **values)


def _message(export: OrbitExport) -> str:
    count = f"{export.done} of {export.views}"
    if export.state == "preparing":
        return f"Measuring camera {len(export.cameras) + 1} of {export.views}"
    if export.state == "rendering":
        return f"Rendering view {min(export.done + 1, export.views)} of {export.views}"
    if export.state == "cancelled":
        kept = f" {count} frames are kept: export again to go on." if export.done else ""
        return f"Export cancelled.{kept}"
    if export.state == "succeeded":
        if not export.rendered:
            return f"All {export.views} frames were there already. Start Over renders them anew."
        return f"{export.views} views in {export.folder.name}. Next: press Fit or Import Mesh."
    return ""


def _put(scene: bpy.types.Scene, **values: Any) -> None:
    record = _records.setdefault(scene.session_uid, {n: _read(scene, n) for n in _RECORD})
    record.update(values)
    _show_record(scene, record)


def _read(scene: bpy.types.Scene, name: str) -> Any:
    return getattr(scene.dp3d_export, name)


def _show_record(scene: bpy.types.Scene, record: dict[str, Any]) -> None:
    if ledger.write(scene.dp3d_export, record):
        windows.redraw()


def _fail(operator: bpy.types.Operator, scene: bpy.types.Scene, error: AddonError) -> set[str]:
    _put(
        scene,
        state="failed",
        message="",
        error_code=error.code,
        error_problem=error.problem,
        error_remedy=error.remedy,
    )
    operator.report({"ERROR"}, str(error))
    return {"CANCELLED"}


# -- buttons -----------------------------------------------------------------------------------


class DP3D_OT_export_orbit(bpy.types.Operator):
    """Render the scene from cameras around the head."""

    bl_idname = "dp3d.export_orbit"
    bl_label = "Export Orbit Renders"
    bl_description = (
        "Render this scene with its own render engine from all these cameras, into a folder of "
        "frames with alpha and exact cameras that Fit takes. The same export again renders only "
        "what is missing"
    )

    start_over: BoolProperty(
        name="Start Over",
        description="Render all frames anew, in place of the export in this folder",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: Any) -> str:
        """Tooltip: what the button at hand does."""
        if properties.start_over:
            return "Render all frames anew, in place of the earlier export in this folder"
        return cls.bl_description

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start; without a window, stay until the end."""
        scene = context.scene
        try:
            export = start(context, start_over=self.start_over)
        except AddonError as error:
            return _fail(self, scene, error)
        if not bpy.app.background:
            bpy.app.timers.register(_tick, first_interval=0.0)
            return {"FINISHED"}
        try:
            while _advance(export):
                pass
        finally:
            cancel()  # an interrupt from the keyboard
        if export.error is not None:
            return _fail(self, scene, export.error)
        if export.state == "cancelled":
            self.report({"WARNING"}, scene.dp3d_export.message)
            return {"CANCELLED"}
        return {"FINISHED"}


class DP3D_OT_cancel_export(bpy.types.Operator):
    """Stop the export, also the render that is going on; finished frames are kept"""

    bl_idname = "dp3d.cancel_export"
    bl_label = "Cancel"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Pass over the second half of a double click on Export."""
        if _cancel_button.is_second_click():
            return {"CANCELLED"}
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Stop."""
        cancel()
        return {"FINISHED"}


class DP3D_OT_dismiss_export(bpy.types.Operator):
    """Clear the message of the export"""

    bl_idname = "dp3d.dismiss_export"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Clear it."""
        _put(context.scene, error_code="", error_problem="", error_remedy="", message="")
        return {"FINISHED"}


class DP3D_OT_create_orbit_cameras(bpy.types.Operator):
    """Make real cameras of the preset."""

    bl_idname = "dp3d.create_orbit_cameras"
    bl_label = "Create Orbit Cameras"
    bl_description = (
        "Make real, editable cameras of the preset under the head anchor, selected and in a "
        "collection of their own. Those made for this anchor before are replaced where they are "
        "as they were made; edited ones and copies stay"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make them."""
        scene, settings = context.scene, context.scene.dp3d
        try:
            cameras = orbit_cameras.create(scene, context.view_layer, settings)
        except AddonError as error:
            return _fail(self, scene, error)
        self.report({"INFO"}, f"{len(cameras)} cameras made and selected")
        return {"FINISHED"}


# -- panel -------------------------------------------------------------------------------------


class DP3D_PT_export(panel.Tab, bpy.types.Panel):
    """The scene itself as a view set."""

    bl_idname = "DP3D_PT_export"
    bl_parent_id = "DP3D_PT_main"
    bl_label = "Export Orbit Renders"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 5

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        scene, layout = context.scene, self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = scene.dp3d_export
        running = current(scene)
        column = layout.column()
        column.active = running is None
        _draw_settings(column, scene)
        row = layout.row()
        row.scale_y = 1.4
        if running is not None:
            _cancel_button.drawn()
            row.operator("dp3d.cancel_export", icon="X")
            _draw_progress(layout, running)
            return
        row.operator("dp3d.export_orbit", icon="RENDER_ANIMATION").start_over = False
        over = settings.error_code in ("viewset.mismatch", "addon.scene_changed")
        if over or settings.state == "succeeded":
            again = layout.operator("dp3d.export_orbit", text="Start Over", icon="FILE_REFRESH")
            again.start_over = True
        if settings.message and not settings.error_code:
            icon = "CHECKMARK" if settings.state == "succeeded" else "INFO"
            sentences.draw(layout, context, settings.message, icon)
        for warning in filter(None, settings.warnings.split("\n")):
            sentences.draw(layout, context, warning, "ERROR")
        if settings.error_code:
            panel.draw_failure(layout, context, settings, "dp3d.dismiss_export")


def _draw_settings(layout: Any, scene: bpy.types.Scene) -> None:
    settings = scene.dp3d_export
    panel.draw_cameras(layout, scene, settings, "source")
    layout.prop(settings, "look")
    column = layout.column()
    column.prop(settings, "use_compositing")
    column.prop(settings, "use_transforms")
    layout.prop(settings, "folder")


def _draw_progress(layout: Any, export: OrbitExport) -> None:
    text = _message(export)
    eta = export.eta_s
    if eta >= 0:
        text += f", {panel.duration(round(eta))} left"
    of = len(export.cameras) if export.state == "preparing" else export.done
    layout.progress(factor=of / max(1, export.views), type="BAR", text=text)
    if export.picture is not None and (icon := pictures.thumbnail(export.picture)):
        layout.template_icon(icon_value=icon, scale=8.0)


# -- Blender's handlers ------------------------------------------------------------------------


@persistent
def _render_began(*_: Any) -> None:
    # Called from the render's thread: nothing of Blender is touched.
    if _current is not None:
        _current.render_began()


@persistent
def _render_stopped(*_: Any) -> None:
    if _current is not None:
        _current.render_stopped()


@persistent
def _before_load(*_: Any) -> None:
    cancel()


@persistent
def _after_load(*_: Any) -> None:
    _records.clear()
    remove_leftovers()  # a file that was saved as an autosave may hold some


@persistent
def _after_undo(*_: Any) -> None:
    if _current is not None:
        _current.disturbed = True
    elif bpy.app.background:
        remove_leftovers()
    elif not bpy.app.timers.is_registered(_tidy):
        bpy.app.timers.register(_tidy, first_interval=0.01)
    for scene in bpy.data.scenes:
        if record := _records.get(scene.session_uid):
            _show_record(scene, record)


def _tidy() -> None:
    if _current is None:
        remove_leftovers()


_HANDLERS = (
    ("render_init", _render_began),
    ("render_cancel", _render_stopped),
    ("load_pre", _before_load),
    ("load_post", _after_load),
    ("undo_post", _after_undo),
    ("redo_post", _after_undo),
)

CLASSES = (
    OrbitExportSettings,
    DP3D_OT_export_orbit,
    DP3D_OT_cancel_export,
    DP3D_OT_dismiss_export,
    DP3D_OT_create_orbit_cameras,
    DP3D_PT_export,
)


def attach() -> None:
    """Give every scene its settings, and listen to Blender."""
    bpy.types.Scene.dp3d_export = PointerProperty(type=OrbitExportSettings)
    for name, call in _HANDLERS:
        getattr(bpy.app.handlers, name).append(call)


def detach() -> None:
    """Stop a running export and let go of everything that lives outside the scene."""
    cancel()
    for timer in (_tick, _tidy):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    for name, call in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if call in handlers:
            handlers.remove(call)
    _records.clear()
    del bpy.types.Scene.dp3d_export
