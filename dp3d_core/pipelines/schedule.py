"""The noise schedules of the published samplers, on diffusers' DDIM.

``official_schedule`` is Stable Diffusion's: 50 steps from t = 981, eta 0.5 in the published
scripts.  DiffPortrait360's code stores the schedule in float16, which shifts the last steps a
little; :class:`HalfDDIMScheduler` does the same, for comparisons with its outputs.
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
START_STEP = 999
"""Noise level of start images; the first step of 50 is at 981, which the published code keeps."""
BETAS = (0.00085, 0.012)
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
    """(1000,) float64 part of the signal's variance at each step."""
    roots = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, TRAIN_STEPS, dtype=torch.float64)
    return torch.cumprod(1 - roots**2, 0)


def start_factors(scheduler: Any) -> tuple[float, float]:
    """Factors of start images and noise at :data:`START_STEP`.

    Not ``scheduler.add_noise``: samplers of several steps take a t that is none of theirs for
    their last one.

    Raises:
        Dp3dError: ``engine.bad_option`` for a scheduler that scales its latents with the noise.

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
    part = float(alphas_cumprod()[START_STEP])
    return part**0.5, (1 - part) ** 0.5


def official_schedule(half: bool = False) -> DDIMScheduler:
    """The published sampler's schedule; ``half`` as DiffPortrait360's code stores it."""
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
        """As diffusers'; the two factors are rounded roots, not roots of rounded numbers."""
        at = timesteps.flatten().cpu()
        signal, grain = (
            self.noising[i][at].to(original_samples).reshape(-1, *[1] * (noise.ndim - 1))
            for i in (0, 1)
        )
        return signal * original_samples + grain * noise

    def _get_variance(self, timestep: int, prev_timestep: int) -> Tensor:
        now = self.alphas_cumprod[timestep].double()
        then = self.alphas_cumprod[max(prev_timestep, 0)].double()
        return (1 - then) * self.reciprocals[timestep] * (1 - now / then)

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
        """One step, as diffusers'; equation 12 of DDIM (Song et al. 2021)."""
        before = int(timestep) - TRAIN_STEPS // self.num_inference_steps
        now = float(self.alphas_cumprod[int(timestep)])
        then = float(self.alphas_cumprod[before] if before >= 0 else self.final_alpha_cumprod)
        grain = float(self.sqrt_one_minus_alphas[int(timestep)])
        sigma = eta * float(self._get_variance(int(timestep), before)) ** 0.5
        clean = (sample - grain * model_output) / now**0.5
        moved = then**0.5 * clean + (1 - then - sigma**2) ** 0.5 * model_output
        if sigma > 0:
            if variance_noise is None:
                variance_noise = torch.randn(
                    sample.shape, generator=generator, device=sample.device, dtype=sample.dtype
                )
            moved = moved + sigma * variance_noise
        if not return_dict:
            return moved, clean
        return DDIMSchedulerOutput(prev_sample=moved, pred_original_sample=clean)


def tables(
    scheduler: DDIMScheduler, steps: int, eta: float
) -> dict[str, Float[Tensor, " {steps}"]]:
    """What a sampler of so many steps multiplies with, ascending in t, float64.

    ``ddim_alphas``, ``ddim_alphas_prev``, ``ddim_sigmas``, ``ddim_sqrt_one_minus_alphas`` as the
    published code names them.
    """
    scheduler.set_timesteps(steps)
    at = [int(t) for t in reversed(scheduler.timesteps)]
    before = [t - TRAIN_STEPS // steps for t in at]
    alphas = scheduler.alphas_cumprod.double()
    last = float(scheduler.final_alpha_cumprod)
    roots = getattr(scheduler, "sqrt_one_minus_alphas", (1 - alphas).sqrt()).double()
    variances = [float(scheduler._get_variance(t, b)) for t, b in zip(at, before, strict=True)]
    return {
        "ddim_alphas": alphas[at],
        "ddim_alphas_prev": torch.tensor(
            [float(alphas[b]) if b >= 0 else last for b in before], dtype=torch.float64
        ),
        "ddim_sigmas": eta * torch.tensor(variances, dtype=torch.float64).sqrt(),
        "ddim_sqrt_one_minus_alphas": roots[at],
    }
