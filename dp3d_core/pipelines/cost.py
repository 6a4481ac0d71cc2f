"""Cost of one denoising step: floating point operations, seconds, memory.

A step is both guidance passes over all views.  torch counts operations (two for a multiply-add) on
the meta device, so networks of full size need no memory.  Times are measured with random weights.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from dp3d_core.models.config import (
    PUBLISHED,
    SD15_CHANNELS,
    NetworkConfig,
    TextSize,
    Variant,
)
from dp3d_core.models.networks import Networks
from dp3d_core.pipelines.denoise import Conditions, Denoiser
from dp3d_core.pipelines.windows import Window, plan_windows

_VIEW_MODULE = re.compile(r"\.view_modules\.\w+\.\d+$")

PARTS = ("reference", "pose", "conditional", "unconditional")
"""Parts of a step that operations are counted for."""

PUBLISHED_GFLOP = {
    # (variant, channels, latent size, views) of the original code
    (Variant.DIFFPORTRAIT3D, 128, 32, 8): 1370.0,
    (Variant.DIFFPORTRAIT360, 128, 32, 8): 1531.0,
    (Variant.DIFFPORTRAIT3D, 320, 64, 8): 34_700.0,
    (Variant.DIFFPORTRAIT3D, 320, 64, 32): 138_900.0,
    (Variant.DIFFPORTRAIT360, 320, 64, 8): 39_400.0,
    (Variant.DIFFPORTRAIT360, 320, 64, 32): 157_700.0,
}
"""GFLOP of one step of the original implementation, windows of 8 views."""


@dataclass(frozen=True)
class Load:
    """Networks and views that are denoised."""

    variant: Variant
    channels: int = SD15_CHANNELS[0]
    """Channels of the first level; the others have 2, 4 and 4 times as many."""
    context: int = 768
    latent: int = 64
    """Width and height of the latents, 1/8 of the picture's."""
    views: int = 8
    mode: str = "blocks"
    """Division into windows, see ``windows.plan_windows``; the engines' default is ``overlap``."""
    overlap: int = 1
    closed: bool = False
    references: int | None = None
    """Number of reference pictures; None: the published one."""

    @property
    def config(self) -> NetworkConfig:
        """Sizes of the networks."""
        published = PUBLISHED[self.variant]
        factor = self.channels / SD15_CHANNELS[0]
        return replace(
            published,
            channels=tuple(round(c * factor) for c in published.channels),
            context=self.context,
            references=self.references or published.references,
            # the VAE takes no part in a step, so a small one will do
            vae_channels=(32, 32, 32, 32),
        )

    @property
    def windows(self) -> list[Window]:
        """Windows of a step."""
        size = self.config.window
        return plan_windows(
            self.views, size, mode=self.mode, overlap=self.overlap, closed=self.closed
        )


def _denoiser(load: Load, networks: Networks, device: torch.device, dtype: torch.dtype) -> Denoiser:
    config = load.config
    size = (load.latent, load.latent)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device, dtype=dtype)

    conditions = Conditions(
        random(1, TextSize.LENGTH, config.context),
        random(config.references, 4, *size),
        random(load.views, config.channels[0], *size),
    )
    return Denoiser(networks, conditions)


