"""Options of the diffusion engines, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dp3d_core.errors import Dp3dError

_DTYPES = ("auto", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class DiffusionOptions:
    """Options of the diffusion engines."""

    sampler: str = "official"
    """official (50 steps), paper (100), fast or unipc (20)."""
    steps: int = 0
    """Steps of the sampler; 0: its own number."""
    guidance: float = 3.0
    """Guidance scale; 1 switches it off."""
    guidance_from: float = 0.0
    guidance_to: float = 1.0
    """Part of the steps in which guidance is used; outside of it a step takes half the time."""
    windows: str = "overlap"
    """overlap, or blocks as the published code."""
    overlap: int = 1
    """Views that neighbouring windows share."""
    start: str = "preview"
    """preview: 3D-consistent start images of the preview engine; noise: none."""
    size: int = 512
    """Width and height that the networks work at; a multiple of 64."""
    half_schedule: bool = False
    """Round the noise schedule where DiffPortrait360's code does, for comparisons with it."""
    device: str = "auto"
    """auto, cpu, cuda, mps ..."""
    dtype: str = "auto"
    """float32, float16, bfloat16; auto: float32 on a CPU, float16 elsewhere."""
    max_vram_gb: float = 0.0
    """Device memory that may be used, 10^9 bytes; 0: what is free on a CUDA device, elsewhere as
    much as it takes.  Decides how many windows go together and whether networks leave the device
    while they are idle."""


def check_options(chosen: DiffusionOptions) -> None:
    """Refuse values that cannot be.

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    from dp3d_core.pipelines.multi_view import SIZE_STEP, check_steps
    from dp3d_core.pipelines.samplers import get_sampler
    from dp3d_core.pipelines.windows import plan_windows

    sampler = get_sampler(chosen.sampler)
    check_steps(sampler.scheduler, chosen.steps or sampler.steps)
    plan_windows(9, 8, mode=chosen.windows, overlap=chosen.overlap)
    for wrong, problem, remedy in (
        (
            chosen.start not in {"preview", "noise"},
            f"There are no start images {chosen.start!r}.",
            "Choose preview or noise.",
        ),
        (
            chosen.size < SIZE_STEP or chosen.size % SIZE_STEP or chosen.size > 2048,
            f"The networks cannot work at {chosen.size} pixels.",
            f"Give a multiple of {SIZE_STEP}; they were trained at 512.",
        ),
        (
            not 0 <= chosen.max_vram_gb < math.inf,
            f"Memory of {chosen.max_vram_gb:g} GB is out of range.",
            "Give gigabytes, or 0 for as much as it takes.",
        ),
        (
            not 0 <= chosen.guidance_from <= chosen.guidance_to <= 1,
            f"Guidance from {chosen.guidance_from:g} to {chosen.guidance_to:g} of the steps "
            "cannot be.",
            "Give an interval within 0 and 1.",
        ),
        (
            chosen.dtype not in _DTYPES,
            f"The networks cannot compute in {chosen.dtype!r}.",
            f"Choose one of: {', '.join(_DTYPES)}.",
        ),
        (
            not 0 <= chosen.guidance <= 50,
            f"Guidance {chosen.guidance:g} is out of range.",
            "Give a number from 0 to 50; the models were published with 3.",
        ),
    ):
        if wrong:
            raise Dp3dError("engine.bad_option", problem, remedy)
