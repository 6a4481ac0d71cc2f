"""Patches that nerfstudio 1.1.5 needs with current packages.

:func:`apply` makes all of them, once, before nerfstudio is imported:

torchvision   The CPU wheels declare operators of a compiled library that a CPU-only torch does
              not load.  nerfstudio needs the schemas of two of them.
fpsample,     nerfstudio imports them at the top of modules, for functions that are not called
open3d, rawpy here (open3d has 0.9 GB).  Stubs stand in, and raise when they are used.
torch.load    nerfstudio does not set ``weights_only``, whose default before torch 2.6 let a
              checkpoint run code.  It is always on here.
torch.compile nerfstudio compiles a function of Splatfacto as soon as it is imported, which loads
              torch's compiler: a second.  Functions are compiled when they are first called.
threads       torch uses all cores of the machine.  The patch limits it to the cores that the
              process may use, and to ``OMP_NUM_THREADS``.

Checkpoints need no exception from ``weights_only``: the state of :class:`method.Decay` holds plain
floats.  LPIPS needs no patch: the model does not construct it.
"""

from __future__ import annotations

import functools
import os
import sys
import types
import warnings
from typing import Any

_LIBRARIES: list[object] = []
"""torch libraries with declared schemas; a schema lives as long as its library."""


def apply() -> None:
    """Apply all patches; to be called before nerfstudio is imported."""
    import torch

    warnings.filterwarnings("ignore", category=FutureWarning)
    _declare_torchvision(torch)
    _load_weights_only(torch)
    _compile_late(torch)
    for name in ("fpsample", "open3d", "rawpy"):
        _stub(name)
    torch.set_num_threads(usable_cores())


def usable_cores() -> int:
    """Number of cores this process may run on, at most ``OMP_NUM_THREADS``."""
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
    _LIBRARIES.append(library)


def _load_weights_only(torch: Any) -> None:
    load = torch.load

    @functools.wraps(load)
    def weights(*args: object, **options: object) -> object:
        return load(*args, **{**options, "weights_only": True})

    torch.load = weights


def _compile_late(torch: Any) -> None:
    compile_now = torch.compile

    def compile_late(model: Any = None, **options: Any) -> Any:
        if model is None:
            return functools.partial(compile_late, **options)
        if not isinstance(model, types.FunctionType):
            return compile_now(model, **options)
        compiled = functools.cache(functools.partial(compile_now, model, **options))

        @functools.wraps(model)
        def run(*args: object, **values: object) -> object:
            return compiled()(*args, **values)

        return run

    torch.compile = compile_late


class _Stub(types.ModuleType):
    """A module that can be imported; any use of its members raises ``RuntimeError``."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"{self.__name__}.{name} is not part of the NeRF environment")


def _stub(name: str) -> None:
    if name not in sys.modules:
        sys.modules[name] = _Stub(name)
