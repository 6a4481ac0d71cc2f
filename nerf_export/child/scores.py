"""Scores of held-out views, which the fit does not train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from dp3d_core.progress import Progress
from dp3d_core.viewsets.psnr import psnr
from nerf_export.child.parent_channel import ParentChannel
from nerf_export.field.child_messages import ViewScore
from nerf_export.views.dataset import wholly_valid

_MAX_GAIN = 1.25
"""Largest exposure factor of a channel; the smallest is its inverse.  A larger difference is no
matter of exposure."""


def _gain(seen: NDArray[np.float32], wanted: NDArray[np.float32]) -> list[float]:
    """(3,) exposure factor of a view: mean (n, 3) colour wanted over mean (n, 3) colour seen."""
    if not len(seen):
        return [1.0, 1.0, 1.0]
    factor = wanted.mean(0) / seen.mean(0).clip(1e-3)
    return [round(float(value), 5) for value in factor.clip(1 / _MAX_GAIN, _MAX_GAIN)]


def _valid_mask(picture: Path, shape: tuple[int, int]) -> NDArray[np.bool]:
    """(h, w) valid mask of a picture, from ``known/`` beside ``images/``; True without a file."""
    path = picture.parent.parent / "known" / f"{picture.stem}.png"
    if not path.is_file():
        return np.ones(shape, bool)
    with Image.open(path, formats=["PNG"]) as mask:
        return wholly_valid(mask, shape[::-1])


def score_held_out(
    pipeline: VanillaPipeline, parent: ParentChannel
) -> tuple[dict[str, float], list[ViewScore]]:
    """Render each held-out view over white, or over the learned backdrop, and score it.

    Args:
        pipeline: the trained pipeline.
        parent: channel to the parent, for progress.

    Returns:
        Means of ``foreground_psnr`` (pixels with alpha > 0.5; the main score), ``psnr`` of the
        whole frame (raised by the plain background), both in dB, and ``ssim``; also
        ``worst_foreground_psnr`` and ``held_out_views``, the number of scored views.  Second, the
        scores of each view.  Views that do not show the head have no ``foreground_psnr`` (None)
        and count in no mean.

    """
    dataset = pipeline.datamanager.eval_dataset
    assert dataset is not None  # the test mode that trains has one
    pipeline.eval()
    rows: list[dict[str, float | None]] = []
    gains: list[list[float]] = []
    for i in range(len(dataset)):
        rgba = dataset[i]["image"].numpy()
        camera = dataset.cameras[i : i + 1].to(pipeline.device)
        outputs = pipeline.model.get_outputs_for_camera(camera)
        alpha = rgba[..., 3:]
        wanted = rgba[..., :3] * alpha + 1 - alpha
        behind = outputs.get("backdrop", torch.ones_like(outputs["rgb"]))
        seen = outputs["rgb"] + (1 - outputs["accumulation"]) * behind
        seen = seen.clamp(0, 1).cpu().numpy()
        error = seen - wanted
        valid = _valid_mask(dataset.image_filenames[i], wanted.shape[:2])
        wanted[~valid], error[~valid] = seen[~valid], 0.0  # the colour is unknown there
        inside = (alpha[..., 0] > 0.5) & valid
        gains.append(_gain(seen[inside], wanted[inside]))
        rows.append(
            {
                "foreground_psnr": psnr(np.mean(error[inside] ** 2)) if inside.any() else None,
                "psnr": psnr(np.mean(error[valid] ** 2)) if valid.any() else None,
                "ssim": float(structural_similarity(seen, wanted, channel_axis=-1, data_range=1.0)),
            }
        )
        parent.progress(
            Progress("score", i + 1, len(dataset), "Scoring views the fit has not seen")
        )
    torch.cuda.empty_cache()
    with_head = [row for row in rows if row["foreground_psnr"] is not None]
    columns = {
        key: [value for row in with_head if (value := row[key]) is not None] for key in rows[0]
    }
    mean = {key: _mean(column) for key, column in columns.items()}
    worst = round(min(columns["foreground_psnr"], default=0.0), 4)
    views = [
        ViewScore(
            path.name,
            {key: None if value is None else round(value, 4) for key, value in row.items()},
            tuple(gain),
        )
        for path, row, gain in zip(dataset.image_filenames, rows, gains, strict=True)
    ]
    return {**mean, "worst_foreground_psnr": worst, "held_out_views": len(with_head)}, views


def _mean(values: Sequence[float]) -> float:
    """Mean, rounded to 4 decimals; 0.0 for no values."""
    return round(float(np.mean(values)), 4) if values else 0.0
