"""Scores of views the fit has never seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from skimage.metrics import structural_similarity

from dp3d_core.progress import Progress
from nerf_export.child.talk import Talk


def psnr(error: np.ndarray) -> float:
    """PSNR in dB of differences of values in [0, 1]."""
    return float(-10 * np.log10(max(float(np.mean(error**2)), 1e-10)))


def score_held_out(
    pipeline: VanillaPipeline, talk: Talk
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Render every held-out view over white, or over the learned backdrop, and compare.

    Returns:
        Means and the worst view: ``foreground_psnr`` (pixels with alpha > 0.5: the one to
        look at), ``psnr`` of the whole frame (inflated by the background), ``ssim``; and the
        same of each view with its ``file``.

    """
    dataset = pipeline.datamanager.eval_dataset
    pipeline.eval()
    rows = []
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
        inside = alpha[..., 0] > 0.5
        rows.append(
            {
                "foreground_psnr": psnr(error[inside]) if inside.any() else psnr(error),
                "psnr": psnr(error),
                "ssim": float(structural_similarity(seen, wanted, channel_axis=-1, data_range=1.0)),
            }
        )
        talk.progress(Progress("score", i + 1, len(dataset), "Scoring views the fit has not seen"))
    torch.cuda.empty_cache()
    mean = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
    worst = round(min(row["foreground_psnr"] for row in rows), 4)
    views = [
        {"file": path.name, **{key: round(value, 4) for key, value in row.items()}}
        for path, row in zip(dataset.image_filenames, rows, strict=True)
    ]
    return {**mean, "worst_foreground_psnr": worst, "held_out_views": len(rows)}, views
