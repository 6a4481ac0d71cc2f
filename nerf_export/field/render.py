"""Renders a fitted field from given cameras into a view set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import cameras_to_dict
from dp3d_core.cameras.trajectories import cameras_from_request
from dp3d_core.progress import CancelCheck, Progress, ProgressCallback
from dp3d_core.storage.files import write_json
from dp3d_core.viewsets.viewset import DEPTH_STEPS, DEPTH_UNIT, ViewMeta, ViewSet
from nerf_export.field.child_messages import RenderRequest
from nerf_export.field.fit import Fit
from nerf_export.process.child_process import run_child
from nerf_export.process.left_children import working_folder

_OPAQUE = 128
"""Alpha, 0 to 255, from which a pixel shows the head."""
_PRESET_HALF_WIDTH = 0.45
"""Half of the width, head units, that the camera presets' wide lens shows."""
_SHOWN_BOX_PART = 0.6
"""Half of the width that camera presets show at most, as part of the box's longest side."""
_HEAD_SPACE_OFFSET = 0.35
"""Distance of the box's centre from the origin, head units, below which a field counts as lying
in head space."""
_HEAD_SPACE_SIZES = (0.4, 2.2)
"""Least and largest size of a field in head space, relative to a canonical head."""
_COMMON_DIRECTION = 0.4
"""Length of the mean of unit vectors above which they count as one direction."""
_AXIS_COSINE = 0.8
"""Cosine to a world axis above which a direction is replaced by that axis."""


def render_cameras(fit: Fit, request: Any) -> tuple[list[Camera], list[str]]:
    """Cameras of a request, and notes about them.

    Around a field in head space, camera presets stand at their canonical poses.  In another world
    the head may have another size, place or orientation: there presets are scaled to what the
    fitted views show, centred on the field's box, and turned to the mean direction of these views.

    Args:
        fit: the fit.
        request: see :func:`dp3d_core.cameras.trajectories.cameras_from_request`.

    Raises:
        Dp3dError: ``camera.*``, ``fit.invalid``.

    """
    cameras = cameras_from_request(request)
    if not isinstance(request, dict) or "preset" not in request:
        return cameras, []
    low, high = fit.bounds
    centre = fit.box[0]
    size = (
        min(_visible_radius(fit.cameras, centre), _SHOWN_BOX_PART * float((high - low).max()))
        / _PRESET_HALF_WIDTH
    )
    rotation = head_rotation(fit)
    is_in_head_space = (
        _HEAD_SPACE_SIZES[0] < size < _HEAD_SPACE_SIZES[1]
        and np.linalg.norm(centre) < _HEAD_SPACE_OFFSET
    )
    if (is_in_head_space and np.allclose(rotation, np.eye(3))) or not (
        np.isfinite(size) and size > 0
    ):
        return cameras, []
    moved = []
    for camera in cameras:
        pose = np.eye(4)
        pose[:3, :3] = rotation @ camera.c2w[:3, :3]
        pose[:3, 3] = rotation @ camera.position * size + centre
        moved.append(Camera(pose, camera.K, camera.width, camera.height))
    return moved, [
        f"The cameras go around the field, at {size:.3g} times the distance for a head of usual "
        f"size. {_location_sentence(fit)}"
    ]


def head_rotation(fit: Fit) -> Array:
    """(3, 3) rotation from canonical head axes to the up and front of a fit's views."""
    return _upright_rotation(fit.cameras, fit.box[0])


def _location_sentence(fit: Fit) -> str:
    """Sentence with centre and size of a field's box."""
    low, high = fit.bounds
    middle = ", ".join(f"{value:.3g}" for value in (low + high) / 2)
    return f"Its middle is ({middle}) in its world with Z up, and it is {max(high - low):.3g} wide."


def _visible_radius(cameras: Sequence[Camera], centre: Array) -> float:
    """Half of the longer side that a view shows at the centre, head units: median over views."""
    radii = [
        np.linalg.norm(camera.position - centre)
        * max(camera.width / camera.K[0, 0], camera.height / camera.K[1, 1])
        / 2
        for camera in cameras
    ]
    return float(np.median(radii))


