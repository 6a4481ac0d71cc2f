"""How much memory a fit needs, before it begins."""

from __future__ import annotations

from pathlib import Path

import torch

from dp3d_core.errors import Dp3dError
from nerf_export.child.field import HeadField
from nerf_export.field.size import FieldSize

_GIB = 1024**3
_CGROUP = Path("/sys/fs/cgroup")
_BASE = 0.7 * _GIB
"""The interpreter with torch and nerfstudio, which is there already when this is asked."""
_COPIES = 5
"""Of each learned value: itself, its gradient, two moments of Adam, and one on the way."""
_PER_SAMPLE = 2600
"""Bytes of a sample of a ray that is rendered: corners, weights and features with gradients."""
_PER_PIXEL = 18
"""Bytes of a pixel of a picture: float32 RGBA, a mask, and contrast."""


def check_memory(
    size: FieldSize, samples: int, pixels: int, device: torch.device, limit_gb: float | None
) -> None:
    """Refuse a fit that takes more memory than there is, before any of it is taken.

    Args:
        size: of the field.
        samples: rendered in a step, of all its rays.
        pixels: of all pictures, which nerfstudio keeps in the host's memory.
        device: where the model will lie.
        limit_gb: GiB that may be used at most, of the device's memory; None: what is free.

    Raises:
        Dp3dError: ``nerf.too_little_memory``.

    """
    with torch.device("meta"):
        values = sum(p.numel() for p in HeadField(size).parameters())
    learned = 4.0 * _COPIES * values + _PER_SAMPLE * samples
    pictures = float(_PER_PIXEL * pixels)
    if device.type == "cuda":
        _check(pictures, _free_on_host(), 0.0, None)
        _check(learned, float(torch.cuda.mem_get_info()[0]), 0.0, limit_gb)
    else:
        _check(learned + pictures, _free_on_host(), _BASE, limit_gb)


def _check(need: float, free: float | None, taken: float, limit_gb: float | None) -> None:
    limit = None if limit_gb is None else limit_gb * _GIB - taken
    room = min(value for value in (free, limit, 1e30) if value is not None)
    if need > room:
        need, room = need + taken, room + taken
        raise Dp3dError(
            "nerf.too_little_memory",
            f"The fit needs about {need / _GIB:.1f} GiB of memory, and has {room / _GIB:.1f} GiB.",
            "Take a smaller preset or fewer views, close other programs, or raise the limit.",
        )


def _free_on_host() -> float | None:
    """Bytes that are free; None where the system does not say."""
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
