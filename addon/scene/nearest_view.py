# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the generated view nearest to a 3D view's direction, at the head anchor.

As long as no mesh is visible there, every 3D view shows frames of the highlighted result at the
anchor, and orbiting switches from view to view.  They are drawn only: neither the scene nor a
render contains them.  Poses come from the result's folder.  Pictures come from the cameras of the
views, or from the folder where there are more views than cameras.  A timer reads the folder;
Blender decodes a picture when it is first drawn.
"""

from __future__ import annotations

import math
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import bpy
import gpu
from gpu_extras.batch import batch_for_shader
from mathutils import Matrix, Vector

from ..link.errors import AddonError
from . import preview_anchor, tags
from . import views as scene_views
from .object_data import camera_data

MAX_ANGLE = math.radians(60)
"""Largest angle, radians, between the direction of the 3D view and the view that is shown."""
MAX_LOADED = 16
"""Number of pictures without a camera that are kept loaded."""


class Picture(NamedTuple):
    """What a 3D view shows at the head."""

    image: bpy.types.Image
    matrix: Matrix
    """World matrix of the unit square (x and y from -0.5 to 0.5) that the image fills."""


class _View(NamedTuple):
    place: Vector
    """Camera in head space."""
    square: Matrix
    """Square that the view fills, in head space."""
    path: Path


_views: dict[Path, list[_View]] = {}
"""Views of the result that was shown last, by its folder; none where the folder has none."""
_loaded: list[str] = []
"""Names of the images that were loaded here, the last one used at the end."""
_wanted: list[Path] = []
"""Pictures that the timer is to load."""


def stands_at(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, head: bpy.types.Object, space: Any
) -> Picture | None:
    """The picture that a 3D view shows at an anchor; None where it is switched off or has none."""
    view = None if space is None else bpy.context.region_data or space.region_3d
    if view is None or not scene.dp3d.show_nearest_view:
        return None
    turned = view.view_matrix.inverted()
    if view.is_perspective:
        eye = turned.translation - head.matrix_world.translation
    else:
        eye = turned.to_3x3() @ Vector((0, 0, 1))
    return picture(scene, view_layer, head, eye) if eye.length else None


def picture(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    head: bpy.types.Object,
    eye: Vector,
) -> Picture | None:
    """The frame whose camera is nearest to a direction, and its place.

    Args:
        scene: which has the results.
        view_layer: a result whose collection is excluded from it is not shown.
        head: the anchor.
        eye: direction from the head to whoever looks, in the world.

    Returns:
        None where the highlighted result has no view within ``MAX_ANGLE``, or none was read yet.

    """
    result = shown_result(scene)
    if result is None:
        return None
    collection = _collection(scene, result.run_id)
    if collection is None or not _in_layer(collection, view_layer):
        return None
    folder = _folder(result)
    if folder not in _views:
        _read_soon()
        return None
    world = head.matrix_world
    turned = world.to_3x3()
    best, least = None, MAX_ANGLE
    for index, view in enumerate(_views[folder]):
        angle = eye.angle(turned @ view.place, math.pi)
        if angle < least:
            best, least = index, angle
    if best is None:
        return None
    view = _views[folder][best]
    image = _image_of_camera(collection, best) or _image_loaded(view.path)
    if image is None or not all(image.size):  # its file is gone
        return None
    return Picture(image, world @ view.square)


def shown_result(scene: bpy.types.Scene) -> Any:
    """The highlighted result, unless it is an export: its head stands there itself."""
    entries, index = scene.dp3d_results, scene.dp3d_result_index
    entry = entries[index] if 0 <= index < len(entries) else None
    return entry if entry is not None and entry.folder and entry.source != "exported" else None


def _folder(result: Any) -> Path:
    return Path(bpy.path.abspath(result.folder))


def _collection(scene: bpy.types.Scene, run_id: str) -> bpy.types.Collection | None:
    children = scene.collection.children_recursive
    return next((c for c in children if tags.is_marked(c, run_id, "run")), None)


def _in_layer(collection: bpy.types.Collection, view_layer: bpy.types.ViewLayer) -> bool:
    """Whether a collection takes part in a view layer."""
    objects = view_layer.objects
    return not collection.hide_viewport and any(o.name in objects for o in collection.objects)


def _image_of_camera(collection: bpy.types.Collection, index: int) -> bpy.types.Image | None:
    for thing in collection.objects:
        if thing.get(tags.ROLE) == "view" and thing.get(tags.VIEW) == index:
            images = (background.image for background in camera_data(thing).background_images)
            return next((i for i in images if i is not None and tags.is_ours(i)), None)
    return None


def _image_loaded(path: Path) -> bpy.types.Image | None:
    for name in _loaded:
        image = bpy.data.images.get(name)
        if image is not None and Path(bpy.path.abspath(image.filepath)) == path:
            _loaded.remove(name)
            _loaded.append(name)
            return image
    if path not in _wanted:
        _wanted.append(path)
        _read_soon()
    return None


# -- reading -----------------------------------------------------------------------------------


def _read_soon() -> None:
    if not bpy.app.background and not bpy.app.timers.is_registered(read):
        bpy.app.timers.register(read, first_interval=0.01)


def read() -> None:
    """Read what the drawing asked for: the views of the highlighted result, and one picture."""
    brought = False
    for result in filter(None, map(shown_result, bpy.data.scenes)):
        if (folder := _folder(result)) not in _views:
            while len(_views) >= max(4, len(bpy.data.scenes)):
                del _views[next(iter(_views))]
            _views[folder] = _views_of(folder)
            brought = True
    if path := next((path for path in reversed(_wanted) if path.is_file()), None):
        loaded = bpy.data.images.load(str(path), check_existing=False)
        tags.mark(loaded, "", "frames")
        _loaded.append(loaded.name)
        brought = True
    _wanted.clear()
    while len(_loaded) > MAX_LOADED:
        image = bpy.data.images.get(_loaded.pop(0))
        if image is not None and not image.users:
            bpy.data.images.remove(image)
    if brought:  # where a file is gone, drawing again would ask for it again, without end
        _redraw()


def forget(folder: Path) -> None:
    """Read a folder's views anew when they are shown next."""
    _views.pop(folder, None)


