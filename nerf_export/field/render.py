"""Renders a fitted field from any cameras, as a view set."""

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
"""Alpha, 8 bit, from which a pixel shows the head."""
_SHOWN = 0.45
"""Head units to each side of the middle that the presets' wide lens shows."""
_BOX_PART = 0.6
"""Part of a field's box, along its longest side, that presets show to each side."""
_NEAR = 0.35
"""Head units between a field's middle and the origin up to which it lies in head space."""
_SIZES = (0.4, 2.2)
"""Sizes, over that of a usual head, of fields that lie in head space."""
_AGREE = 0.4
"""Length of the mean of unit vectors from which they have a common direction."""
_ABOUT = 0.8
"""Cosine from which a direction is taken for that of the world's axis."""


def render_cameras(fit: Fit, request: Any) -> tuple[list[Camera], list[str]]:
    """Cameras of a request, and notes; those of a preset go around the field's own box.

    A field in head space has them where they always are.  One of another world, in which the head
    has another size, lies elsewhere or stands another way up, has them around its box, as large
    as its views showed it, with the front where most of its views are.

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
    size = min(_shown(fit.cameras, centre), _BOX_PART * float((high - low).max())) / _SHOWN
    turn = head_turn(fit)
    usual = _SIZES[0] < size < _SIZES[1] and np.linalg.norm(centre) < _NEAR
    if (usual and np.allclose(turn, np.eye(3))) or not (np.isfinite(size) and size > 0):
        return cameras, []
    moved = []
    for camera in cameras:
        pose = np.eye(4)
        pose[:3, :3] = turn @ camera.c2w[:3, :3]
        pose[:3, 3] = turn @ camera.position * size + centre
        moved.append(Camera(pose, camera.K, camera.width, camera.height))
    return moved, [
        f"The cameras go around the field, at {size:.3g} times the distance for a head of usual "
        f"size. {_place(fit)}"
    ]


def head_turn(fit: Fit) -> Array:
    """(3, 3) turn of head space to the world of a fit, as far as its views tell of up and front."""
    return _upright(fit.cameras, fit.box[0])


def _place(fit: Fit) -> str:
    """Where a field lies, a sentence."""
    low, high = fit.bounds
    middle = ", ".join(f"{value:.3g}" for value in (low + high) / 2)
    return f"Its middle is ({middle}) in its world with Z up, and it is {max(high - low):.3g} wide."


def _shown(cameras: Sequence[Camera], centre: Array) -> float:
    """How far from the centre the middle one of the fitted views shows things, head units."""
    reach = [
        np.linalg.norm(camera.position - centre)
        * max(camera.width / camera.K[0, 0], camera.height / camera.K[1, 1])
        / 2
        for camera in cameras
    ]
    return float(np.median(reach))


def _upright(cameras: Sequence[Camera], centre: Array) -> Array:
    """(3, 3) turn of head space to where the views have up and front; the identity if near."""
    up = np.mean([-camera.c2w[:3, 1] for camera in cameras], axis=0)
    length = float(np.linalg.norm(up))
    up = up / length if length > _AGREE else np.array([0.0, 1.0, 0.0])
    if up[1] > _ABOUT:
        up = np.array([0.0, 1.0, 0.0])
    directions = np.array([camera.position for camera in cameras]) - centre
    directions /= np.linalg.norm(directions, axis=1, keepdims=True).clip(1e-9)
    front = directions.mean(0)
    front -= up * (front @ up)
    # seen from all sides, there is no front: the world's own, or any
    if np.linalg.norm(front) < _AGREE:
        front = np.array([0.0, 0.0, 1.0]) - up * up[2]
    if np.linalg.norm(front) < _AGREE:
        front = np.array([0.0, -1.0, 0.0]) + up * up[1]
    front /= np.linalg.norm(front)
    if up[1] == 1 and front[2] > _ABOUT:
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
        Frames over white, with masks and depth, and ``rgba/`` with frame and mask in one PNG,
        each complete when its progress is reported; ``meta.engine`` is ``nerf``.

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
    """What a person should know of rendered views: frames whose camera misses the head.

    A frame shows nothing where no pixel is at least half opaque.

    Args:
        views: rendered from a fit.
        fit: the fit, to say where its field lies where no frame shows anything.

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
        return [nothing if fit is None else f"{nothing} {_place(fit)}"]
    return [
        f"{len(empty)} of {len(views)} frames {'shows' if len(empty) == 1 else 'show'} nothing of "
        f"the head, the first is frame {empty[0] + 1}: their cameras look past it or stand in it."
    ]


def _depth_unit(fit: Fit, cameras: Sequence[Camera]) -> float:
    """So that the farthest corner of the field fits into 16 bits; head units if it can be."""
    centre, diagonal = fit.box
    farthest = max(float(np.linalg.norm(c.position - centre)) for c in cameras) + diagonal / 2
    return DEPTH_UNIT * max(1.0, math.ceil(farthest / (DEPTH_STEPS * DEPTH_UNIT)))
