"""``dp3d bench denoise``: time, operations and memory of one denoising step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import PRESET_VIEWS, Precision, Range, WindowMode
from dp3d_core.models.config import PIXELS_PER_LATENT, WINDOW, Variant
from dp3d_core.pipelines.options import MOST_REFERENCES, OVERLAP, SIZE_RANGE
from dp3d_core.progress import Stage
from dp3d_core.weights.requirements import require_packages
from server.cli.arguments import check_numbers, number
from server.cli.console import Console, Outcome

_CHANNELS = Range(32, 2048)
"""Range of ``--channels``."""
_CONTEXT = Range(8, 4096)
"""Range of ``--context``."""
_LATENT = Range(SIZE_RANGE.low // PIXELS_PER_LATENT, SIZE_RANGE.high // PIXELS_PER_LATENT)
"""Range of ``--latent``."""
_REFERENCES = Range(0, MOST_REFERENCES)
"""Range of ``--references``."""
_REPEATS = Range(0, 1000)
"""Range of ``--repeats``."""


@dataclass
class Denoise:
    """Seconds, operations and memory of one denoising step, both passes, random weights."""

    variant: Annotated[
        Literal[Variant.DIFFPORTRAIT3D, Variant.DIFFPORTRAIT360], tyro.conf.EnumChoicesFromValues
    ] = Variant.DIFFPORTRAIT360
    """Published model whose networks are measured."""
    channels: Annotated[
        int, number("Channels of the first level (published: 320), multiples of 32", _CHANNELS)
    ] = 320
    context: Annotated[
        int, number("Channels of the prompt (published: 768), multiples of 8", _CONTEXT)
    ] = 768
    latent: Annotated[
        int,
        number(
            "Width and height of the latents, an eighth of the pictures', multiples of 8", _LATENT
        ),
    ] = 64
    views: Annotated[int, number(f"Number of views ({WINDOW} make a window)", PRESET_VIEWS)] = (
        WINDOW
    )
    windows: WindowMode = "blocks"
    """blocks as in the original code, or overlap as in the engines by default."""
    overlap: Annotated[int, number("Views that neighbouring windows share", OVERLAP)] = 1
    closed: bool = False
    """Whether the cameras form a closed orbit, so that windows wrap around."""
    references: Annotated[
        int, number("Pictures of the person; 0 takes the published number", _REFERENCES)
    ] = 0
    device: str = "cpu"
    """cpu, cuda or cuda:1 ..."""
    dtype: Precision = "float32"
    """Data type of weights and features."""
    repeats: Annotated[
        int,
        number(
            "Measured steps after a warm-up step (0 only counts operations, which needs no memory)",
            _REPEATS,
        ),
    ] = 2

    def run(self, console: Console) -> Outcome:
        """Count the operations, and measure time and memory."""
        require_packages()
        import torch

        from dp3d_core.pipelines.cost import (
            PARTS,
            PUBLISHED_GFLOP,
            Load,
            count_operations,
            measure_step,
        )
        from dp3d_core.weights.requirements import find_device

        check_numbers("bench.bad_option", self)
        if self.channels % 32 or self.context % 8 or self.latent % 8:
            raise Dp3dError(
                "bench.bad_option",
                "Networks of this size cannot be measured.",
                "Give channels as a multiple of 32, context and latent of 8.",
            )
        find_device(self.device)
        load = Load(
            self.variant,
            self.channels,
            self.context,
            self.latent,
            self.views,
            self.windows,
            self.overlap,
            self.closed,
            self.references or None,
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
        published = None if self.references else PUBLISHED_GFLOP.get(key)
        if published is not None:
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
