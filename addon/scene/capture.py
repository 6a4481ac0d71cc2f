# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays a face capture on a rigged head: keys of its blend shapes and of the bone ``head``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import bpy
from mathutils import Matrix, Vector

from . import views
from .rigged_head import PHOTO_EXPRESSION, keys_of

_HEAD = "head"
"""Bone that turns."""


def play(
    scene: bpy.types.Scene,
    objects: Sequence[bpy.types.Object],
    duration: float,
    value: Callable[[str, float], float],
) -> list[int]:
    """Key a head frame by frame from the scene's first frame on, in place of earlier keys.

    The photo's expression is off at all frames.  The scene's range is extended to the last one.

    Args:
        scene: whose frame rate counts.
        objects: of the head, the armature first.
        duration: of the capture, seconds.
        value: by name and seconds: of a blend shape in lower case, or of ``headyaw``, ``headpitch``
            and ``headroll``, radians.

    Returns:
        The first and the last frame.

    """
    rate = scene.render.fps / scene.render.fps_base
    first = scene.frame_start
    frames = list(range(first, first + ceil(duration * rate) + 1))
    times = [(frame - first) / rate for frame in frames]
    of_owner: dict[bpy.types.ID, list[str]] = {}
    for name, block in keys_of(objects).items():
        owner = block.id_data
        assert owner is not None
        of_owner.setdefault(owner, []).append(name)
    for owner, names in of_owner.items():
        paths = [f'key_blocks["{name}"].value' for name in names]
        rows = [
            [0.0 if name == PHOTO_EXPRESSION else value(name.lower(), time) for name in names]
            for time in times
        ]
        views.animate(owner, paths, frames, rows)
    armature = objects[0]
    assert armature.pose is not None
    bone = armature.pose.bones[_HEAD]
    bone.rotation_mode = "QUATERNION"
    rest = bone.bone.matrix_local.to_3x3()
    turns = []
    for time in times:
        turn = _turn(*(value(name, time) for name in ("headyaw", "headpitch", "headroll")))
        turns.append(tuple((rest.inverted() @ turn @ rest).to_quaternion()))
    views.animate(armature, [f'pose.bones["{_HEAD}"].rotation_quaternion'], frames, turns)
    scene.frame_end = max(scene.frame_end, frames[-1])
    return [frames[0], frames[-1]]


def _turn(yaw: float, pitch: float, roll: float) -> Matrix:
    """Rotation (3, 3) in the armature's axes, where Z is up and the face looks along -Y."""
    return (
        Matrix.Rotation(yaw, 3, "Z")
        @ Matrix.Rotation(pitch, 3, "X")
        @ Matrix.Rotation(roll, 3, Vector((0, -1, 0)))
    )
