"""Renders a fitted field from any cameras, as a view set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dp3d_core.camera_files import cameras_to_dict
from dp3d_core.cameras import Camera
from dp3d_core.files import write_atomic, write_json
from dp3d_core.progress import CancelCheck, ProgressCallback
from dp3d_core.viewset import DEPTH_STEPS, DEPTH_UNIT, ViewMeta, ViewSet, encode_png
from nerf_export.child_process import run_child, working_folder
from nerf_export.fit import Fit


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
        Frames over white, with masks and depth, and ``rgba/`` with both in one PNG;
        ``meta.engine`` is ``nerf``.

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
    views = ViewSet.open(out)
    for i in range(len(views)):
        path = out / f"rgba/{i:04d}.png"
        if not path.is_file():
            write_atomic(path, encode_png(views.rgba(i)))
    return views


def _depth_unit(fit: Fit, cameras: Sequence[Camera]) -> float:
    """So that the farthest corner of the field fits into 16 bits; head units if it can be."""
    centre, diagonal = fit.box
    farthest = max(float(np.linalg.norm(c.position - centre)) for c in cameras) + diagonal / 2
    return DEPTH_UNIT * max(1.0, math.ceil(farthest / (DEPTH_STEPS * DEPTH_UNIT)))
