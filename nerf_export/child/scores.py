"""Scores of views the fit has never seen."""

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
from nerf_export.child.talk import Talk
from nerf_export.field.child_messages import ViewScore
from nerf_export.views.dataset import wholly_valid

_MOST_GAIN = 1.25


def _gain(seen: NDArray[np.float32], wanted: NDArray[np.float32]) -> list[float]:
    """Factor of each channel; near 1, since the rest is no matter of exposure."""
    if not len(seen):
        return [1.0, 1.0, 1.0]
    factor = wanted.mean(0) / seen.mean(0).clip(1e-3)
    return [round(float(value), 5) for value in factor.clip(1 / _MOST_GAIN, _MOST_GAIN)]


def _valid_mask(picture: Path, shape: tuple[int, int]) -> NDArray[np.bool]:
    """(h, w) pixels that count: those of ``known/`` beside ``images/``, else all."""
    path = picture.parent.parent / "known" / f"{picture.stem}.png"
    if not path.is_file():
        return np.ones(shape, bool)
    with Image.open(path, formats=["PNG"]) as mask:
        return wholly_valid(mask, shape[::-1])


def score_held_out(
    pipeline: VanillaPipeline, talk: Talk
) -> tuple[dict[str, float], list[ViewScore]]:
    """Render every held-out view over white, or over the learned backdrop, and compare.

    Returns:
        Means and the worst view: ``foreground_psnr`` (pixels with alpha > 0.5: the one to
        look at), ``psnr`` of the whole frame (inflated by the background), ``ssim``; and the
        scores of each view.  Views that do not show the head have no ``foreground_psnr`` (None)
        and are in no mean.

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
        wanted[~valid], error[~valid] = seen[~valid], 0.0  # nobody can say what is right there
        inside = (alpha[..., 0] > 0.5) & valid
        gains.append(_gain(seen[inside], wanted[inside]))
        rows.append(
            {
                "foreground_psnr": psnr(np.mean(error[inside] ** 2)) if inside.any() else None,
                "psnr": psnr(np.mean(error[valid] ** 2)) if valid.any() else None,
                "ssim": float(structural_similarity(seen, wanted, channel_axis=-1, data_range=1.0)),
            }
        )
        talk.progress(Progress("score", i + 1, len(dataset), "Scoring views the fit has not seen"))
    torch.cuda.empty_cache()
    # a view without the head says nothing about how the head is shown
    telling = [row for row in rows if row["foreground_psnr"] is not None]
    columns = {
        key: [value for row in telling if (value := row[key]) is not None] for key in rows[0]
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
    return {**mean, "worst_foreground_psnr": worst, "held_out_views": len(telling)}, views


def _mean(values: Sequence[float]) -> float:
    """Of what is there; of nothing 0, which is no score to be proud of."""
    return round(float(np.mean(values)), 4) if values else 0.0