def _upright_rotation(cameras: Sequence[Camera], centre: Array) -> Array:
    """(3, 3) rotation from head axes to the mean up and front of the views.

    Directions near a world axis are replaced by the axis, so that it may be the identity.
    """
    up = np.mean([-camera.c2w[:3, 1] for camera in cameras], axis=0)
    agreement = float(np.linalg.norm(up))
    up = up / agreement if agreement > _COMMON_DIRECTION else np.array([0.0, 1.0, 0.0])
    if up[1] > _AXIS_COSINE:
        up = np.array([0.0, 1.0, 0.0])
    directions = np.array([camera.position for camera in cameras]) - centre
    directions /= np.linalg.norm(directions, axis=1, keepdims=True).clip(1e-9)
    front = directions.mean(0)
    front -= up * (front @ up)
    # views from all sides have no mean front: take +Z, or -Y where up lies along Z
    if np.linalg.norm(front) < _COMMON_DIRECTION:
        front = np.array([0.0, 0.0, 1.0]) - up * up[2]
    if np.linalg.norm(front) < _COMMON_DIRECTION:
        front = np.array([0.0, -1.0, 0.0]) + up * up[1]
    front /= np.linalg.norm(front)
    if up[1] == 1 and front[2] > _AXIS_COSINE:
        front = np.array([0.0, 0.0, 1.0])
    return np.column_stack([np.cross(up, front), up, front])


def render_fit(
    fit: Fit,
    cameras: Sequence[Camera],
    out: Path,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> ViewSet:
    """Render a fit along a camera path.

    Args:
        fit: a finished fit.
        cameras: cameras in head space, each with its own size.
        out: folder of the view set; an unfinished one of the same path is continued.
        progress: stage ``render``, ``values["file"]`` after each frame.
        cancel: polled four times a second.

    Returns:
        Frames over white, with masks and depth, and ``rgba/`` with frame and mask in one PNG.
        A frame's files are complete when its progress is reported.  ``meta.engine`` is ``nerf``.

    Raises:
        Dp3dError: ``nerf.*``, ``viewset.mismatch``, ``job.cancelled``.

    """
    out = Path(out).absolute()
    preset = fit.meta.job.preset
    meta = ViewMeta(
        engine="nerf",
        seed=fit.meta.job.seed,
        parameters={
            "preset": preset.name,
            "steps": preset.steps,
            "depth_unit": _depth_unit(fit, cameras),
        },
        weights_sha256=fit.meta.field_sha256,
        versions=fit.meta.versions,
    )
    progress(Progress("render", 0, max(1, len(cameras)), "Loading the field"))
    with working_folder() as work:
        write_json(work / "cameras.json", cameras_to_dict(cameras))
        request = RenderRequest(
            field=fit.root.absolute() / "field.safetensors",
            field_size=fit.meta.field_size,
            coarse_samples=preset.coarse_samples,
            fine_samples=preset.fine_samples,
            cameras=work / "cameras.json",
            out=out,
            meta=meta,
        )
        run_child("render", request.to_dict(), work, progress=progress, cancel=cancel)
    return ViewSet.open(out)


def render_warnings(views: ViewSet, fit: Fit | None = None) -> list[str]:
    """Warnings about rendered frames whose camera misses the head: no pixel is half opaque.

    Args:
        views: rendered from a fit.
        fit: the fit, whose place is named where every frame is empty.

    """
    empty = []
    for i in range(len(views)):
        mask = views.mask(i)
        if mask is not None and int(mask.max()) < _OPAQUE:
            empty.append(i)
    if not empty:
        return []
    if len(empty) == len(views):
        nothing = "No frame shows anything of the head: no camera looks at it."
        return [nothing if fit is None else f"{nothing} {_location_sentence(fit)}"]
    return [
        f"{len(empty)} of {len(views)} frames {'shows' if len(empty) == 1 else 'show'} nothing of "
        f"the head, the first is frame {empty[0] + 1}: their cameras look past it or stand in it."
    ]


def _depth_unit(fit: Fit, cameras: Sequence[Camera]) -> float:
    """Depth unit, head units: the usual one, or the least multiple that fits all into 16 bits."""
    centre, diagonal = fit.box
    farthest = max(float(np.linalg.norm(c.position - centre)) for c in cameras) + diagonal / 2
    return DEPTH_UNIT * max(1.0, math.ceil(farthest / (DEPTH_STEPS * DEPTH_UNIT)))
