"""Options of the diffusion engines; needs neither torch nor diffusers.

``generation.check_options`` checks what their values mean for the samplers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dp3d_core.engines.options import option
from dp3d_core.limits import Precision, Range, WindowMode
from dp3d_core.models.config import WINDOW

SamplerName = Literal["official", "paper", "fast", "unipc"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
"""Names that ``samplers.get_sampler`` takes."""
SIZE_RANGE = Range(64, 2048)
"""Width and height that the networks work at, pixels."""
SIZE_STEP = 64
"""Width and height are multiples of this, pixels: 8 for the VAE times 8 for the UNet's levels."""
MOST_REFERENCES = 4
"""Greatest number of reference pictures; the published networks were trained with one or two."""

OVERLAP = Range(0, WINDOW - 1)
"""Views that neighbouring windows share."""


@dataclass(frozen=True)
class DiffusionOptions:
    """Options of the diffusion engines."""

    sampler: SamplerName = option(
        "official",
        "How noise becomes views: official (50 steps, as published), paper (100 steps), fast or "
        "unipc (20 steps).",
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
    windows: WindowMode = option(
        "overlap",
        "How views are divided into groups that are denoised together: overlap, or blocks as in "
        "the published code.",
    )
    overlap: int = option(
        1,
        "Views that neighbouring windows share.",
        minimum=OVERLAP.low,
        maximum=OVERLAP.high,
    )
    start: Literal["preview", "noise"] = option(
        "preview",
        "Start images: 3D-consistent ones of the preview engine, or noise alone.",
    )
    size: int = option(
        512,
        "Width and height that the networks work at, pixels; they were trained at 512.",
        minimum=SIZE_RANGE.low,
        maximum=SIZE_RANGE.high,
        step=SIZE_STEP,
    )
    half_schedule: bool = option(
        False,
        "Round the noise schedule where DiffPortrait360's code does, for comparisons with its "
        "published results.",
    )
    device: str = option("auto", "Where the networks run: auto, cpu, cuda, cuda:1, mps ...")
    dtype: Literal["auto", Precision] = option(
        "auto",
        "Precision of the networks; auto takes float32 on a CPU and float16 elsewhere.",
    )
    max_vram_gb: float = option(
        0.0,
        "Device memory that may be used, 10^9 bytes; 0 takes what is free on a CUDA device, "
        "elsewhere as much as is needed. Decides how many windows go together and whether "
        "networks leave the device while they are idle.",
        minimum=0,
    )
