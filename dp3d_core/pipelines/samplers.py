"""Samplers by name: the published one, the paper's, and a fast one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

from dp3d_core.errors import Dp3dError
from dp3d_core.pipelines.options import SAMPLERS
from dp3d_core.pipelines.schedule import BETAS, TRAIN_STEPS, official_schedule

_TRAILING: dict[str, Any] = {
    # the first step is at t = 999, the noise that start images are given
    "num_train_timesteps": TRAIN_STEPS,
    "beta_start": BETAS[0],
    "beta_end": BETAS[1],
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "trailing",
    # spaced by noise (Karras et al. 2022, equation 5): with even steps the last goes from t = 49 to
    # the end at once, which takes half of the finest detail's variance
    "use_karras_sigmas": True,
}


@dataclass(frozen=True)
class Sampler:
    """A scheduler with the settings it is meant to be used with."""

    scheduler: Any
    steps: int
    eta: float = 0.0
    """Noise that DDIM adds on the way, 0 to 1."""


def get_sampler(name: str, half_schedule: bool = False) -> Sampler:
    """A sampler.

    Args:
        name: ``official`` (50 steps, eta 0.5, as published), ``paper`` (100 steps), ``fast``
            (DPM-Solver++, 20 steps) or ``unipc`` (20 steps).
        half_schedule: official and paper: rounded as DiffPortrait360's code does.

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
