"""How much memory a fit needs, before it begins."""

from __future__ import annotations

from pathlib import Path

import torch

from dp3d_core.errors import Dp3dError
from nerf_export.child.model import HeadModel

_GIB = 1024**3
_CGROUP = Path("/sys/fs/cgroup")
_BASE = 0.7 * _GIB
"""The interpreter with torch and nerfstudio."""
_COPIES = 5
"""Of each learned value: itself, its gradient, two moments of Adam, and one on the way."""
_PER_SAMPLE = 2600
"""Bytes of a sample of a ray that is rendered: corners, weights and features with gradients."""


def needed(model: HeadModel, pictures: int, pixels: int, rays: int) -> float:
    """Bytes that fitting takes at its peak, about.

    Args:
        model: before training.
        pictures: that nerfstudio keeps in memory, as float32 RGBA with a mask; and their
            contrast.
        pixels: of one of them.
        rays: in a step.

    """
    values = sum(p.numel() for p in model.parameters())
    samples = rays * model.config.fine_samples
    return _BASE + 4 * _COPIES * values + _PER_SAMPLE * samples + 19 * pictures * pixels


def check_memory(need: float, device: torch.device, limit_gb: float | None) -> None:
    """Refuse what does not fit.

    Args:
        need: bytes.
        device: where the model lies.
        limit_gb: GiB that may be used at most; None: what is free.

    Raises:
        Dp3dError: ``nerf.too_little_memory``.

    """
    free = _free(device)
    limit = None if limit_gb is None else limit_gb * _GIB
    room = min(value for value in (free, limit, 1e30) if value is not None)
    if need > room:
        raise Dp3dError(
            "nerf.too_little_memory",
            f"The fit needs about {need / _GIB:.1f} GiB of memory, and has {room / _GIB:.1f} GiB.",
            "Take a smaller preset or fewer views, close other programs, or raise the limit.",
        )


def _free(device: torch.device) -> float | None:
    """Bytes that are free; None where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return min((free for free in (_free_here(), _free_in_container()) if free), default=None)


def _free_here() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(1024.0 * int(s.split()[1]) for s in lines if s.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _free_in_container() -> float | None:
    """What a limit of the control group leaves."""
    try:
        limit = float((_CGROUP / "memory.max").read_text("ascii"))
        used = float((_CGROUP / "memory.current").read_text("ascii"))
        lines = (_CGROUP / "memory.stat").read_text("ascii").splitlines()
        cache = sum(float(s.split()[1]) for s in lines if s.startswith("inactive_file "))
        return limit - used + cache
    except (OSError, ValueError):  # none, or "max"
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out all the same."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
