"""Options of the diffusion engines, checked before networks are loaded."""

from __future__ import annotations

from dataclasses import dataclass

from dp3d_core.engines.options import option
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import PRECISIONS, WINDOW_MODES

SAMPLERS = ("official", "paper", "fast", "unipc")
"""Names that ``samplers.get_sampler`` takes; that module imports diffusers, this one does not."""
SIZE_RANGE = (64, 2048)
"""Smallest and largest width and height that the networks work at, pixels."""
SIZE_STEP = 64
"""Width and height are multiples of this, pixels: 8 for the VAE times 8 for the UNet's levels."""


@dataclass(frozen=True)
class DiffusionOptions:
    """Options of the diffusion engines."""

    sampler: str = option(
        "official",
        "How noise becomes views: official (50 steps, as published), paper (100 steps), fast or "
        "unipc (20 steps).",
        choices=SAMPLERS,
    )
    steps: int = option(
        0, "Steps of the sampler; 0 takes the sampler's own number.", minimum=0, maximum=1000
    )
    guidance: float = option(
        3.0,
        "Guidance scale: how closely views keep to the photo; 1 switches guidance off and halves "
        "the time. The models were published with 3.",
        minimum=0,
        maximum=50,
    )
    guidance_from: float = option(
        0.0, "Part of the steps after which guidance begins.", minimum=0, maximum=1
    )
    guidance_to: float = option(
        1.0,
        "Part of the steps after which guidance ends; a step without guidance takes half the time.",
        minimum=0,
        maximum=1,
    )
    windows: str = option(
        "overlap",
        "How views are divided into groups that are denoised together: overlap, or blocks as in "
        "the published code.",
        choices=WINDOW_MODES,
    )
    overlap: int = option(1, "Views that neighbouring windows share.", minimum=0, maximum=7)
    start: str = option(
        "preview",
        "Start images: 3D-consistent ones of the preview engine, or noise alone.",
        choices=("preview", "noise"),
    )
    size: int = option(
        512,
        "Width and height that the networks work at, pixels; they were trained at 512.",
        minimum=SIZE_RANGE[0],
        maximum=SIZE_RANGE[1],
        step=SIZE_STEP,
    )
    half_schedule: bool = option(
        False,
        "Round the noise schedule where DiffPortrait360's code does, for comparisons with its "
        "published results.",
    )
    device: str = option("auto", "Where the networks run: auto, cpu, cuda, cuda:1, mps ...")
    dtype: str = option(
        "auto",
        "Precision of the networks; auto takes float32 on a CPU and float16 elsewhere.",
        choices=("auto", *PRECISIONS),
    )
    max_vram_gb: float = option(
        0.0,
        "Device memory that may be used, 10^9 bytes; 0 takes what is free on a CUDA device, "
        "elsewhere as much as is needed. Decides how many windows go together and whether "
        "networks leave the device while they are idle.",
        minimum=0,
    )


def check_options(options: DiffusionOptions) -> None:
    """Refuse combinations of values; ``engines.options.parse_options`` checks each value.

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    from dp3d_core.pipelines.multi_view import check_steps
    from dp3d_core.pipelines.samplers import get_sampler
    from dp3d_core.pipelines.windows import plan_windows

    sampler = get_sampler(options.sampler)
    check_steps(sampler.scheduler, options.steps or sampler.steps)
    plan_windows(9, 8, mode=options.windows, overlap=options.overlap)
    if options.guidance_from > options.guidance_to:
        raise Dp3dError(
            "engine.bad_option",
            f"Guidance from {options.guidance_from:g} to {options.guidance_to:g} of the steps "
            "cannot be.",
            "Give an interval within 0 and 1.",
        )
