"""Check of the memory that a fit needs, before it starts."""

from __future__ import annotations

from pathlib import Path

import torch

from dp3d_core.errors import Dp3dError
from nerf_export.child.field import HeadField
from nerf_export.field.size import FieldSize

_GIB = 1024**3
"""Bytes of a GiB."""
_CGROUP = Path("/sys/fs/cgroup")
"""Control group of the process, seen from inside a container."""
_BASE = 0.7 * _GIB
"""Bytes of the interpreter with torch and nerfstudio, allocated before the check."""
_COPIES = 5
"""Float32 copies of each parameter: value, gradient, two moments of Adam, one temporary."""
_PER_SAMPLE = 2600
"""Bytes for each rendered sample of a ray: corners, weights and features with gradients."""
_PER_PIXEL = 18
"""Bytes for each pixel of the training pictures: float32 RGBA, mask and contrast."""
_UNLIMITED = 1e30
"""Bytes that no machine has."""


def check_memory(
    size: FieldSize, samples: int, pixels: int, device: torch.device, limit_gb: float | None
) -> None:
    """Refuse a fit whose estimated memory exceeds the free memory or the limit.

    Args:
        size: size of the field.
        samples: rendered samples in a step, of all its rays.
        pixels: pixels of all training pictures, which nerfstudio keeps in the host's memory.
        device: device of the model.
        limit_gb: largest use of the device's memory, GiB; None: all that is free.

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
    """Refuse ``need`` bytes beyond ``free`` ones, or beyond a limit that includes ``taken``."""
    limit = None if limit_gb is None else limit_gb * _GIB - taken
    room = min(value for value in (free, limit, _UNLIMITED) if value is not None)
    if need > room:
        need, room = need + taken, room + taken
        raise Dp3dError(
            "nerf.too_little_memory",
            f"The fit needs about {need / _GIB:.1f} GiB of memory, and has {room / _GIB:.1f} GiB.",
            "Take a smaller preset or fewer views, close other programs, or raise the limit.",
        )


def _free_on_host() -> float | None:
    """Free bytes of machine and container, the smaller; None where neither is known."""
    return min((free for free in (_free_on_machine(), _free_in_container()) if free), default=None)


def _free_on_machine() -> float | None:
    """Bytes that Linux reports as available."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(1024.0 * int(s.split()[1]) for s in lines if s.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _free_in_container() -> float | None:
    """Bytes below the control group's limit, its reclaimable file cache included."""
    try:
        limit = float((_CGROUP / "memory.max").read_text("ascii"))
        used = float((_CGROUP / "memory.current").read_text("ascii"))
        lines = (_CGROUP / "memory.stat").read_text("ascii").splitlines()
        cache = sum(float(s.split()[1]) for s in lines if s.startswith("inactive_file "))
        return limit - used + cache
    except (OSError, ValueError):  # no control group, or the limit "max"
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports that an allocation failed."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