def _views_of(folder: Path) -> list[_View]:
    try:
        views = scene_views.read_views(folder)
    except AddonError:
        return []
    return [
        _View(
            scene_views.local_matrix(view.c2w).translation,
            scene_views.plane_matrix(view),
            view.image,
        )
        for view in views
    ]


def _redraw() -> None:
    manager = bpy.context.window_manager
    for window in manager.windows if manager else ():
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


# -- drawing -----------------------------------------------------------------------------------

_handle: Any = None
_batch: tuple[Any, Any] | None = None
"""Shader and square; made when first drawn, since there is no GPU before."""

# The texture is linear, and the 3D view's target encodes what is drawn into it.  Blender's own
# shader for images decodes it once more from 5.0 on.
_VERTEX = """
void main()
{
  uv = texCoord;
  gl_Position = ModelViewProjectionMatrix * vec4(pos, 1.0);
}
"""
_FRAGMENT = """
void main()
{
  FragColor = texture(image, uv);
}
"""


def _draw() -> None:
    context = bpy.context
    scene, layer, space = context.scene, context.view_layer, context.space_data
    head = preview_anchor.find(scene, layer, space)
    shown = None if head is None else stands_at(scene, layer, head, space)
    if shown is None:
        return
    global _batch  # noqa: PLW0603
    if _batch is None:
        _batch = _square_batch()
    shader, batch = _batch
    blend, depth = gpu.state.blend_get(), gpu.state.depth_test_get()
    gpu.state.blend_set("ALPHA")
    gpu.state.depth_test_set("LESS_EQUAL")
    try:
        texture = gpu.texture.from_image(shown.image)
        with gpu.matrix.push_pop():
            gpu.matrix.multiply_matrix(shown.matrix)
            shader.bind()
            matrix = gpu.matrix.get_projection_matrix() @ gpu.matrix.get_model_view_matrix()
            shader.uniform_float("ModelViewProjectionMatrix", matrix)
            shader.uniform_sampler("image", texture)
            batch.draw(shader)
    except RuntimeError:  # a picture that cannot be decoded
        traceback.print_exc()
        _views[_folder(shown_result(scene))] = []
    finally:
        gpu.state.depth_test_set(depth)
        gpu.state.blend_set(blend)


def _square_batch() -> tuple[Any, Any]:
    info = gpu.types.GPUShaderCreateInfo()
    # the stub takes no name, which Blender asks for
    between = gpu.types.GPUStageInterfaceInfo("dp3d_nearest_view")  # type: ignore[call-arg]
    between.smooth("VEC2", "uv")
    info.push_constant("MAT4", "ModelViewProjectionMatrix")
    info.sampler(0, "FLOAT_2D", "image")
    info.vertex_in(0, "VEC3", "pos")
    info.vertex_in(1, "VEC2", "texCoord")
    info.vertex_out(between)
    info.fragment_out(0, "VEC4", "FragColor")
    info.vertex_source(_VERTEX)
    info.fragment_source(_FRAGMENT)
    shader = gpu.shader.create_from_info(info)
    corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    places = [(x - 0.5, y - 0.5, 0.0) for x, y in corners]
    return shader, batch_for_shader(shader, "TRIS", {"pos": places, "texCoord": corners})


def attach() -> None:
    """Draw in every 3D view."""
    global _handle  # noqa: PLW0603
    if not bpy.app.background:
        _handle = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_VIEW")


def detach() -> None:
    """Draw no longer, and forget what was read."""
    global _handle, _batch  # noqa: PLW0603
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
    if bpy.app.timers.is_registered(read):
        bpy.app.timers.unregister(read)
    _handle = _batch = None
    _wanted.clear()
    _loaded.clear()
    _views.clear()
