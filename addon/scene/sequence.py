# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives an image sequence so that picture i shows from scene frame f_i until f_(i+1).

An image user of Blender counts pictures one per frame, so its own start and length serve a step
of 1 only.  Here the sequence is one picture long and cyclic (its number is 1 at every frame) and
the offset is driven: a driver that sums one variable, the frame of the active scene, over a
stepped curve.  Such a driver runs no Python, needs no permission, and makes no action.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import bpy

_VARIABLE = "dp3d_frame"
"""Name of the driver's variable; marks a driver as the add-on's."""


def show(image_user: Any, frames: Sequence[int], first: int = 0) -> None:
    """Show picture ``first`` + i of a numbered sequence from scene frame ``frames[i]`` on.

    Before the first frame stands the first picture, after the last frame the last one.

    Args:
        image_user: of a camera's background image or of a texture node.
        frames: scene frames, strictly increasing.
        first: number in the name of the first file.

    Raises:
        ValueError: for frames that do not increase, or none.

    """
    if not frames or any(b <= a for a, b in pairwise(frames)):
        raise ValueError(f"frames of a sequence must increase: {list(frames)[:8]}")
    remove(image_user)
    image_user.frame_start, image_user.frame_duration = 1, 1
    image_user.use_cyclic = image_user.use_auto_refresh = True
    image_user.frame_offset = first - 1
    curve = image_user.id_data.driver_add(image_user.path_from_id("frame_offset"))
    curve.driver.type = "SUM"
    variable = curve.driver.variables.new()
    variable.name, variable.type = _VARIABLE, "CONTEXT_PROP"
    variable.targets[0].context_property = "ACTIVE_SCENE"
    variable.targets[0].data_path = "frame_current"
    for modifier in list(curve.modifiers):  # a new driver maps its sum through a generator
        curve.modifiers.remove(modifier)
    curve.keyframe_points.clear()
    curve.keyframe_points.add(len(frames))
    for index, (key, frame) in enumerate(zip(curve.keyframe_points, frames, strict=True)):
        key.co = frame, first + index - 1
        key.interpolation = "CONSTANT"
    curve.extrapolation = "CONSTANT"
    curve.update()


def remove(image_user: Any) -> None:
    """Take the driver of an image user away, whoever made it."""
    owner, path = image_user.id_data, image_user.path_from_id("frame_offset")
    animation = owner.animation_data
    if animation is not None and animation.drivers.find(path) is not None:
        owner.driver_remove(path)


def frames_of(image_user: Any) -> list[int]:
    """Scene frames an image user was given by ``show``; none when it was not."""
    path = image_user.path_from_id("frame_offset")
    for curve in _drivers(image_user.id_data):
        if curve.data_path == path:
            return [round(key.co.x) for key in curve.keyframe_points]
    return []


def realign(camera: bpy.types.Camera, images: Sequence[bpy.types.Image]) -> None:
    """Realign drivers with the add-on's backgrounds after others of the camera were removed.

    Blender numbers background images, and a driver keeps the number it was made for.

    Args:
        camera: camera data.
        images: our sequences among its backgrounds, in the order of the drivers' numbers.

    """
    pattern = re.compile(r"background_images\[(\d+)\]\.image_user\.frame_offset")
    curves = [(m, c) for c in _drivers(camera) if (m := pattern.fullmatch(c.data_path))]
    curves.sort(key=lambda pair: int(pair[0][1]))
    places = [i for i, b in enumerate(camera.background_images) if b.image in images]
    for (_, curve), place in zip(curves, places, strict=False):
        path = f"background_images[{place}].image_user.frame_offset"
        if curve.data_path != path:
            curve.data_path = path
    if camera.animation_data is not None:
        for _, curve in curves[len(places) :]:
            camera.animation_data.drivers.remove(curve)


def _drivers(owner: Any) -> Iterator[bpy.types.FCurve]:
    """The add-on's drivers of an ID that can be animated."""
    drivers = owner.animation_data.drivers if owner.animation_data else ()
    for curve in list(drivers):
        if any(v.name == _VARIABLE for v in curve.driver.variables):
            yield curve
