"""The noise schedules of the published samplers, on diffusers' DDIM.

``official_schedule`` is Stable Diffusion's: 50 steps from t = 981, eta 0.5 in the published
scripts.  DiffPortrait360's code stores the schedule in float16, which shifts the last steps
slightly; :class:`HalfDDIMScheduler` rounds likewise, for comparisons with its outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

from dp3d_core.arrays import Float, Shaped
from dp3d_core.errors import Dp3dError

TRAIN_STEPS = 1000
"""Timesteps that the networks were trained with."""
START_STEP = 999
"""Timestep of the noise on start images, as in the published code; its first of 50 steps is 981."""
BETAS = (0.00085, 0.012)
"""First and last beta of Stable Diffusion's ``scaled_linear`` schedule."""
_OFFICIAL: dict[str, Any] = {
    "num_train_timesteps": TRAIN_STEPS,
    "beta_start": BETAS[0],
    "beta_end": BETAS[1],
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def alphas_cumprod() -> Float[Tensor, " 1000"]:
    """(1000,) float64 alpha-bar: share of the signal in the variance at each timestep."""
    roots = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, TRAIN_STEPS, dtype=torch.float64)
    return torch.cumprod(1 - roots**2, 0)


def start_factors(scheduler: Any) -> tuple[float, float]:
    """Factors of the start latents and of the noise at :data:`START_STEP`.

    ``scheduler.add_noise`` is not used: multistep schedulers replace a timestep that is not among
    theirs by their last one.

    Raises:
        Dp3dError: ``engine.bad_option`` for a scheduler that scales initial latents by its noise.

    """
    if float(scheduler.init_noise_sigma) != 1:
        raise Dp3dError(
            "engine.bad_option",
            f"{type(scheduler).__name__} scales latents in a way that start images do not know.",
            "Use DDIM, DPM-Solver++ or UniPC, or no start images.",
        )
    if isinstance(scheduler, HalfDDIMScheduler):
        signal, grain = (float(table[START_STEP]) for table in scheduler.noising)
        return signal, grain
    signal_share = float(alphas_cumprod()[START_STEP])
    return signal_share**0.5, (1 - signal_share) ** 0.5


def official_schedule(half: bool = False) -> DDIMScheduler:
    """The published schedule; ``half``: rounded to float16 as in DiffPortrait360's code."""
    return HalfDDIMScheduler() if half else DDIMScheduler(**_OFFICIAL)


# DiffusionPipeline.from_pretrained looks for the name SchedulerMixin in a scheduler's module.
class HalfDDIMScheduler(DDIMScheduler, SchedulerMixin):  # type: ignore[misc]
    """DDIM with its tables rounded to float16 where DiffPortrait360's code rounds them."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self) -> None:
        super().__init__(**_OFFICIAL)
        exact = alphas_cumprod()
        rounded = exact.half()
        self.alphas_cumprod = rounded.float()
        self.final_alpha_cumprod = self.alphas_cumprod[0]
        self.sqrt_one_minus_alphas = (1 - rounded).sqrt().float()
        # the published code divides a float64 array by this half tensor, so torch rounds 1 / x
        self.reciprocals = (1 / (1 - rounded)).double()
        self.noising = torch.stack([exact.sqrt().half(), (1 - exact).sqrt().half()]).float()

    def add_noise(
        self,
        original_samples: Float[Tensor, "*shape"],
        noise: Float[Tensor, "*shape"],
        timesteps: Shaped[Tensor, " t"],
    ) -> Float[Tensor, "*shape"]:
        """Noisy samples as by diffusers, with factors that are square roots rounded to float16."""
        at = timesteps.flatten().cpu()
        signal, grain = (
            self.noising[i][at].to(original_samples).reshape(-1, *[1] * (noise.ndim - 1))
            for i in (0, 1)
        )
        return signal * original_samples + grain * noise

    def _get_variance(self, timestep: int, prev_timestep: int) -> Tensor:
        alpha = self.alphas_cumprod[timestep].double()
        alpha_previous = self.alphas_cumprod[max(prev_timestep, 0)].double()
        return (1 - alpha_previous) * self.reciprocals[timestep] * (1 - alpha / alpha_previous)

    def step(
        self,
        model_output: Float[Tensor, "*shape"],
        timestep: int,
        sample: Float[Tensor, "*shape"],
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: torch.Generator | None = None,
        variance_noise: Float[Tensor, "*shape"] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """One DDIM step (Song et al. 2021, equation 12); signature of diffusers."""
        previous = int(timestep) - TRAIN_STEPS // self.num_inference_steps
        alpha = float(self.alphas_cumprod[int(timestep)])
        alpha_previous = float(
            self.alphas_cumprod[previous] if previous >= 0 else self.final_alpha_cumprod
        )
        grain = float(self.sqrt_one_minus_alphas[int(timestep)])
        sigma = eta * float(self._get_variance(int(timestep), previous)) ** 0.5
        clean = (sample - grain * model_output) / alpha**0.5
        sample_previous = (
            alpha_previous**0.5 * clean + (1 - alpha_previous - sigma**2) ** 0.5 * model_output
        )
        if sigma > 0:
            if variance_noise is None:
                variance_noise = torch.randn(
                    sample.shape, generator=generator, device=sample.device, dtype=sample.dtype
                )
            sample_previous = sample_previous + sigma * variance_noise
        if not return_dict:
            return sample_previous, clean
        return DDIMSchedulerOutput(prev_sample=sample_previous, pred_original_sample=clean)


def tables(
    scheduler: DDIMScheduler, steps: int, eta: float
) -> dict[str, Float[Tensor, " {steps}"]]:
    """Coefficients of a sampler of ``steps`` steps, ascending in t, (steps,) float64.

    Keys are the published code's names: ``ddim_alphas``, ``ddim_alphas_prev``, ``ddim_sigmas``,
    ``ddim_sqrt_one_minus_alphas``.
    """
    scheduler.set_timesteps(steps)
    timesteps = [int(t) for t in reversed(scheduler.timesteps)]
    previous = [t - TRAIN_STEPS // steps for t in timesteps]
    alphas = scheduler.alphas_cumprod.double()
    last = float(scheduler.final_alpha_cumprod)
    roots = getattr(scheduler, "sqrt_one_minus_alphas", (1 - alphas).sqrt()).double()
    variances = [
        float(scheduler._get_variance(t, b)) for t, b in zip(timesteps, previous, strict=True)
    ]
    return {
        "ddim_alphas": alphas[timesteps],
        "ddim_alphas_prev": torch.tensor(
            [float(alphas[b]) if b >= 0 else last for b in previous], dtype=torch.float64
        ),
        "ddim_sigmas": eta * torch.tensor(variances, dtype=torch.float64).sqrt(),
        "ddim_sqrt_one_minus_alphas": roots[timesteps],
    }
