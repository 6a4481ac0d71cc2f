"""Samplers by name: schedulers of diffusers with their number of steps and eta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

from dp3d_core.errors import Dp3dError
from dp3d_core.pipelines.options import SAMPLERS
from dp3d_core.pipelines.schedule import BETAS, TRAIN_STEPS, official_schedule

_TRAILING: dict[str, Any] = {
    # the first step is at t = 999, the noise level of start images
    "num_train_timesteps": TRAIN_STEPS,
    "beta_start": BETAS[0],
    "beta_end": BETAS[1],
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "trailing",
    # spaced by noise level (Karras et al. 2022, equation 5): with even spacing the last step starts
    # at t = 49 and loses half of the finest detail's variance
    "use_karras_sigmas": True,
}
"""Settings of the schedulers of ``fast`` and ``unipc``."""


@dataclass(frozen=True)
class Sampler:
    """A scheduler and the settings that it is used with."""

    scheduler: Any
    steps: int
    eta: float = 0.0
    """Noise that DDIM adds at each step, 0 to 1."""


def get_sampler(name: str, half_schedule: bool = False) -> Sampler:
    """The sampler of a name.

    Args:
        name: ``official`` (50 steps, eta 0.5, as published), ``paper`` (100 steps), ``fast``
            (DPM-Solver++, 20 steps) or ``unipc`` (20 steps).
        half_schedule: whether ``official`` and ``paper`` use DiffPortrait360's float16 schedule.

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    if name in {"official", "paper"}:
        return Sampler(official_schedule(half_schedule), 50 if name == "official" else 100, 0.5)
    if name == "fast":
        return Sampler(DPMSolverMultistepScheduler(**_TRAILING), 20)
    if name == "unipc":
        return Sampler(UniPCMultistepScheduler(**_TRAILING), 20)
    raise Dp3dError(
        "engine.bad_option",
        f"There is no sampler called {name!r}.",
        f"Choose one of: {', '.join(SAMPLERS)}.",
    )
