"""Renders a fitted field from any cameras, as a view set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dp3d_core.camera_files import cameras_to_dict
from dp3d_core.cameras import Camera
from dp3d_core.files import write_json
from dp3d_core.progress import CancelCheck, Progress, ProgressCallback
from dp3d_core.viewset import DEPTH_STEPS, DEPTH_UNIT, ViewMeta, ViewSet
from nerf_export.child_process import run_child, working_folder
from nerf_export.fit import Fit

_OPAQUE = 128
"""Alpha, 8 bit, from which a pixel shows the head."""


def render_fit(
    fit: Path,
    cameras: Sequence[Camera],
    out: Path,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> ViewSet:
    """Render a fit along a camera path.

    Args:
        fit: folder of a finished fit.
        cameras: cameras in head space, each with its own size.
        out: folder of the view set; an unfinished one of the same path is continued.
        progress: stage ``render``, ``values["file"]`` after each frame.
        cancel: polled four times a second.

    Returns:
        Frames over white, with masks and depth, and ``rgba/`` with frame and mask in one PNG,
        each complete when its progress is reported; ``meta.engine`` is ``nerf``.

    Raises:
        Dp3dError: ``fit.*``, ``nerf.*``, ``viewset.mismatch``, ``job.cancelled``.

    """
    opened, out = Fit.open(Path(fit)), Path(out).absolute()
    field = opened.root.absolute() / "field.safetensors"
    preset = opened.meta["job"]["preset"]
    meta = ViewMeta(
        engine="nerf",
        seed=int(opened.meta["job"]["seed"]),
        parameters={
            "preset": preset["name"],
            "steps": preset["steps"],
            "depth_unit": _depth_unit(opened, cameras),
        },
        weights_sha256=opened.meta["field_sha256"],
        versions=opened.meta.get("versions", {}),
    )
    progress(Progress("render", 0, max(1, len(cameras)), "Loading the field"))
    with working_folder() as work:
        write_json(work / "cameras.json", cameras_to_dict(cameras))
        run_child(
            "render",
            {
                "field": str(field),
                "field_size": opened.meta["field_size"],
                "samples": [preset["coarse_samples"], preset["fine_samples"]],
                "cameras": str(work / "cameras.json"),
                "out": str(out),
                "meta": meta.to_dict(),
            },
            work,
            progress=progress,
            cancel=cancel,
        )
    return ViewSet.open(out)


def render_warnings(views: ViewSet) -> list[str]:
    """What a person should know of rendered views: frames whose camera misses the head.

    A frame shows nothing where no pixel is at least half opaque.
    """
    empty = []
    for i in range(len(views)):
        mask = views.mask(i)
        if mask is not None and int(mask.max()) < _OPAQUE:
            empty.append(i)
    if not empty:
        return []
    if len(empty) == len(views):
        return ["No frame shows anything of the head: no camera looks at it."]
    return [
        f"{len(empty)} of {len(views)} frames {'shows' if len(empty) == 1 else 'show'} nothing of "
        f"the head, the first is frame {empty[0] + 1}: their cameras look past it or stand in it."
    ]


def _depth_unit(fit: Fit, cameras: Sequence[Camera]) -> float:
    """So that the farthest corner of the field fits into 16 bits; head units if it can be."""
    centre, diagonal = fit.box
    farthest = max(float(np.linalg.norm(c.position - centre)) for c in cameras) + diagonal / 2
    return DEPTH_UNIT * max(1.0, math.ceil(farthest / (DEPTH_STEPS * DEPTH_UNIT)))
