"""``dp3d bench denoise``: time, operations and memory of one denoising step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import Precision, WindowMode
from dp3d_core.progress import Stage
from dp3d_core.weights.requirements import require_packages
from server.cli.console import Console, Outcome


@dataclass
class Denoise:
    """Seconds, operations and memory of one denoising step, both passes, random weights."""

    variant: Literal["diffportrait3d", "diffportrait360"] = "diffportrait360"
    """Published model whose networks are measured."""
    channels: int = 320
    """Channels of the first level; 320 is the published size."""
    context: int = 768
    """Channels of the prompt; 768 is the published size."""
    latent: int = 64
    """Width and height of the latents: an eighth of the pictures'."""
    views: int = 8
    """Number of views; 8 make a window."""
    windows: WindowMode = "blocks"
    """blocks as in the original code, or overlap as in the engines by default."""
    overlap: int = 1
    """Views that neighbouring windows share."""
    closed: bool = False
    """Whether the cameras form a closed orbit, so that windows wrap around."""
    device: str = "cpu"
    """cpu, cuda or cuda:1 ..."""
    dtype: Precision = "float32"
    """Data type of weights and features."""
    repeats: int = 2
    """Measured steps after a warm-up step; 0 only counts operations, which needs no memory."""

    def run(self, console: Console) -> Outcome:
        """Count the operations, and measure time and memory."""
        require_packages()
        import torch

        from dp3d_core.models.config import Variant
        from dp3d_core.pipelines.cost import (
            PARTS,
            PUBLISHED_GFLOP,
            Load,
            count_operations,
            measure_step,
        )
        from dp3d_core.weights.requirements import find_device

        has_odd_size = self.channels % 32 or self.context % 8 or self.latent % 8
        if min(self.channels, self.context, self.latent, self.views) < 1 or has_odd_size:
            raise Dp3dError(
                "server.bad_request",
                "Networks of this size cannot be measured.",
                "Give positive sizes: channels a multiple of 32, context and latent of 8.",
            )
        find_device(self.device)
        load = Load(
            Variant(self.variant),
            self.channels,
            self.context,
            self.latent,
            self.views,
            self.windows,
            self.overlap,
            self.closed,
        )
        gflop = count_operations(load)
        data: dict[str, object] = {"gflop": {k: round(v, 1) for k, v in gflop.items()}}
        total = gflop["total"]
        lines = [f"operations of a step: {total / 1000:.3f} TFLOP"]
        lines += [
            f"  {name:14}{gflop[name] / 1000:9.3f}  {100 * gflop[name] / total:5.1f} %"
            for name in (*PARTS, "view_modules")
        ]
        key = (load.variant, self.channels, self.latent, self.views)
        if (published := PUBLISHED_GFLOP.get(key)) is not None:
            data["of_original"] = round(total / published, 4)
            lines += [f"  the original needs {published / 1000:.3f}: ratio {total / published:.3f}"]
        if self.repeats > 0:
            stage = Stage("step", self.repeats + 1, console.progress, console.cancel)
            times = measure_step(
                load,
                device=self.device,
                dtype=getattr(torch, self.dtype),
                repeats=self.repeats,
                step_done=stage.advance,
            )
            data["seconds"] = {
                "wall": round(times.wall_s, 3),
                "cpu": round(times.cpu_s, 3),
                "saved_cpu": round(times.saved_cpu_s, 3),
                "parts_cpu": {k: round(v, 3) for k, v in times.parts_cpu_s.items()},
            }
            fraction = times.cpu_s / (times.cpu_s + times.saved_cpu_s)
            data["cpu_of_original"] = round(fraction, 4)
            data["peak_gb"] = round(times.peak_gb, 3)
            lines += [
                f"a step takes {times.wall_s:.2f} s, {times.cpu_s:.2f} CPU seconds, "
                f"{times.peak_gb:.2f} GB at most",
                *(
                    f"  {name:14}{seconds:9.2f}  {100 * seconds / times.cpu_s:5.1f} %"
                    for name, seconds in times.parts_cpu_s.items()
                ),
                f"  extra work of the original takes {times.saved_cpu_s:.2f} CPU seconds: "
                f"ratio {fraction:.3f}",
            ]
        return Outcome(data, lines)
