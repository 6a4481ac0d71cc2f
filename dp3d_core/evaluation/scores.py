"""How near pictures come to true ones, in numbers that the field uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.portraits.portrait import Portrait
from dp3d_core.raycast import Render

Pixels = NDArray[np.uint8]

_NO_ERROR_DB = 100.0
"""Instead of infinity, which JSON does not know."""
CHIN = (0.0, -0.19, 0.17)
"""Head space."""


@dataclass(frozen=True)
class _Figures:
    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Score(_Figures):
    """Likeness of frames to true ones."""

    ssim: float
    """Structural similarity (Wang et al. 2004, scikit-image's defaults), mean over frames."""
    psnr: float
    """Peak signal to noise ratio, dB, mean over frames; 100 for a frame without any error."""
    sharpness: float
    """Mean gradient of the grey frames over that of the true ones: 1 is as sharp."""


def score(
    frames: Iterable[Pixels],
    truth: Iterable[Pixels],
    known: Iterable[NDArray[np.bool_] | None] | None = None,
) -> Score:
    """Score frames against true ones.

    Args:
        frames: (h, w, 3) uint8 each.
        truth: likewise, in the same order.
        known: (h, w) pixels that count; None: all.  Frames without any are left out.

    Raises:
        ValueError: when no frame has a pixel that counts.

    """
    pairs = list(zip(frames, truth, strict=True))
    parts = [None] * len(pairs) if known is None else list(known)
    rows = [
        _row(frame, true, part)
        for (frame, true), part in zip(pairs, parts, strict=True)
        if part is None or part.any()
    ]
    if not rows:
        raise ValueError("nothing is known of any frame")
    ssim, psnr, sharpness = np.mean(rows, axis=0).tolist()
    return Score(ssim, psnr, sharpness)


def _row(frame: Pixels, true: Pixels, part: NDArray[np.bool_] | None) -> tuple[float, float, float]:
    from skimage.metrics import structural_similarity

    mean, similar = structural_similarity(true, frame, channel_axis=2, full=True)
    error = ((true.astype(np.float64) - frame) / 255) ** 2
    steps, true_steps = _gradient(frame), _gradient(true)
    if part is not None:
        mean, error = float(similar[part].mean()), error[part]
        steps, true_steps = steps[part], true_steps[part]
    psnr = -10 * np.log10(max(float(error.mean()), 10 ** (-_NO_ERROR_DB / 10)))
    return float(mean), psnr, float(steps.mean()) / max(float(true_steps.mean()), 1e-9)


def _gradient(frame: Pixels) -> NDArray[np.float64]:
    down, right = np.gradient(frame.astype(np.float64).mean(-1))
    return np.asarray(np.hypot(down, right))


@dataclass(frozen=True)
class Front(_Figures):
    """How well a head repeats its own photo, seen by the photo's own camera."""

    psnr: float
    """dB, where both the matte and the head are."""
    iou: float
    """Of the head's outline and the matte, shoulders included, as far as the photo goes."""
    head_iou: float
    """The same above the chin."""


def score_front(portrait: Portrait, view: Render) -> Front:
    """Score the view of a portrait's own camera."""
    matte = (portrait.matte > 127) & portrait.inside
    head = (view.alpha > 0.5) & portrait.inside
    both = matte & head
    error = view.rgb[both] - portrait.image[both] / 255
    mean = float((error**2).mean()) if both.any() else 1.0
    chin = portrait.camera.project([CHIN])[0][0][1]
    above = (np.arange(len(matte)) < chin)[:, None] & np.ones_like(matte)
    return Front(
        -10 * np.log10(max(mean, 1e-10)),
        both.sum() / max(1, (matte | head).sum()),
        (both & above).sum() / max(1, ((matte | head) & above).sum()),
    )


def table(rows: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Lines of a table for people: a name and its scores per row."""
    lines = [f"{'':24}{'SSIM':>8}{'PSNR':>8}{'sharpness':>11}"]
    lines += [f"{n:24}{s['ssim']:8.3f}{s['psnr']:8.2f}{s['sharpness']:11.2f}" for n, s in rows]
    return lines
