# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy of a scene for an export, with its temporary objects, and their removal.

The copy shares all objects with the scene and is run-time data: a file saved meanwhile does not
hold it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import bpy

Kind = TypeVar("Kind", bound=bpy.types.ID)

MARK = "dp3d_temporary"
"""Custom property of the scene copy and the temporary objects.  Not the role of ``tags``: a scene
has a property group of that name."""


class SceneCopy:
    """The copy of a scene that one export renders, looked up each time: an undo may take it away.

    Args:
        scene: to be copied.
        layer: name of the view layer that renders.
        anchor: object that stays evaluated in the copy, with all it depends on.
        look: STANDARD (true colours) or SCENE (the scene's view transform).
        use_compositing: run compositor and sequencer.

    """

    def __init__(
        self,
        scene: bpy.types.Scene,
        layer: str,
        anchor: bpy.types.Object,
        look: str,
        use_compositing: bool,
    ) -> None:
        self._scene_uid, self._layer, self._anchor_uid = (
            scene.session_uid,
            layer,
            anchor.session_uid,
        )
        self._look, self._use_compositing = look, use_compositing

    @property
    def original(self) -> bpy.types.Scene | None:
        """The scene itself."""
        return by_uid(bpy.data.scenes, self._scene_uid)

    @property
    def anchor(self) -> bpy.types.Object | None:
        """The object that stays evaluated."""
        return by_uid(bpy.data.objects, self._anchor_uid)

    def find(self) -> bpy.types.Scene | None:
        """The copy, if it is there."""
        return next((s for s in bpy.data.scenes if is_ours(s)), None)

    def required(self) -> bpy.types.Scene:
        """The copy, made where it is not there."""
        return self.find() or self._make()

    def _make(self) -> bpy.types.Scene:
        scene = self.original
        assert scene is not None
        copy = scene.copy()
        copy[MARK], copy.is_runtime_data = True, True
        copy.name = f"{scene.name} (export)"
        configure(copy, self._layer, self._look, self._use_compositing)
        # Keeps a hidden anchor evaluated, with all it depends on.
        probe = temporary(copy, "probe", None)
        probe.constraints.new("COPY_TRANSFORMS").target = self.anchor
        return copy

    def depsgraph(self) -> bpy.types.Depsgraph:
        """What the copy's view layer evaluates."""
        return self.required().view_layers[self._layer].depsgraph

    def at_frame(self, frame: float) -> bpy.types.Depsgraph:
        """The copy evaluated at a frame."""
        copy, depsgraph = self.required(), self.depsgraph()
        if depsgraph is None or copy.frame_current_final != frame:
            whole = math.floor(frame)
            copy.frame_set(whole, subframe=frame - whole)
            depsgraph = self.depsgraph()
        depsgraph.update()
        return depsgraph


def configure(copy: bpy.types.Scene, layer: str, look: str, use_compositing: bool) -> None:
    """Settings of the copy; those of the scene stay as they are.

    Args:
        copy: the scene's copy.
        layer: name of the view layer that renders.
        look: STANDARD (true colours) or SCENE (the scene's view transform).
        use_compositing: run compositor and sequencer.

    """
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
    render.use_compositing = render.use_sequencer = use_compositing
    if not use_compositing:
        for view_layer in copy.view_layers:
            view_layer.use = view_layer.name == layer
    if look == "STANDARD":
        view = copy.view_settings
        copy.display_settings.display_device = "sRGB"
        view.view_transform, view.look = "Standard", "None"
        view.exposure, view.gamma = 0.0, 1.0
        for name in ("use_curve_mapping", "use_white_balance", "use_hdr_view"):
            if hasattr(view, name):
                setattr(view, name, False)
        render.dither_intensity = 0.0


def is_ours(thing: Any) -> bool:
    """Whether a scene, object or camera is an export's."""
    return bool(thing.get(MARK))


def temporary(copy: bpy.types.Scene, name: str, data: Any) -> bpy.types.Object:
    """An object of the copy alone, which no file keeps."""
    thing = bpy.data.objects.new(f".dp3d export {name}", data)
    for new in filter(None, (thing, data)):
        new[MARK], new.is_runtime_data = True, True
    copy.collection.objects.link(thing)
    return thing


def by_uid(collection: Iterable[Kind], uid: int) -> Kind | None:
    """The data-block with a session id; None where there is none."""
    return next((thing for thing in collection if thing.session_uid == uid), None)


def remove_scene(scene: bpy.types.Scene) -> None:
    """Delete a copy in which nothing renders."""
    manager = bpy.context.window_manager
    windows = list(manager.windows) if manager else []
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
        yield from (thing for thing in list(collection) if is_ours(thing))


def remove_leftovers() -> None:
    """Delete what exports left behind; call it only while nothing of theirs renders."""
    for thing in list(leftovers()):
        if isinstance(thing, bpy.types.Scene):
            remove_scene(thing)
        elif isinstance(thing, bpy.types.Object):
            bpy.data.objects.remove(thing)
        else:
            bpy.data.cameras.remove(thing)


def samples(scene: bpy.types.Scene) -> int | str | None:
    """Samples of the scene's render engine; None for engines that are not Blender's."""
    engine = scene.render.engine
    if engine == "CYCLES":
        return int(scene.cycles.samples)
    if engine.startswith("BLENDER_EEVEE"):
        return int(scene.eevee.taa_render_samples)
    if engine == "BLENDER_WORKBENCH":
        return str(scene.display.render_aa)
    return None
