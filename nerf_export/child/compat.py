"""Everything that has to be mended before nerfstudio 1.1.5 runs on today's packages.

All of it in one place, applied once, before nerfstudio is imported:

torchvision   its CPU wheels declare operators of a compiled library that a CPU-only torch
              does not load; declaring two schemas is enough for what nerfstudio calls.
fpsample,     imported at the top of modules we use for nothing of it (open3d: 0.9 GB): stubs
open3d, rawpy whose every use says so.
torch.load    nerfstudio leaves ``weights_only`` to torch, and before 2.6 that meant to run what
              a pickle says: here it is always on.
threads       torch takes the cores of the machine; we take those we may use, or as many as
              ``OMP_NUM_THREADS`` says.

Not needed, and why: to allow more than weights in a checkpoint, since our scheduler leaves plain
floats there; LPIPS is never constructed, since the model is our own.
"""

from __future__ import annotations

import functools
import os
import sys
import types
import warnings
from typing import Any

_KEEP: list[object] = []
"""Libraries must stay referenced, or their schemas go away with them."""


def apply() -> None:
    """Mend; must be called before nerfstudio is imported."""
    import torch

    warnings.filterwarnings("ignore", category=FutureWarning)
    _declare_torchvision(torch)
    _load_weights_only(torch)
    for name in ("fpsample", "open3d", "rawpy"):
        _stub(name)
    torch.set_num_threads(usable_cores())


def usable_cores() -> int:
    """Cores this process may run on, no more than ``OMP_NUM_THREADS``."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(_allowed_cores(), int(limit)) if limit.isdigit() and int(limit) else _allowed_cores()


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def _declare_torchvision(torch: Any) -> None:
    if torch.version.cuda is not None:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEEP.append(library)


def _load_weights_only(torch: Any) -> None:
    load = torch.load

    @functools.wraps(load)
    def weights(*args: object, **options: object) -> object:
        return load(*args, **{**options, "weights_only": True})

    torch.load = weights


class _Stub(types.ModuleType):
    """A module that is importable and nothing more."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"{self.__name__}.{name} is not part of the NeRF environment")


def _stub(name: str) -> None:
    if name not in sys.modules:
        sys.modules[name] = _Stub(name)
