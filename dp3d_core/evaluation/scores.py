"""Image metrics: SSIM, PSNR and sharpness of frames, and scores of a head against its photo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dp3d_core.arrays import Array, Bool, Float, Mask, Pixels, UInt8
from dp3d_core.meshes.raycast import Render
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.viewsets.psnr import psnr

CHIN = (0.0, -0.19, 0.17)
"""Tip of the chin, head units."""


@dataclass(frozen=True)
class _Figures:
    """Dataclass of floats."""

    def to_dict(self) -> dict[str, float]:
        """Fields as JSON-ready, rounded values."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Score(_Figures):
    """Similarity of frames to true ones."""

    ssim: float
    """Structural similarity (Wang et al. 2004, scikit-image's defaults), mean over frames."""
    psnr: float
    """Peak signal-to-noise ratio, dB, mean over frames; 100 for equal frames."""
    sharpness: float
    """Mean gradient of the grey frames over that of the true ones; 1 if equally sharp."""


def score(
    frames: Iterable[UInt8[Pixels, "_h _w 3"]],
    truth: Iterable[UInt8[Pixels, "_h _w 3"]],
    valid: Iterable[Bool[Mask, "_h _w"] | None] | None = None,
) -> Score:
    """Score frames against true ones.

    Args:
        frames: (h, w, 3) uint8 each.
        truth: true frames, in order, (h, w, 3) uint8 each.
        valid: (h, w) valid mask of each frame; None if all pixels count.  Frames without valid
            pixels are left out.

    Raises:
        ValueError: if no frame has a valid pixel.

    """
    pairs = list(zip(frames, truth, strict=True))
    masks = [None] * len(pairs) if valid is None else list(valid)
    rows = [
        _row(frame, true, mask)
        for (frame, true), mask in zip(pairs, masks, strict=True)
        if mask is None or mask.any()
    ]
    if not rows:
        raise ValueError("no frame has a valid pixel")
    return Score(*np.mean(rows, axis=0).tolist())


def _row(
    frame: UInt8[Pixels, "h w 3"],
    true: UInt8[Pixels, "h w 3"],
    mask: Bool[Mask, "h w"] | None,
) -> tuple[float, float, float]:
    """SSIM, PSNR and sharpness of one frame."""
    from skimage.metrics import structural_similarity

    mean, similarity = structural_similarity(true, frame, channel_axis=2, full=True)
    error = ((true.astype(np.float64) - frame) / 255) ** 2
    gradient, true_gradient = _gradient(frame), _gradient(true)
    if mask is not None:
        mean, error = float(similarity[mask].mean()), error[mask]
        gradient, true_gradient = gradient[mask], true_gradient[mask]
    return (
        float(mean),
        psnr(error.mean()),
        float(gradient.mean()) / max(float(true_gradient.mean()), 1e-9),
    )


def _gradient(frame: UInt8[Pixels, "h w 3"]) -> Float[Array, "h w"]:
    """(h, w) gradient magnitude of the grey frame."""
    down, right = np.gradient(frame.astype(np.float64).mean(-1))
    return np.asarray(np.hypot(down, right))


@dataclass(frozen=True)
class Front(_Figures):
    """Agreement of a head with its photo, rendered from the photo's camera."""

    psnr: float
    """PSNR inside both matte and head, dB."""
    iou: float
    """Intersection over union of head and matte with shoulders, inside the photo."""
    head_iou: float
    """Intersection over union of head and matte above the chin."""


def score_front(portrait: Portrait, view: Render) -> Front:
    """Score a view from a portrait's own camera against the photo."""
    matte = (portrait.matte > 127) & portrait.inside
    head = (view.alpha > 0.5) & portrait.inside
    both = matte & head
    error = view.rgb[both] - portrait.image[both] / 255
    mean = float((error**2).mean()) if both.any() else 1.0
    chin = portrait.camera.project([CHIN])[0][0][1]
    above = (np.arange(len(matte)) < chin)[:, None] & np.ones_like(matte)
    return Front(
        psnr(mean),
        both.sum() / max(1, (matte | head).sum()),
        (both & above).sum() / max(1, ((matte | head) & above).sum()),
    )


def table(rows: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Lines of a table of scores for the terminal; rows are names with scores."""
    lines = [f"{'':24}{'SSIM':>8}{'PSNR':>8}{'sharpness':>11}"]
    lines += [f"{n:24}{s['ssim']:8.3f}{s['psnr']:8.2f}{s['sharpness']:11.2f}" for n, s in rows]
    return lines