def _parts(load: Load, denoiser: Denoiser, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Functions that run the parts of a step; ``conditional`` includes the pose network.

    ``saved`` runs the additional work of the published code.
    """
    t = torch.full((1,), 601, device=x.device)
    window_indices = [torch.tensor(window.views, device=x.device) for window in load.windows]
    blocks = [(x[indices], indices) for indices in window_indices]

    def saved() -> None:
        for part, indices in blocks:
            copies = len(indices) if part is not blocks[0][0] else len(indices) - 1
            denoiser.reference_tokens(t, copies=copies)
            denoiser.residuals(part, indices)

    return {
        "saved": saved,
        "reference": lambda: denoiser.begin(t),
        "pose": lambda: [denoiser.residuals(part, indices) for part, indices in blocks],
        "conditional": lambda: [
            denoiser.conditional(part, indices, len(indices)) for part, indices in blocks
        ],
        "unconditional": lambda: [
            denoiser.unconditional(part, len(indices)) for part, indices in blocks
        ],
    }


def count_operations(load: Load) -> dict[str, float]:
    """GFLOP of each of :data:`PARTS`, of the ``view_modules`` within them, and the ``total``."""
    networks = Networks.of(load.config, meta=True)
    device = torch.device("meta")
    denoiser = _denoiser(load, networks, device, torch.float32)
    x = torch.empty(load.views, 4, load.latent, load.latent, device=device)
    gflop, in_views = {}, 0.0
    with torch.inference_mode():
        parts = _parts(load, denoiser, x)
        for name in PARTS:
            with FlopCounterMode(display=False) as counter:
                parts[name]()
            gflop[name] = counter.get_total_flops() / 1e9
            for module, counts in counter.get_flop_counts().items():
                if _VIEW_MODULE.search(module):
                    in_views += sum(counts.values()) / 1e9
    gflop["conditional"] -= gflop["pose"]
    return {**gflop, "view_modules": in_views, "total": sum(gflop[part] for part in PARTS)}


@dataclass(frozen=True)
class Times:
    """Times and memory of one step."""

    wall_s: float
    cpu_s: float
    parts_cpu_s: dict[str, float]
    saved_cpu_s: float
    """CPU time of the published code's additional work, seconds: the reference network once for
    every view of every window, and the pose network in both passes."""
    peak_gb: float
    """Peak memory, 10^9 bytes: of the device on a GPU, else of the process."""


def measure_step(
    load: Load,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    repeats: int = 2,
    step_done: Callable[[], None] = lambda: None,
) -> Times:
    """Times of a step with random weights: the fastest of ``repeats`` steps after a warm-up step.

    Args:
        load: networks and views.
        device: torch's name of the device.
        dtype: of weights and features.
        repeats: measured steps.
        step_done: called after each step, the warm-up step included.

    """
    torch_device = torch.device(device)
    on_gpu = torch_device.type == "cuda"
    torch.manual_seed(0)
    networks = Networks.of(load.config, meta=True)
    for net in (networks.unet, networks.reference_unet, networks.pose_controlnet):
        torch.nn.Module.to(net.to_empty(device=torch_device), dtype)  # diffusers' own warns
        for value in [*net.parameters(), *net.buffers()]:
            if value.is_floating_point():
                torch.nn.init.normal_(value.detach(), std=0.02)
    networks.eval()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(torch_device)
    best: Times | None = None
    with torch.inference_mode():
        denoiser = _denoiser(load, networks, torch_device, dtype)
        x = torch.randn(load.views, 4, load.latent, load.latent, device=torch_device, dtype=dtype)
        parts = _parts(load, denoiser, x)
        for repeat in range(repeats + 1):
            seconds: dict[str, float] = {}
            wall = time.perf_counter()
            for name in ("reference", "conditional", "unconditional", "saved"):
                if name == "saved":
                    wall = time.perf_counter() - wall
                began = time.process_time()
                parts[name]()
                if on_gpu:
                    torch.cuda.synchronize(torch_device)
                seconds[name] = time.process_time() - began
            saved = seconds.pop("saved")
            step_done()
            if repeat and (best is None or wall < best.wall_s):
                best = Times(wall, sum(seconds.values()), seconds, saved, 0.0)
    assert best is not None
    peak = torch.cuda.max_memory_allocated(torch_device) if on_gpu else _peak_resident_bytes()
    return replace(best, peak_gb=peak / 1e9)


def _peak_resident_bytes() -> float:
    """Peak resident memory of this process, bytes."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset)
    import resource

    # macOS reports bytes, others kibibytes
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(used) if sys.platform == "darwin" else used * 1024.0
