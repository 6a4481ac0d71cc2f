"""Scores of views the fit has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from PIL import Image
from skimage.metrics import structural_similarity

from dp3d_core.progress import Progress
from nerf_export.child.talk import Talk
from nerf_export.dataset import wholly_known

_MOST_GAIN = 1.25


def psnr(error: np.ndarray) -> float:
    """PSNR in dB of differences of values in [0, 1]."""
    return float(-10 * np.log10(max(float(np.mean(error**2)), 1e-10)))


def _gain(seen: np.ndarray, wanted: np.ndarray) -> list[float]:
    """Factor of each channel; near 1, since the rest is no matter of exposure."""
    if not len(seen):
        return [1.0, 1.0, 1.0]
    factor = wanted.mean(0) / seen.mean(0).clip(1e-3)
    return [round(float(value), 5) for value in factor.clip(1 / _MOST_GAIN, _MOST_GAIN)]


def _known(picture: Path, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) pixels that count: those of ``known/`` beside ``images/``, else all."""
    path = picture.parent.parent / "known" / f"{picture.stem}.png"
    if not path.is_file():
        return np.ones(shape, bool)
    with Image.open(path) as mask:
        return wholly_known(mask, shape[::-1])


def score_held_out(
    pipeline: VanillaPipeline, talk: Talk
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Render every held-out view over white, or over the learned backdrop, and compare.

    Returns:
        Means and the worst view: ``foreground_psnr`` (pixels with alpha > 0.5: the one to
        look at), ``psnr`` of the whole frame (inflated by the background), ``ssim``; and the
        same of each view with its ``file`` and its ``gain``, by how much each channel of the
        view is brighter than the field.  Views that do not show the head have no
        ``foreground_psnr`` (None) and are in no mean.

    """
    dataset = pipeline.datamanager.eval_dataset
    pipeline.eval()
    rows, gains = [], []
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
        known = _known(dataset.image_filenames[i], wanted.shape[:2])
        wanted[~known], error[~known] = seen[~known], 0.0  # nobody can say what is right there
        inside = (alpha[..., 0] > 0.5) & known
        gains.append(_gain(seen[inside], wanted[inside]))
        rows.append(
            {
                "foreground_psnr": psnr(error[inside]) if inside.any() else None,
                "psnr": psnr(error[known]) if known.any() else None,
                "ssim": float(structural_similarity(seen, wanted, channel_axis=-1, data_range=1.0)),
            }
        )
        talk.progress(Progress("score", i + 1, len(dataset), "Scoring views the fit has not seen"))
    torch.cuda.empty_cache()
    # a view without the head says nothing about how the head is shown
    telling = [row for row in rows if row["foreground_psnr"] is not None]
    mean = {key: _mean([row[key] for row in telling]) for key in rows[0]}
    worst = round(min((row["foreground_psnr"] for row in telling), default=0.0), 4)
    views = [
        {
            "file": path.name,
            **{key: None if value is None else round(value, 4) for key, value in row.items()},
            "gain": gain,
        }
        for path, row, gain in zip(dataset.image_filenames, rows, gains, strict=True)
    ]
    return {**mean, "worst_foreground_psnr": worst, "held_out_views": len(telling)}, views


def _mean(values: Sequence[float]) -> float:
    """Of what is there; of nothing 0, which is no score to be proud of."""
    return round(float(np.mean(values)), 4) if values else 0.0
