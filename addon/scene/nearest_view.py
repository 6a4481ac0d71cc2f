# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated view nearest to the direction one looks from, standing at the head.

As long as no mesh of the head stands there, every 3D view shows the chosen result's frames at the
anchor: orbiting changes from view to view.  Nothing of it is in the scene or in a render.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import bpy
import gpu
from gpu_extras.batch import batch_for_shader
from mathutils import Matrix, Vector

from . import anchor, tags

MAX_ANGLE = math.radians(60)
"""A view further away than this from the direction one looks from shows another side."""


class Picture(NamedTuple):
    """What a 3D view shows at the head."""

    image: bpy.types.Image
    matrix: Matrix
    """World matrix of the unit square (x and y from -0.5 to 0.5) that the image fills."""


def picture(scene: bpy.types.Scene, head: bpy.types.Object, eye: Vector) -> Picture | None:
    """The frame of the chosen result whose camera is nearest to a direction, and its place.

    Args:
        scene: which has the result.
        head: the anchor.
        eye: direction from the head to whoever looks, in the world.

    Returns:
        None where no view of the result lies within ``MAX_ANGLE``.

    """
    place = head.matrix_world.translation
    best, least = None, MAX_ANGLE
    for camera in _cameras(scene, scene.dp3d_run.run_id):
        angle = eye.angle(camera.matrix_world.translation - place, math.pi)
        if angle < least and _image(camera) is not None:
            best, least = camera, angle
    if best is None:
        return None
    image = _image(best)
    return Picture(image, _square(best, place, image))


def stands_at(scene: bpy.types.Scene, head: bpy.types.Object, space: Any) -> Picture | None:
    """The picture that a 3D view shows at an anchor; None where it is switched off or has none."""
    view = None if space is None else bpy.context.region_data or space.region_3d
    if view is None or view.view_perspective == "CAMERA" or not scene.dp3d.show_nearest_view:
        return None
    turned = view.view_matrix.inverted()
    if view.is_perspective:
        eye = turned.translation - head.matrix_world.translation
    else:
        eye = turned.to_3x3() @ Vector((0, 0, 1))
    return picture(scene, head, eye) if eye.length else None


def _cameras(scene: bpy.types.Scene, run_id: str) -> Iterator[bpy.types.Object]:
    """Cameras of a run's views; looks into its collection only, a scene may be large."""
    for collection in scene.collection.children_recursive if run_id else ():
        if tags.is_marked(collection, run_id, "run"):
            yield from (o for o in collection.objects if tags.is_marked(o, run_id, "view"))


def _image(camera: bpy.types.Object) -> bpy.types.Image | None:
    images = (background.image for background in camera.data.background_images)
    return next((i for i in images if i is not None and tags.is_ours(i)), None)


def _square(camera: bpy.types.Object, place: Vector, image: bpy.types.Image) -> Matrix:
    """World matrix of a unit square that fills a view at the distance of a place."""
    data, world = camera.data, camera.matrix_world
    distance = -(world.inverted_safe() @ place).z
    width = distance * data.sensor_width / data.lens
    columns, rows = image.size
    height = width * rows / max(columns, 1) * float(camera.get(tags.PIXEL_ASPECT, 1.0))
    centre = Matrix.Translation((data.shift_x * width, data.shift_y * width, -distance))
    return world @ centre @ Matrix.Diagonal((width, height, 1.0, 1.0))


# -- drawing -----------------------------------------------------------------------------------

_handle: Any = None
_batch: tuple[Any, Any] | None = None
"""Shader and square; made when first drawn, since there is no GPU before."""

_VERTEX = """
void main()
{
  uv = texCoord;
  gl_Position = ModelViewProjectionMatrix * vec4(pos, 1.0);
}
"""
_FRAGMENT = """
float encoded(float linear)
{
  return linear < 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1.0 / 2.4) - 0.055;
}

void main()
{
  vec4 colour = texture(image, uv);
  if (colour.a < 0.02) {
    discard;
  }
  /* The texture is linear; what is drawn over the 3D view is not. */
  FragColor = vec4(encoded(colour.r), encoded(colour.g), encoded(colour.b), colour.a);
}
"""


def _draw() -> None:
    context = bpy.context
    scene, space = context.scene, context.space_data
    head = anchor.free(scene, context.view_layer, space)
    shown = None if head is None else stands_at(scene, head, space)
    if shown is None:
        return
    global _batch  # noqa: PLW0603
    texture = gpu.texture.from_image(shown.image)
    if _batch is None:
        _batch = _square_batch()
    shader, batch = _batch
    blend, depth = gpu.state.blend_get(), gpu.state.depth_test_get()
    gpu.state.blend_set("ALPHA")
    gpu.state.depth_test_set("LESS_EQUAL")
    try:
        with gpu.matrix.push_pop():
            gpu.matrix.multiply_matrix(shown.matrix)
            shader.bind()
            matrix = gpu.matrix.get_projection_matrix() @ gpu.matrix.get_model_view_matrix()
            shader.uniform_float("ModelViewProjectionMatrix", matrix)
            shader.uniform_sampler("image", texture)
            batch.draw(shader)
    finally:
        gpu.state.depth_test_set(depth)
        gpu.state.blend_set(blend)


def _square_batch() -> tuple[Any, Any]:
    info = gpu.types.GPUShaderCreateInfo()
    between = gpu.types.GPUStageInterfaceInfo("dp3d_nearest_view")
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
    """Draw no longer."""
    global _handle, _batch  # noqa: PLW0603
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
    _handle = _batch = None
